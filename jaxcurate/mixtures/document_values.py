"""How often each document is wanted: by its rank in its domain's quality.

QuaDMix (arXiv 2504.16511, section 3.1). On the pool that a Mixture was made of
ranks are exact; documents of other tables get the rank that the pool's
documents of their quality have, whatever else is in the table.
"""

from jaxtyping import Float64, Int
import numpy as np

from jaxcurate.ops import ids as ids_lib
from jaxcurate.ops import quality_ranks
from jaxcurate.ops.sampling_value import sampling_value
from jaxcurate.types import QualityShape, RankMap, ScoreTable


def document_values(
  shape: QualityShape, table: ScoreTable, code: Int[np.ndarray, ' N']
) -> Float64[np.ndarray, ' N']:
  """Sampling values of documents.

  Args:
    shape: of M domains.
    table: N documents, with a finite score for every criterion.
    code: [N] in [0, M), the domain of each.

  Raises:
    ValueError: a score is not finite.
  """
  return shaped(shape, ranks(shape, table, code)[:, None], code)[:, 0]


def ranks(
  shape: QualityShape, table: ScoreTable, code: Int[np.ndarray, ' N']
) -> Float64[np.ndarray, ' N']:
  """Ranks of documents in [0, 1], 0 best; see `document_values`."""
  score = _scores(shape, table)
  known = shape.ranks
  if known is None or known.pool == pool_name(table):
    return _exact(shape, table, score, code)
  better = 1 - np.stack(
    [
      quality_ranks.share_below(own, knots)
      for own, knots in zip(score.T, known.score_QxK, strict=True)
    ],
    axis=1,
  )
  quality = quality_ranks.merge(better, code, shape.weights_MxQ)
  rank = np.empty(len(code))
  for domain in np.unique(code):
    own = code == domain
    rank[own] = quality_ranks.share_below(
      quality[own], known.quality_MxK[domain]
    )
  return rank


def rank_map(
  shape: QualityShape, table: ScoreTable, code: Int[np.ndarray, ' N']
) -> RankMap:
  """What tells documents of other tables their ranks in this pool.

  Args:
    shape: of M domains, all of which the table has.
    table: the pool.
    code: [N] in [0, M), the domain of each.
  """
  score = _scores(shape, table)
  quality = quality_ranks.merge(
    quality_ranks.percentiles(score), code, shape.weights_MxQ
  )
  tokens, ones = table.num_tokens.astype(np.float64), np.ones(len(code))
  return RankMap(
    pool_name(table),
    np.stack([quality_ranks.knots(own, ones) for own in score.T]),
    np.stack(
      [
        quality_ranks.knots(quality[code == domain], tokens[code == domain])
        for domain in range(len(shape.weights_MxQ))
      ]
    ),
  )


def pool_name(table: ScoreTable) -> str:
  """Tells pools apart by their documents, in whatever order."""
  hashes = ids_lib.hash_ids(table.id)
  return f'{len(hashes)}-{int(np.sum(hashes, dtype=np.uint64)):016x}'


def shaped(
  shape: QualityShape, rank: np.ndarray, code: np.ndarray | slice = slice(None)
) -> np.ndarray:
  """Sampling values of ranks [rows, any], each row of the domain `code`."""
  return sampling_value(
    rank,
    steepness=shape.steepness_M[code, None],
    keep_fraction=shape.keep_fraction_M[code, None],
    repetition=shape.repetition_M[code, None],
    floor=shape.floor_M[code, None],
  )


def _scores(shape: QualityShape, table: ScoreTable) -> np.ndarray:
  """[N, Q] of the criteria."""
  score = np.stack([table.scores[name] for name in shape.criteria], axis=1)
  bad = np.argwhere(~np.isfinite(score))
  if len(bad):
    row, column = bad[0]
    raise ValueError(
      f'document {table.id[row]!r} has no score in {shape.criteria[column]!r},'
      f' nor have {len(np.unique(bad[:, 0])) - 1:,} others some score; leave'
      ' them out or score them'
    )
  return score


def _exact(
  shape: QualityShape, table: ScoreTable, score: np.ndarray, code: np.ndarray
) -> np.ndarray:
  """Ranks among the documents of the table."""
  return quality_ranks.token_ranks(
    quality_ranks.merge(
      quality_ranks.percentiles(score), code, shape.weights_MxQ
    ),
    table.num_tokens.astype(np.int64),
    code,
    ids_lib.hash_ids(table.id),
  )
