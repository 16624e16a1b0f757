"""How much to keep: a number or a share, of documents or of tokens."""

import dataclasses
import re
from typing import Literal

from jaxtyping import Int64
import numpy as np

from jaxcurate import types

_PATTERN = re.compile(r'(\d+|\d*\.\d+|\d+\.)(t?)')
_FORMS = (
  'a share of documents (0.2), a number of documents (1000), a number of '
  'tokens (5000000t) or a share of tokens (0.2t)'
)


@dataclasses.dataclass(frozen=True)
class Budget:
  """An amount of text.

  Attributes:
    amount: a share in (0, 1] as float, or a number >= 1 as int.
    unit: what is counted.
  """

  amount: float | int
  unit: Literal['documents', 'tokens'] = 'documents'

  def __post_init__(self):
    if isinstance(self.amount, float):
      if not 0 < self.amount <= 1:
        raise ValueError(
          f'budget {self} is a share, expected more than 0 and at most 1'
        )
    elif self.amount < 1:
      raise ValueError(f'budget {self} is below 1; give {_FORMS}')

  def __str__(self):
    return f'{self.amount}{"t" if self.unit == "tokens" else ""}'


def parse_budget(text: str) -> Budget:
  """Reads a budget as it is written on the command line.

  Args:
    text: with a decimal point a share, without one a number; a final t counts
      tokens instead of documents.

  Returns:
    The budget.

  Raises:
    ValueError: the text is none of these forms, or not positive.

  >>> [parse_budget(text) for text in ('0.2', '5000000t')]
  ... # doctest: +NORMALIZE_WHITESPACE
  [Budget(amount=0.2, unit='documents'),
   Budget(amount=5000000, unit='tokens')]
  """
  match = _PATTERN.fullmatch(text.strip())
  if not match:
    raise ValueError(f'budget {text!r} is not understood; give {_FORMS}')
  number, suffix = match.groups()
  return Budget(
    amount=float(number) if '.' in number else int(number),
    unit='tokens' if suffix else 'documents',
  )


def resolve_budget(
  budget: Budget, candidates: types.Candidates
) -> tuple[Int64[np.ndarray, ' N'], int]:
  """What each candidate costs and how much may be spent.

  A share is rounded to the nearest whole number and is at least 1.

  Args:
    budget: what was asked for.
    candidates: what there is; checked for missing scores and repeated ids.

  Returns:
    [N] int64 cost of each candidate (1 or its tokens), and the limit >= 1.

  Raises:
    ValueError: no candidates, a score that is not finite, an id that occurs
      twice, or a budget above what there is.
  """
  check_candidates(candidates)
  if budget.unit == 'tokens':
    cost = candidates.num_tokens.astype(np.int64)
  else:
    cost = np.ones(len(candidates.id), np.int64)
  total = int(cost.sum())
  if isinstance(budget.amount, float):
    limit = max(1, int(budget.amount * total + 0.5))
  else:
    limit = budget.amount
  if limit > total:
    raise ValueError(
      f'budget {budget} is {limit:,} {budget.unit}, but the candidates have '
      f'only {total:,}; lower the budget or give 1.0'
      + ('t' if budget.unit == 'tokens' else '')
    )
  return cost, limit


def check_candidates(candidates: types.Candidates) -> None:
  """Raises ValueError where no sampler could give a meaningful answer."""
  if not len(candidates.id):
    raise ValueError('there are no candidates to sample from')
  for score in (candidates.score, *candidates.scores.values()):
    bad = np.flatnonzero(~np.isfinite(score))
    if len(bad):
      raise ValueError(
        f'{len(bad):,} of {len(candidates.id):,} candidates have no finite '
        f'score, the first is id {candidates.id[bad[0]]!r} with '
        f'{score[bad[0]]}; leave them out or score them again'
      )
  sorted_hash = np.sort(candidates.id_hash)
  repeated = sorted_hash[1:][sorted_hash[1:] == sorted_hash[:-1]]
  if len(repeated):
    first = np.flatnonzero(candidates.id_hash == repeated[0])[0]
    raise ValueError(
      f'{len(repeated):,} candidates repeat an id, the first is id '
      f'{candidates.id[first]!r}; ids must be unique'
    )
