"""Which contexts and continuations share a row, and the rows' padded shapes.

Continuations of one context go into one row, so that the context is read once.
Lengths are padded to powers of two, so that few programs are compiled.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from jaxcurate.models import forward

Pair = tuple[Sequence[int], Sequence[int]]  # a context and a continuation

MAX_CHOICES = 8  # of one context in one row; more become several rows
_MIN_CONTEXT, _MIN_CONTINUATION = 32, 8  # shorter ones are padded to these


class Row(NamedTuple):
  """One context with up to `MAX_CHOICES` continuations.

  Attributes:
    context: what is read before; without its last token for a decoder.
    inputs: what the decoder reads of each continuation.
    targets: what it should write, as long as its inputs.
    places: of the pairs among all.
  """

  context: list[int]
  inputs: list[list[int]]
  targets: list[list[int]]
  places: list[int]


class Shape(NamedTuple):
  """Padded sizes of a row.

  Attributes:
    context: token slots of the context, 0 where there is none to read.
    choices: continuations.
    length: token slots of each.
  """

  context: int
  choices: int
  length: int

  @property
  def slots(self) -> int:
    """Token slots in all."""
    return self.context + self.choices * self.length


def gather(
  pairs: Sequence[Pair], max_length: int, *, causal: bool
) -> list[Row]:
  """Pairs of equal contexts together, cut to what the network reads.

  As in lm-evaluation-harness, a decoder-only network reads the last
  max_length + 1 tokens but one of context and continuation together; an
  encoder the last max_length of the context.

  Args:
    pairs: ids; a context has at least one, an empty continuation gets no row.
    max_length: tokens the network reads at a time.
    causal: the network is decoder-only.

  Raises:
    ValueError: an empty context, or a continuation that is too long.

  >>> [row] = gather([([5, 6], [7]), ([5, 6], [8, 9])], 10, causal=True)
  >>> row.context, row.inputs, row.targets
  ([5], [[6], [6, 8]], [[7], [8, 9]])
  """
  full: list[Row] = []
  open_rows: dict[tuple[int, ...], Row] = {}
  for place, (context, continuation) in enumerate(pairs):
    context, continuation = list(context), list(continuation)
    if not context:
      raise ValueError(f'context {place} has no token, expected at least 1')
    if len(continuation) > max_length:
      raise ValueError(
        f'continuation {place} has {len(continuation)} tokens, the model reads'
        f' {max_length} at a time: raise max_length'
      )
    if not continuation:
      continue
    if causal:
      context = context[-(max_length + 1 - len(continuation)) :]
      key, before, first = tuple(context), context[:-1], context[-1]
    else:
      context = context[-max_length:]
      key, before, first = tuple(context), context, 0
    row = open_rows.setdefault(key, Row(before, [], [], []))
    row.inputs.append([first, *continuation[:-1]])
    row.targets.append(continuation)
    row.places.append(place)
    if len(row.places) == MAX_CHOICES:
      full.append(open_rows.pop(key))
  return [*full, *open_rows.values()]


def by_shape(rows: Sequence[Row]) -> Iterator[tuple[Shape, list[Row]]]:
  """Rows of equal padded shape together, longest contexts first.

  Memory that does not suffice is then noticed at once.
  """
  shapes: dict[Shape, list[Row]] = {}
  for row in rows:
    shape = Shape(
      padded_length(len(row.context), _MIN_CONTEXT) if row.context else 0,
      padded_length(len(row.targets), 1),
      padded_length(max(map(len, row.targets)), _MIN_CONTINUATION),
    )
    shapes.setdefault(shape, []).append(row)
  yield from sorted(shapes.items(), key=lambda item: item[0], reverse=True)


def padded_length(length: int, least: int) -> int:
  """The power of two at or above, from `least` on.

  >>> padded_length(33, 32), padded_length(3, 8)
  (64, 8)
  """
  return max(least, 2 ** (length - 1).bit_length())


def prepare(rows: Sequence[Row], shape: Shape) -> forward.Prepared:
  """The arrays of rows of one shape.

  Args:
    rows: none of them larger than the shape.
    shape: context P, choices C, length T.

  Returns:
    'inputs' and 'targets' [R, C, T] int32, 'lengths' [R, C] int32, and where
    the shape has a context 'context' [R, P] int32 and 'context_length' [R]
    int32; 0 where nothing is. One example per continuation.
  """
  size = (len(rows), shape.choices, shape.length)
  batch = {
    'inputs': np.zeros(size, np.int32),
    'targets': np.zeros(size, np.int32),
    'lengths': np.zeros(size[:2], np.int32),
  }
  if shape.context:
    batch['context'] = np.zeros((len(rows), shape.context), np.int32)
    batch['context_length'] = np.zeros(len(rows), np.int32)
  for r, row in enumerate(rows):
    if shape.context:
      batch['context'][r, : len(row.context)] = row.context
      batch['context_length'][r] = len(row.context)
    for c, (inputs, targets) in enumerate(
      zip(row.inputs, row.targets, strict=True)
    ):
      batch['inputs'][r, c, : len(inputs)] = inputs
      batch['targets'][r, c, : len(targets)] = targets
      batch['lengths'][r, c] = len(targets)
  counts = [len(row.places) for row in rows]
  return forward.Prepared(
    batch=batch,
    row=np.repeat(np.arange(len(rows)), counts),
    segment=np.concatenate([np.arange(1, n + 1) for n in counts]),
    tokens=sum(len(row.context) + sum(map(len, row.targets)) for row in rows),
    slots=len(rows) * shape.slots,
  )
