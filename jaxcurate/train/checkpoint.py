"""Checkpoints of a training run: state and data position, together or not.

Orbax writes a checkpoint under a temporary name and renames it when it is
whole, so a run that is killed while writing finds the one before. Writing goes
on in the background while the device trains.
"""

from collections.abc import Iterator
import contextlib
from typing import Any

from etils import epath
import jax
import jax.numpy as jnp
import orbax.checkpoint as ocp

from jaxcurate.io.errors import UserError
from jaxcurate.train.state import TrainState


class Checkpoints:
  """The checkpoints of one run; a class because it owns a background writer.

  Attributes:
    folder: where they lie, one folder per step.
  """

  folder: epath.Path

  def __init__(self, folder: epath.PathLike, *, max_to_keep: int):
    """Opens or creates the folder.

    Args:
      folder: where they lie.
      max_to_keep: >= 1; older ones are removed.
    """
    self.folder = epath.Path(folder)
    with self._explained():
      self.folder.mkdir(parents=True, exist_ok=True)
    self._manager = ocp.CheckpointManager(
      self.folder.resolve(),
      item_handlers={
        'state': ocp.StandardCheckpointHandler(),
        'position': ocp.JsonCheckpointHandler(),
      },
      options=ocp.CheckpointManagerOptions(
        max_to_keep=max_to_keep, cleanup_tmp_directories=True
      ),
    )

  def latest_step(self) -> int | None:
    """Step of the latest whole checkpoint, or None."""
    return self._manager.latest_step()

  def save(self, step: int, state: TrainState, position: Any) -> None:
    """Begins to write a checkpoint and returns; nothing if it is there.

    Args:
      step: steps made.
      state: after that step; its buffers may be donated at once.
      position: JSON-able, what else is needed to go on: of the batch
        *consumed* by that step, not of one prefetched.
    """
    if self.latest_step() == step:
      return
    if jax.default_backend() == 'cpu':
      # There the writer reads the device's own memory, without a copy.
      state = jax.tree.map(jnp.copy, state)
    with self._explained():
      self._manager.save(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardSave(state),
          position=ocp.args.JsonSave(position),
        ),
      )

  def restore(self, like: TrainState) -> tuple[TrainState, Any]:
    """State and position of the latest checkpoint.

    Args:
      like: a state of the same shapes; its shardings are used.

    Raises:
      UserError: there is no checkpoint, or a shape differs.
    """
    step = self.latest_step()
    if step is None:
      raise UserError(f'{self.folder}: no checkpoint; train without resuming')
    saved = self._manager.item_metadata(step).state
    self._check_shapes(step, _shapes(saved), _shapes(like))
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    restored = self._manager.restore(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardRestore(abstract),
        position=ocp.args.JsonRestore(),
      ),
    )
    return restored['state'], restored['position']

  def wait(self) -> None:
    """Returns when everything begun is on disk."""
    with self._explained():
      self._manager.wait_until_finished()

  def close(self) -> None:
    """Waits and stops the background writer."""
    self.wait()
    self._manager.close()

  def _check_shapes(
    self, step: int, saved: dict[str, tuple], wanted: dict[str, tuple]
  ) -> None:
    for name in sorted({*saved, *wanted}):
      there, here = saved.get(name), wanted.get(name)
      if there != here:
        raise UserError(
          f'{self.folder / str(step)}: {name} is {_say(there)} there and'
          f' {_say(here)} in this run; use the model, optimizer and weighting'
          ' it was made with, or another --output'
        )

  @contextlib.contextmanager
  def _explained(self) -> Iterator[None]:
    """Turns a failed write into one line; anything else passes."""
    try:
      yield
    except Exception as error:
      full = 'No space left on device' in str(error)
      if not full and not isinstance(error, OSError):
        raise
      reason = 'the disk is full' if full else str(error)
      raise UserError(
        f'{self.folder}: cannot write a checkpoint ({reason}); make room or'
        ' check the folder, and run the same command to continue'
      ) from error


def _say(shape: tuple | None) -> str:
  return 'absent' if shape is None else f'of shape {shape}'


def _shapes(tree: Any) -> dict[str, tuple]:
  """'params/encoder/...' -> shape, the same for states and their metadata."""
  return {
    '/'.join(str(_key(entry)) for entry in path): tuple(leaf.shape)
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


def _key(entry: Any) -> Any:
  for field in ('key', 'name', 'idx'):
    if hasattr(entry, field):
      return getattr(entry, field)
  return entry
