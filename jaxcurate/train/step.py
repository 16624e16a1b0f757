"""The weighted training step: one forward pass, weights, one update.

With w_e the weight of example e and m_t the loss weight of target t:

  loss = sum_t w_e(t) m_t (nll_t + z_loss * log_normaliser_t^2) / normaliser

The normaliser is sum_t m_t, unweighted, so that absolute weights act as
written, or sum_t w_e(t) m_t. Under the reduction 'examples' m_t is divided by
its sum over the example, and the loss is the weighted mean of the examples'
mean losses.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
import optax

from jaxcurate.train import forward as forwards
from jaxcurate.train import losses
from jaxcurate.train.gradient_settings import DEFAULT, GradientSettings
from jaxcurate.train.gradients import Gradients, make_gradient_fn
from jaxcurate.train.losses import Reduction
from jaxcurate.train.optimizers import Optimizer
from jaxcurate.train.state import TrainState, batch_sharding, state_shardings
from jaxcurate.train.weighed import weight_metrics, without_loss
from jaxcurate.types import Batch, Network, Params, Weighting

TrainStep = Callable[..., tuple[TrainState, dict[str, jax.Array]]]


def make_train_step(
  network: Network,
  optimizer: Optimizer,
  weighting: Weighting,
  *,
  max_segments: int,
  z_loss: float = 1e-4,  # T5X, t5_1_1/base.gin
  normaliser: Literal['targets', 'weights'] = 'targets',
  reduction: Reduction = 'tokens',
  accumulate: int = 1,
  chunk_tokens: int | None = None,
  reference: Network | None = None,
  example_gradients: GradientSettings = DEFAULT,
  num_domains: int = 0,
  mesh: jax.sharding.Mesh | None = None,
) -> TrainStep:
  """The jitted step: (state, batch) -> (state, metrics).

  Two more arguments may follow, a dropout key and the reference's parameters.

  The state's buffers are donated: the old state cannot be used afterwards.

  Args:
    network: the network to train.
    optimizer: its optimizer.
    weighting: how much each example counts.
    max_segments: S, examples per row.
    z_loss: factor of the squared log normaliser.
    normaliser: 'targets' divides by the unweighted target count, 'weights' by
      the weighted one.
    reduction: 'tokens' weighs targets alike, 'examples' examples.
    accumulate: microbatches per step; must divide the rows. Weights and
      results are those of the whole batch; a batch-coupled weighting costs
      one more forward pass.
    chunk_tokens: tokens whose logits are held at a time, None = all.
    reference: frozen second model, where the weighting compares with one.
    example_gradients: how the gradients of examples are taken, for weightings
      that look at them.
    num_domains: M, where losses of domains are wanted; 0 for none.
    mesh: axes 'data' and 'model', or None for one device.

  Returns:
    The step. Metrics are scalars: loss (mean nats per target token, weights
    aside), weighted_loss, examples, nonfinite (examples that counted nowhere
    because their loss is not finite, and 1 if the gradient was not and counted
    as 0), nonfinite/high and /low (the first such document's id hash, where
    the batch has it), tokens (inputs and targets of this batch),
    gradient_norm, learning_rate, weights/mean, /std, /min and /max over real
    examples (or targets), and the weighting's own info under weights/.
  """
  gradient_fn = make_gradient_fn(
    network,
    weighting,
    optimizer,
    max_segments=max_segments,
    z_loss=z_loss,
    reduction=reduction,
    accumulate=accumulate,
    chunk_tokens=chunk_tokens,
    reference=reference,
    example_gradients=example_gradients,
    num_domains=num_domains,
  )

  def step(
    state: TrainState,
    batch: Batch,
    dropout_key: jax.Array | None = None,
    reference_params: Params = None,
  ) -> tuple[TrainState, dict[str, jax.Array]]:
    if mesh is not None:
      batch = jax.lax.with_sharding_constraint(
        dict(batch), batch_sharding(mesh)
      )
    key = None
    if dropout_key is not None:
      key = jax.random.fold_in(dropout_key, state.step)
    result = gradient_fn(state, batch, key, reference_params)
    # The smallest normal number: a batch without targets gives 0, not NaN.
    divisor = jnp.maximum(result.sums[normaliser], jnp.finfo(jnp.float32).tiny)
    norm = optax.global_norm(result.gradients) / divisor
    # Every update waits for all gradients, by way of the norm: otherwise XLA
    # would copy the parameters, lest it overwrites some that are still read.
    finite = jnp.isfinite(norm)
    gradients = jax.tree.map(
      lambda g, p: jnp.where(finite, g / divisor, 0.0).astype(p.dtype),
      result.gradients,
      state.params,
    )
    updates, opt_state = optimizer.update(
      gradients, state.opt_state, state.params
    )
    new_state = TrainState(
      step=state.step + 1,
      params=optax.apply_updates(state.params, updates),
      opt_state=opt_state,
      weighting_state=result.weighed.weighting_state,
    )
    if mesh is not None:
      new_state = jax.lax.with_sharding_constraint(
        new_state, state_shardings(network, new_state, mesh)
      )
    metrics = {
      **_metrics(result, divisor, batch),
      **_nonfinite(result.mask_E, batch, finite),
      'gradient_norm': jnp.where(finite, norm, 0.0),
      'learning_rate': jnp.float32(optimizer.learning_rate(state.step)),
    }
    for name in losses.DOMAIN_SUMS if num_domains else ():
      metrics[name] = result.sums[name]
      if mesh is not None:  # whole on every host
        metrics[name] = jax.lax.with_sharding_constraint(
          metrics[name], NamedSharding(mesh, PartitionSpec())
        )
    return new_state, metrics

  return jax.jit(step, donate_argnums=0)


def _metrics(
  result: Gradients, divisor: jax.Array, batch: Batch
) -> dict[str, jax.Array]:
  sums = result.sums
  return {
    'loss': sums['nll'] / jnp.maximum(sums['count'], 1.0),
    'weighted_loss': sums['weighted_nll'] / divisor,
    'examples': jnp.sum(result.mask_E),
    'tokens': jnp.sum(batch.get('encoder_segment_ids', 0) > 0)
    + jnp.sum(forwards.loss_weights(batch) > 0),
    **weight_metrics(result.weighed, result.mask_E, batch),
  }


def _nonfinite(
  mask_E: jax.Array, batch: Batch, finite: jax.Array
) -> dict[str, jax.Array]:
  """How many, and the halves of the first one's id hash (0: not known)."""
  bad_E = without_loss(mask_E, batch)
  found = {'nonfinite': jnp.sum(bad_E) + ~finite}
  if 'document_id_hash' in batch:
    halves_Ex2 = jnp.reshape(batch['document_id_hash'], (-1, 2))
    first = jnp.where(bad_E[:, None], halves_Ex2, 0)[jnp.argmax(bad_E)]
    found |= {'nonfinite/high': first[0], 'nonfinite/low': first[1]}
  return found
