"""Document vectors: a network's pooled states, or a column of the input.

Methods that need vectors name them in one setting, `embedding`: 'states', or
'column:NAME' for precomputed vectors. Equal settings give equal features, so
that methods in one run share a pass. Source of the encoder embedding: How to
Train Data-Efficient LLMs (arXiv 2402.09668), which uses Sentence-T5-Base; a
Sentence-T5 checkpoint brings its dense layer in `network.pool`. The states of
a decoder-only network, which are causal, are pooled weighted by position.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcurate.types import Batch, Features, Network, Params, Vocabulary

_COLUMN = 'column:'


def make_embedding(
  embedding: str,
  *,
  network: Network | None,
  vocabulary: Vocabulary | None,
  max_length: int = 512,
) -> Features:
  """The features that an `embedding` setting names.

  Args:
    embedding: 'states' or 'column:NAME'; 'encoder' is another word for
      'states'.
    network: an encoder, with or without a decoder, or a decoder-only network;
      needed by 'states', as is the next.
    vocabulary: the network's.
    max_length: tokens of a text that the network reads.

  Returns:
    Features with 'embedding' [D] float32 per document.

  Raises:
    ValueError: the setting is none of the forms, or lacks the network.
  """
  if embedding.startswith(_COLUMN) and len(embedding) > len(_COLUMN):
    return column_embedding(embedding[len(_COLUMN) :])
  if embedding not in ('states', 'encoder'):
    raise ValueError(
      f"embedding is {embedding!r}, expected 'states' or 'column:NAME'"
    )
  if network is None or vocabulary is None:
    raise ValueError(
      f'embedding {embedding!r} needs a network and its vocabulary; give a'
      " model, or embedding 'column:NAME'"
    )
  make = decoder_embedding if network.encode is None else encoder_embedding
  return make(network, vocabulary, max_length=max_length)


def encoder_embedding(
  network: Network, vocabulary: Vocabulary, *, max_length: int = 512
) -> Features:
  """Pooled, normalised encoder states of the text's first tokens and EOS.

  Args:
    network: its `encode` and `pool` are used.
    vocabulary: the network's.
    max_length: tokens the encoder reads, EOS included; >= 2. What is longer
      is cut at the end.

  Returns:
    Features with 'embedding' [D] float32, a unit vector; a text without
    tokens has none.

  Raises:
    ValueError: max_length is below 2, or the network has no encoder.
  """
  _check_length(max_length)
  encode = network.encode
  if encode is None:
    raise ValueError('this network has no encoder; use decoder_embedding')

  def examples(documents, tokens):
    del documents
    return [
      [_encoder_input(document[: max_length - 1], vocabulary.eos_id)]
      if len(document)
      else []
      for document in tokens
    ]

  def apply(
    params: Params, batch: Batch, num_segments: int
  ) -> dict[str, jax.Array]:
    segments = batch['encoder_segment_ids']
    states = encode(params, batch['encoder_input_tokens'], segments)
    pooled = network.pool(params, states, segments, num_segments)
    return {'embedding': pooled.astype(jnp.float32)}

  return Features(
    name=f'embedding/encoder:{max_length}',
    examples=examples,
    encoder_length=max_length,
    decoder_length=0,
    apply=apply,
    combine=_only,
  )


def decoder_embedding(
  network: Network, vocabulary: Vocabulary, *, max_length: int = 512
) -> Features:
  """Pooled, normalised states of a decoder-only network over a text's head.

  Args:
    network: its `decode` and `pool` are used.
    vocabulary: the network's.
    max_length: tokens the network reads, BOS included where texts begin with
      it; >= 2. What is longer is cut at the end.

  Returns:
    Features with 'embedding' [D] float32, a unit vector; a text without
    tokens has none.

  Raises:
    ValueError: max_length is below 2.
  """
  _check_length(max_length)
  start = [] if vocabulary.bos_id is None else [vocabulary.bos_id]

  def examples(documents, tokens):
    del documents
    return [
      [_decoder_input([*start, *document][:max_length])]
      if len(document)
      else []
      for document in tokens
    ]

  def apply(
    params: Params, batch: Batch, num_segments: int
  ) -> dict[str, jax.Array]:
    segments = batch['decoder_segment_ids']
    states = network.decode(
      params, None, None, batch['decoder_input_tokens'], segments
    )
    pooled = network.pool(params, states, segments, num_segments)
    return {'embedding': pooled.astype(jnp.float32)}

  return Features(
    name=f'embedding/decoder:{(max_length, vocabulary.bos_id)}',
    examples=examples,
    encoder_length=0,
    decoder_length=max_length,
    apply=apply,
    combine=_only,
  )


def column_embedding(column: str) -> Features:
  """Vectors that the input rows already carry, as they are.

  They are not normalised. A row without a vector, or whose vector is zero or
  not finite, has no score.

  Args:
    column: field of the input rows: a list of D numbers, D the same in all.

  Returns:
    Features without a forward pass.
  """

  def runs_no_network(*args: Any) -> Any:
    raise ValueError(f'embedding column {column!r} runs no network')

  return Features(
    name=f'embedding/column:{column}',
    examples=runs_no_network,
    encoder_length=0,
    decoder_length=0,
    apply=runs_no_network,
    combine=runs_no_network,
    column=column,
  )


def _check_length(max_length: int) -> None:
  if max_length < 2:
    raise ValueError(f'max_length is {max_length}, expected at least 2')


def _only(outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
  """A document has one example."""
  return {'embedding': outputs['embedding'][0]}


def _encoder_input(tokens: list[int], eos_id: int) -> dict[str, np.ndarray]:
  return {'encoder': np.array([*tokens, eos_id], np.int32)}


def _decoder_input(tokens: list[int]) -> dict[str, np.ndarray]:
  """Nothing is predicted: the targets only say how long the text is."""
  ids = np.array(tokens, np.int32)
  return {'decoder_inputs': ids, 'decoder_targets': ids}
