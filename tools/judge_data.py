"""Training batches of the shipped judge: prompts to answer, texts to complete.

Batch number n depends on (seed, n) alone, so that training resumes anywhere.
"""

from collections.abc import Iterator, Sequence
import re
from typing import NamedTuple

import numpy as np
import scipy.sparse
import scipy.sparse.linalg

from jaxcurate.data import damage
from jaxcurate.ops import span_corruption
from jaxcurate.scorers import answers, ask_llm
from jaxcurate.types import Vocabulary

# Shortest crop in words. The logarithm of the length is uniform up to what
# fits, so that the length of a text says nothing about its label.
_MIN_WORDS = 20
_WORDS_PER_TOKEN = 0.6
# Rows, row length and most prompts in a row. Most prompts are short and cheap;
# the long ones teach distances that only occur in long texts.
_SHORT_PROMPTS = (6, 192, 2)
_LONG_PROMPTS = (2, 448, 3)
_LONG_EVERY = 4
_COMPLETIONS = (18, 128)  # rows and row length
_FROM_START = 0.5  # the judge mostly sees beginnings when it scores
_LIGHTEST_SHARE = 0.15
# How often each kind is drawn: page furniture and broken characters are
# learnt from a hundredth of the examples that word order takes.
_KIND_PROBS = {
  'shuffled_words': 0.45,
  'boilerplate': 0.1,
  'encoding': 0.15,
  'repetition': 0.3,
}


class Texts(NamedTuple):
  """Sound texts and how often each is drawn.

  Attributes:
    texts: cleaned texts.
    cumulative: [n] cumulative probability of each, last 1.
  """

  texts: list[str]
  cumulative: np.ndarray


def weigh(groups: Sequence[tuple[Sequence[str], float]]) -> Texts:
  """Groups of texts, each with its share of the draws.

  Within a group a text is drawn in proportion to its length, up to a limit.
  """
  texts, weights = [], []
  for group, share in groups:
    lengths = np.minimum([len(t) for t in group], 20_000)
    texts += group
    weights.append(share * lengths / lengths.sum())
  cumulative = np.cumsum(np.concatenate(weights))
  return Texts(texts, cumulative / cumulative[-1])


def neighbour_embedding(
  texts: Texts, vocabulary: Vocabulary, width: int
) -> np.ndarray:
  """[V, width] vectors of tokens from which tokens stand next to them.

  The positive pointwise mutual information of neighbouring tokens, factorised
  as U S V^T: half of a vector tells what a token precedes, half what it
  follows (Levy and Goldberg, "Neural Word Embedding as Implicit Matrix
  Factorization", NIPS 2014, with one neighbour for the window). A start from
  which a network sees broken word order after minutes and not hours.
  """
  size = vocabulary.size
  tokens = vocabulary.encode_batch(texts.texts)
  first = np.concatenate([ids[:-1] for ids in tokens])
  second = np.concatenate([ids[1:] for ids in tokens])
  counts = scipy.sparse.csr_matrix(
    (np.ones(len(first)), (first, second)), (size, size)
  )
  counts.sum_duplicates()
  counts = counts.tocoo()
  before = np.asarray(counts.sum(1)).ravel()
  after = np.asarray(counts.sum(0)).ravel()
  total = counts.data.sum()
  information = np.log(
    counts.data * total / (before[counts.row] * after[counts.col])
  )
  information = scipy.sparse.csr_matrix(
    (np.maximum(information, 0), (counts.row, counts.col)), (size, size)
  )
  left, values, right = scipy.sparse.linalg.svds(
    information, width // 2, random_state=0
  )
  vectors = np.concatenate([left, right.T], 1) * np.tile(values**0.25, 2)
  vectors /= np.sqrt(np.mean(vectors**2))
  noise = np.random.default_rng(0).normal(size=vectors.shape)
  return vectors + 0.1 * noise  # rare tokens begin apart, not at 0


def draw(texts: Texts, max_words: int, rng: np.random.Generator) -> str:
  """A random crop of a random text, at least ten different words."""
  while True:
    text = texts.texts[int(np.searchsorted(texts.cumulative, rng.random()))]
    words = int(np.exp(rng.uniform(np.log(_MIN_WORDS), np.log(max_words))))
    text = crop(text, words, rng)
    if len(set(text.split())) >= 10:
      return text


def crop(text: str, num_words: int, rng: np.random.Generator) -> str:
  """Up to num_words words in a row with the white space between them."""
  # 30 characters a word are plenty; long books need not be split into words.
  window = 30 * num_words
  if len(text) > window and rng.random() >= _FROM_START:
    start = int(rng.integers(len(text) - window + 1))
    text = text[start : start + window].partition(' ')[2]
  else:
    text = text[:window]
  parts = re.split(r'(\s+)', text)
  return ''.join(parts[: 2 * num_words - 1])


def pairs(
  texts: Texts, count: int, max_words: int, rng: np.random.Generator
) -> tuple[list[str], np.ndarray]:
  """Crops, half of them damaged, each damaged one beside its original.

  Returns:
    (texts, [count] bool True for sound).
  """
  made, sound = [], []
  while len(made) < count:
    text = draw(texts, max_words, rng)
    kind = str(rng.choice(list(_KIND_PROBS), p=list(_KIND_PROBS.values())))
    share = float(rng.uniform(_LIGHTEST_SHARE, 1.0))
    made += [text, damage.damage(text, kind, rng, share=share)]
    sound += [True, False]
  return made[:count], np.array(sound[:count])


