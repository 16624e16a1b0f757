"""Quadratic: examples of middling loss count most.

The easiest teach nothing more and the hardest may be noise, so both ends of
the batch's range of losses are left aside. Dynamic Loss-Based Sample
Reweighting for Improved Large Language Model Pretraining (arXiv 2502.06733),
`f_func_mid` of its code; what we decided is in `jaxcurate.ops.loss_weights`.
Weights have mean 1: they are relative.
"""

from jaxcurate.ops import loss_weights
from jaxcurate.types import Weighting


def make(
  *,
  strength: float = 0.4,
  strength_start: float | None = None,
  anneal_steps: int = 0,
  burn_in_steps: int = 0,
  clip_quantiles: tuple[float, float] | None = None,
) -> Weighting:
  """w_i = n softmax_i((1 - h^2) / r), with h in [-1, 1] the place of l_i.

  No weight is above e^(1/r) times another.

  Args:
    strength: r > 0; the smaller, the less both ends weigh.
    strength_start: r at the first step after the burn-in, at least `strength`;
      None without annealing.
    anneal_steps: >= 0 steps from `strength_start` to `strength`, geometrically.
    burn_in_steps: >= 0 first steps in which all examples weigh 1.
    clip_quantiles: (lowest, highest): losses are clipped to these quantiles of
      the batch before the range is taken; None: they are not.

  Raises:
    ValueError: a setting is out of its range.
  """
  return loss_weights.weighting(
    lambda place_E: 1 - place_E**2,
    strength=strength,
    strength_start=strength_start,
    anneal_steps=anneal_steps,
    burn_in_steps=burn_in_steps,
    clip_quantiles=clip_quantiles,
  )
