"""Which way to per-example gradients fits: bytes planned from shapes.

Both ways hold what the ordinary backward pass saves; `keep_factors` adds the
inputs and cotangents of every layer and microbatch, `second_pass` those of one
layer, and sends the whole batch through at once. The compiler shares and frees
some of it, so these are plans; tools/measure_gradient_memory.py prints what it
makes of them.
"""

import math
from typing import Any, Literal, NamedTuple

import jax

from jaxcurate.models import taps
from jaxcurate.train import example_gradients
from jaxcurate.train import forward as forwards
from jaxcurate.types import Batch, Network, Params

# One pass saves a forward pass and the kept rows' own: worth some memory.
_WORTH = 3


class GradientBytes(NamedTuple):
  """Planned bytes of a step's activations and factors, over all devices."""

  keep_factors: int
  second_pass: int

  def choice(self) -> Literal['keep_factors', 'second_pass']:
    """`keep_factors` unless it takes over three times as much.

    >>> GradientBytes(30, 10).choice(), GradientBytes(31, 10).choice()
    ('keep_factors', 'second_pass')
    """
    much = self.keep_factors > _WORTH * self.second_pass
    return 'second_pass' if much else 'keep_factors'

  def __str__(self) -> str:
    return (
      f'keep_factors {self.keep_factors / 1e6:,.0f} MB, second_pass'
      f' {self.second_pass / 1e6:,.0f} MB'
    )


def planned_bytes(
  network: Network,
  params: Params,
  batch: Batch,
  *,
  max_segments: int,
  accumulate: int = 1,
  chunk_tokens: int | None = None,
) -> GradientBytes:
  """What each way plans to hold; nothing is computed.

  Args:
    network: one whose layers look for taps.
    params: its parameters, or their shapes.
    batch: arrays or shapes.
    max_segments: S, examples per row.
    accumulate: microbatches.
    chunk_tokens: tokens whose logits are held at a time, None = all.

  Raises:
    ValueError: parameters let no factors out; they are named.
  """
  shapes = example_gradients.tap_shapes(network, params, batch)
  layers, every, largest, tables = 0, 0, 0, 0
  for call in shapes:
    for path, own in call.items():
      size = _bytes(own)
      count = own.cotangents.shape[0] if taps.is_stacked(path) else 1
      every += size
      layers += count
      if path[-1] == 'embedding':
        tables += size
      else:
        largest = max(largest, size // count)
  rows = len(batch['decoder_segment_ids'])
  products = 4 * layers * (rows * max_segments) ** 2
  whole = _saved_bytes(network, params, batch, rows, chunk_tokens)
  part = _saved_bytes(network, params, batch, rows // accumulate, chunk_tokens)
  return GradientBytes(part + every, whole + tables + largest + products)


def _saved_bytes(
  network: Network,
  params: Params,
  batch: Batch,
  rows: int,
  chunk_tokens: int | None,
) -> int:
  """Of what an ordinary forward pass saves for the backward one."""

  def pullback(params: Params, batch: Batch) -> Any:
    def loss(params: Params) -> jax.Array:
      outputs = forwards.forward(
        network, params, batch, chunk_tokens=chunk_tokens
      )
      assert outputs.log_prob_BxT is not None
      return outputs.log_prob_BxT.sum()

    return jax.vjp(loss, params)[1]

  few = {
    name: jax.ShapeDtypeStruct((rows, *values.shape[1:]), values.dtype)
    for name, values in batch.items()
  }
  return _bytes(jax.eval_shape(pullback, params, few))


def _bytes(tree: Any) -> int:
  return sum(
    math.prod(leaf.shape) * leaf.dtype.itemsize
    for leaf in jax.tree.leaves(tree)
  )
