"""A seqio Task of rows of another Task, its domains in the shares of a Mixture.

The rows are those of `mixture_batches`: spans cut out here, one example each,
so the new Task has no preprocessors. Its other splits are those of the old one.
Shares stay as they are: seqio has no way to tell a Task how a run goes.
"""

from collections.abc import Iterator, Mapping
import hashlib
import json
import pathlib
from typing import Any

from etils import epath
import numpy as np

from jaxcurate.data import (
  row_shape,
  selection_filter,
  seqio_tasks,
  task_stages,
  token_cache,
)
from jaxcurate.data import vocabulary as vocabularies
from jaxcurate.data.mixture_batches import MixtureBatches
from jaxcurate.data.row_stream import Windowing
from jaxcurate.data.share_sources import ScheduledShares
from jaxcurate.io import mixtures, tables
from jaxcurate.io.errors import UserError
from jaxcurate.mixtures import schedules
from jaxcurate.types import Document, Vocabulary

_FOLDER = '~/.cache/jaxcurate/tokens'


def mix_task(
  name: str,
  mixture: epath.PathLike,
  *,
  lengths: Mapping[str, int],
  new_name: str,
  selection: epath.PathLike | None = None,
  split: str = 'train',
  text_field: str = 'text',
  id_field: str = 'id',
  domain_field: str = 'domain',
  windowing: Windowing = 'concat',
  seed: int = 0,
  folder: str | None = None,
) -> str:
  """Registers a Task of span corruption; tokenizes on the first call.

  Args:
    name: registered Task or Mixture of texts; a Mixture's Tasks are its
      domains, a Task has a column of them.
    mixture: folder or file of the Mixture.
    lengths: of the features, {'inputs': 512, 'targets': 114}.
    new_name: to register.
    selection: folder of a Selection of its documents; None: all once.
    split: the split to mix.
    text_field, id_field, domain_field: as they were for scoring.
    windowing: 'concat' lays the documents of a domain end to end, as T5 does
      those of its corpus; 'document' keeps them apart.
    seed: of order and masks; another seed T5X gives is added.
    folder: local, for the tokens; None: under ~/.cache/jaxcurate/tokens.

  Returns:
    The new name.

  Raises:
    UserError: an unknown task, a vocabulary of another kind, a mixture that
      chooses documents without a selection, or a domain without documents.
  """
  import seqio

  wanted = mixtures.read_mixture(mixture)
  if wanted.shape is not None and selection is None:
    raise UserError(
      f'{mixture}: chooses documents by quality; give the Selection that'
      ' `jaxcurate sample --mixture` makes of it'
    )
  tasks = seqio_tasks.tasks_of(name)
  features = tasks[0].output_features
  lacking = [
    f for f in task_stages.PAIR if f not in (features.keys() & lengths)
  ]
  if lacking:
    raise UserError(
      f'task {name!r}: span corruption needs inputs and targets; it, or'
      f' TASK_FEATURE_LENGTHS, lacks {" and ".join(lacking)}'
    )
  words = _vocabulary(name, features['targets'].vocabulary)
  rows = row_shape.row_settings(
    encoder_length=lengths['inputs'], max_segments=1
  )
  if rows.decoder_length > lengths['targets']:
    raise UserError(
      f'{lengths["inputs"]} inputs have {rows.decoder_length} targets, and'
      f' TASK_FEATURE_LENGTHS has {lengths["targets"]}; raise it'
    )
  corpus = seqio_tasks.open_task(
    name,
    split=split,
    text_field=text_field,
    id_field=id_field,
    domain_field=domain_field,
  )
  settings = {
    'task': [name, split],
    'files': [source.name for source in corpus.sources],
    'fields': [text_field, id_field, domain_field],
  }
  kept = tables.read_selection(selection) if selection else None
  chosen = kept and selection_filter.digest(
    selection_filter.from_selection(kept)
  )
  name_of_words = getattr(words, 'name', words.size)
  cache = token_cache.build(
    folder or _cache_folder([settings, chosen, name_of_words]),
    _named(corpus.rows()),
    words,
    settings=settings,
    selection=kept,
    holdout_share=0.0,
  )
  schedule = schedules.make_schedule({1: wanted})

  def batches(more: int | None) -> MixtureBatches:
    return MixtureBatches(
      cache.train,
      cache.domains,
      words,
      rows,
      ScheduledShares(schedule),
      rows_per_batch=1,
      seed=seed + (more or 0),
      windowing=windowing,
      prefetch=0,
    )

  batches(0)  # what is wrong with the mixture shows now

  mixed = split

  def dataset(split: str, shuffle_files: bool, seed: int | None = None) -> Any:
    if split == mixed:
      return _dataset(batches(seed))
    [task] = tasks
    return task.get_dataset(dict(lengths), split=split, shuffle=False).map(
      lambda row: {feature: row[feature] for feature in task_stages.PAIR}
    )

  others = [p for p in tasks[0].splits if p != split and len(tasks) == 1]
  seqio.TaskRegistry.add_provider(
    new_name,
    seqio.Task(
      new_name,
      source=seqio.FunctionDataSource(dataset, splits=[split, *others]),
      preprocessors=[],
      output_features={
        feature: features[feature] for feature in task_stages.PAIR
      },
    ),
  )
  return new_name


def _dataset(batches: MixtureBatches) -> Any:
  """tf.data.Dataset of {'inputs', 'targets'}, never ending."""
  import tensorflow as tf

  def rows() -> Iterator[dict[str, np.ndarray]]:
    for batch in batches:
      yield {
        'inputs': _real(batch['encoder_input_tokens'], batch, 'encoder'),
        'targets': _real(batch['decoder_target_tokens'], batch, 'decoder'),
      }

  spec = tf.TensorSpec([None], tf.int32)
  return tf.data.Dataset.from_generator(
    rows, output_signature={'inputs': spec, 'targets': spec}
  )


def _real(
  tokens: np.ndarray, batch: Mapping[str, np.ndarray], side: str
) -> np.ndarray:
  """The one row, without padding."""
  return tokens[batch[f'{side}_segment_ids'] > 0].astype(np.int32)


def _named(rows: Iterator[Document]) -> Iterator[Document]:
  """Rows whose empty domain is none."""
  for row in rows:
    yield row._replace(domain=row.domain or None)


def _vocabulary(name: str, theirs: Any) -> Vocabulary:
  """This project's reading of a Task's vocabulary.

  Raises:
    UserError: it is neither SentencePiece nor bytes.
  """
  path = getattr(theirs, 'sentencepiece_model_file', None)
  extra_ids = getattr(theirs, 'extra_ids', 0)
  if path is not None:
    return vocabularies.SentencePieceVocabulary(path, extra_ids)
  if type(theirs).__name__ == 'ByteVocabulary':
    return vocabularies.ByteVocabulary(extra_ids)
  raise UserError(
    f'task {name!r} has a {type(theirs).__name__}; MIXTURE needs'
    ' SentencePiece or bytes'
  )


def _cache_folder(settings: Any) -> str:
  text = json.dumps(settings)
  name = hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
  return str(pathlib.Path(_FOLDER).expanduser() / name)
