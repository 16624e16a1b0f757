"""The small typed things that every stage of jaxcurate reads and writes.

A method is a pure file; what it receives and returns is defined here and
nowhere else. Arrays carry their axes in the last part of their names:
B rows, L encoder tokens, T decoder tokens, D width, V vocabulary, S segments
per row, E = B * S examples, N documents, Q criteria, P prefix slots.
"""

from jaxcurate.types.artefacts import Candidates, ScoreTable, Selection
from jaxcurate.types.heads import Head, HeadSettings
from jaxcurate.types.mixtures import (
  LearnShares,
  Mixture,
  Proxies,
  QualityShape,
  RankMap,
  Searched,
  SearchSpace,
)
from jaxcurate.types.networks import (
  Batch,
  ChatVocabulary,
  Network,
  Params,
  Prefix,
  State,
  Vocabulary,
)
from jaxcurate.types.scoring import (
  Document,
  Features,
  FitTools,
  Scorer,
  Summary,
)
from jaxcurate.types.training import (
  AnchorSet,
  ExampleGradients,
  Preconditioner,
  Signals,
  Tally,
  TokenGradients,
  TrainingShapes,
  Weighting,
)

__all__ = [
  'AnchorSet',
  'Batch',
  'Candidates',
  'ChatVocabulary',
  'Document',
  'ExampleGradients',
  'Features',
  'FitTools',
  'Head',
  'HeadSettings',
  'LearnShares',
  'Mixture',
  'Network',
  'Params',
  'Preconditioner',
  'Prefix',
  'Proxies',
  'QualityShape',
  'RankMap',
  'ScoreTable',
  'Scorer',
  'SearchSpace',
  'Searched',
  'Selection',
  'Signals',
  'State',
  'Summary',
  'Tally',
  'TokenGradients',
  'TrainingShapes',
  'Vocabulary',
  'Weighting',
]
