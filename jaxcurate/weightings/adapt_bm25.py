"""ADAPT-BM25: ADAPT's gate over BM25 scores that were computed beforehand.

ADAPT-BM25 (arXiv 2605.05227, equation 8) weighs an example by its mean BM25
against the anchors, normalised over the pool, instead of by the closeness of
states; nothing is computed in the step. Score the corpus first with
`--method=bm25 --anchors=...`, then train with `--scores=... --by=bm25`.

Where we differ or decide: "normalised" is min-max over the pool, which the
scores in [0, 1] with an exact 0 of the paper's table 7 suggest. Whether the
sigmoid of ADAPT follows is not said; it does here unless the gate is 'none'.
"""

from typing import Literal

from jaxcurate.types import Weighting
from jaxcurate.weightings import column


def make(
  *,
  gate: Literal['sigmoid', 'none'] = 'sigmoid',
  temperature: float = 1.0,
  bounds: tuple[float, float] | None = None,
  clip: tuple[float, float] | None = None,
) -> Weighting:
  """w_i = sigmoid(z_i / temperature), z_i the score's place in the pool.

  z_i = (s_i - lowest) / (highest - lowest), in [0, 1]

  At temperature 1 the weights lie in [0.5, 0.731]; with gate 'none' they are
  z_i, in [0, 1].

  Args:
    gate: 'sigmoid' or 'none'.
    temperature: >= 0, of the sigmoid.
    bounds: lowest and highest score of the pool; None follows them.
    clip: lowest and highest weight, or None.

  Raises:
    ValueError: see `column.make`.

  >>> make().needs
  frozenset({'score'})
  """
  return column.make(
    scale='min_max',
    gate=gate,
    temperature=temperature,
    bounds=bounds,
    clip=clip,
  )
