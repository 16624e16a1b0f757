"""RHO-loss: each step trains on the examples that are worth learning now.

An example counts when the model still loses on it and a model trained on
held-out data does not; noise is hard for both, what is known easy for both.
Prioritized Training on Points that are Learnable, Worth Learning, and Not Yet
Learnt (arXiv 2206.07137), equation 3 and Algorithm 1.

Where we differ or decide:
* The loss of a text is its mean per target token, or long texts would win.
* The paper takes the gradient of the kept examples alone; here the others
  weigh 0. The kept ones weigh n / k, so that the mean weight over the n real
  examples is 1. With the reduction 'examples', or texts of one length, the
  loss is then the mean over the kept. With the reduction 'tokens' it is smaller
  where the kept are shorter than the others, and the normaliser 'weights'
  makes it the mean over the kept targets.
"""

import jax

from jaxcurate.ops.excess_loss import keep_excess
from jaxcurate.ops.keep_top import check_share
from jaxcurate.types import Signals, State, Weighting


def make(*, share: float = 0.1) -> Weighting:
  """w_i = n / k for the k = ceil(share * n) largest l_i - l_i^ref, else 0.

  l_i is the mean natural-log loss per target token under the model in
  training, l_i^ref under the reference. An example whose reference loss is
  not finite ranks last.

  Args:
    share: in (0, 1], what is kept of each batch's real examples.

  Raises:
    ValueError: the share is out of its range.
  """
  check_share(share)

  def update(signals: Signals, state: State) -> tuple[jax.Array, State, dict]:
    loss_E, reference_E = signals.loss_E, signals.reference_loss_E
    if loss_E is None or reference_E is None:
      raise ValueError('the signals lack loss or reference_loss')
    weights_E, info = keep_excess(loss_E, reference_E, signals.mask_E, share)
    return weights_E, state, info

  return Weighting(
    init=lambda shapes: {},
    update=update,
    needs=frozenset({'loss', 'reference_loss'}),
    batch_coupled=True,
  )
