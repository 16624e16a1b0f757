"""The log-likelihood ratio of a text under two models, per token."""

import math

from jaxtyping import Float
import numpy as np

# Of every column that `per_token` fills; exp of it is a ratio of perplexities.
UNIT = 'log-likelihood ratio per token'


def per_token(
  log_prob: Float[np.ndarray, '*N'],
  base_log_prob: Float[np.ndarray, '*#N'] | float,
  num_targets: Float[np.ndarray, '*#N'] | float,
) -> Float[np.ndarray, '*N']:
  """How much likelier a text is under one model than under another.

  r = (log p(x) - log q(x)) / T      [LAMDAS, arXiv:2509.06524, Eq. 3]

  exp(r) is the ratio of perplexities PPL_q(x) / PPL_p(x). (The division by T
  is ours: the paper prints the ratio of whole texts, but its thresholds of 0.8
  to 1.2 can only keep 50 to 5 % if it is per token. At 1 both agree.)

  Args:
    log_prob: float64, summed natural-log likelihood log p(x).
    base_log_prob: float64, the same log q(x) of the same targets.
    num_targets: targets in both sums, >= 1.

  Returns:
    The ratio in nats per token; higher = likelier under p.

  >>> float(per_token(np.array(-8.0), np.array(-10.0), np.array(4.0)))
  0.5
  """
  return np.asarray((log_prob - base_log_prob) / num_targets)


def from_ratio(ratio: float) -> float:
  """The stored score of a ratio of perplexities: its natural log.

  Args:
    ratio: > 0, the paper's threshold.

  Raises:
    ValueError: the ratio is not above 0.

  >>> from_ratio(1.0)
  0.0
  """
  if not 0 < ratio < math.inf:
    raise ValueError(
      f'threshold is {ratio}, but scores in {UNIT!r} are cut at a ratio above'
      ' 0, as in the paper: 1 keeps what the reference set makes likelier'
    )
  return math.log(ratio)
