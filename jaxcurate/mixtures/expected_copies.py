"""A Mixture and a pool of documents to expected copies of each."""

from jaxtyping import Float64, Int
import numpy as np

from jaxcurate.mixtures import depth, document_values
from jaxcurate.types import Mixture, ScoreTable


def expected_copies(
  mixture: Mixture,
  table: ScoreTable,
  cost: Int[np.ndarray, ' N'],
  limit: int,
  *,
  max_copies: float,
) -> tuple[Float64[np.ndarray, ' N'], dict[str, int]]:
  """Expected copies that spend a budget by the mixture's shares of tokens.

  With quality, every domain is sampled to the rank at which it gives its share
  (`depth.reaching`); copies are scaled where it has no more, and to make up for
  what is left between two documents.

  Args:
    mixture: what is wanted.
    table: the pool, with a domain for every document and the scores of the
      mixture's criteria.
    cost: [N] what a copy costs: its tokens, or 1.
    limit: > 0, to spend in all.
    max_copies: > 0, of one document.

  Returns:
    [N] float64 >= 0, 0 for other domains; and the domains of the pool that the
    mixture does not name -> documents.

  Raises:
    ValueError: documents without domain or score, a domain of the mixture
      without documents, or a budget above what max_copies allows.
  """
  name_of = table.domain.astype(object)
  lacking = [i for i, name in enumerate(name_of) if name is None]
  if lacking:
    raise ValueError(
      f'{len(lacking):,} documents have no domain, the first is id'
      f' {table.id[lacking[0]]!r}; give --domains=FILE'
    )
  code_of = {name: code for code, name in enumerate(mixture.domains)}
  code = np.array([code_of.get(name, -1) for name in name_of], np.int64)
  other: dict[str, int] = {}
  for name in name_of[code < 0]:
    other[name] = other.get(name, 0) + 1
  inside = np.flatnonzero(code >= 0)
  own, tokens = code[inside], table.num_tokens[inside].astype(np.int64)
  share = np.asarray(mixture.share_M)
  value = np.ones(len(inside))
  if mixture.shape is not None:
    shape = mixture.shape
    rank = document_values.ranks(shape, table.take(inside), own)
    # A budget of documents is as many tokens as so many have on average.
    each = tokens.sum() / max(cost[inside].sum(), 1)
    shape = depth.reaching(shape, rank, tokens, own, share * limit * each)
    value = document_values.shaped(shape, rank[:, None], own)[:, 0]
  weighted = np.bincount(own, value * tokens, len(mixture.domains))
  empty = (weighted == 0) & (share > 0)
  if empty.any():
    name = mixture.domains[int(np.argmax(empty))]
    known = sorted({str(name) for name in name_of})
    common = len(code_of.keys() & set(known))
    raise ValueError(
      f'the mixture wants {share[np.argmax(empty)]:.2%} of its tokens'
      f' from domain {name!r}, and the pool has none that it would sample; the'
      f' mixture has {len(code_of)} domains and the pool {len(known)}, {common}'
      f' of them in common: those of the pool are {", ".join(known)}'
    )
  per_value = share / np.where(weighted > 0, weighted, 1)
  copies = np.zeros(len(name_of))
  copies[inside] = per_value[own] * value
  copies *= limit / float(copies @ cost)
  worst = int(np.argmax(copies))
  if copies[worst] > max_copies * (1 + 1e-9):
    raise ValueError(
      f'a budget of {limit:,} takes {copies[worst]:.3g} copies of documents of'
      f' domain {name_of[worst]!r}, and at most {max_copies:g} are allowed; the'
      f' largest budget is {int(limit * max_copies / copies[worst]):,}'
    )
  return copies, other
