"""Documents as a training run would see them: one example each.

A plain document is read from its start, all of its tokens count; an
encoder-decoder corrupts its spans. Of a conversation or an instruction with
its answer only what the assistant says counts, as in LESS (arXiv 2402.04333,
section 4.1); what it says too late to fit in counts for nothing, and a
document in which nothing counts has no example.
"""

from collections.abc import Callable, Sequence

import numpy as np

from jaxcurate.ops import spoken
from jaxcurate.ops.spoken import Turns
from jaxcurate.scorers import likelihood
from jaxcurate.types import Document, Network, Vocabulary


def of_documents(
  network: Network,
  vocabulary: Vocabulary,
  *,
  max_length: int,
  conversations: bool,
  seed: int = 0,
) -> likelihood.Likelihood:
  """How documents become examples, at most one of each.

  Args:
    network: decoder-only, or an encoder-decoder trained on span corruption.
    vocabulary: its vocabulary.
    max_length: tokens the network reads; what is longer is cut at the end.
    conversations: whether to expect some: an encoder-decoder then has
      `max_length` decoder positions, else as many as corruption needs.
    seed: of the masks, encoder-decoder only.

  Returns:
    A likelihood whose examples all hold 'decoder_weights'.

  Raises:
    ValueError: max_length is too small.
  """
  text = likelihood.of_text(
    network=network,
    vocabulary=vocabulary,
    max_length=max_length,
    long_texts='head',
    seed=seed,
  )
  length = text.decoder_length
  if network.encode is None:
    of_turns = _causal(vocabulary, max_length)
  else:
    length = max(length, max_length if conversations else 0)
    of_turns = _encoded(vocabulary, max_length, length)

  def examples(documents, tokens):
    plain = iter(
      text.examples(
        [d for d in documents if not d.turns],
        [own for d, own in zip(documents, tokens, strict=True) if not d.turns],
      )
    )
    found = []
    for document in documents:
      if document.turns:
        found.append(of_turns(document.turns))
        continue
      found.append(
        [
          {**own, 'decoder_weights': np.ones(len(own['decoder_targets']))}
          for own in next(plain)
        ]
      )
    return [
      [own for own in made if own['decoder_weights'].any()] for made in found
    ]

  return text._replace(
    name=f'{text.name}:answers:{length}',
    examples=examples,
    decoder_length=length,
  )


def has_conversations(documents: Sequence[Document]) -> bool:
  """Whether any document is a conversation."""
  return any(document.turns for document in documents)


def _causal(
  vocabulary: Vocabulary, max_length: int
) -> Callable[[Turns], list[dict[str, np.ndarray]]]:
  """A conversation for a decoder-only network."""

  def example(turns: Turns) -> list[dict[str, np.ndarray]]:
    ids, weights = spoken.written(turns, vocabulary)
    ids, weights = ids[: max_length + 1], weights[: max_length + 1]
    if len(ids) < 2:
      return []
    return [
      {
        'decoder_inputs': np.array(ids[:-1], np.int32),
        'decoder_targets': np.array(ids[1:], np.int32),
        'decoder_weights': np.array(weights[1:], np.float32),
      }
    ]

  return example


def _encoded(
  vocabulary: Vocabulary, max_length: int, decoder_length: int
) -> Callable[[Turns], list[dict[str, np.ndarray]]]:
  """A conversation for an encoder-decoder: its last answer, after the rest."""

  def example(turns: Turns) -> list[dict[str, np.ndarray]]:
    found = spoken.last_answer(turns, vocabulary)
    if found is None:
      return []
    prompt, answer = found
    targets = [*answer, vocabulary.eos_id][:decoder_length]
    return [
      {
        'encoder': np.array(
          [*prompt[: max_length - 1], vocabulary.eos_id], np.int32
        ),
        'decoder_inputs': np.array([0, *targets[:-1]], np.int32),
        'decoder_targets': np.array(targets, np.int32),
        'decoder_weights': np.ones(len(targets), np.float32),
      }
    ]

  return example
