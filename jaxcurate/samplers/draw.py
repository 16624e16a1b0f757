"""The ways in which samplers pick: by weighted lot, best first, or in copies.

The first two order the candidates and take from the top until the budget is
reached: exactly k documents for a budget of k documents; for a budget in
tokens at least the budget and less than one document more. A document longer
than the whole budget can be drawn, or totals could not be de-biased. Copies
are drawn to expected numbers that already fit the budget.
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


def draw_copies(
  seed: int,
  candidates: types.Candidates,
  expected: Float64[np.ndarray, ' N'],
  cost: Int64[np.ndarray, ' N'],
  stratum: Int64[np.ndarray, ' N'] | None = None,
) -> types.Selection:
  """Draws each document its expected number of times, rounded up or down.

  The pivotal method (Deville and Tille, Biometrika 85(1), 1998) with the cost
  in its balance: of two documents one is rounded and the other takes over what
  that changed, so that expectations stay and so does the total cost. Longest
  first: what is left over at the end is a fraction of a short document.

  Args:
    seed: with a document's id it decides its lots.
    candidates: what to draw from.
    expected: [N] float64 >= 0, expected copies.
    cost: [N] int64 >= 0.
    stratum: [N] int64, e.g. the domain: within each the cost is met as well.

  Returns:
    Documents with a copy or more, strata in order, and their expected counts,
    which may be above 1.
  """
  if stratum is None:
    stratum = np.zeros(len(expected), np.int64)
  lot = gumbel.philox(candidates.id_hash, seed)
  order = np.lexsort((lot, -cost, stratum))
  share = expected - np.floor(expected)
  count = np.floor(expected).astype(np.int64)
  chance = gumbel.uniforms(seed, ~candidates.id_hash)  # not those of `lot`
  free = cost == 0  # balances nothing
  count[free] += chance[free] < share[free]
  share[free] = 0.0
  open_rows = order[share[order] > 0]
  count[_round_in_pairs(open_rows, share, cost, stratum, chance)] += 1
  chosen = order[count[order] > 0]
  return types.Selection(
    id=candidates.id[chosen],
    count=count[chosen].astype(np.int32),
    expected_count=expected[chosen],
  )


def _round_in_pairs(
  order: np.ndarray,
  share: np.ndarray,
  cost: np.ndarray,
  stratum: np.ndarray,
  chance: np.ndarray,
) -> list[int]:
  """Rows whose share in (0, 1) is rounded up, in expectation `share`."""
  rounded_up: list[int] = []

  def settle(
    rows: list[int], shares: list[float], costs: list[int], draws: list[float]
  ) -> tuple[int, float]:
    """Rounds all but one row; returns it and its share, 0 or 1 if none."""
    held, p, c = rows[0], shares[0], costs[0]
    for row, q, d, u in zip(
      rows[1:], shares[1:], costs[1:], draws[1:], strict=True
    ):
      if p <= 0 or p >= 1:  # settled: the next one is held
        if p >= 1:
          rounded_up.append(held)
        held, p, c = row, q, d
        continue
      # p c + q d stays: (p + a d, q - a c), a up or down to the first bound.
      up = min((1 - p) / d, q / c)
      down = min(p / d, (1 - q) / c)
      move = up if u * (up + down) < down else -down
      p, q = _snap(p + move * d), _snap(q - move * c)
      if 0 < q < 1:  # then p is settled
        if p == 1:
          rounded_up.append(held)
        held, p, c = row, q, d
      elif q == 1:
        rounded_up.append(row)
    return held, p

  rest: list[tuple[int, float]] = []
  borders = np.flatnonzero(np.diff(stratum[order])) + 1
  for rows in np.split(order, borders):
    if len(rows):
      rest.append(
        settle(
          rows.tolist(),
          share[rows].tolist(),
          cost[rows].tolist(),
          chance[rows].tolist(),
        )
      )
  rounded_up += [row for row, p in rest if p >= 1]
  rest = [(row, p) for row, p in rest if 0 < p < 1]
  rest.sort(key=lambda item: -cost[item[0]])
  if rest:
    rows = [row for row, _ in rest]
    # Another number than in its own stratum.
    draws = [(chance[row] * 2**20) % 1.0 for row in rows]
    last, p = settle(rows, [p for _, p in rest], cost[rows].tolist(), draws)
    if (chance[last] * 2**26) % 1.0 < p:
      rounded_up.append(last)
  return rounded_up


def _snap(share: float) -> float:
  """0 or 1 where rounding left it beside: documents must add up."""
  return 0.0 if share < 1e-9 else 1.0 if share > 1 - 1e-9 else share


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
    scores={name: own[index] for name, own in candidates.scores.items()},
  )
