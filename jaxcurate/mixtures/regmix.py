"""RegMix: shares of domains by regression on the losses of small models.

"RegMix: Data Mixture as Regression for Language Model Pre-training" (arXiv
2407.01492); the rules of the draws are those of its code (sail-sg/regmix).
"""

from collections.abc import Sequence
import functools

from jaxtyping import Float64
import numpy as np

from jaxcurate.mixtures import regressors, search
from jaxcurate.types import Mixture, Proxies, ScoreTable, Searched, SearchSpace

_STRENGTHS = np.geomspace(0.1, 5.0, 15)
_TEMPERATURE = 0.5  # power of the natural shares in the draws
_MOST = 15.0  # times its natural share
_STEP = 2e-4  # smallest share, and their grid
_DISTINCT = 1e-5  # L1 distance
_ATTEMPTS = 1000  # blocks of draws before giving up


def mix(
  table: ScoreTable,
  proxies: Proxies,
  *,
  seed: int,
  rounds: Sequence[int] = (512,),
  num_proposals: int = 100_000,
  num_best: int = 128,
  regressor: regressors.Regressor = regressors.fit_lightgbm,
) -> Searched:
  """Shares of domains whose proxies should have the lowest target loss.

  Args:
    table: a domain for every document; scores are not read.
    proxies: trains small models.
    seed: of the draws.
    rounds: proxies of each round; several are CLIMB's iterations.
    num_proposals: simulated mixtures.
    num_best: of them, averaged.
    regressor: of `jaxcurate.mixtures.regressors`.

  Raises:
    ValueError: one domain, or see `search.search`.
  """
  return search.search(
    share_space(table),
    proxies,
    regressor,
    rounds=rounds,
    num_proposals=num_proposals,
    num_best=num_best,
    seed=seed,
  )


def share_space(table: ScoreTable) -> SearchSpace:
  """Shares of the table's domains, any document of a domain alike.

  Raises:
    ValueError: fewer than two domains have tokens.
  """
  domains, code = np.unique(table.domain.astype(str), return_inverse=True)
  tokens = np.bincount(code, table.num_tokens.astype(np.float64))
  if (tokens > 0).sum() < 2:
    raise ValueError(
      f'{len(domains)} domain ({", ".join(domains)}) with tokens; shares need'
      ' at least two'
    )
  natural = tokens / tokens.sum()
  per_token = 1.0 / np.maximum(tokens, 1.0)
  return SearchSpace(
    names=tuple(domains.tolist()),
    draw=functools.partial(draw_shares, natural),
    propose=functools.partial(_propose, natural),
    values=lambda share: (share * per_token)[code],
    mixture=lambda share: Mixture(tuple(domains.tolist()), share / share.sum()),
  )


def draw_shares(
  natural: Float64[np.ndarray, ' M'], seed: int, num: int
) -> Float64[np.ndarray, 'P M']:
  """Distinct mixtures about the tempered natural shares (section 3.1).

  Dirichlet with concentration s times natural^0.5, normalised, s one of 15
  values between 0.1 and 5 at random; without those that give a domain more
  than 15 times its natural share; shares below 2e-4 are 0, others multiples of
  it.

  Args:
    natural: [M] >= 0, sums to 1; domains without tokens get none.
    seed: >= 0; the first mixtures of a longer draw are those of a shorter one.
    num: P.

  Raises:
    ValueError: too few draws keep the rules.
  """
  present = np.flatnonzero(natural > 0)
  tempered = natural[present] ** _TEMPERATURE
  tempered /= tempered.sum()
  most = np.minimum(_MOST * natural[present], 1.0)
  rng = np.random.default_rng((seed, 0))
  kept: list[np.ndarray] = []
  seen: set[bytes] = set()
  for _ in range(_ATTEMPTS):
    if len(kept) >= num:
      break
    strength = rng.choice(_STRENGTHS, size=256)
    # Gamma draws may all be 0 where the concentration is small.
    gamma = rng.gamma(strength[:, None] * tempered) + 1e-300
    share = gamma / gamma.sum(axis=1, keepdims=True)
    share = np.where(share < _STEP, 0.0, np.round(share / _STEP) * _STEP)
    share = share[(share <= most).all(axis=1) & (share.sum(axis=1) > 0)]
    share /= share.sum(axis=1, keepdims=True)
    for row in share:
      key = np.round(row / _DISTINCT).astype(np.int64).tobytes()
      if key not in seen:
        seen.add(key)
        kept.append(row)
  if len(kept) < num:
    raise ValueError(
      f'only {len(kept)} of {num} mixtures give no domain more than {_MOST:g}'
      ' times its natural share; merge the smallest domains'
    )
  drawn = np.zeros((num, len(natural)))
  drawn[:, present] = kept[:num]
  return drawn


def _propose(natural: np.ndarray, seed: int, num: int) -> np.ndarray:
  """Dirichlet with the natural shares as concentration (section 3.3)."""
  rng = np.random.default_rng((seed, 1))
  gamma = rng.gamma(np.broadcast_to(natural, (num, len(natural)))) + 1e-300
  gamma = np.where(natural > 0, gamma, 0.0)
  return gamma / gamma.sum(axis=1, keepdims=True)
