"""Tasks for a T5X run: a Selection or a Mixture of one, or files of text.

Gin evaluates a task's name wherever a run file mentions it, so the same call
registers once and returns the same name again. Modules that register Tasks are
imported in the run file, as T5X does (import t5.data.mixtures).
"""

from collections.abc import Iterator, Mapping, Sequence
import dataclasses
import functools
from typing import Any

from jaxcurate.data import (
  mixture_task,
  readers,
  selected_tasks,
  seqio_tasks,
)

_ADDED: dict[str, Any] = {}  # name -> the call that registered it


def selected(
  name: str,
  *,
  selection: str | None = None,
  mixture: str | None = None,
  lengths: Mapping[str, int] | None = None,
  split: str = 'train',
  text_field: str = 'text',
  id_field: str = 'id',
) -> str:
  """Name of the Task that holds what a Selection kept of one, or mixes it.

  Args:
    name: a registered Task or Mixture.
    selection: folder of a Selection made from its scores; None: all of it.
    mixture: folder or file of a Mixture whose shares its domains have, under
      span corruption of ours, see `data.mixture_task`; None: as they are.
    lengths: of the features, for a mixture.
    split: the split that was scored; others stay whole.
    text_field: as it was for scoring.
    id_field: as it was for scoring.

  Raises:
    UserError: unknown task, split, selection or mixture.
  """
  if selection is None and mixture is None:
    return name
  new_name = f'{name}_selected' if mixture is None else f'{name}_mixed'
  call = (
    (name, str(selection), split, text_field, id_field),
    (mixture, tuple((lengths or {}).items())),
  )
  if _ADDED.get(new_name) == call:
    return new_name
  if mixture is not None:
    mixture_task.mix_task(
      name,
      mixture,
      lengths=lengths or {},
      selection=selection,
      split=split,
      new_name=new_name,
      text_field=text_field,
      id_field=id_field,
    )
  elif selection is not None:
    selected_tasks.select_task(
      name,
      selection,
      split=split,
      new_name=new_name,
      text_field=text_field,
      id_field=id_field,
    )
  _ADDED[new_name] = call
  return new_name


def from_files(
  files: Mapping[str, str | Sequence[str]],
  *,
  like: str,
  name: str,
  vocabulary: str | None = None,
  text_field: str = 'text',
  id_field: str = 'id',
  domain_field: str = 'domain',
  on_bad_row: str = 'stop',
) -> str:
  """Name of a Task that does to the texts of files what another does to its.

  Args:
    files: split -> globs, files or folders; whatever `score` reads.
    like: registered Task whose source has a 'text', such as T5's
      c4_v220_span_corruption.
    name: to register; its documents' ids are those of `score --task=NAME`.
    vocabulary: path of a SentencePiece model to use instead of the Task's,
      with T5's 100 extra ids.
    text_field: column of the text.
    id_field: column of the id.
    domain_field: column of the domain.
    on_bad_row: 'stop' or 'skip'.

  Raises:
    UserError: an unknown task, or no file.
  """
  import seqio

  places = {
    split: (paths,) if isinstance(paths, str) else tuple(paths)
    for split, paths in files.items()
  }
  call = (tuple(places.items()), like, vocabulary, text_field, on_bad_row)
  if _ADDED.get(name) == call:
    return name
  (task,) = seqio_tasks.tasks_of(like)
  corpora = {
    split: readers.open_corpus(
      paths,
      text_field=text_field,
      id_field=id_field,
      domain_field=domain_field,
      on_bad_row=on_bad_row,
    )
    for split, paths in places.items()
  }
  features = task.output_features
  if vocabulary is not None:
    words = seqio.SentencePieceVocabulary(vocabulary, extra_ids=100)
    features = {
      feature: dataclasses.replace(spec, vocabulary=words)
      for feature, spec in features.items()
    }
  seqio.TaskRegistry.add_provider(
    name,
    task.replace(
      name=name,
      source=seqio.FunctionDataSource(
        functools.partial(_documents, corpora), splits=list(corpora)
      ),
      output_features=features,
    ),
  )
  _ADDED[name] = call
  return name


def _documents(
  corpora: Mapping[str, readers.Corpus],
  split: str,
  shuffle_files: bool,
  seed: int | None = None,
) -> Any:
  """tf.data.Dataset of {'id', 'text', 'domain'} in the order of the files."""
  import tensorflow as tf

  del shuffle_files, seed  # T5X shuffles examples in memory

  def rows() -> Iterator[dict[str, str]]:
    for row in corpora[split].rows():
      yield {'id': row.id, 'text': row.text, 'domain': row.domain or ''}

  spec = tf.TensorSpec([], tf.string)
  return tf.data.Dataset.from_generator(
    rows, output_signature={'id': spec, 'text': spec, 'domain': spec}
  )
