"""DoGE: shares of domains by whose gradients help all domains.

"DoGE: Domain Reweighting with Generalization Estimation" (arXiv 2310.15393).
One proxy is trained with `jaxcurate.weightings.doge`; its mean weights are the
shares of the Mixture.
"""

from jaxcurate.mixtures import doremi_rounds
from jaxcurate.types import LearnShares, ScoreTable, Searched


def mix(table: ScoreTable, learn: LearnShares) -> Searched:
  """The proxy's mean weights, trained on the natural shares (section 3).

  Args:
    table: a domain for every document; scores are not read.
    learn: trains a proxy on shares, and returns its weights.

  Raises:
    ValueError: no tokens.
  """
  return doremi_rounds.mix(table, learn, max_rounds=1)
