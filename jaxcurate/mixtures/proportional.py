"""Shares of domains from their sizes alone: the baselines of every mixture.

T5's "temperature-scaled mixing" (arXiv 1910.10683, section 3.5.2): 1 is the
corpus as it is, infinity equal shares.
"""

import numpy as np

from jaxcurate.types import Mixture, ScoreTable


def mix(table: ScoreTable, *, temperature: float = 1.0) -> Mixture:
  """Shares in proportion to tokens^(1 / temperature).

  Args:
    table: a domain for every document; scores are not read.
    temperature: >= 1, `inf` for equal shares.

  Raises:
    ValueError: the temperature is below 1, or there are no tokens.

  >>> table = ScoreTable(np.array(['1', '2'], object), np.array(['a', 'b']),
  ...                    np.array([10, 40]), {}, {})
  >>> [mix(table, temperature=t).share_M.round(3).tolist()
  ...  for t in (1.0, 2.0, float('inf'))]
  [[0.2, 0.8], [0.333, 0.667], [0.5, 0.5]]
  """
  if not temperature >= 1:
    raise ValueError(f'temperature is {temperature}, expected at least 1')
  domains, code = np.unique(table.domain.astype(str), return_inverse=True)
  tokens = np.bincount(code, table.num_tokens.astype(np.float64))
  if not tokens.sum() > 0:
    raise ValueError('the documents have no tokens')
  share = np.where(tokens > 0, tokens, 0.0) ** (1 / temperature)
  share = np.where(tokens > 0, share, 0.0)  # 0 ** 0 is 1
  return Mixture(tuple(domains.tolist()), share / share.sum())
