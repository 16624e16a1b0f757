"""A seqio Task that holds only what a Selection kept, as often as it says.

The kept ids become a sorted array of 64-bit hashes in a NumPy side file; each
example's id is hashed and looked up inside the tf.data graph, without Python,
and the example repeated `count` times. A false hit of the hash (FarmHash64)
among 1e9 documents with 2e8 kept has probability 0.01.
"""

from collections.abc import Iterable
from typing import Any

from etils import epath
from jaxtyping import Int
import numpy as np

from jaxcurate.data import task_stages
from jaxcurate.data.seqio_tasks import tasks_of
from jaxcurate.data.tfrecord import tensorflow
from jaxcurate.io import atomic, tables
from jaxcurate.io.errors import UserError

INDEX = 'id_index.npy'
_BATCH = 1 << 16


def write_index(selection: epath.PathLike) -> epath.Path:
  """Writes the side file of a Selection beside it, if it is not there yet.

  Args:
    selection: folder of a Selection.

  Returns:
    Path of a NumPy array [2, K] int64: hashes (as signed integers) in
    ascending order, and their counts.

  Raises:
    UserError: not a Selection, or one that names an id twice.
  """
  folder = epath.Path(selection)
  parts = sorted(folder.glob('*.parquet'))
  if not parts:
    raise UserError(f'{folder} holds no selection; make one with `sample`')
  path = folder / INDEX
  if path.exists():
    written = path.stat().mtime
    if all(part.stat().mtime < written for part in parts):
      return path
  kept = tables.read_selection(folder)
  hashes = _hashes(kept.id)
  order = np.argsort(hashes)
  index = np.stack([hashes[order], kept.count.astype(np.int64)[order]])
  if (index[0][1:] == index[0][:-1]).any():
    raise UserError(f'{folder} names an id twice; make the selection again')
  atomic.write_with(path, lambda file: _save(file, index))
  return path


def select_task(
  name: str,
  selection: epath.PathLike,
  *,
  split: str = 'train',
  new_name: str | None = None,
  text_field: str = 'text',
  id_field: str = 'id',
  module: str | None = None,
) -> str:
  """Registers the version of a Task (or Mixture) that a Selection kept.

  The new Task has the same preprocessors and features. Its other splits are
  those of the old one. Rows have the ids of `seqio_tasks.open_task`.

  Args:
    name: registered Task or Mixture; a Mixture keeps its rates.
    selection: folder of a Selection made from the scores of `name`.
    split: the split that was scored.
    new_name: name to register; `<name>_selected` where None.
    text_field: as it was for scoring.
    id_field: as it was for scoring.
    module: Python module to import first, where the Task is registered.

  Returns:
    The new name.

  Raises:
    UserError: unknown task, split or selection; the new name is taken.
  """
  import seqio

  new_name = new_name or f'{name}_selected'
  if new_name in {*seqio.TaskRegistry.names(), *seqio.MixtureRegistry.names()}:
    raise UserError(
      f'a task named {new_name!r} is already registered; choose another name'
    )
  tasks = tasks_of(name, module)
  path = write_index(selection)
  is_mixture = name in seqio.MixtureRegistry.names()
  rates = []
  for task in tasks:
    task_stages.shards_of(task, split)
    stage = task_stages.find_stage(task, split, text_field, [id_field])
    own_name = f'{new_name}_{task.name}' if is_mixture else new_name
    source = _source(task, split, stage, id_field, path)
    new_task = task.replace(
      name=own_name,
      source=source,
      preprocessors=task.preprocessors[stage.num_preprocessors :],
    )
    seqio.TaskRegistry.add_provider(own_name, new_task)
    rates.append((own_name, task))
  if is_mixture:
    mixture = seqio.MixtureRegistry.get(name)
    seqio.MixtureRegistry.add(
      new_name, [(own, mixture.get_rate(task)) for own, task in rates]
    )
  return new_name


def _source(
  task: Any,
  kept_split: str,
  stage: task_stages.Stage,
  id_field: str,
  index: epath.Path,
) -> Any:
  """A seqio.DataSource of the stage's examples, filtered in one split.

  The one subclass of ours: seqio has no source that is made of functions and
  can still be sharded.
  """
  import seqio

  tf = tensorflow()

  class SelectedSource(seqio.DataSource):
    """Examples of another Task's early stage that a Selection kept."""

    @property
    def supports_arbitrary_sharding(self) -> bool:
      return False

    def list_shards(self, split: str) -> Any:
      return task.source.list_shards(split)

    def get_dataset(
      self,
      split: str = 'train',
      shuffle: bool = True,
      seed: int | None = None,
      shard_info: Any = None,
      **unused: Any,
    ) -> Any:
      del unused
      shards = np.arange(len(self.list_shards(split)))
      if shard_info is not None:
        shards = shards[shard_info.index :: shard_info.num_shards]
      if shuffle:
        shards = np.random.default_rng(seed).permutation(shards)
      dataset = task_stages.documents(
        task, split, shards.tolist(), stage, id_field
      )
      if split == kept_split:
        return dataset.flat_map(keep)
      return dataset.map(lambda row_id, element: element)

  hashes, counts = (tf.constant(row) for row in _load(index))

  @tf.autograph.experimental.do_not_convert
  def keep(row_id: Any, element: Any) -> Any:
    count = _lookup(tf, hashes, counts, row_id)
    return tf.data.Dataset.from_tensors(element).repeat(count)

  return SelectedSource(
    splits=task.splits, caching_permitted=task.source.caching_permitted
  )


def _lookup(tf: Any, hashes: Any, counts: Any, row_id: Any) -> Any:
  """How often a Selection holds an id, 0 if it does not."""
  if not len(hashes):
    return tf.constant(0, tf.int64)
  digest = tf.fingerprint(row_id[None], method='farmhash64')
  key = tf.bitcast(digest, tf.int64)
  place = tf.minimum(tf.searchsorted(hashes, key), len(hashes) - 1)
  found = tf.gather(hashes, place) == key
  return tf.where(found, tf.gather(counts, place), 0)[0]


def _hashes(ids: Iterable[str]) -> Int[np.ndarray, ' N']:
  """The graph's own hash of each id, so that both sides agree."""
  tf = tensorflow()
  ids, pieces = list(ids), [np.empty(0, np.int64)]
  for start in range(0, len(ids), _BATCH):
    digest = tf.fingerprint(ids[start : start + _BATCH], method='farmhash64')
    pieces.append(tf.bitcast(digest, tf.int64).numpy())
  return np.concatenate(pieces)


def _save(path: Any, array: np.ndarray) -> None:
  with open(path, 'wb') as file:
    np.save(file, array)


def _load(path: epath.Path) -> np.ndarray:
  with path.open('rb') as file:
    return np.load(file)
