"""Ask-LLM: a language model's probability that a text is worth training on.

The model is shown the text and asked whether it is informative; the score is
log P("yes") over the whole vocabulary at the first position of its answer.
Source: How to Train Data-Efficient LLMs (arXiv 2402.09668), Figure 3 and
Algorithm 1. Ours: the paper does not say how long texts are cut; here the
question is never truncated, the text is (`long_texts='head'`), or it is split
into windows whose P("yes") is averaged by token count (`'windows'`). Nor does
it print how several criteria are weighed for Gemma 3's re-weighting, which its
authors mention: `criteria_weights` with `samplers.reweight` is a stand-in.
"""

from collections.abc import Callable, Mapping, Sequence
import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcurate.ops import segments as segments_lib
from jaxcurate.scorers import answers
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
  criteria_weights: Mapping[str, float] | None = None,
  yes_words: Sequence[str] | str = ('yes',),
  no_words: Sequence[str] | str = ('no',),
  max_length: int = 512,
  long_texts: str = 'head',
  normalise: str = 'vocabulary',
  chat: str = 'auto',
) -> Scorer:
  """The Ask-LLM scorer, column `ask_llm` or one per criterion.

  Args:
    network: an instruction-tuned encoder-decoder or decoder-only network.
    vocabulary: its vocabulary.
    template: prompt with `{text}` once.
    criteria: name -> template; scores each in the same pass, in columns
      `ask_llm/<name>`, instead of `template`.
    criteria_weights: name -> a_c of every criterion; adds the column `ask_llm`
      = sum_c a_c log P_c(yes), for `samplers.reweight`.
    yes_words: words that count as yes, each a single token; probabilities of
      several add up. 'auto' takes the usual spellings, see
      `answers.spelling_ids`.
    no_words: the opposite words, read only by `normalise='yes_no'`.
    max_length: longest prompt in tokens, question, BOS and EOS included.
    long_texts: 'head' scores the first tokens that fit; 'windows' scores all
      windows and averages P(yes), weighted by their tokens.
    normalise: 'vocabulary' (the paper) or 'yes_no', P(yes) over
      P(yes) + P(no), which reads only those rows of the output matrix.
    chat: 'auto' puts the prompt into the chat template of a decoder-only
      model whose vocabulary has one, 'never' leaves it bare.

  Returns:
    A scorer; natural-log probabilities, <= 0, higher = better.

  Raises:
    ValueError: a template without `{text}`, a word of several tokens, a
      question longer than `max_length`, weights of other criteria, or an
      unknown option.
  """
  if long_texts not in ('head', 'windows'):
    raise ValueError(f"long_texts {long_texts!r} is not 'head' or 'windows'")
  if normalise not in UNITS:
    raise ValueError(f'normalise {normalise!r} is not in {sorted(UNITS)}')
  if chat not in answers.CHAT:
    raise ValueError(f"chat {chat!r} is not 'auto' or 'never'")
  weights = _checked_weights(criteria, criteria_weights)
  named = {f'ask_llm/{name}': text for name, text in (criteria or {}).items()}
  named = named or {'ask_llm': template}
  causal = network.encode is None
  frames = [
    answers.frame_tokens(text, vocabulary, causal=causal, chat=chat)
    for text in named.values()
  ]
  longest = max(len(before) + len(after) for before, after in frames)
  room = max_length - longest
  if room < 1:
    raise ValueError(
      f'max_length {max_length} leaves no room for text: the question alone'
      f' takes {longest} tokens'
    )
  yes_ids = _word_ids(yes_words, 'yes', vocabulary, causal)
  no_ids = ()
  if normalise == 'yes_no':
    no_ids = _word_ids(no_words, 'no', vocabulary, causal)
  settings = (frames, yes_ids, no_ids, room, long_texts, causal)
  features = Features(
    name=f'ask_llm:{_hash_settings(*settings)}',
    examples=_make_examples(frames, room, long_texts == 'windows', causal),
    encoder_length=0 if causal else max_length,
    decoder_length=max_length if causal else 1,
    apply=_make_apply(network, yes_ids, no_ids),
    combine=_make_combine(len(named)),
    # Documents shorter than this are few; a slot for them would cost the
    # others a decoder position (a tenth of the operations at 16 slots).
    max_segments=max(1, max_length // (longest + _SHORT_TEXT)),
  )
  columns = dict.fromkeys(named, UNITS[normalise])
  if weights:
    columns['ask_llm'] = f'weighted sum of {UNITS[normalise]}'
  return Scorer(
    columns=columns,
    features=features,
    score=lambda outputs: _score(list(named), weights, outputs),
  )


def _score(
  names: list[str], weights: Sequence[float], outputs: dict[str, np.ndarray]
) -> dict[str, float]:
  """Every column of one document from log P(yes) of each criterion."""
  log_yes = outputs['log_yes']
  scores = {name: float(log_yes[i]) for i, name in enumerate(names)}
  if weights:
    scores['ask_llm'] = float(np.dot(weights, log_yes))
  return scores


def _checked_weights(
  criteria: Mapping[str, str] | None, weights: Mapping[str, float] | None
) -> list[float]:
  """The weights in the order of the criteria, none where none are given.

  Raises:
    ValueError: they do not belong to the criteria.
  """
  if not weights:
    return []
  if set(weights) != set(criteria or ()):
    raise ValueError(
      f'criteria_weights are for {sorted(weights)}, the criteria are'
      f' {sorted(criteria or ())}; give each its weight'
    )
  return [float(weights[name]) for name in criteria or ()]


def _word_ids(
  words: Sequence[str] | str, word: str, vocabulary: Vocabulary, causal: bool
) -> tuple[int, ...]:
  """Ids of the words, or of the spellings of one word for 'auto'."""
  if words == 'auto':
    return answers.spelling_ids(word, vocabulary, causal=causal)
  return answers.word_ids(words, vocabulary, causal=causal)


def _hash_settings(*settings: Any) -> str:
  """A short name of settings: equal settings, equal name."""
  return hashlib.blake2b(repr(settings).encode(), digest_size=8).hexdigest()


def _make_examples(
  frames: list[tuple[list[int], list[int]]],
  room: int,
  windows: bool,
  causal: bool,
) -> Callable[..., list[list[dict[str, np.ndarray]]]]:
  """Documents to prompts, criterion by criterion, window by window."""
  start = np.zeros(1, np.int32)  # the decoder's start token is the pad id

  def example(before: list[int], piece: list[int], after: list[int]) -> dict:
    prompt = np.array([*before, *piece, *after], np.int32)
    is_text = np.zeros(len(prompt), np.int32)
    is_text[len(before) : len(before) + len(piece)] = 1
    if causal:  # nothing is predicted: the targets only say how long it is
      return {
        'decoder_inputs': prompt,
        'decoder_targets': prompt,
        'decoder_is_text': is_text,
      }
    return {
      'encoder': prompt,
      'encoder_is_text': is_text,
      'decoder_inputs': start,
      'decoder_targets': start,
    }

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
          example(before, piece, after)
          for before, after in frames
          for piece in pieces
          if piece
        ]
      )
    return found

  return examples


