"""What a Mixture asks for, in numbers: diversity, repetition, distance."""

from typing import NamedTuple

import numpy as np

from jaxcurate.mixtures import quadmix
from jaxcurate.report import artefacts, page, text
from jaxcurate.types import QualityShape

_RANKS = (np.arange(4_096) + 0.5) / 4_096  # midpoints, for integrals over them


class Facts(NamedTuple):
  """Numbers of one mixture.

  Attributes:
    natural_M: [M] share of the corpus's tokens, NaN where not known.
    entropy: of the shares, nats.
    own_M: [M] >= 1, mean copies of a sampled token's document over the mean
      copies in its domain; 1 where all documents of the domain are alike.
    repetition: mean copies of a sampled token's document when as many tokens
      are sampled as the corpus has; 1 for the corpus as it is, NaN where the
      corpus is not known.
    distance: L1 distance of the shares from the natural ones, NaN as above.
  """

  natural_M: np.ndarray
  entropy: float
  own_M: np.ndarray
  repetition: float
  distance: float


def facts(mixed: artefacts.Mixed) -> Facts:
  """The numbers of a mixture.

  Args:
    mixed: the folder.
  """
  mixture = mixed.mixture
  share_M = np.asarray(mixture.share_M, np.float64)
  natural = artefacts.natural(mixed)
  natural_M = np.array([natural.get(d, np.nan) for d in mixture.domains])
  own_M = np.ones(len(share_M))
  if mixture.shape is not None:
    for row in range(len(share_M)):
      value = values(mixture.shape, row, _RANKS)
      mean = value.mean()
      own_M[row] = (value**2).mean() / mean**2 if mean > 0 else 1.0
  positive = share_M > 0
  with np.errstate(divide='ignore', invalid='ignore'):
    copies_M = share_M / natural_M * own_M
    entropy = -share_M[positive] @ np.log(share_M[positive])
  return Facts(
    natural_M,
    float(entropy),
    own_M,
    float(np.sum((share_M * copies_M)[positive])),
    float(np.abs(share_M - natural_M).sum()),
  )


def values(shape: QualityShape, row: int, rank: np.ndarray) -> np.ndarray:
  """Sampling value of ranks in one domain.

  Args:
    shape: of the mixture.
    row: the domain.
    rank: in [0, 1], 0 best.
  """
  return quadmix.sampling_value(
    rank,
    steepness=shape.steepness_M[row],
    keep_fraction=shape.keep_fraction_M[row],
    repetition=shape.repetition_M[row],
    floor=shape.floor_M[row],
  )


def table(study: artefacts.Study) -> str:
  """A row per mixture."""
  if not study.mixtures:
    return ''
  rows = []
  for mixed in study.mixtures:
    found, mixture = facts(mixed), mixed.mixture
    method = artefacts.setting(mixed.manifest, 'method')
    rows.append(
      [
        page.cell(text.label(mixed.name)),
        page.cell(text.NONE if method is None else text.label(method)),
        page.cell(str(len(mixture.domains))),
        page.cell(
          text.number(found.entropy, 2),
          f'{np.exp(found.entropy):.1f} equal domains',
        ),
        page.cell(text.number(found.distance, 2)),
        page.cell(text.number(found.repetition, 2)),
        page.cell(*_extreme(mixed, found, most=True)),
        page.cell(*_extreme(mixed, found, most=False)),
        page.cell(
          _loss(mixed, 'realised'), f'predicted {_loss(mixed, "predicted")}'
        ),
      ]
    )
  head = [
    'mixture',
    'method',
    'domains',
    'entropy',
    'distance',
    'repetition',
    'most above share',
    'most below',
    'target loss',
  ]
  note = (
    'Entropy of the shares in nats. Distance: sum of absolute differences to'
    ' the shares of the corpus. Repetition: copies of a sampled token’s'
    ' document, on average, when as many tokens are sampled as the corpus has'
    ' (1: the corpus as it is); it grows with the budget. Target loss of a'
    ' proxy, nats per token, where proxies were trained.'
  )
  return page.table(head, rows, note)


def _extreme(
  mixed: artefacts.Mixed, found: Facts, *, most: bool
) -> tuple[str, str]:
  """The domain that is sampled most above its share, or below, and how."""
  known = np.flatnonzero(found.natural_M > 0)
  if len(known) < 2:
    return text.NONE, ''
  ratio = np.asarray(mixed.mixture.share_M)[known] / found.natural_M[known]
  row = int(ratio.argmax() if most else ratio.argmin())
  name = mixed.mixture.domains[known[row]]
  return text.label(name), f'{text.number(float(ratio[row]), 2)} ×'


def _loss(mixed: artefacts.Mixed, name: str) -> str:
  diagnostics = mixed.manifest.get('diagnostics')
  value = None
  if isinstance(diagnostics, dict):
    value = diagnostics.get(f'loss/{name}')
  return text.number(value if isinstance(value, int | float) else None)
