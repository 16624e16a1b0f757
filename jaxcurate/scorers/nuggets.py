"""Nuggets: how many tasks a conversation helps with when it is shown first.

The golden score of a candidate is the share of anchor tasks whose answer a
model finds likelier after reading the candidate (one-shot) than without
(zero-shot). Source: One-Shot Learning as Instruction Data Prospector (arXiv
2312.10302) and pldlgb/nuggets, whose prompt this is. A candidate is read once:
its keys and values serve all anchors. Zero-shot answers are read once in all.
Ours: a blank line after the candidate, and a second column with the mean gain
per token, since a share of few anchors has many ties.
"""

from collections.abc import Callable, Sequence
import hashlib
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcurate.ops import spoken
from jaxcurate.scorers import exchanges, likelihood
from jaxcurate.types import (
  Batch,
  Document,
  Features,
  FitTools,
  Network,
  Params,
  Scorer,
  Vocabulary,
)

# pldlgb/nuggets, tasks/alpaca.py; its "Input:" is part of the instruction here.
EXAMPLE = 'Instruction:\n{instruction}\nResponse:\n{response}\n\n'
_PLACES = ['instruction', 'response']


class _Tasks(NamedTuple):
  """The anchors, packed.

  Attributes:
    rows: 'decoder_*' arrays [R, T] of a batch; answers weigh 1.
    row, segment: [A] int, where each anchor went; segments count from 1.
    answer_tokens: [A] float32.
  """

  rows: dict[str, np.ndarray]
  row: np.ndarray
  segment: np.ndarray
  answer_tokens: np.ndarray


def make(
  *,
  network: Network,
  vocabulary: Vocabulary,
  anchors: Sequence[Document],
  example: str = EXAMPLE,
  max_length: int = 512,
) -> Scorer:
  """The Nuggets scorer, columns `nuggets` and `nuggets/gain`.

  nuggets = share of anchors a with log p(answer_a | candidate, question_a)
            > log p(answer_a | question_a)

  Args:
    network: a decoder-only network.
    vocabulary: its vocabulary.
    anchors: conversations whose last answer is the task; the paper takes 100,
      of k-means. Each costs every candidate a pass over it.
    example: how an exchange is written, `{instruction}` before `{response}`.
      What is no conversation is a candidate as it is.
    max_length: longest candidate and longest anchor in tokens; candidates and
      answers lose their end, questions their beginning.

  Returns:
    A scorer: `nuggets` in [0, 1], `nuggets/gain` is the mean over anchors of
    the gain in nats per answer token.

  Raises:
    ValueError: a network with an encoder, anchors without an answer, or a
      template without its places.
  """
  if network.encode is not None or network.extend is None:
    raise ValueError(
      'Nuggets keeps what was read before a task; give a decoder-only model,'
      ' this one is an encoder-decoder'
    )
  exchanges.check_template(example, _PLACES)
  if max_length < 2:
    raise ValueError(f'max_length is {max_length}, expected at least 2')
  if not anchors:
    raise ValueError('there are no anchors; give at least 1 conversation')
  tasks = _pack(
    [_task(anchor, example, vocabulary, max_length) for anchor in anchors],
    max_length,
  )
  log_probs = _make_log_probs(network, tasks)

  def fit(params: Params, tools: FitTools) -> dict[str, jax.Array]:
    del tools
    bos = vocabulary.bos_id  # nothing stands before a question without BOS
    tokens = np.array([[bos or 0]], np.int32)
    segments = np.array([[bos is not None]], np.int32)
    return {'zero_shot': jax.jit(log_probs)(params, tokens, segments)[0]}

  def apply(
    both: tuple[Params, Params], batch: Batch, num_segments: int
  ) -> dict[str, jax.Array]:
    params, fitted = both
    segments = batch['decoder_segment_ids']
    one_shot_BxA = log_probs(params, batch['decoder_input_tokens'], segments)
    gain_BxA = one_shot_BxA - fitted['zero_shot']
    found = {
      'nuggets': jnp.mean(gain_BxA > 0, axis=1, dtype=jnp.float32),
      'nuggets/gain': jnp.mean(gain_BxA / tasks.answer_tokens, axis=1),
    }
    exists = jnp.any(segments > 0, axis=1)
    return {
      name: jnp.where(exists, values, 0.0)[:, None]
      for name, values in found.items()
    }

  settings = (example, max_length, vocabulary.bos_id, tasks.answer_tokens)
  digest = hashlib.blake2b(repr(settings).encode(), digest_size=8)
  for array in tasks.rows.values():
    digest.update(array.tobytes())
  return Scorer(
    columns={
      'nuggets': 'share of anchors helped',
      'nuggets/gain': 'log-likelihood ratio per answer token',
    },
    features=Features(
      name=f'nuggets:{digest.hexdigest()}',
      examples=_make_examples(example, vocabulary, max_length),
      encoder_length=0,
      decoder_length=max_length,
      apply=apply,
      combine=lambda outputs: {k: v[0] for k, v in outputs.items()},
      max_segments=1,  # a row's keys and values are one candidate's
    ),
    score=lambda found: {name: float(value) for name, value in found.items()},
    fit=fit,
  )


