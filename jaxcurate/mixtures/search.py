"""The loop of every search: draw, train proxies, regress, propose, repeat.

One round is QuaDMix (arXiv 2504.16511, section 3.3) and RegMix (2407.01492,
section 3); several are CLIMB (2504.13161, section 3), whose later rounds draw
among the proposals that look best so far. Proxies that diverged are left out
of the regression and counted.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float64
import numpy as np
import scipy  # its parts load at their first use

from jaxcurate.mixtures.regressors import Regressor
from jaxcurate.types import Proxies, Searched, SearchSpace

# Of the runs, one in so many judges the regressor: 200 of QuaDMix's 3,000.
_HELD_OUT = 15
_LEAST_HELD_OUT = 8  # a rank correlation of fewer says nothing
_POOL = 10  # later rounds draw among this many times their runs


def search(
  space: SearchSpace,
  proxies: Proxies,
  regressor: Regressor,
  *,
  rounds: Sequence[int],
  num_proposals: int,
  num_best: int,
  seed: int,
) -> Searched:
  """The mean of the candidates that the regressor likes best.

  Args:
    space: what to draw from.
    proxies: trains one for every candidate.
    regressor: from their losses.
    rounds: proxies of each round.
    num_proposals: candidates that the regressor is asked about.
    num_best: of them, averaged.
    seed: of all draws.

  Returns:
    The Mixture, and diagnostics: the regressor on runs it has not seen (rank
    correlation, mean absolute error) by their number; the loss it promised and
    the one that a proxy of the choice had.

  Raises:
    ValueError: a setting out of its range, or too few proxies were left.
  """
  rounds = tuple(int(count) for count in rounds)
  if not rounds or min(rounds) < 1:
    raise ValueError(f'rounds are {rounds}, expected counts of at least 1')
  if not 1 <= num_best <= num_proposals:
    raise ValueError(
      f'num_best is {num_best} of {num_proposals} proposals, expected at least'
      ' 1 and no more than there are'
    )
  rows = space.draw(seed, rounds[0])
  loss = proxies(space, rows)
  for number, count in enumerate(rounds[1:], start=1):
    predict = regressor(*_finite(rows, loss))
    more = _promising(space, predict, count, num_proposals, seed + number)
    rows, loss = (
      np.concatenate([rows, more]),
      np.append(loss, proxies(space, more)),
    )
  known, known_loss = _finite(rows, loss)
  predict = regressor(known, known_loss)
  # Another seed than any round's: proposals the regressor was not fitted on.
  proposals = space.propose(seed + len(rounds), num_proposals)
  guess = predict(proposals)
  best = np.argsort(guess, kind='stable')[:num_best]
  choice = proposals[best].mean(axis=0)
  [realised] = proxies(space, choice[None])
  return Searched(
    space.mixture(choice),
    {
      'proxies': len(loss),
      'diverged': int(np.count_nonzero(~np.isfinite(loss))),
      'regressor': learning_curve(known, known_loss, regressor, seed),
      'loss/best_proxy': float(known_loss.min()),
      'loss/median_proxy': float(np.median(known_loss)),
      'loss/predicted': float(predict(choice[None])[0]),
      'loss/realised': float(realised) if np.isfinite(realised) else None,
      'parameters': dict(zip(space.names, choice.tolist(), strict=True)),
    },
  )


def learning_curve(
  rows: Float64[np.ndarray, 'P F'],
  loss: Float64[np.ndarray, ' P'],
  regressor: Regressor,
  seed: int,
) -> list[Mapping[str, Any]]:
  """How well runs predict runs, by the number of runs to learn from.

  Args:
    rows: [P, F] parameters.
    loss: [P], finite.
    regressor: what to judge.
    seed: of which runs are held out: one in 15, at least 8.

  Returns:
    For an eighth, a quarter, half and all of the others: how many ('runs'),
    'spearman' and 'mae' on the held-out ones. Fewer lines where the regressor
    needs more runs, none where there are too few to hold any out; spearman is
    None where all losses or all predictions are equal.
  """
  order = np.random.default_rng((seed, 1)).permutation(len(loss))
  size = max(_LEAST_HELD_OUT, len(loss) // _HELD_OUT)
  held, others = order[:size], order[size:]
  lines = []
  for share in (8, 4, 2, 1):
    used = others[: len(others) // share]
    if len(used) < 2:
      continue
    try:
      predict = regressor(rows[used], loss[used])
    except ValueError:  # too few: the line is not there
      continue
    guess = predict(rows[held])
    spearman = None
    if np.ptp(guess) > 0 and np.ptp(loss[held]) > 0:
      spearman = float(scipy.stats.spearmanr(guess, loss[held]).statistic)
    lines.append(
      {
        'runs': len(used),
        'held_out': len(held),
        'spearman': spearman,
        'mae': float(np.abs(guess - loss[held]).mean()),
      }
    )
  return lines


def _finite(
  rows: np.ndarray, loss: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
  """The runs that did not diverge.

  Raises:
    ValueError: more than half did.
  """
  kept = np.isfinite(loss)
  if kept.sum() * 2 < len(loss):
    raise ValueError(
      f'{np.count_nonzero(~kept)} of {len(loss)} proxies diverged: they guess'
      ' their own text at random; lower the learning rate, or give more steps'
    )
  return rows[kept], loss[kept]


def _promising(
  space: SearchSpace,
  predict: Any,
  count: int,
  num_proposals: int,
  seed: int,
) -> np.ndarray:
  """Candidates of a later round: random ones of those that look best."""
  proposals = space.propose(seed, num_proposals)
  order = np.argsort(predict(proposals), kind='stable')[: _POOL * count]
  if len(order) < count:
    raise ValueError(
      f'{num_proposals} proposals are too few for a round of {count} proxies'
    )
  rng = np.random.default_rng((seed, 2))
  return proposals[rng.choice(order, count, replace=False)]
