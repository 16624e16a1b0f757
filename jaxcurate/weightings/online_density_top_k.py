"""Density in the step, drawn: k of the batch's n examples, rare ones first.

DENSITY's own rule (How to Train Data-Efficient LLMs, arXiv 2402.09668): draw
without replacement with probabilities proportional to 1 / density, by Gumbel
top-k (Kool, van Hoof and Welling, arXiv 1903.06059). Here it is done in every
step among the examples of its batch, with the sketch of `online_density`; the
rest of a batch is seen forward only. With the same weight for all that are
kept the loss is the mean over them.

The noise belongs to the example, not to its place in the batch: it is drawn
from seed, step and the cells in which the example's state lies. Examples that
share all cells are numbered, so that copies are thinned like others.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, UInt32

from jaxcurate.ops import keep_top, lsh
from jaxcurate.types import Signals, State, Weighting
from jaxcurate.weightings import online_density

# Ours: enough cells to tell examples apart at any useful bandwidth, and few
# enough that rounding moves no more than one in 30,000.
_SIGNATURE_ROWS = 32


def make(
  *,
  keep: float = 0.5,
  bandwidth: float = 0.5,
  decay: float = 0.99,
  states: online_density.States = 'decoder',
  num_rows: int = 256,
  num_buckets: int = 4096,
  seed: int = 0,
) -> Weighting:
  """w_i = n / k for the k = ceil(keep * n) largest G_i - log d_i, else 0.

  G_i are Gumbel, d_i densities, n the batch's real examples: the weights have
  mean 1.

  Args:
    keep: share of the examples to keep, in (0, 1].
    bandwidth: see `online_density.make`, as for those that follow.
    decay: in (0, 1].
    states: 'decoder' or 'encoder'.
    num_rows: R >= 1.
    num_buckets: K >= 2.
    seed: of the hashes and of the draws.

  Raises:
    ValueError: a setting is out of its range.
  """
  keep_top.check_share(keep)
  init, look = online_density.make_sketch(
    bandwidth=bandwidth,
    decay=decay,
    states=states,
    num_rows=num_rows,
    num_buckets=num_buckets,
    seed=seed,
  )

  def update(signals: Signals, state: State) -> tuple[Array, State, dict]:
    found, mask_E = look(signals, state), signals.mask_E
    hashes = lsh.Hashes(**state['hashes'])
    key = jax.random.fold_in(jax.random.key(seed), signals.step)
    signature_E = lsh.signatures(hashes, found.unit_ExD, _SIGNATURE_ROWS)
    noise_E = gumbel(key, signature_E, copies(signature_E, mask_E))
    count = jnp.sum(mask_E, dtype=jnp.int32)
    kept = keep_top.share_count(keep, count)
    chosen_E = keep_top.keep_top(
      noise_E - jnp.log(found.density_E), mask_E, kept
    )
    weights_E = jnp.where(chosen_E, count / jnp.maximum(kept, 1), 0.0)
    return weights_E, found.state, {**found.info, 'kept': kept}

  return Weighting(
    init=init,
    update=update,
    needs=frozenset({f'{states}_pooled'}),
    batch_coupled=True,
  )


def gumbel(
  key: Array, signature_E: UInt32[Array, ' E'], copy_E: Int[Array, ' E']
) -> Float[Array, ' E']:
  """One standard Gumbel number for each (key, signature, copy)."""

  def draw(signature: Array, copy: Array) -> Array:
    own = jax.random.fold_in(jax.random.fold_in(key, signature), copy)
    return jax.random.gumbel(own)

  return jax.vmap(draw)(signature_E, copy_E)


def copies(
  signature_E: UInt32[Array, ' E'], mask_E: Bool[Array, ' E']
) -> Int[Array, ' E']:
  """How many real examples before each one have its signature.

  >>> copies(jnp.array([7, 7, 3, 7], jnp.uint32), jnp.ones(4, bool)).tolist()
  [0, 1, 0, 2]
  """
  same_ExE = (signature_E[:, None] == signature_E) & mask_E
  return jnp.sum(jnp.tril(same_ExE, -1), axis=1, dtype=jnp.int32)
