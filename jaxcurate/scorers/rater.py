"""QuRating-style raters: a trained head on a network's states, one per column.

`jaxcurate train --targets` (or `--pairs`) makes the checkpoint: a network and
beside it a head. A long text is read in windows whose ratings are averaged by
tokens, as in QuRating (arXiv 2402.09739, section 3). Ours: heads that were
trained on probabilities or labels give log P(yes), so that they can stand
where Ask-LLM stands; see `ops.rating` for what a head reads.
"""

import hashlib

import numpy as np

from jaxcurate.ops import rating
from jaxcurate.types import (
  Batch,
  Features,
  Head,
  HeadSettings,
  Network,
  Params,
  Scorer,
  Vocabulary,
)

PROBABILITY = 'log P(yes)'  # Ask-LLM's unit
_SHORT_TEXT = 32  # tokens


def make(*, network: Network, vocabulary: Vocabulary, head: Head) -> Scorer:
  """The scorer of a trained head, column `rater` or one per criterion.

  Args:
    network: the one that the head was trained on.
    vocabulary: its vocabulary.
    head: of the checkpoint.

  Returns:
    A scorer in the head's unit; higher = better.

  Raises:
    ValueError: the head belongs to a network of another width, or reads its
      states in a way that the network does not offer.
  """
  settings = head.settings
  names = [f'rater/{name}' for name in settings.criteria] or ['rater']
  expected = {
    name: array.shape
    for name, array in rating.init(
      network.width, len(names), settings.ngrams
    ).items()
  }
  found = {name: np.shape(array) for name, array in head.params.items()}
  if found != expected:
    raise ValueError(f'the head has {found}, but the model asks for {expected}')
  digest = hashlib.blake2b(repr(settings).encode(), digest_size=8)
  for name in sorted(head.params):
    digest.update(np.asarray(head.params[name], np.float32).tobytes())

  def combine(outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    rated = rating.rate_text(head.params, outputs['rating'], outputs['tokens'])
    if settings.unit == PROBABILITY:
      rated = -np.logaddexp(0, -rated)
    return {'rating': rated}

  return Scorer(
    columns=dict.fromkeys(names, settings.unit),
    features=make_features(
      network, vocabulary, settings, digest.hexdigest()
    )._replace(combine=combine),
    score=lambda out: dict(zip(names, out['rating'].tolist(), strict=True)),
    fit=lambda params, tools: dict(head.params),
  )


def make_features(
  network: Network,
  vocabulary: Vocabulary,
  settings: HeadSettings,
  digest: str = '',
) -> Features:
  """The pass over windows; its parameters are (the network's, the head's).

  Args:
    network: encoder-decoder, encoder, or decoder-only.
    vocabulary: its vocabulary.
    settings: of the head.
    digest: tells heads apart.

  Returns:
    Features with 'rating' [C] and 'tokens' of every window; `combine` leaves
    them as they are.

  Raises:
    ValueError: no room for a token, or causal pooling of an encoder or the
      reverse.
  """
  causal = network.encode is None
  if (settings.pooling == 'mean') == causal:
    known = ('position', 'last') if causal else ('mean',)
    raise ValueError(
      f'pooling is {settings.pooling!r}, expected one of {known} for this kind'
      ' of network'
    )
  first = [] if vocabulary.bos_id is None else [vocabulary.bos_id]
  room = settings.max_length - len(first) - 1
  if room < 1 or settings.max_windows < 1:
    raise ValueError(
      f'max_length {settings.max_length} and max_windows'
      f' {settings.max_windows} leave no room for text'
    )
  side = 'decoder' if causal else 'encoder'

  def examples(documents, tokens):
    del documents
    return [
      [
        _example(side, [*first, *text[i : i + room], vocabulary.eos_id])
        for i in range(0, min(len(text), settings.max_windows * room), room)
      ]
      for text in tokens
    ]

  def apply(params: tuple[Params, Params], batch: Batch, num_segments: int):
    weights, head = params
    read = batch[f'{side}_input_tokens'], batch[f'{side}_segment_ids']
    if network.encode is None:
      states = network.decode(weights, None, None, *read)
    else:
      states = network.encode(weights, *read)
    return rating.rate_windows(
      head, states, *read, num_segments, settings.pooling, settings.ngrams
    )

  return Features(
    name=f'rater:{digest}',
    examples=examples,
    encoder_length=0 if causal else settings.max_length,
    decoder_length=settings.max_length if causal else 0,
    apply=apply,
    combine=_as_is,
    max_segments=max(1, min(16, settings.max_length // _SHORT_TEXT)),
  )


def pooling_of(network: Network) -> str:
  """What suits a network: the mean with an encoder, else the last state."""
  return 'last' if network.encode is None else 'mean'


def _example(side: str, tokens: list[int]) -> dict[str, np.ndarray]:
  found = np.array(tokens, np.int32)
  if side == 'encoder':
    return {'encoder': found}
  return {'decoder_inputs': found, 'decoder_targets': found}


def _as_is(outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  return outputs
