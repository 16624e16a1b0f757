"""Shares of domains from their scores: better domains more, none forgotten.

"ADAPT" (arXiv 2605.05227, section 3.2): w_d = g(s_d) / sum of g over domains,
g non-negative; here g = exp(s / temperature), the usual one, and s_d the mean
score of the domain's tokens, which is ours: the paper leaves it open.
"""

import numpy as np

from jaxcurate.types import Mixture, ScoreTable


def mix(table: ScoreTable, *, temperature: float = 1.0) -> Mixture:
  """Shares in proportion to exp(mean score / temperature).

  Args:
    table: one score column, higher = better, finite; a domain for every
      document.
    temperature: > 0, in units of the score; high ones give equal shares.

  Raises:
    ValueError: the temperature is not above 0, the table has another number of
      columns, or a score is not finite.
  """
  if not temperature > 0:
    raise ValueError(f'temperature is {temperature}, expected above 0')
  if len(table.scores) != 1:
    raise ValueError(
      f'{len(table.scores)} score columns, expected one: --by=COLUMN'
    )
  [score] = table.scores.values()
  if not np.isfinite(score).all():
    first = table.id[np.argmax(~np.isfinite(score))]
    raise ValueError(f'document {first!r} has no score; leave such ones out')
  domains, code = np.unique(table.domain.astype(str), return_inverse=True)
  tokens = table.num_tokens.astype(np.float64)
  total = np.bincount(code, tokens)
  mean = np.bincount(code, tokens * score) / np.where(total > 0, total, 1.0)
  logit = np.where(total > 0, mean / temperature, -np.inf)
  share = np.exp(logit - logit.max())
  return Mixture(tuple(domains.tolist()), share / share.sum())
