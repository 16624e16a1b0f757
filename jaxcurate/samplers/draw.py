"""The two ways in which samplers pick: by weighted lot, or best first.

Both order the candidates and take from the top until the budget is reached:
exactly k documents for a budget of k documents; for a budget in tokens at
least the budget and less than one document more. A document longer than the
whole budget can be drawn, or totals could not be de-biased.
"""

from jaxtyping import Float64, Int64
import numpy as np

from jaxcurate import types
from jaxcurate.ops import gumbel


def draw(
  seed: int,
  candidates: types.Candidates,
  log_weight: Float64[np.ndarray, ' N'],
  cost: Int64[np.ndarray, ' N'],
  limit: int,
) -> types.Selection:
  """Draws without replacement in proportion to exp(log_weight).

  Args:
    seed: with a document's id it decides the document's lot.
    candidates: what to draw from.
    log_weight: [N] float64, natural log, any common offset.
    cost: [N] int64 and `limit`, from `resolve_budget`.
    limit: >= 1.

  Returns:
    Counts of 1 with inclusion probabilities, largest key first.
  """
  key = gumbel.gumbel_keys(seed, candidates.id_hash, log_weight)
  index, threshold = gumbel.take_prefix(key, candidates.id_hash, cost, limit)
  return types.Selection(
    id=candidates.id[index],
    count=np.ones(len(index), np.int32),
    expected_count=gumbel.inclusion_prob(log_weight[index], threshold),
  )


def take_best(
  seed: int,
  candidates: types.Candidates,
  cost: Int64[np.ndarray, ' N'],
  limit: int,
) -> types.Selection:
  """Takes the highest scores; equal scores are ordered by (seed, id).

  Args:
    seed: only decides among equal scores.
    candidates: what to take from.
    cost: [N] int64 and `limit`, from `resolve_budget`.
    limit: >= 1.

  Returns:
    Counts and expectations of 1, best first, design 'deterministic'.
  """
  lot = gumbel.philox(candidates.id_hash, seed)
  score = candidates.score.astype(np.float64)
  index, _ = gumbel.take_prefix(score, lot, cost, limit)
  return types.Selection(
    id=candidates.id[index],
    count=np.ones(len(index), np.int32),
    expected_count=np.ones(len(index), np.float64),
    design='deterministic',
  )


def take_rows(
  candidates: types.Candidates, index: np.ndarray
) -> types.Candidates:
  """The candidates at the given positions."""
  return types.Candidates(
    id=candidates.id[index],
    id_hash=candidates.id_hash[index],
    score=candidates.score[index],
    num_tokens=candidates.num_tokens[index],
    domain=candidates.domain[index],
    unit=candidates.unit,
  )
