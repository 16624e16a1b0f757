"""One softmax over several groups of keys: a prefix or cache, and own tokens.

The groups are not joined into one array, so a cache need not be copied to be
attended to, and a prefix that serves all rows is one product for all of them.
"""

from collections.abc import Callable, Sequence
import functools
from typing import NamedTuple

from jax import lax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

# Finite, so that a query that may look at nothing gets a mean, never NaN.
MASKED = -1e10  # as T5X


class Group(NamedTuple):
  """Keys that one softmax shares with those of other groups.

  Attributes:
    score: [..., T, L] float32, `MASKED` where masked.
    mix: weights [..., T, L] -> the mixture of this group's values
      [..., T, K].
  """

  score: Array
  mix: Callable[[Array], Array]


def group(
  query_BxHxTxK: Float[Array, 'B H T K'],
  key_BxPxHxK: Float[Array, 'R P H K'],
  value_BxPxHxK: Float[Array, 'R P H K'],
  mask_BxTxP: Bool[Array, 'M t P'],
) -> Group:
  """Scores of one group of keys, and how its values are mixed.

  Args:
    query_BxHxTxK: queries; with grouped heads, those of one group one after
      the other along T.
    key_BxPxHxK: keys of all rows, or one row for all.
    value_BxPxHxK: values.
    mask_BxTxP: True where a query may look; 1 stands for all rows or all
      queries, a divisor of T repeats.

  Returns:
    The group of [B, H, T, P] scores.
  """
  dtype = query_BxHxTxK.dtype
  key, value = key_BxPxHxK.astype(dtype), value_BxPxHxK.astype(dtype)
  rows = 'b'
  if key.shape[0] == 1:  # no copies, one larger product
    key, value, rows = key[0], value[0], ''
  score = jnp.einsum(
    f'bhtk,{rows}phk->bhtp',
    query_BxHxTxK,
    key,
    preferred_element_type=jnp.float32,
  )
  num_queries, num_keys = mask_BxTxP.shape[1:]
  parts = score.reshape(*score.shape[:2], -1, num_queries, num_keys)
  parts = jnp.where(mask_BxTxP[:, None, None], parts, MASKED)

  def mix(weight: Array) -> Array:
    return jnp.einsum(f'bhtp,{rows}phk->bhtk', weight.astype(dtype), value)

  return Group(parts.reshape(score.shape), mix)


def mixture(
  groups: Sequence[Group],
  drop: Callable[[Array], Array] = lambda weight: weight,
) -> Array:
  """sum_l w_l v_l, w = softmax of the scores of all groups together.

  It is divided after the products: T x K divisions instead of T x L.

  Args:
    groups: at least one.
    drop: dropout of the weights.

  Returns:
    [..., T, K] in the dtype of the values.

  >>> one = Group(jnp.zeros((1, 1)), lambda weight: weight * 4.0)
  >>> three = Group(jnp.log(jnp.array([[3.0]])), lambda weight: weight * 8.0)
  >>> mixture([one, three]).tolist()
  [[7.0]]
  """
  peaks = [jnp.max(one.score, -1, keepdims=True) for one in groups]
  peak = lax.stop_gradient(functools.reduce(jnp.maximum, peaks))
  weights = [jnp.exp(one.score - peak) for one in groups]
  total = functools.reduce(
    jnp.add, [jnp.sum(weight, -1, keepdims=True) for weight in weights]
  )
  mixed = functools.reduce(
    jnp.add,
    [
      one.mix(drop(weight)) for one, weight in zip(groups, weights, strict=True)
    ],
  )
  return (mixed / total).astype(mixed.dtype)
