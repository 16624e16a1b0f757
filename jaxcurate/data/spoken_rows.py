"""Rows of conversations: what is asked is read, what is answered is learnt.

A conversation is one example, never cut in two. A decoder reads all of it and
learns its answers; an encoder-decoder reads all before the last answer and
learns that one. What is longer than a row is cut at its end, an encoder's
prompt before its EOS; where nothing to learn is left there is no example.
"""

from jaxtyping import Int64, UInt8
import numpy as np

from jaxcurate.data.row_shape import RowSettings
from jaxcurate.data.token_builder import Spell
from jaxcurate.data.token_part import TokenPart, document_tokens
from jaxcurate.ops import spoken as spoken_lib
from jaxcurate.ops.spoken import Turns
from jaxcurate.types import Vocabulary

_SAMPLE = 10_000  # conversations, to know a share to a per cent


def make_spell(
  vocabulary: Vocabulary, *, causal: bool, skip_refused: bool = False
) -> Spell:
  """How a token cache spells conversations.

  Args:
    vocabulary: the model's; its chat template is used where it has one.
    causal: for a decoder-only network.
    skip_refused: a conversation that the chat template refuses has no answer,
      instead of ending the build.

  Returns:
    Turns -> ids up to the last answer's end (EOS and BOS among a decoder's),
    and which of them the assistant has to say; both empty without an answer.
  """

  def spell(turns: Turns) -> tuple[list[int], list[bool]]:
    if not causal:
      found = spoken_lib.last_answer(turns, vocabulary)
      if found is None or not found[1]:
        return [], []
      prompt, answer = found
      said = [False] * len(prompt) + [True] * len(answer)
      return [*prompt, *answer], said
    try:
      ids, said = spoken_lib.written(turns, vocabulary)
    except ValueError:
      if not skip_refused:
        raise
      return [], []
    end = len(said) - said[::-1].index(True) if any(said) else 0
    return ids[:end], said[:end]

  return spell


def document_spoken(
  part: TokenPart, document: int | np.integer
) -> UInt8[np.ndarray, ' L']:
  """1 for each token of a document that the assistant has to say."""
  return part.spoken[part.offsets[document] : part.offsets[document + 1]]


def lengths(
  part: TokenPart, document: Int64[np.ndarray, ' n'], settings: RowSettings
) -> tuple[Int64[np.ndarray, ' n'], Int64[np.ndarray, ' n']]:
  """Encoder and decoder slots that conversations take.

  Args:
    part: the conversations.
    document: [n] which of them.
    settings: of the rows.

  Returns:
    Both [n]; the decoder's is 0 where a row has nothing to learn, the
    encoder's 0 for a decoder-only network.
  """
  encoder = np.zeros(len(document), np.int64)
  decoder = np.zeros(len(document), np.int64)
  for place, index in enumerate(document):
    said = document_spoken(part, index)
    if settings.encoder_length:
      answer = int(np.count_nonzero(said))
      prompt = len(said) - answer
      encoder[place] = min(prompt + 1, settings.encoder_length)
      decoder[place] = min(answer + 1, settings.decoder_length)
    elif said[1 : settings.decoder_length + 1].any():
      decoder[place] = min(len(said) - 1, settings.decoder_length)
  return encoder, decoder


def unreached_share(part: TokenPart, settings: RowSettings) -> float:
  """Share of the conversations that make no example, of a sample of them.

  Args:
    part: the conversations.
    settings: of the rows.
  """
  total = len(part.id_hash)
  some = np.unique(np.linspace(0, total - 1, min(total, _SAMPLE)).astype(int))
  _, decoder = lengths(part, some, settings)
  return float(np.mean(decoder == 0)) if len(decoder) else 0.0


def example(
  part: TokenPart,
  document: int | np.integer,
  settings: RowSettings,
  vocabulary: Vocabulary,
) -> dict[str, np.ndarray]:
  """One conversation as inputs, targets and the targets' weights.

  Args:
    part: the conversations.
    document: one for which `lengths` has a decoder slot.
    settings: of the rows.
    vocabulary: for EOS, of an encoder-decoder.

  Returns:
    As `packing.pack` takes it; 'decoder_weights' is 1 for what is said.
  """
  tokens = document_tokens(part, document).astype(np.int32)
  said = document_spoken(part, document) > 0
  if not settings.encoder_length:
    end = settings.decoder_length + 1
    return {
      'decoder_inputs': tokens[:end][:-1],
      'decoder_targets': tokens[1:end],
      'decoder_weights': said[1:end].astype(np.float32),
    }
  eos = np.array([vocabulary.eos_id], np.int32)
  prompt = tokens[~said][: settings.encoder_length - 1]
  targets = np.concatenate([tokens[said], eos])[: settings.decoder_length]
  start = np.zeros(1, np.int32)
  return {
    'encoder': np.concatenate([prompt, eos]),
    'decoder_inputs': np.concatenate([start, targets[:-1]]),
    'decoder_targets': targets,
    'decoder_weights': np.ones(len(targets), np.float32),
  }
