"""Where in a seqio Task the text still is text, and the ids of its rows.

A Task is a source and preprocessors. Its documents are the examples at the
earliest stage that has a text column; without one, the strings just before
they are tokenised; without those, token ids to be decoded. Ids are the id
column, else TFDS's own `tfds_id`, else `<task>/<split>:<row>` (with the shard,
`<task>/<split>/<shard>:<row>`, where the source has several): never a function
of how many hosts read.

seqio and tensorflow are imported inside the functions.
"""

from collections.abc import Sequence
import functools
import posixpath
from typing import Any, Literal, NamedTuple

from jaxcurate.data.tfrecord import tensorflow
from jaxcurate.io.errors import UserError

TFDS_ID = 'tfds_id'
PAIR = ('inputs', 'targets')
_SEED = 0  # preprocessors that draw must draw the same in every reading


class Stage(NamedTuple):
  """The stage of a Task at which its rows are documents.

  Attributes:
    num_preprocessors: how many run before it.
    kind: 'text' has the text column, 'strings' has inputs/targets as strings,
      'tokens' as token ids.
    columns: the columns there that are needed, ids and domain included.
  """

  num_preprocessors: int
  kind: Literal['text', 'strings', 'tokens']
  columns: tuple[str, ...]


class TfdsFile(NamedTuple):
  """One TFRecord file of a TFDS split: its rows [skip, skip + take)."""

  path: str
  base: str
  skip: int
  take: int


def shards_of(task: Any, split: str) -> Sequence[str]:
  """Names of the source's shards, in order.

  Raises:
    UserError: the split is unknown, or the data is not there.
  """
  try:
    splits = list(task.splits)
  except (ValueError, OSError) as error:
    raise _not_prepared(task, error) from error
  if split not in splits:
    raise UserError(
      f'task {task.name!r} has no split {split!r}; known: '
      f'{", ".join(map(str, splits)) or "none, its data is not prepared"}'
    )
  try:
    shards = task.source.list_shards(split)
  except (ValueError, KeyError, OSError) as error:
    raise _not_prepared(task, error) from error
  if not shards:
    raise UserError(f'task {task.name!r}: split {split!r} has no files')
  return shards


def find_stage(
  task: Any, split: str, text_field: str, others: Sequence[str] = ()
) -> Stage:
  """The stage to read a Task's documents from.

  Args:
    task: a seqio.Task.
    split: split name.
    text_field: column of the text, where there is one.
    others: further columns to keep where they exist.

  Raises:
    UserError: no stage has text or token ids.
  """
  strings, seen = None, []
  files = _tfds_files(task.source, split)
  for count in range(_num_before_cache(task) + 1):
    if files is None:
      raw = _raw(task.source, split, 0)
    else:
      raw = _tfds_records(task, split, *files[0])
    spec = _apply(task, raw, count).element_spec
    if not isinstance(spec, dict):
      continue  # lines that a later preprocessor parses
    seen = sorted(spec)
    kept = tuple(name for name in (*others, TFDS_ID) if name in spec)
    if _is_string(spec.get(text_field)):
      return Stage(count, 'text', (text_field, *kept))
    texts = tuple(name for name in PAIR if _is_string(spec.get(name)))
    if texts:
      strings = Stage(count, 'strings', (*texts, *kept))
    elif _is_tokens(spec.get('targets')):
      if strings is not None:
        break  # what follows holds no more text
      tokens = tuple(name for name in PAIR if _is_tokens(spec.get(name)))
      return Stage(count, 'tokens', (*tokens, *kept))
  if strings is None:
    raise UserError(
      f'task {task.name!r} has neither a text column {text_field!r} nor '
      f'targets; columns: {", ".join(seen) or "none"}; name the text column '
      'with --text_field'
    )
  return strings