def _make_apply(
  network: Network, yes_ids: tuple[int, ...], no_ids: tuple[int, ...]
) -> Callable[[Params, Batch, int], dict[str, jax.Array]]:
  """One pass over the prompts, and one row of logits for each."""
  side = 'decoder' if network.encode is None else 'encoder'

  def apply(params, batch, num_segments):
    states, exists = answers.answer_states(network, params, batch, num_segments)
    log_yes = answers.log_prob_of_words(
      states, network.head(params), yes_ids, no_ids
    )
    text_tokens = segments_lib.segment_sum(
      jnp.asarray(batch[f'{side}_is_text'], jnp.float32),
      batch[f'{side}_segment_ids'],
      num_segments,
    )
    return {
      'log_yes': jnp.where(exists, log_yes, 0.0),
      'text_tokens': jnp.maximum(text_tokens, 1.0),
    }

  return apply


def _make_combine(
  num_criteria: int,
) -> Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]:
  """Token-weighted mean of P(yes) over windows, per criterion."""

  def combine(outputs):
    log_yes = outputs['log_yes'].reshape(num_criteria, -1).astype(np.float64)
    weights = outputs['text_tokens'].reshape(num_criteria, -1)
    weights = weights / weights.sum(axis=1, keepdims=True)
    with np.errstate(invalid='ignore'):  # NaN stays, and is counted
      mean = np.logaddexp.reduce(log_yes + np.log(weights), axis=1)
    return {'log_yes': mean}

  return combine
