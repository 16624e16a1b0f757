"""TFRecord files of tf.train.Example as raw rows.

TensorFlow is imported when the first row is read, and kept off the
accelerators, which belong to JAX.
"""

from collections.abc import Iterator
import contextlib
import shutil
import tempfile
from types import ModuleType
from typing import Any

import numpy as np

from jaxcurate.data import files, streams
from jaxcurate.data.rows import Bad, Plan, Raw

_BATCH_RECORDS = 256


def tensorflow() -> ModuleType:
  """TensorFlow, imported late and without any accelerator."""
  import tensorflow as tf

  for kind in ('GPU', 'TPU'):
    tf.config.set_visible_devices([], kind)
  return tf


def read_tfrecord(path: str, plan: Plan) -> Iterator[tuple[int, Raw]]:
  """Wanted records of one file; checksums are verified.

  Bytes features arrive as bytes, integers as int, floats as arrays; features
  with several values stay arrays. Damage is one bad row, the last.
  """
  tf = tensorflow()
  row, until, wanted = -1, 0, False
  try:
    with _local(path) as (local, damage):
      for row, record in enumerate(_records(local)):
        if row >= until:
          wanted, until = plan(row)
        if wanted:
          yield row, _parse(tf, record)
      if damage is not None:
        raise damage
  except streams.DamagedFile as damage:
    if plan(row + 1)[0]:
      yield row + 1, Bad(damage.reason, damage.detail)


def in_tfds_folder(path: str) -> bool:
  """Whether a file belongs to a dataset that TFDS wrote."""
  fs, inner = files.filesystem(path)
  return fs.exists(f'{inner.rpartition("/")[0]}/dataset_info.json')


def _records(path: str) -> Iterator[bytes]:
  tf = tensorflow()
  dataset, row = tf.data.TFRecordDataset(path), 0
  try:
    # One call per batch: 25 times the speed of one call per record.
    for batch in dataset.batch(_BATCH_RECORDS).as_numpy_iterator():
      yield from batch
      row += len(batch)
  except tf.errors.DataLossError:
    # The batch hid the good records before the damage.
    try:
      yield from dataset.skip(row).as_numpy_iterator()
    except tf.errors.DataLossError as error:
      reason = 'truncated' if 'truncated' in error.message else 'corrupt'
      detail = error.message.rpartition('}} ')[2].partition(' [Op:')[0]
      raise streams.DamagedFile(reason, detail) from error


@contextlib.contextmanager
def _local(path: str) -> Iterator[tuple[str, streams.DamagedFile | None]]:
  """A plain local file of the content, and what is wrong after its end."""
  plain = not path.endswith(streams.COMPRESSED)
  if plain and path.startswith('gs://'):  # TensorFlow reads these itself
    yield path, None
    return
  if plain and '://' not in path:
    with streams.open_binary(path):  # says clearly why it cannot be read
      yield path, None
    return
  damage = None
  with tempfile.NamedTemporaryFile(suffix='.tfrecord') as copy:
    try:
      if plain:
        with streams.open_binary(path) as remote:
          shutil.copyfileobj(remote, copy)
      else:
        copy.writelines(streams.chunks(path))
    except streams.DamagedFile as error:
      damage = error
    copy.flush()
    yield copy.name, damage


def _parse(tf: ModuleType, record: bytes) -> Raw:
  try:
    example = tf.train.Example.FromString(record)
  except Exception as error:  # DecodeError's module varies with protobuf
    return Bad('broken record', f'not a tf.train.Example: {error}')
  return {
    name: _value(feature) for name, feature in example.features.feature.items()
  }


def _value(feature: Any) -> Any:
  kind = feature.WhichOneof('kind')
  if kind is None:
    return None
  values = getattr(feature, kind).value
  if kind == 'float_list':
    return np.array(values, np.float32)
  return values[0] if len(values) == 1 else np.array(values)
