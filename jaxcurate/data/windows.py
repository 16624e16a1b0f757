"""How documents become windows of at most so many raw tokens.

`document` never crosses documents: a window belongs to one id. `concat` is
T5's recipe (`reduce_concat_tokens`, `split_tokens` in
`t5.data.preprocessors`): documents end to end, cut every `raw_length` tokens,
every token knowing its document. (EOS between documents is ours; T5's own
pipeline, which tokenizes without EOS, lets them run into each other.)
"""

from collections.abc import Sequence
from typing import NamedTuple

from jaxtyping import Int, Int32, Int64, Integer
import numpy as np

# At density 0.15 the fewest tokens with a noise span of two.
MIN_TAIL = 16


class Windows(NamedTuple):
  """W pieces of documents, in document order.

  Attributes:
    document: [W] int64, place of the document in the list it came from.
    piece: [W] int64, 0 for the first window of its document.
    start: [W] int64, first token within the document.
    stop: [W] int64, after the last one.
  """

  document: np.ndarray
  piece: np.ndarray
  start: np.ndarray
  stop: np.ndarray


def document_windows(
  lengths: Int[np.ndarray, ' N'], raw_length: int
) -> Windows:
  """Cuts each document every `raw_length` tokens.

  Full windows, because they fill their rows (equal ones of, say, 0.7 rows
  pack badly: 13 % padding on web text). A remainder below MIN_TAIL takes
  tokens from the window before it: of a single token span corruption can ask
  nothing.

  Args:
    lengths: [N] tokens per document; an empty one has no window.
    raw_length: most tokens per window, >= 1.

  >>> windows = document_windows(np.array([3, 0, 7]), 5)
  >>> windows.document.tolist(), windows.start.tolist(), windows.stop.tolist()
  ([0, 2, 2], [0, 0, 5], [3, 5, 7])
  """
  pieces = -(-lengths.astype(np.int64) // raw_length)
  document = np.repeat(np.arange(len(lengths)), pieces)
  first = np.cumsum(pieces) - pieces
  piece = np.arange(len(document)) - first[document]
  length = lengths[document].astype(np.int64)
  last = piece == pieces[document] - 1
  tail = max(1, min(MIN_TAIL, raw_length // 2))
  start = piece * raw_length
  start = np.where(last & (piece > 0), np.minimum(start, length - tail), start)
  stop = np.where(last, length, np.append(start[1:], 0))
  return Windows(document, piece, start, stop)


def concatenate(
  documents: Sequence[Integer[np.ndarray, '_']], eos_id: int
) -> tuple[Int32[np.ndarray, ' T'], Int32[np.ndarray, ' T']]:
  """Documents end to end with EOS between them.

  Args:
    documents: token ids of each.
    eos_id: comes between; it belongs to the document before it.

  Returns:
    (tokens [T], source [T]: place of each token's document in the list).

  >>> [part.tolist() for part in
  ...  concatenate([np.array([5, 6]), np.array([7])], eos_id=1)]
  [[5, 6, 1, 7], [0, 0, 0, 1]]
  """
  lengths = np.array([len(document) for document in documents], np.int64)
  ends = np.cumsum(lengths + 1)
  total = int(ends[-1]) if len(ends) else 0
  tokens = np.full(total, eos_id, np.int32)
  for document, end in zip(documents, ends, strict=True):
    tokens[end - 1 - len(document) : end - 1] = document
  source = np.repeat(np.arange(len(documents), dtype=np.int32), lengths + 1)
  return tokens[:-1], source[:-1]


def concat_windows(
  num_tokens: int, raw_length: int
) -> tuple[Int64[np.ndarray, ' W'], Int64[np.ndarray, ' W']]:
  """Cuts a run of tokens every `raw_length`; the last window may be shorter.

  Args:
    num_tokens: length of the run.
    raw_length: tokens per window, >= 1.

  Returns:
    (start [W], stop [W]).
  """
  start = np.arange(0, num_tokens, raw_length)
  return start, np.minimum(start + raw_length, num_tokens)
