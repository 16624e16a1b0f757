"""The gradient of the examples that a weighting kept, by a pass of its own.

For gradients whose factors were not kept (`streamed_gradients`): the rows that
have weight go through an ordinary weighted forward and backward pass.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxcurate.train import microbatches
from jaxcurate.types import Batch, Params

GradientOf = Callable[[Batch, jax.Array, Any], Params]


def weighted_gradient(
  gradient_of: GradientOf,
  batch: Batch,
  weights_E: jax.Array,
  key: jax.Array | None,
  *,
  max_segments: int,
  accumulate: int,
  most_kept: Callable[[int], int] | None,
) -> Params:
  """The gradient of the weighted sum of the examples' losses.

  Args:
    gradient_of: (rows, weights of their examples, dropout key) -> the same of
      some rows, in one pass.
    batch: the batch.
    weights_E: weights of its examples.
    key: of dropout, or None; which units it drops is drawn anew.
    max_segments: S, examples per row.
    accumulate: microbatches; their rows hold what has weight.
    most_kept: see `types.Weighting`; None: all rows take part.
  """
  weights_BxS = weights_E.reshape(-1, max_segments)
  B = len(weights_BxS)
  most = B if most_kept is None else most_kept(len(weights_E))
  size = min(B, -(-most // accumulate) * accumulate)
  whole = {**batch}

  def of(rows: Batch, weights_BxS: jax.Array) -> Params:
    return _in_parts(gradient_of, rows, weights_BxS, key, accumulate)

  if size == B:
    return of(whole, weights_BxS)
  kept_B = jnp.max(weights_BxS, axis=1)

  def of_kept() -> Params:
    rows = jax.lax.top_k(kept_B, size)[1]
    return of({k: v[rows] for k, v in whole.items()}, weights_BxS[rows])

  few = jnp.sum(kept_B > 0) <= size
  return jax.lax.cond(few, of_kept, lambda: of(whole, weights_BxS))


def _in_parts(
  gradient_of: GradientOf,
  batch: Batch,
  weights_BxS: jax.Array,
  key: jax.Array | None,
  accumulate: int,
) -> Params:
  if accumulate == 1:
    return gradient_of(batch, weights_BxS.reshape(-1), key)
  rows, keys = microbatches.split_all(batch, key, accumulate)
  weights = microbatches.split(weights_BxS, accumulate)

  def one(part: tuple) -> Params:
    rows, weights_BxS, key = part
    gradients = gradient_of(rows, weights_BxS.reshape(-1), key)
    return jax.tree.map(lambda g: g.astype(jnp.float32), gradients)

  def add(total: Params, part: tuple) -> tuple[Params, None]:
    return jax.tree.map(jnp.add, total, one(part)), None

  parts = (rows, weights, keys)
  shapes = jax.eval_shape(one, jax.tree.map(lambda x: x[0], parts))
  zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
  return jax.lax.scan(add, zeros, parts)[0]
