"""A share of the budget for every domain, and one rule within the domains.

Shares are those of the pool, equal, or given by name. A domain too small for
its quota is kept whole, and what it leaves goes to the other domains in
proportion to their shares, so that the budget is always met; a domain with
share 0 gets nothing.
"""

from collections.abc import Mapping
from typing import Literal

from jaxtyping import Float64, Int64
import numpy as np

from jaxcurate import types
from jaxcurate.ops import gumbel
from jaxcurate.samplers import budget as budget_lib
from jaxcurate.samplers import inverse_propensity

Rule = Literal['uniform', 'top_k', 'inverse_propensity']


def sample(
  seed: int,
  candidates: types.Candidates,
  budget: budget_lib.Budget,
  *,
  shares: str | Mapping[str, int | float] = 'proportional',
  rule: str = 'uniform',
) -> types.Selection:
  """Samples each domain under its quota.

  In a budget of documents quotas are rounded by one common random offset
  (systematic sampling), so that a quota below one document keeps its chance
  and totals stay unbiased; rule 'top_k' rounds to the nearest instead. In a
  budget of tokens each domain that is not kept whole pays for the overshoot of
  those before it, smallest quota first, so that the sum stays within one
  document of the budget.

  Args:
    seed: 0 <= seed < 2**64; the same seed keeps the same ids.
    candidates: every one needs a domain.
    budget: how much to keep in all.
    shares: 'proportional' (to documents or tokens, as the budget counts),
      'equal', or domain name -> relative share >= 0; a domain that is not
      named gets 0.
    rule: 'uniform', 'top_k' or 'inverse_propensity' within a domain.

  Returns:
    The selection, domains in order of quota.

  Raises:
    ValueError: a candidate without domain, an unknown domain or rule, a
      negative share, less text in the named domains than the budget asks for,
      or see `budget.resolve_budget`.
  """
  if rule not in Rule.__args__:
    raise ValueError(f'unknown rule {rule!r}, known are {Rule.__args__}')
  if rule == 'inverse_propensity':
    inverse_propensity.check_unit(candidates.unit)
  cost, limit = budget_lib.resolve_budget(budget, candidates)
  names, domain = _domains(candidates)
  size = np.bincount(domain, cost).astype(np.int64)
  quota = _fill(_share_weights(shares, names, size), size, limit)
  id_hash, score = candidates.id_hash, candidates.score.astype(np.float64)
  if rule == 'top_k':
    key, tie, offset = score, gumbel.philox(id_hash, seed), 0.5
    log_weight = None
  else:
    log_weight = score if rule == 'inverse_propensity' else np.zeros(len(score))
    key, tie = gumbel.gumbel_keys(seed, id_hash, log_weight), id_hash
    offset = float(gumbel.uniforms(seed, np.zeros(1, np.uint64))[0])
  allotted = _round(quota, size, limit, offset)
  by_domain = np.split(
    np.argsort(domain, kind='stable'), np.cumsum(np.bincount(domain))[:-1]
  )
  chosen, expected_count, overshoot = [], [], 0
  for i in np.argsort(quota, kind='stable'):
    if not allotted[i]:
      continue
    part_limit = int(allotted[i])
    if part_limit < size[i]:
      part_limit = max(1, part_limit - overshoot)
    rows = by_domain[i]
    prefix = gumbel.take_prefix(key[rows], tie[rows], cost[rows], part_limit)
    index = rows[prefix.rows]
    overshoot += int(cost[index].sum() - allotted[i])
    chosen.append(index)
    if log_weight is None:
      expected_count.append(np.ones(len(index)))
    else:
      prob = gumbel.inclusion_prob(log_weight[index], prefix.threshold)
      # A quota below one document is drawn for with this probability.
      expected_count.append(prob * min(1.0, quota[i]))
  index = np.concatenate(chosen)
  return types.Selection(
    id=candidates.id[index],
    count=np.ones(len(index), np.int32),
    expected_count=np.concatenate(expected_count),
    design='deterministic' if log_weight is None else 'random',
  )


def _domains(
  candidates: types.Candidates,
) -> tuple[list[str], Int64[np.ndarray, ' N']]:
  """Names in order, and the position of each candidate's among them."""
  missing = [i for i, name in enumerate(candidates.domain) if name is None]
  if missing:
    raise ValueError(
      f'quotas need a domain for every candidate: {len(missing):,} of '
      f'{len(candidates.id):,} have none, the first is id '
      f'{candidates.id[missing[0]]!r}; name the domain field when scoring'
    )
  names = sorted(set(candidates.domain))
  position = {name: i for i, name in enumerate(names)}
  domain = (position[name] for name in candidates.domain)
  return names, np.fromiter(domain, np.int64, len(candidates.domain))


def _share_weights(
  shares: str | Mapping[str, int | float],
  names: list[str],
  size: Int64[np.ndarray, ' M'],
) -> Float64[np.ndarray, ' M']:
  """Relative shares in the order of `names`."""
  if isinstance(shares, Mapping):
    unknown = sorted(set(shares) - set(names))
    if unknown:
      raise ValueError(f'no candidate has domain {unknown}, known are {names}')
    weights = np.array([float(shares.get(name, 0.0)) for name in names])
    if not (np.isfinite(weights) & (weights >= 0)).all() or not weights.any():
      raise ValueError(
        f'shares are {dict(shares)}, expected numbers >= 0, one above 0'
      )
    return weights
  if shares == 'proportional':
    return size.astype(np.float64)
  if shares == 'equal':
    return np.ones(len(names))
  raise ValueError(
    f"unknown shares {shares!r}, known are 'proportional', 'equal' or a "
    'mapping from domain to share'
  )


def _fill(
  weights: Float64[np.ndarray, ' M'],
  size: Int64[np.ndarray, ' M'],
  limit: int,
) -> Float64[np.ndarray, ' M']:
  """Splits the limit by weight; what overflows a domain goes to the rest."""
  available = int(size[weights > 0].sum())
  if available < limit:
    raise ValueError(
      f'the domains with a share hold only {available:,} of the {limit:,} '
      'the budget asks for; lower the budget or name more domains'
    )
  quota = np.zeros(len(size))
  open_domains = weights > 0
  while open_domains.any():
    rest = limit - quota[~open_domains].sum()
    wanted = rest * weights / weights[open_domains].sum()
    full = open_domains & (wanted >= size)
    if not full.any():
      quota[open_domains] = wanted[open_domains]
      break
    quota[full] = size[full]
    open_domains &= ~full
  return quota


def _round(
  quota: Float64[np.ndarray, ' M'],
  size: Int64[np.ndarray, ' M'],
  limit: int,
  offset: float,
) -> Int64[np.ndarray, ' M']:
  """Whole numbers that sum to the limit, each within one of its quota."""
  full = quota == size
  rest = np.cumsum(np.where(full, 0.0, quota))
  # Exactly the remainder from the last open domain on, whatever was rounded.
  rest[len(rest) - np.argmax(~full[::-1]) - 1 :] = limit - size[full].sum()
  steps = np.diff(np.floor(rest + offset), prepend=0.0)
  return np.where(full, size, steps).astype(np.int64)
