"""What a model answers first: prompts around a text, and their next token.

An encoder-decoder reads the prompt and answers at its first decoded position;
a decoder-only network answers at the prompt's last token. A question is never
truncated: it is made into ids once, and a text is put between its two parts.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
import numpy as np

from jaxcurate.ops import segments as segments_lib
from jaxcurate.ops import spoken
from jaxcurate.types import Batch, ChatVocabulary, Network, Params, Vocabulary

CHAT = ('auto', 'never')
# How models write a word at the start of an answer (susumuota/nano-askllm has
# the same for Gemma); what is no single token does not count.
_SPELLINGS = (str.lower, str.capitalize, str.upper)


def frame_tokens(
  template: str,
  vocabulary: Vocabulary,
  *,
  causal: bool = False,
  chat: str = 'never',
) -> tuple[list[int], list[int]]:
  """Token ids before and after the text.

  For an encoder the latter end in EOS. Tokenising the three parts apart equals
  tokenising the whole prompt, because they meet at white space, which no piece
  crosses. For a decoder-only network the former begin with BOS where its texts
  do, and the latter end in a line break, or a model would first answer that;
  or both are the chat template's, up to where the assistant speaks.

  Args:
    template: prompt with `{text}` once, white space or nothing around it.
    vocabulary: the model's vocabulary.
    causal: for a decoder-only network.
    chat: 'auto' takes the vocabulary's chat template where it has one.

  Raises:
    ValueError: `{text}` is missing, repeated, or glued to a word, or the chat
      template refuses the prompt.
  """
  if template.count('{text}') != 1:
    raise ValueError(
      f'template has {{text}} {template.count("{text}")} times, expected once:'
      f' {template[:60]!r}'
    )
  before, after = template.split('{text}')
  if (before and not before[-1].isspace()) or (
    after and not after[0].isspace()
  ):
    raise ValueError(
      'template must have white space or nothing around {text}:'
      f' {template[:60]!r}'
    )
  if not causal:
    before_ids, after_ids = vocabulary.encode_batch([before, after])
    return before_ids, [*after_ids, vocabulary.eos_id]
  if (
    chat == 'auto'
    and isinstance(vocabulary, ChatVocabulary)
    and vocabulary.chat_template is not None
  ):
    return vocabulary.encode_chat_frame(template)
  start = [] if vocabulary.bos_id is None else [vocabulary.bos_id]
  end = '' if after[-1:].isspace() else '\n'
  return (
    [*start, *vocabulary.encode_batch([before])[0]],
    spoken.following_ids(after + end, vocabulary),
  )


def word_ids(
  words: Sequence[str], vocabulary: Vocabulary, *, causal: bool = False
) -> tuple[int, ...]:
  """The distinct token ids of words that must be one token each.

  Args:
    words: at least one. For a decoder-only network a word may be two tokens
      in turn: the one that begins a text and the one that goes on in it.
    vocabulary: the model's.
    causal: for a decoder-only network.

  Raises:
    ValueError: no word, or a word that is several tokens or unknown.
  """
  if isinstance(words, str) or not words:
    raise ValueError(
      f"at least one word is needed, in a list, or 'auto'; found {words!r}"
    )
  found: dict[int, None] = {}
  for word in words:
    own = _single_tokens(word, vocabulary, causal)
    if not own:
      [tokens] = vocabulary.encode_batch([word])
      raise ValueError(
        f'{word!r} is {len(tokens)} tokens {tokens} in this vocabulary, not'
        ' one known token; choose another word'
      )
    found |= dict.fromkeys(own)
  return tuple(found)


def spelling_ids(
  word: str, vocabulary: Vocabulary, *, causal: bool = False
) -> tuple[int, ...]:
  """The distinct ids of a word's usual spellings that are one token.

  Lower case, capitalised and upper case, with and without a space before.

  Args:
    word: any.
    vocabulary: the model's.
    causal: for a decoder-only network.

  Raises:
    ValueError: none of them is one token.
  """
  spelt = [lead + case(word) for lead in ('', ' ') for case in _SPELLINGS]
  found = dict.fromkeys(
    token for own in spelt for token in _single_tokens(own, vocabulary, causal)
  )
  if not found:
    raise ValueError(
      f'no spelling of {word!r} is one token in this vocabulary, of'
      f' {", ".join(map(repr, spelt))}; choose other words'
    )
  return tuple(found)


def _single_tokens(
  word: str, vocabulary: Vocabulary, causal: bool
) -> list[int]:
  """Ids that are all of the word: as a text, and as one that goes on."""
  forms = vocabulary.encode_batch([word])
  if causal:
    forms.append(spoken.following_ids(word, vocabulary))
  return [
    tokens[0]
    for tokens in forms
    if len(tokens) == 1 and tokens[0] != vocabulary.unk_id
  ]


def answer_states(
  network: Network, params: Params, batch: Batch, num_segments: int
) -> tuple[Float[Array, 'B S D'], Bool[Array, 'B S']]:
  """The states that predict the first token of each answer.

  Args:
    network: the network.
    params: its parameters.
    batch: packed prompts; for an encoder-decoder one decoder position each.
    num_segments: S.

  Returns:
    The states, and which segments there are; elsewhere states mean nothing.
  """
  segments: Any = batch['decoder_segment_ids']
  tokens = batch['decoder_input_tokens']
  if network.encode is not None:
    encoder_segments = batch['encoder_segment_ids']
    encoded = network.encode(
      params, batch['encoder_input_tokens'], encoder_segments
    )
    states = network.decode(params, encoded, encoder_segments, tokens, segments)
    return states, segments > 0
  states = network.decode(params, None, None, tokens, segments)
  last_BxS = _last_places(segments, num_segments)
  chosen = jnp.take_along_axis(
    states, jnp.maximum(last_BxS, 0)[:, :, None], axis=1
  )
  return chosen, last_BxS >= 0


def _last_places(
  segment_ids_BxT: Int[Array | np.ndarray, 'B T'], num_segments: int
) -> Int[Array, 'B S']:
  """Where each segment's last token stands; -1 for a segment without any."""
  member_BxTxS = segments_lib.membership(segment_ids_BxT, num_segments)
  place_Tx1 = jnp.arange(segment_ids_BxT.shape[1])[:, None]
  return jnp.max(jnp.where(member_BxTxS, place_Tx1, -1), axis=1)


def log_prob_of_words(
  states_BxSxD: Float[Array, 'B S D'],
  head_DxV: Float[Array, 'D V'],
  yes_ids: tuple[int, ...],
  no_ids: tuple[int, ...] = (),
) -> Float[Array, 'B S']:
  """Natural-log probability that the next token is one of `yes_ids`.

  log sum_yes exp(z) - log sum_all exp(z), all = the vocabulary, or yes and no
  where `no_ids` are given.

  Args:
    states_BxSxD: states of `answer_states`.
    head_DxV: output matrix.
    yes_ids: token ids, distinct.
    no_ids: token ids, or () for the whole vocabulary.

  Returns:
    [B, S] float32, <= 0.
  """
  if no_ids:
    head_DxV = head_DxV[:, np.array((*yes_ids, *no_ids))]
    yes_ids = tuple(range(len(yes_ids)))
  logits = jnp.einsum(
    'bsd,dv->bsv',
    states_BxSxD,
    head_DxV.astype(states_BxSxD.dtype),
    preferred_element_type=jnp.float32,
  )
  yes = jax.nn.logsumexp(logits[..., np.array(yes_ids)], axis=-1)
  return yes - jax.nn.logsumexp(logits, axis=-1)
