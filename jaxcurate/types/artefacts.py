"""What `score` and `sample` write, as arrays of N documents."""

from collections.abc import Mapping
import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class ScoreTable:
  """Scores of N documents, joined by id and never by position.

  Attributes:
    id: [N] str (object array), unique.
    domain: [N] str or None (object array).
    num_tokens: [N] int32, whole document under the recorded tokenizer.
    scores: column name -> [N] float32; higher = keep; NaN = no score.
    units: column name -> unit, as stored in the manifest.
  """

  id: np.ndarray
  domain: np.ndarray
  num_tokens: np.ndarray
  scores: Mapping[str, np.ndarray]
  units: Mapping[str, str]

  def __post_init__(self):
    num_rows = len(self.id)
    columns = {'domain': self.domain, 'num_tokens': self.num_tokens}
    for name, column in {**columns, **self.scores}.items():
      if len(column) != num_rows:
        raise ValueError(
          f'column {name!r} has {len(column)} rows, id has {num_rows}'
        )

  def take(self, rows: np.ndarray) -> 'ScoreTable':
    """The table of some of the documents, in the order of `rows`."""
    return ScoreTable(
      id=self.id[rows],
      domain=self.domain[rows],
      num_tokens=self.num_tokens[rows],
      scores={name: own[rows] for name, own in self.scores.items()},
      units=self.units,
    )


@dataclasses.dataclass(frozen=True)
class Candidates:
  """What a sampler sees of a ScoreTable: scores of documents, no text.

  Attributes:
    id: [N] str (object array).
    id_hash: [N] uint64, `jaxcurate.ops.ids.hash_ids(id)`.
    score: [N] float32, finite; higher = keep.
    num_tokens: [N] int32.
    domain: [N] str or None (object array).
    unit: unit of the score, e.g. 'log P(yes)' or '-log density'.
    scores: column name -> [N] float32, finite, where several are asked for;
      `score` is then the first of them.
  """

  id: np.ndarray
  id_hash: np.ndarray
  score: np.ndarray
  num_tokens: np.ndarray
  domain: np.ndarray
  unit: str = ''
  scores: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Selection:
  """The documents that were kept, and how often.

  Attributes:
    id: [K] str (object array), documents with count >= 1 only.
    count: [K] int32 copies.
    expected_count: [K] float64 > 0, the expectation of `count` under the
      sampling design: the inclusion probability where counts are 0 or 1.
      Dividing by it de-biases totals (Horvitz-Thompson).
    design: 'random', or 'deterministic' where expectations are all 1 and
      totals cannot be de-biased.
    threshold: lowest score that passed, where a line was drawn; not stored
      with the ids but in the manifest.
  """

  id: np.ndarray
  count: np.ndarray
  expected_count: np.ndarray
  design: str = 'random'
  threshold: float | None = None
