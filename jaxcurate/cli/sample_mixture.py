"""`jaxcurate sample --mixture`: score tables and a Mixture to a Selection."""

import dataclasses

import numpy as np

from jaxcurate.mixtures import expected_copies
from jaxcurate.samplers import budget as budget_lib
from jaxcurate.samplers import draw
from jaxcurate.types import Candidates, Mixture, ScoreTable, Selection


def sample(
  seed: int,
  mixture: Mixture,
  table: ScoreTable,
  candidates: Candidates,
  budget: budget_lib.Budget,
  *,
  max_copies: float,
  allocation: str = 'quota',
) -> tuple[Selection, dict[str, int]]:
  """Draws copies that keep the mixture's shares and the budget.

  The budget is met to within one document, and by quota every domain's share
  of it. By probability each of as many draws as the budget has documents falls
  to domain d with probability share_d (both ways: arXiv 2605.05227, section
  3.2), so that shares hold on average.

  Args:
    seed: of the draw.
    mixture: what is wanted.
    table: the pool.
    candidates: the same documents.
    budget: how much to keep, copies counted.
    max_copies: of one document, > 0; by probability, in expectation.
    allocation: how the domains share the budget, 'quota' or 'probability'.

  Returns:
    The selection, and domains that the mixture does not name -> documents.

  Raises:
    ValueError: see `budget.resolve_budget` and `expected_copies`; a budget
      may be above what there is, as far as max_copies allows. Or an unknown
      allocation.
  """
  if allocation not in ('quota', 'probability'):
    raise ValueError(
      f"allocation is {allocation!r}, expected 'quota' or 'probability'"
    )
  budget_lib.check_candidates(candidates)
  tokens = candidates.num_tokens.astype(np.int64)
  cost = tokens if budget.unit == 'tokens' else np.ones_like(tokens)
  limit = budget.amount
  if isinstance(limit, float):
    limit = max(1, round(limit * int(cost.sum())))
  expected, other = expected_copies.expected_copies(
    mixture, table, cost, limit, max_copies=max_copies
  )
  domain = np.unique(table.domain.astype(str), return_inverse=True)[1]
  copies = expected
  if allocation == 'probability':
    copies = expected * _drawn_over_wanted(seed, expected, cost, domain)[domain]
  selection = draw.draw_copies(seed, candidates, copies, cost, domain)
  if allocation == 'probability':
    # What is expected before the domains are drawn de-biases totals.
    of_id = dict(zip(candidates.id, expected.tolist(), strict=True))
    wanted = np.array([of_id[i] for i in selection.id], np.float64)
    selection = dataclasses.replace(selection, expected_count=wanted)
  return selection, other


def _drawn_over_wanted(
  seed: int, expected: np.ndarray, cost: np.ndarray, domain: np.ndarray
) -> np.ndarray:
  """[M] float64, mean 1: drawn cost of each domain over the expected one."""
  wanted = np.bincount(domain, expected * cost)
  share = wanted / wanted.sum()
  num_draws = max(1, round(float(expected.sum())))
  # Another stream than the documents' own, which go by their ids.
  drawn = np.random.default_rng((seed, 1)).multinomial(num_draws, share)
  return drawn / np.where(share > 0, share * num_draws, 1.0)