def _make_examples(
  example: str, vocabulary: Vocabulary, max_length: int
) -> Callable[..., list[list[dict[str, np.ndarray]]]]:
  """Candidates as they stand before a question."""
  start = [] if vocabulary.bos_id is None else [vocabulary.bos_id]

  def examples(documents, tokens):
    texts = [_written(document, example) for document in documents]
    found = []
    for text, own, ids in zip(
      texts, vocabulary.encode_batch(texts), tokens, strict=True
    ):
      prompt = np.array([*start, *own][:max_length], np.int32)
      # Nothing is predicted: the targets only say how long it is.
      has_text = len(ids) > 0 and bool(text)
      found.append(
        [{'decoder_inputs': prompt, 'decoder_targets': prompt}]
        if has_text
        else []
      )
    return found

  return examples


def _written(document: Document, example: str) -> str:
  """A conversation in the words of the template, any other text as it is."""
  found = exchanges.of_document(document)
  if not found:
    return f'{document.text}\n\n'
  return ''.join(exchanges.fill(example, e._asdict()) for e in found)


def _task(
  anchor: Document, example: str, vocabulary: Vocabulary, max_length: int
) -> tuple[list[int], list[int]]:
  """Tokens of the question, with what was said before it, and of the answer.

  Raises:
    ValueError: one of them is empty.
  """
  *earlier, last = exchanges.of_document(anchor) or [exchanges.Exchange('', '')]
  if not last.response.strip():
    raise ValueError(
      f'anchor {anchor.id!r} has no answer; Nuggets needs conversations, or'
      ' instructions with their outputs, that end with an answer'
    )
  before = ''.join(exchanges.fill(example, e._asdict()) for e in earlier)
  asked = example.partition('{response}')[0]
  asked = exchanges.fill(asked, {'instruction': last.instruction})
  [question] = vocabulary.encode_batch([before + asked])
  answer = spoken.following_ids(last.response, vocabulary)
  if not question:
    raise ValueError(f'anchor {anchor.id!r} has no question before its answer')
  # The input is one token shorter than both: its last is only predicted.
  kept = min(
    len(answer), max((max_length + 1) // 2, max_length + 1 - len(question))
  )
  return question[-(max_length + 1 - kept) :], answer[:kept]


def _pack(
  found: Sequence[tuple[list[int], list[int]]], max_length: int
) -> _Tasks:
  """Anchors in rows: longest first, each into the first row with room."""
  length = [len(question) + len(answer) - 1 for question, answer in found]
  used: list[list[int]] = []
  row, segment, start = np.zeros((3, len(found)), np.int32)
  for index in sorted(range(len(found)), key=lambda i: -length[i]):
    fits = (
      r for r, own in enumerate(used) if sum(own) + length[index] <= max_length
    )
    place = next(fits, len(used))
    if place == len(used):
      used.append([])
    row[index], start[index] = place, sum(used[place])
    used[place].append(length[index])
    segment[index] = len(used[place])
  shape = (len(used), max_length)
  rows = {
    'decoder_input_tokens': np.zeros(shape, np.int32),
    'decoder_target_tokens': np.zeros(shape, np.int32),
    'decoder_segment_ids': np.zeros(shape, np.int32),
    'decoder_loss_weights': np.zeros(shape, np.float32),
  }
  for index, (question, answer) in enumerate(found):
    tokens = [*question, *answer]
    slots = slice(start[index], start[index] + length[index])
    own = {name: array[row[index]] for name, array in rows.items()}
    own['decoder_input_tokens'][slots] = tokens[:-1]
    own['decoder_target_tokens'][slots] = tokens[1:]
    own['decoder_segment_ids'][slots] = segment[index]
    own['decoder_loss_weights'][slots][-len(answer) :] = 1.0
  answer_tokens = np.array([len(answer) for _, answer in found], np.float32)
  return _Tasks(rows, row, segment, answer_tokens)


def _make_log_probs(
  network: Network, tasks: _Tasks
) -> Callable[[Params, Any, Any], jax.Array]:
  """Log-probability of every answer after what a row holds, [B, A]."""
  extend = network.extend
  assert extend is not None
  num_segments = int(tasks.segment.max())

  def log_probs(
    params: Params, tokens_BxP: jax.Array, segment_ids_BxP: jax.Array
  ) -> jax.Array:
    _, prefix = extend(params, tokens_BxP, segment_ids_BxP)

    def read(row: dict[str, jax.Array]) -> jax.Array:
      batch = {
        name: jnp.broadcast_to(array, (len(tokens_BxP), *array.shape))
        for name, array in row.items()
      }
      return likelihood.sums(
        network, params, batch, num_segments, prefix=prefix
      )['log_prob']

    rows = {name: jnp.asarray(array) for name, array in tasks.rows.items()}
    found_RxBxS = jax.lax.map(read, rows)
    return found_RxBxS[tasks.row, :, tasks.segment - 1].T

  return log_probs