def judge_batch(
  texts: Texts,
  vocabulary: Vocabulary,
  rows: int,
  length: int,
  max_segments: int,
  rng: np.random.Generator,
) -> dict[str, np.ndarray]:
  """Packed prompts with yes or no as the only target.

  Beside the keys of a batch it holds `text_labels` [B, L]: 1 on tokens of
  sound texts, -1 on tokens of damaged ones, 0 on question and padding.
  """
  before, after = answers.frame_tokens(ask_llm.TEMPLATE, vocabulary)
  [yes], [no] = vocabulary.encode_batch(['yes', 'no'])
  room = length - len(before) - len(after)
  batch = _empty(rows, length, max_segments)
  used = np.zeros(rows, int)
  segments = np.zeros(rows, int)
  refused = 0
  while refused < rows:
    made, sound = pairs(texts, 4 * rows, int(room * _WORDS_PER_TOKEN), rng)
    for tokens, is_sound in zip(
      vocabulary.encode_batch(made), sound, strict=True
    ):
      prompt = [*before, *tokens[:room], *after]
      fits = (used + len(prompt) <= length) & (segments < max_segments)
      if not fits.any():
        refused += 1
        continue
      row = int(np.argmax(np.where(fits, used, -1)))
      span = slice(used[row], used[row] + len(prompt))
      text = slice(span.start + len(before), span.stop - len(after))
      batch['encoder_input_tokens'][row, span] = prompt
      batch['encoder_segment_ids'][row, span] = segments[row] + 1
      batch['text_labels'][row, text] = 1 if is_sound else -1
      target = segments[row]
      batch['decoder_segment_ids'][row, target] = target + 1
      batch['decoder_target_tokens'][row, target] = yes if is_sound else no
      used[row] += len(prompt)
      segments[row] += 1
  return batch


def completion_batch(
  texts: Texts,
  vocabulary: Vocabulary,
  rows: int,
  length: int,
  rng: np.random.Generator,
) -> dict[str, np.ndarray]:
  """Span corruption of crops, several to a row, as in T5's pretraining.

  Half of the crops are damaged: they carry `text_labels` as in judge_batch,
  and their targets do not count (`decoder_loss_weights` 0).
  """
  target_length = length // 4
  batch = _empty(rows, length, target_length)
  batch['decoder_loss_weights'] = np.zeros((rows, target_length), np.float32)
  used, targets_used, segments = (np.zeros(rows, int) for _ in range(3))
  refused = 0
  while refused < rows:
    max_words = int(length * _WORDS_PER_TOKEN)
    crops, sound = pairs(texts, 4 * rows, max_words, rng)
    for tokens, is_sound in zip(
      vocabulary.encode_batch(crops), sound, strict=True
    ):
      tokens = np.array(tokens[:length], np.int32)
      mask = span_corruption.noise_mask(len(tokens), rng=rng)
      inputs, targets = span_corruption.corrupt(tokens, mask, vocabulary)
      fits = (used + len(inputs) <= length) & (
        targets_used + len(targets) <= target_length
      )
      if not fits.any():
        refused += 1
        continue
      row = int(np.argmax(np.where(fits, used, -1)))
      segments[row] += 1
      span = slice(used[row], used[row] + len(inputs))
      batch['encoder_input_tokens'][row, span] = inputs
      batch['encoder_segment_ids'][row, span] = segments[row]
      batch['text_labels'][row, span] = 1 if is_sound else -1
      span = slice(targets_used[row], targets_used[row] + len(targets))
      batch['decoder_segment_ids'][row, span] = segments[row]
      batch['decoder_target_tokens'][row, span] = targets
      batch['decoder_input_tokens'][row, span] = [0, *targets[:-1]]
      batch['decoder_loss_weights'][row, span] = is_sound
      used[row] += len(inputs)
      targets_used[row] += len(targets)
  return batch


def batches(
  texts: Texts, vocabulary: Vocabulary, *, first: int, seed: int = 0
) -> Iterator[tuple[dict[str, np.ndarray], dict[str, np.ndarray]]]:
  """(prompts to answer, texts to complete) from batch number `first` on."""
  number = first
  while True:
    rng = np.random.default_rng([seed, number])
    shape = _LONG_PROMPTS if number % _LONG_EVERY == 0 else _SHORT_PROMPTS
    yield (
      judge_batch(texts, vocabulary, *shape, rng),
      completion_batch(texts, vocabulary, *_COMPLETIONS, rng),
    )
    number += 1


def _empty(rows: int, length: int, targets: int) -> dict[str, np.ndarray]:
  return {
    'encoder_input_tokens': np.zeros((rows, length), np.int32),
    'encoder_segment_ids': np.zeros((rows, length), np.int32),
    'text_labels': np.zeros((rows, length), np.float32),
    'decoder_input_tokens': np.zeros((rows, targets), np.int32),
    'decoder_target_tokens': np.zeros((rows, targets), np.int32),
    'decoder_segment_ids': np.zeros((rows, targets), np.int32),
  }
