"""Rows for decoder-only networks: every token is predicted from those before.

A window is BOS (where the vocabulary has one), text, and EOS where the
document ends; inputs are all of it but the last token, targets all but the
first. Where there is no BOS the first token is not predicted, as in scoring.
"""

from jaxtyping import Int, Int32
import numpy as np

from jaxcurate.types import Vocabulary


def longest(lengths: Int[np.ndarray, ' W']) -> Int[np.ndarray, ' W']:
  """Most slots that windows of so many raw tokens take."""
  return lengths + 1


def causal_example(
  tokens: Int32[np.ndarray, ' n'] | np.ndarray,
  vocabulary: Vocabulary,
  *,
  ends: bool,
  source: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
  """One window as inputs and targets.

  Args:
    tokens: [n] raw tokens of the window, n >= 2.
    vocabulary: for BOS and EOS.
    ends: whether EOS follows.
    source: [n] int32, one more than the document of each token, or None.

  Returns:
    'decoder_inputs' and 'decoder_targets', n - 1 to n + 1 tokens, and with a
    source 'decoder_source_ids', those of the targets.

  >>> from jaxcurate.data.vocabulary import ByteVocabulary
  >>> made = causal_example(np.array([7, 8]), ByteVocabulary(), ends=True)
  >>> made['decoder_inputs'].tolist(), made['decoder_targets'].tolist()
  ([7, 8], [8, 1])
  """
  bos_id = vocabulary.bos_id
  before = [] if bos_id is None else [bos_id]
  after = [vocabulary.eos_id] if ends else []
  whole = np.array([*before, *tokens.tolist(), *after], np.int32)
  example = {'decoder_inputs': whole[:-1], 'decoder_targets': whole[1:]}
  if source is not None:
    sources = [*source[: len(before)], *source, *source[-1:][: len(after)]]
    example['decoder_source_ids'] = np.array(sources[1:], np.int32)
  return example
