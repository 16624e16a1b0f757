"""A batch in parts, and what is known of the parts put together again."""

from typing import Any

import jax
import jax.numpy as jnp

from jaxcurate.train import forward as forwards
from jaxcurate.train.state import TrainState
from jaxcurate.types import Batch, Signals


def split(rows: jax.Array, accumulate: int) -> jax.Array:
  """[B, ...] to [A, B / A, ...]; part a holds rows a, a + A, a + 2A, ...

  Args:
    rows: of a batch.
    accumulate: A.

  Raises:
    ValueError: A does not divide the rows.

  >>> split(jnp.arange(4), 2).tolist()
  [[0, 2], [1, 3]]
  """
  if rows.shape[0] % accumulate:
    raise ValueError(
      f'accumulate is {accumulate}, but the batch has {rows.shape[0]} rows;'
      ' the rows must be a multiple of it'
    )
  # Strided, so that every device of a sharded batch has rows in every part.
  parts = rows.reshape(-1, accumulate, *rows.shape[1:])
  return jnp.swapaxes(parts, 0, 1)


def split_all(
  batch: Batch, key: jax.Array | None, accumulate: int
) -> tuple[dict[str, jax.Array], jax.Array | None]:
  """(rows in parts, a dropout key for each part), to be mapped over."""
  rows = {name: split(values, accumulate) for name, values in batch.items()}
  return rows, None if key is None else jax.random.split(key, accumulate)


def join(signals: Signals, max_segments: int, state: TrainState) -> Signals:
  """Signals of the parts as those of the whole batch.

  Args:
    signals: each with a leading axis for the parts.
    max_segments: S, examples per row.
    state: before the step.
  """

  def whole(values: jax.Array | None, per_row: tuple[int, ...]) -> Any:
    if values is None:
      return None
    rest = values.shape[2:]
    by_row = values.reshape(values.shape[0], -1, *per_row, *rest)
    return jnp.swapaxes(by_row, 0, 1).reshape(-1, *rest)

  joined: dict[str, Any] = {
    name: whole(getattr(signals, name), (max_segments,))
    for name in forwards.PER_EXAMPLE
  } | {name: whole(getattr(signals, name), ()) for name in forwards.PER_TOKEN}
  return Signals(step=state.step + 1, **joined)
