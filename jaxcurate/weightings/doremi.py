"""DoReMi: domains count more where there is most left to learn.

A domain's gain is how much the model's loss on it exceeds that of a reference
model; the weights of domains follow the gains by exponentiated gradient, and
the model in training (the proxy) minimises the loss so weighted. DoReMi:
Optimizing Data Mixtures Speeds Up Language Model Pretraining (arXiv
2305.10429), Algorithm 1, and sangmichaelxie/doremi, doremi/trainer.py.

The result is state['mean_weight_M'], the mean of alpha over the steps, in the
order of the corpus's domain codes: shares to draw a larger model's data with.
The log of every epoch has them by name, 'epoch/mean_weight/NAME'.
Decisions shared with DoGE are in `jaxcurate.ops.domain_weights`. Ours besides:
* The paper divides the weighted loss by the summed weights of its tokens. Here
  the weights have mean 1 over the batch's targets, which under the reduction
  'tokens' is the same. They are relative.
* Targets whose reference loss is not finite say nothing about their domain.
"""

import jax
import jax.numpy as jnp

from jaxcurate.ops import domain_weights, segments
from jaxcurate.types import Signals, State, Tally, TrainingShapes, Weighting


def make(*, step_size: float = 1.0, smoothing: float = 1e-3) -> Weighting:
  """w_i in proportion to alpha_d / p_d, d the domain of example i.

  gain_d = mean over the domain's targets t of max(l_t - l_t^ref, 0)
  alpha <- (1 - c) softmax(log alpha + step_size * gain) + c / M

  l_t is the natural-log loss of target t, p_d the domain's share of all
  targets seen so far. The weights use the alpha of their own batch.

  Args:
    step_size: >= 0, eta of the paper.
    smoothing: c in [0, 1].

  Raises:
    ValueError: a setting is out of its range.
  """
  domain_weights.check(step_size, smoothing)

  def init(shapes: TrainingShapes) -> State:
    return domain_weights.init(shapes.domains)

  def update(signals: Signals, state: State) -> tuple[jax.Array, State, dict]:
    loss_BxT, target_BxT = signals.token_loss_BxT, signals.target_mask_BxT
    reference_BxT, batch = signals.reference_token_loss_BxT, signals.batch
    domain_E, mask_E = signals.domain_E, signals.mask_E
    if loss_BxT is None or target_BxT is None or domain_E is None:
      raise ValueError('the signals lack token_loss or domain')
    if reference_BxT is None or batch is None:
      raise ValueError('the signals lack reference_token_loss or batch')
    ids = batch['decoder_segment_ids']
    max_segments = len(mask_E) // len(ids)

    def example_sums(values_BxT: jax.Array) -> jax.Array:
      values_BxT = values_BxT.astype(jnp.float32)
      return segments.segment_sum(values_BxT, ids, max_segments).reshape(-1)

    excess_BxT = loss_BxT - reference_BxT
    known_BxT = target_BxT & jnp.isfinite(excess_BxT)
    excess_BxT = jnp.where(known_BxT, jnp.maximum(excess_BxT, 0.0), 0.0)
    member_ExM = domain_weights.membership(
      domain_E, mask_E, len(state['gain_M'])
    )
    excess_M, known_M, size_M = (
      domain_weights.totals(example_sums(values_BxT), member_ExM)
      for values_BxT in (excess_BxT, known_BxT, target_BxT)
    )
    state = domain_weights.update(
      state,
      excess_M / jnp.maximum(known_M, 1.0),
      known_M > 0,
      size_M,
      step_size=step_size,
      smoothing=smoothing,
    )
    weights_E = domain_weights.example_weights(
      state, member_ExM, mask_E, example_sums(target_BxT)
    )
    return weights_E, state, domain_weights.info_of(state, member_ExM)

  return Weighting(
    init=init,
    update=update,
    needs=frozenset({'token_loss', 'reference_token_loss', 'domain', 'batch'}),
    batch_coupled=True,
    tally=Tally(domain_weights.read, domain_weights.between),
  )