def documents(
  task: Any, split: str, shards: Sequence[int], stage: Stage, id_field: str
) -> Any:
  """tf.data.Dataset of (id, element) at a stage, in an order fixed by shards.

  Args:
    task: a seqio.Task.
    split: split name.
    shards: indices into `shards_of`, at least one.
    stage: what `find_stage` found.
    id_field: column of the id.
  """
  tf = tensorflow()
  column = next((n for n in (id_field, TFDS_ID) if n in stage.columns), None)

  def numbered(raw: Any, prefix: Any) -> Any:
    @tf.autograph.experimental.do_not_convert
    def with_id(row: Any, element: dict[str, Any]) -> tuple[Any, Any]:
      fallback = tf.strings.join([prefix, ':', tf.strings.as_string(row)])
      if column is None:
        return fallback, element
      own = element[column]
      own = own if own.dtype == tf.string else tf.strings.as_string(own)
      return tf.where(tf.equal(own, ''), fallback, own), element

    dataset = _apply(task, raw, stage.num_preprocessors)
    return dataset.enumerate().map(with_id)

  prefixes = [row_prefix(task, split, shard) for shard in shards]
  files = _tfds_files(task.source, split)
  if files is None:
    pieces = [
      numbered(_raw(task.source, split, shard), prefix)
      for shard, prefix in zip(shards, prefixes, strict=True)
    ]
    return functools.reduce(lambda first, rest: first.concatenate(rest), pieces)
  # Traced once for all files, of which C4 has a thousand.
  paths, bases, skips, takes = zip(*(files[i] for i in shards), strict=True)
  ranges = tf.constant(skips, tf.int64), tf.constant(takes, tf.int64)
  slices = tf.data.Dataset.from_tensor_slices(
    (prefixes, list(paths), list(bases), *ranges)
  )
  return slices.interleave(
    lambda prefix, *file: numbered(_tfds_records(task, split, *file), prefix),
    cycle_length=16,
    block_length=16,
    num_parallel_calls=tf.data.AUTOTUNE,
    deterministic=True,
  )


def row_prefix(task: Any, split: str, shard: int) -> str:
  """What the ids of one shard begin with when the data brings none."""
  several = len(task.source.list_shards(split)) > 1
  return f'{task.name}/{split}' + (f'/{shard}' if several else '')


def _apply(task: Any, dataset: Any, count: int) -> Any:
  """Runs the first preprocessors as the Task itself would, seeded."""
  import seqio

  with seqio.utils.map_seed_manager(_SEED):
    for preprocess in task.preprocessors[:count]:
      transform: Any = seqio.utils.add_kwargs_to_transform(
        preprocess, sequence_length=None, output_features=task.output_features
      )
      dataset = transform(dataset)
  return dataset


def _num_before_cache(task: Any) -> int:
  """Preprocessors before the offline cache; none of them needs lengths."""
  import seqio

  for count, preprocess in enumerate(task.preprocessors):
    if isinstance(preprocess, seqio.CacheDatasetPlaceholder):
      return count
  return len(task.preprocessors)


def _raw(source: Any, split: str, shard: int) -> Any:
  """One shard of any source but TFDS, not shuffled."""
  import seqio

  num_shards = len(source.list_shards(split))
  info = seqio.ShardInfo(shard, num_shards) if num_shards > 1 else None
  return source.get_dataset(split=split, shuffle=False, shard_info=info)


def _tfds_files(source: Any, split: str) -> list[TfdsFile] | None:
  """The TFRecord files of a TFDS source, None for any other source."""
  import seqio

  if not isinstance(source, seqio.TfdsDataSource):
    return None
  if not str(_builder(source, split).info.file_format).endswith('TFRECORD'):
    return None
  return [
    TfdsFile(
      str(file.filename),
      posixpath.basename(file.filename),
      file.skip,
      file.take,
    )
    for file in source.tfds_dataset.files(split)
  ]


def _tfds_records(
  task: Any, split: str, path: Any, base: Any, skip: Any, take: Any
) -> Any:
  """Decoded rows of one TFDS file with the `tfds_id` that TFDS gives them."""
  tf = tensorflow()
  features = _builder(task.source, split).info.features

  @tf.autograph.experimental.do_not_convert
  def parse(row: Any, record: Any) -> dict[str, Any]:
    tfds_id = tf.strings.join([base, '__', tf.strings.as_string(row)])
    return {**features.deserialize_example(record), TFDS_ID: tfds_id}

  records = tf.data.TFRecordDataset(path).enumerate()
  return records.skip(skip).take(take).map(parse)


def _builder(source: Any, split: str) -> Any:
  # seqio keeps the builder of a split (Tasks may join several datasets)
  # behind this name; the public `builder` knows one dataset only.
  return source.tfds_dataset._get_builder(split)


def _is_string(spec: Any) -> bool:
  tf = tensorflow()
  dense = isinstance(spec, tf.TensorSpec)
  return dense and spec.dtype == tf.string and spec.shape.rank == 0


def _is_tokens(spec: Any) -> bool:
  dense = isinstance(spec, tensorflow().TensorSpec)
  return dense and spec.dtype.is_integer and spec.shape.rank == 1


def _not_prepared(task: Any, error: Exception) -> UserError:
  reason = str(error).splitlines()[0] if str(error) else type(error).__name__
  return UserError(
    f'the data of task {task.name!r} cannot be read ({reason}); prepare it '
    'with `tfds build`, or point TFDS_DATA_DIR at the folder that holds it'
  )
