"""Reads any registered seqio Task or Mixture as a corpus; C4's own Task.

The source's raw text is streamed shard by shard, before the Task tokenises it,
with the ids described in `task_stages`. A Mixture is all its Tasks, each once:
mixing rates are a matter of training, not of scoring.
"""

from collections.abc import Iterator
import functools
import importlib
from typing import Any

from jaxcurate.data import task_stages
from jaxcurate.data.files import File
from jaxcurate.data.formats import Source
from jaxcurate.data.readers import Corpus
from jaxcurate.data.rows import Bad, Fields, Plan, Raw
from jaxcurate.data.tfrecord import tensorflow
from jaxcurate.io.errors import UserError

C4 = 'c4_en'
# T5's own vocabulary (t5.data.get_default_vocabulary); read only when tokens
# are asked for.
_C4_VOCABULARY = 'gs://t5-data/vocabs/cc_all.32000/sentencepiece.model'


def register_c4(
  name: str = C4,
  *,
  tfds_name: str = 'c4/en:3.1.0',
  data_dir: str | None = None,
  vocabulary: str = _C4_VOCABULARY,
) -> None:
  """Registers C4 as a seqio Task of plain language modelling.

  Args:
    name: of the Task; one that is registered already is left alone.
    tfds_name: dataset, config and version in TFDS.
    data_dir: TFDS data folder; TFDS's own default (TFDS_DATA_DIR) where None.
    vocabulary: path of a SentencePiece model.
  """
  import seqio

  if name in seqio.TaskRegistry.names():
    return
  feature = seqio.Feature(
    seqio.SentencePieceVocabulary(vocabulary, extra_ids=100), add_eos=True
  )
  task = seqio.Task(
    name,
    source=seqio.TfdsDataSource(tfds_name, tfds_data_dir=data_dir),
    preprocessors=[
      functools.partial(seqio.preprocessors.rekey, key_map={'targets': 'text'}),
      seqio.preprocessors.tokenize,
      seqio.CacheDatasetPlaceholder(),
      seqio.preprocessors.append_eos,
    ],
    output_features={'targets': feature},
  )
  seqio.TaskRegistry.add_provider(name, task)


def open_task(
  name: str,
  *,
  split: str = 'train',
  module: str | None = None,
  text_field: str = 'text',
  id_field: str = 'id',
  domain_field: str = 'domain',
  vector_field: str | None = None,
  on_bad_row: str = 'stop',
) -> Corpus:
  """The documents of any registered seqio Task or Mixture, as raw text.

  Args:
    name: of the Task or Mixture; `c4_en` is known without a module.
    split: its split.
    module: Python module that registers it, imported first.
    text_field: column of the text; a Task without it gives its targets.
    id_field: column of the id; without one, TFDS's `tfds_id`, else
      `<task>/<split>:<row>`.
    domain_field: column of the domain; in a Mixture the Task's name else.
    vector_field: column of precomputed vectors, None when not needed.
    on_bad_row: 'stop' or 'skip'.

  Raises:
    UserError: unknown task or split, or a task without text.
  """
  fields = Fields(text_field, id_field, domain_field, vector_field)
  found, sources = _task_sources(name, split, fields, module)
  return Corpus(tuple(found), tuple(sources), fields, on_bad_row)


def tasks_of(name: str, module: str | None = None) -> list[Any]:
  """The Task of that name, or all Tasks of that Mixture.

  Args:
    name: of a Task or Mixture; `c4_en` is registered by itself.
    module: Python module to import first, where Tasks are registered.

  Raises:
    UserError: the module cannot be imported, or the name is not known.
  """
  import seqio

  if module is not None:
    try:
      importlib.import_module(module)
    except ImportError as error:
      raise UserError(
        f'module {module!r}, which should register task {name!r}, cannot be '
        f'imported: {error}'
      ) from error
  if name == C4:
    register_c4()
  mixtures, tasks = seqio.MixtureRegistry.names(), seqio.TaskRegistry.names()
  if name in mixtures:
    return list(seqio.MixtureRegistry.get(name).tasks)
  if name in tasks:
    return [seqio.TaskRegistry.get(name)]
  known = ', '.join(sorted({*mixtures, *tasks, C4}))
  raise UserError(
    f'no seqio task or mixture is named {name!r}; known: {known}; name the '
    'module that registers it with --task_module'
  )


def _task_sources(
  name: str, split: str, fields: Fields, module: str | None = None
) -> tuple[list[File], list[Source]]:
  """Sources of a Task or Mixture, one per shard.

  Args:
    name: see `tasks_of`.
    split: split name.
    fields: columns; rows of a Mixture without a domain get their Task's name.
    module: see `tasks_of`.

  Returns:
    Names and paths of the shards, and how to read them.

  Raises:
    UserError: unknown name or split, or no text in it.
  """
  tasks = tasks_of(name, module)
  files, sources = [], []
  for task in tasks:
    shards = task_stages.shards_of(task, split)
    others = [f for f in (fields.id, fields.domain, fields.vector) if f]
    stage = task_stages.find_stage(task, split, fields.text, others)
    domain = task.name if len(tasks) > 1 else None
    for shard, path in enumerate(shards):
      prefix = task_stages.row_prefix(task, split, shard)
      read = functools.partial(_read, task, split, shard, stage, fields, domain)
      name_row = functools.partial('{}:{}'.format, prefix)
      files.append(File(prefix, str(path)))
      sources.append(Source(prefix, read, name_row, name_row))
  return files, sources


def _read(
  task: Any,
  split: str,
  shard: int,
  stage: task_stages.Stage,
  fields: Fields,
  domain: str | None,
  plan: Plan,
) -> Iterator[tuple[int, Raw]]:
  tf = tensorflow()
  dataset = task_stages.documents(task, split, [shard], stage, fields.id)
  dataset = dataset.map(
    lambda row_id, element: (row_id, {n: element[n] for n in stage.columns})
  )
  row, until, wanted = -1, 0, False
  try:
    for row, (row_id, element) in enumerate(dataset.as_numpy_iterator()):
      if row >= until:
        wanted, until = plan(row)
      if wanted:
        if stage.kind != 'text':
          element[fields.text] = _joined(task, stage, element)
        element[fields.id] = row_id
        if domain is not None:
          element.setdefault(fields.domain, domain)
        yield row, element
  except tf.errors.DataLossError as error:
    if plan(row + 1)[0]:
      yield row + 1, Bad('corrupt', error.message)


def _joined(
  task: Any, stage: task_stages.Stage, element: dict[str, Any]
) -> bytes:
  """Inputs and targets as one text, a line each; token ids are decoded."""
  texts = []
  for name in task_stages.PAIR:
    value = element.get(name, b'')
    if stage.kind == 'tokens' and name in element:
      vocabulary = task.output_features[name].vocabulary
      value = vocabulary.decode([int(token) for token in value]).encode()
    texts.append(value)
  return b'\n'.join(text for text in texts if text)
