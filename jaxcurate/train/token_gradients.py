"""The gradient of every target's loss, as its products with a direction.

The derivative of all targets' losses along a direction of the parameters is
each target's gradient times that direction. One forward-mode pass gives it,
exactly and for any network; no gradient is formed.
"""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp

from jaxcurate.train import forward as forwards
from jaxcurate.train import microbatches
from jaxcurate.types import Batch, Network, Params


@flax.struct.dataclass
class TangentGradients:
  """`types.TokenGradients` of a batch.

  Attributes:
    params: of the network.
    batch: the batch.
    key: of dropout, or None.
    network: the network.
    accumulate: microbatches, one after the other; must divide the rows.
    chunk_tokens: tokens whose logits are held at a time, None = all.
  """

  params: Params
  batch: Batch
  key: jax.Array | None
  network: Network = flax.struct.field(pytree_node=False)
  accumulate: int = flax.struct.field(pytree_node=False, default=1)
  chunk_tokens: int | None = flax.struct.field(pytree_node=False, default=None)

  def dot(self, direction: Params) -> jax.Array:
    """[B, T] float32, <gradient of target t's loss in nats, direction>."""
    tangent = jax.tree.map(
      lambda d, p: jnp.asarray(d, p.dtype), direction, self.params
    )

    def of(batch_and_key: tuple[Batch, Any]) -> jax.Array:
      batch, key = batch_and_key

      def losses(params: Params) -> jax.Array:
        outputs = forwards.forward(
          self.network,
          params,
          batch,
          chunk_tokens=self.chunk_tokens,
          dropout_key=key,
        )
        assert outputs.log_prob_BxT is not None
        return -outputs.log_prob_BxT

      return jax.jvp(losses, (self.params,), (tangent,))[1]

    if self.accumulate == 1:
      return of((self.batch, self.key))
    parts = {
      name: microbatches.split(rows, self.accumulate)
      for name, rows in self.batch.items()
    }
    keys = None
    if self.key is not None:
      keys = jax.random.split(self.key, self.accumulate)
    found = jax.lax.map(of, (parts, keys))
    return jnp.swapaxes(found, 0, 1).reshape(-1, found.shape[-1])
