"""A T5X batch that runs through a network in consecutive parts.

T5X cuts its batches into consecutive microbatches; what is computed ahead of
that, or of the anchors, takes no more memory at a time.
"""

# Where T5X is not installed, pyright takes this very folder for it.
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false

from collections.abc import Callable
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from t5x import partitioning

from jaxcurate.types import Batch, Params, Signals


def in_parts(
  function: Callable[[dict[str, jax.Array]], Any],
  batch: Batch,
  parts: int,
  spec: Any,
) -> Any:
  """The function's leaves of all parts, one behind the other.

  Args:
    function: rows -> pytree; leaves [rows, ...] or [].
    batch: T5X's; the rows must be a multiple of `parts`.
    parts: how many.
    spec: how T5X lays rows out over devices.
  """
  batch = {name: jnp.asarray(value) for name, value in batch.items()}
  size = len(batch['decoder_target_tokens']) // parts

  def one(part: jax.Array) -> Any:
    return function(
      {
        name: partitioning.with_sharding_constraint(
          jax.lax.dynamic_slice_in_dim(value, part * size, size), spec
        )
        for name, value in batch.items()
      }
    )

  stacked = jax.lax.map(one, jnp.arange(parts))
  return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), stacked)


def look(
  model: Any,
  params: Params,
  batch: Batch,
  *,
  parts: int,
  step: jax.Array,
  needs: frozenset[str],
  dropout_rng: jax.Array | None,
  spec: Any,
  loss: bool = True,
) -> Signals:
  """Signals of a batch.

  Args:
    model: a `weighted.Weighted`.
    params: of its network.
    batch: as for `in_parts`.
    parts: how many.
    step: [] int32, 1 for the first.
    needs: names of the signals.
    dropout_rng: key of every part; None: no dropout.
    spec: how T5X lays rows out over devices.
    loss: see `Weighted.observe`.
  """
  joined = in_parts(
    lambda rows: (
      model.observe(params, rows, dropout_rng, step, needs, loss).signals
    ),
    batch,
    parts,
    spec,
  )
  return dataclasses.replace(joined, step=step)


def zeros_like(look: Callable[[], Signals]) -> dict[str, Any]:
  """Fields of the signals that a function would return, all 0.

  Args:
    look: the function; only shapes are computed.
  """
  shapes = jax.eval_shape(lambda: vars(look()))
  return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)


def by_row(weights: jax.Array, batch: Batch) -> jax.Array:
  """Weights of examples as [B, S]; those of tokens are [B, T] already.

  Args:
    weights: [E] or [B, T].
    batch: T5X's.
  """
  if weights.ndim == 2:
    return weights
  return weights.reshape(len(batch['decoder_target_tokens']), -1)
