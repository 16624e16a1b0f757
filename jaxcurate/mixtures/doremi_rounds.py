"""DoReMi: shares of domains by how much a proxy can still learn of each.

"DoReMi: Optimizing Data Mixtures Speeds Up Language Model Pretraining" (arXiv
2305.10429). One round trains a reference on some shares, then a proxy whose
domains are weighted by its excess loss over the reference
(`jaxcurate.weightings.doremi`); the proxy's mean weights are the next shares.
Rounds are its "iterated DoReMi" (section 4): they end when shares stop moving.
"""

import numpy as np

from jaxcurate.types import LearnShares, Mixture, ScoreTable, Searched


def mix(
  table: ScoreTable,
  learn: LearnShares,
  *,
  max_rounds: int = 3,
  tolerance: float = 0.01,
) -> Searched:
  """Shares after the last round.

  Args:
    table: a domain for every document; scores are not read.
    learn: trains a reference and a proxy on shares, and returns its weights.
    max_rounds: >= 1; 1 is the paper's main algorithm.
    tolerance: L1 distance of two rounds' shares at which they stand still; the
      first round is compared with the natural shares.

  Raises:
    ValueError: a setting out of its range, or no tokens.
  """
  if max_rounds < 1 or not tolerance >= 0:
    raise ValueError(
      f'max_rounds is {max_rounds} and tolerance {tolerance}, expected at least'
      ' 1 and 0'
    )
  domains, share = natural_shares(table)
  rounds = []
  for _ in range(max_rounds):
    new = learn(share)
    distance = float(np.abs(new - share).sum())
    rounds.append(
      {
        'moved': distance,
        'shares': dict(zip(domains, new.tolist(), strict=True)),
      }
    )
    share = new
    if distance <= tolerance:
      break
  return Searched(
    Mixture(domains, share / share.sum()),
    {'rounds': rounds, 'standing_still': rounds[-1]['moved'] <= tolerance},
  )


def natural_shares(table: ScoreTable) -> tuple[tuple[str, ...], np.ndarray]:
  """Domains in sorted order, and their [M] shares of the tokens.

  Raises:
    ValueError: there are no tokens.
  """
  domains, code = np.unique(table.domain.astype(str), return_inverse=True)
  tokens = np.bincount(code, table.num_tokens.astype(np.float64))
  if not tokens.sum() > 0:
    raise ValueError('the documents have no tokens')
  return tuple(domains.tolist()), tokens / tokens.sum()
