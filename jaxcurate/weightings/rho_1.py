"""Rho-1: each step trains on the tokens that are worth learning now.

The tokens of a batch are ranked by how much the model's loss on them exceeds
that of a reference model trained on trusted text, and only the top share is
trained on. Rho-1: Not All Tokens Are What You Need (arXiv 2404.07965), section
2.2.

Where we differ or decide:
* The paper divides by the number of kept tokens k. Here a kept token weighs
  n / k, with n the real targets of the batch, so that dividing by n, as the
  step does by default, gives the paper's loss exactly. The mean weight is 1.
* Exactly k = ceil(share * n) tokens are kept; of equal ones the first.
* All targets of the batch compete, over rows, examples and devices.
"""

import jax
import jax.numpy as jnp

from jaxcurate.ops import segments
from jaxcurate.ops.excess_loss import keep_excess
from jaxcurate.ops.keep_top import check_share
from jaxcurate.types import Signals, State, Weighting


def make(*, share: float = 0.6) -> Weighting:
  """w_t = n / k for the k = ceil(share * n) largest l_t - l_t^ref, else 0.

  l_t is the natural-log loss of target t under the model in training, l_t^ref
  under the reference; the difference may be negative. A target whose reference
  loss is not finite ranks last; the targets of masked examples do not take
  part.

  Args:
    share: in (0, 1], what is kept of each batch's real targets.

  Raises:
    ValueError: the share is out of its range.
  """
  check_share(share)

  def update(signals: Signals, state: State) -> tuple[jax.Array, State, dict]:
    loss_BxT, target_BxT = signals.token_loss_BxT, signals.target_mask_BxT
    reference_BxT, batch = signals.reference_token_loss_BxT, signals.batch
    if loss_BxT is None or target_BxT is None:
      raise ValueError('the signals lack token_loss')
    if reference_BxT is None or batch is None:
      raise ValueError('the signals lack reference_token_loss or batch')
    ids = batch['decoder_segment_ids']
    example_BxS = signals.mask_E.reshape(ids.shape[0], -1)
    example_BxT = segments.segment_values(example_BxS.astype(jnp.float32), ids)
    real_BxT = target_BxT & (example_BxT > 0)
    weights_BxT, info = keep_excess(loss_BxT, reference_BxT, real_BxT, share)
    return weights_BxT, state, info

  return Weighting(
    init=lambda shapes: {},
    update=update,
    needs=frozenset({'token_loss', 'reference_token_loss', 'batch'}),
    batch_coupled=True,
  )
