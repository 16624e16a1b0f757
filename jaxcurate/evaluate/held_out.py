"""Held-out loss and perplexity per domain, from one loss per document.

The forward pass is `train/step.py`'s evaluation step; here are only tables.
Means weigh tokens, not documents: the perplexity of a domain is what the
model would have on the domain's text laid end to end. The named high-quality
set follows section 5 of "How to Train Data-Efficient LLMs" (arXiv
2402.09668), which reports one perplexity over several such subsets.
"""

from collections.abc import Collection, Mapping
import math
from typing import NamedTuple

from jaxtyping import Float, Num, Shaped
import numpy as np

ALL = 'all'
_NO_DOMAIN = '(no domain)'


class HeldOut(NamedTuple):
  """Held-out quality on one group of documents.

  Attributes:
    name: the domain, the named set, or 'all'.
    num_documents: documents with a finite loss and at least one token.
    num_tokens: their target tokens.
    loss: natural-log loss per target token, NaN for an empty group.
    perplexity: exp(loss), inf where that overflows.
  """

  name: str
  num_documents: int
  num_tokens: int
  loss: float
  perplexity: float


def domain_names(domain: Shaped[np.ndarray, ' N']) -> list[str]:
  """[N] domains as text, documents without one under '(no domain)'."""
  return [_NO_DOMAIN if name is None else str(name) for name in domain]


def mean_loss(
  loss: Float[np.ndarray, ' N'], tokens: Num[np.ndarray, ' N']
) -> float:
  """Token-weighted mean loss over documents with a finite loss.

  Args:
    loss: [N] mean natural-log loss per target token of each document.
    tokens: [N] target tokens.

  Returns:
    Nats per target token; NaN where no token has a loss.

  >>> mean_loss(np.array([1.0, 4.0]), np.array([3, 1]))
  1.75
  """
  weight = np.where(np.isfinite(loss), tokens, 0).astype(np.float64)
  if not weight.sum() > 0:
    return math.nan
  return float(np.where(weight > 0, loss, 0.0) @ weight / weight.sum())


def perplexity_table(
  domain: Shaped[np.ndarray, ' N'],
  loss: Float[np.ndarray, ' N'],
  tokens: Num[np.ndarray, ' N'],
  *,
  sets: Mapping[str, Collection[str]] | None = None,
) -> list[HeldOut]:
  """Loss and perplexity of all documents, of named sets and of each domain.

  Args:
    domain: [N] str or None.
    loss: [N] mean natural-log loss per target token of each document.
    tokens: [N] target tokens.
    sets: name -> the domains it unites, e.g. {'high quality': ['wiki']}.

  Returns:
    'all', then the sets as given, then the domains by name.

  >>> rows = perplexity_table(
  ...   np.array(['a', 'b'], object), np.array([0.0, 2.0]), np.array([1, 1])
  ... )
  >>> [(row.name, row.loss) for row in rows]
  [('all', 1.0), ('a', 0.0), ('b', 2.0)]
  """
  names = np.array(domain_names(domain), dtype=object)
  rows = [_group(ALL, np.ones(len(loss), bool), loss, tokens)]
  for set_name, members in (sets or {}).items():
    inside = np.array([name in members for name in names], dtype=bool)
    rows.append(_group(set_name, inside, loss, tokens))
  for name in sorted(set(names)):
    rows.append(_group(name, names == name, loss, tokens))
  return rows


def _group(
  name: str, inside: np.ndarray, loss: np.ndarray, tokens: np.ndarray
) -> HeldOut:
  counted = inside & np.isfinite(loss) & (tokens > 0)
  mean = mean_loss(loss[counted], tokens[counted])
  try:
    perplexity = math.exp(mean)
  except OverflowError:
    perplexity = math.inf
  return HeldOut(
    name, int(counted.sum()), int(tokens[counted].sum()), mean, perplexity
  )
