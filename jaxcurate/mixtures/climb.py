"""CLIMB: shares of clusters by rounds of proxies, each where the last looked.

"CLIMB: CLustering-based Iterative Data Mixture Bootstrapping for Language Model
Pre-training" (arXiv 2504.13161). Its clusters are domains here: give those of
the `clusters` scorer with --domains.
"""

from collections.abc import Sequence

from jaxcurate.mixtures import regmix, regressors
from jaxcurate.types import Proxies, ScoreTable, Searched


def mix(
  table: ScoreTable,
  proxies: Proxies,
  *,
  seed: int,
  rounds: Sequence[int] = (64, 32, 16),
  num_proposals: int = 100_000,
  num_best: int = 1,
  regressor: regressors.Regressor = regressors.fit_lightgbm,
) -> Searched:
  """Shares of domains, searched in rounds (section 3.2).

  The draws are RegMix's (`regmix.draw_shares`): CLIMB's own are a Dirichlet of
  the natural shares too, whose concentration is not printed.

  Args:
    table: a domain for every document; scores are not read.
    proxies: trains small models.
    seed: of the draws.
    rounds: proxies of each round (section 4.1).
    num_proposals: simulated mixtures.
    num_best: of them, averaged; the paper takes the best.
    regressor: of `jaxcurate.mixtures.regressors`.

  Raises:
    ValueError: one domain, or see `search.search`.
  """
  return regmix.mix(
    table,
    proxies,
    seed=seed,
    rounds=rounds,
    num_proposals=num_proposals,
    num_best=num_best,
    regressor=regressor,
  )
