"""Ask-LLM: a language model's probability that a text is worth training on.

The model is shown the text and asked whether it is informative; the score is
log P("yes") over the whole vocabulary at the first decoded position.
Source: How to Train Data-Efficient LLMs (arXiv 2402.09668), Figure 3 and
Algorithm 1. Ours: the paper does not say how long texts are cut; here the
question is never truncated, the text is (`long_texts='head'`), or it is split
into windows whose P("yes") is averaged by token count (`'windows'`).
"""

from collections.abc import Callable, Mapping, Sequence
import hashlib
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from jaxcurate.types import Batch, Features, Network, Params, Scorer, Vocabulary

# Figure 3 of the paper, word for word; the end-of-sequence token follows.
TEMPLATE = """###
{text}
###

Does the previous paragraph demarcated within ### and ### contain informative \
signal for pre-training a large-language model? An informative datapoint \
should be well-formatted, contain some usable knowledge of the world, and \
strictly NOT have any harmful, racist, sexist, etc. content.

OPTIONS:
- yes
- no"""

_SHORT_TEXT = 24  # tokens

UNITS = {
  'vocabulary': 'log P(yes)',
  'yes_no': 'log P(yes | yes or no)',
}


def make(
  *,
  network: Network,
  vocabulary: Vocabulary,
  template: str = TEMPLATE,
  criteria: Mapping[str, str] | None = None,
  yes_words: Sequence[str] = ('yes',),
  no_words: Sequence[str] = ('no',),
  max_length: int = 512,
  long_texts: str = 'head',
  normalise: str = 'vocabulary',
) -> Scorer:
  """The Ask-LLM scorer, column `ask_llm` or one per criterion.

  Args:
    network: an instruction-tuned encoder-decoder.
    vocabulary: its vocabulary.
    template: prompt with `{text}` once.
    criteria: name -> template; scores each in the same pass, in columns
      `ask_llm/<name>`, instead of `template`.
    yes_words: words that count as yes, each a single token; probabilities of
      several add up.
    no_words: the opposite words, read only by `normalise='yes_no'`.
    max_length: longest prompt in tokens, question and end-of-sequence token
      included.
    long_texts: 'head' scores the first tokens that fit; 'windows' scores all
      windows and averages P(yes), weighted by their tokens.
    normalise: 'vocabulary' (the paper) or 'yes_no', P(yes) over
      P(yes) + P(no), which reads only those rows of the output matrix.

  Returns:
    A scorer; natural-log probabilities, <= 0, higher = better.

  Raises:
    ValueError: a template without `{text}`, a word of several tokens, a
      question longer than `max_length`, or an unknown option.
  """
  if long_texts not in ('head', 'windows'):
    raise ValueError(f"long_texts {long_texts!r} is not 'head' or 'windows'")
  if normalise not in UNITS:
    raise ValueError(f'normalise {normalise!r} is not in {sorted(UNITS)}')
  named = {f'ask_llm/{name}': text for name, text in (criteria or {}).items()}
  named = named or {'ask_llm': template}
  frames = [frame_tokens(text, vocabulary) for text in named.values()]
  longest = max(len(before) + len(after) for before, after in frames)
  room = max_length - longest
  if room < 1:
    raise ValueError(
      f'max_length {max_length} leaves no room for text: the question alone'
      f' takes {longest} tokens'
    )
  yes_ids = word_ids(yes_words, vocabulary)
  no_ids = word_ids(no_words, vocabulary) if normalise == 'yes_no' else ()
  features = Features(
    name=f'ask_llm:{_hash_settings(named, yes_ids, no_ids, room, long_texts)}',
    examples=_make_examples(frames, room, long_texts == 'windows'),
    encoder_length=max_length,
    decoder_length=1,
    apply=_make_apply(network, yes_ids, no_ids, longest),
    combine=_make_combine(len(named)),
    # Documents shorter than this are few; a slot for them would cost the
    # others a decoder position (a tenth of the operations at 16 slots).
    max_segments=max(1, max_length // (longest + _SHORT_TEXT)),
  )
  names = list(named)
  return Scorer(
    columns=dict.fromkeys(names, UNITS[normalise]),
    features=features,
    score=lambda outputs: {
      name: float(outputs['log_yes'][i]) for i, name in enumerate(names)
    },
  )


def frame_tokens(
  template: str, vocabulary: Vocabulary
) -> tuple[list[int], list[int]]:
  """Token ids before and after the text, the latter ending in EOS.

  Tokenising the three parts apart equals tokenising the whole prompt, because
  they meet at white space, which no piece crosses.

  Args:
    template: prompt with `{text}` once, white space or nothing around it.
    vocabulary: the model's vocabulary.

  Raises:
    ValueError: `{text}` is missing, repeated, or glued to a word.
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
  before_ids, after_ids = vocabulary.encode_batch([before, after])
  return before_ids, [*after_ids, vocabulary.eos_id]


def word_ids(words: Sequence[str], vocabulary: Vocabulary) -> tuple[int, ...]:
  """The distinct token ids of words that must be one token each.

  Raises:
    ValueError: no word, or a word that is several tokens or unknown.
  """
  if not words:
    raise ValueError('at least one word is needed')
  ids = vocabulary.encode_batch(list(words))
  for word, tokens in zip(words, ids, strict=True):
    if len(tokens) != 1 or tokens[0] == vocabulary.unk_id:
      raise ValueError(
        f'{word!r} is {len(tokens)} tokens {tokens} in this vocabulary, not'
        ' one known token; choose another word'
      )
  return tuple(dict.fromkeys(tokens[0] for tokens in ids))


def _hash_settings(*settings: Any) -> str:
  """A short name of settings: equal settings, equal name."""
  return hashlib.blake2b(repr(settings).encode(), digest_size=8).hexdigest()


def _make_examples(
  frames: list[tuple[list[int], list[int]]], room: int, windows: bool
) -> Callable[..., list[list[dict[str, np.ndarray]]]]:
  """Documents to prompts, criterion by criterion, window by window."""
  start = np.zeros(1, np.int32)  # the decoder's start token is the pad id

  def examples(documents, tokens):
    del documents
    found = []
    for document in tokens:
      pieces = [
        document[i : i + room]
        for i in range(0, len(document) if windows else 1, room)
      ]
      found.append(
        [
          {
            'encoder': np.array([*before, *piece, *after], np.int32),
            'decoder_inputs': start,
            'decoder_targets': start,
          }
          for before, after in frames
          for piece in pieces
          if piece
        ]
      )
    return found

  return examples


def _make_apply(
  network: Network,
  yes_ids: tuple[int, ...],
  no_ids: tuple[int, ...],
  frame_length: int,
) -> Callable[[Params, Batch, int], dict[str, jax.Array]]:
  """One encoder pass and one decoder position per prompt."""

  def apply(params, batch, num_segments):
    del num_segments
    encoder_segments = batch['encoder_segment_ids']
    segments = batch['decoder_segment_ids']
    encoded = network.encode(
      params, batch['encoder_input_tokens'], encoder_segments
    )
    states = network.decode(
      params, encoded, encoder_segments, batch['decoder_input_tokens'], segments
    )
    log_yes = log_prob_of_words(states, network.head(params), yes_ids, no_ids)
    lengths = jnp.sum(
      encoder_segments[:, None, :] == segments[:, :, None], axis=-1
    )
    return {
      'log_yes': jnp.where(segments > 0, log_yes, 0.0),
      'text_tokens': jnp.maximum(lengths - frame_length, 1).astype(jnp.float32),
    }

  return apply


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
    states_BxSxD: decoder states at the first decoded position.
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


def _make_combine(
  num_criteria: int,
) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
  """Token-weighted mean of P(yes) over windows, per criterion."""

  def combine(outputs):
    log_yes = outputs['log_yes'].reshape(num_criteria, -1).astype(np.float64)
    weights = outputs['text_tokens'].reshape(num_criteria, -1)
    weights = weights / weights.sum(axis=1, keepdims=True)
    return {'log_yes': np.logaddexp.reduce(log_yes + np.log(weights), axis=1)}

  return combine
