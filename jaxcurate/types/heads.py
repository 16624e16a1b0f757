"""What a judge puts on top of a network: it turns states into ratings."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class HeadSettings(NamedTuple):
  """How a head reads a text; kept with its tensors.

  Attributes:
    criteria: names of its C outputs, () for a single one without a name.
    unit: of its column: 'log P(yes)' where the output is the log-odds of yes,
      else the unit of the targets it was trained on.
    pooling: 'mean' of bidirectional states; 'position' (weighted mean) or
      'last' of causal ones.
    max_length: tokens per window, BOS and EOS included.
    max_windows: windows read of a text.
    ngrams: longest token n-gram that it weighs, 0 for none.
  """

  criteria: tuple[str, ...]
  unit: str
  pooling: str
  max_length: int = 512
  max_windows: int = 8
  ngrams: int = 0


class Head(NamedTuple):
  """A trained head.

  Attributes:
    settings: how it reads.
    params: 'kernel' [D, C], 'length' [C], 'bias' [C] and, with n-grams,
      'ngrams' [buckets, C], all float32; see `ops.rating`.
  """

  settings: HeadSettings
  params: Mapping[str, Any]
