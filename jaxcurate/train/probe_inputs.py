"""What a judge's head sees of many texts, in one pass over them."""

from collections.abc import Sequence

import jax
import numpy as np
import scipy.sparse

from jaxcurate.data import token_part
from jaxcurate.data.token_part import TokenPart
from jaxcurate.models import forward
from jaxcurate.ops import ngrams, rating
from jaxcurate.scorers import rater
from jaxcurate.train.probe import Inputs
from jaxcurate.types import (
  Batch,
  Document,
  Features,
  HeadSettings,
  Network,
  Params,
  Vocabulary,
)

_BLOCK = 512  # texts packed together


def gather(
  part: TokenPart,
  network: Network,
  vocabulary: Vocabulary,
  settings: HeadSettings,
  params: Params,
  mesh: jax.sharding.Mesh,
) -> tuple[Inputs, float]:
  """Inputs of every text of a part, as `scorers.rater` will compute them.

  Args:
    part: N texts; one without tokens is all 0.
    network: the network.
    vocabulary: its vocabulary.
    settings: of the head.
    params: of the network, on the mesh.
    mesh: axes 'data' and 'model'.

  Returns:
    The inputs, and the floating-point operations of the pass.
  """
  features = _pooled_features(network, vocabulary, settings)
  run = forward.Forward(features, params, mesh)
  blocks, flops = [], 0.0
  for start in range(0, token_part.num_documents(part), _BLOCK):
    stop = min(start + _BLOCK, token_part.num_documents(part))
    tokens = [
      token_part.document_tokens(part, i).tolist() for i in range(start, stop)
    ]
    own, cost = _of_texts(tokens, features, run, settings.ngrams)
    blocks.append(own)
    flops += cost
  grams = None
  if settings.ngrams:
    grams = scipy.sparse.csr_matrix(
      scipy.sparse.vstack([block.grams for block in blocks])
    )
  inputs = Inputs(
    np.concatenate([block.pooled for block in blocks]),
    grams,
    np.concatenate([block.length for block in blocks]),
  )
  return inputs, flops


def _pooled_features(
  network: Network, vocabulary: Vocabulary, settings: HeadSettings
) -> Features:
  """The rater's pass, up to the pooled states."""
  features = rater.make_features(network, vocabulary, settings)
  side = 'encoder' if features.encoder_length else 'decoder'

  def apply(
    params: Params, batch: Batch, num_segments: int
  ) -> dict[str, jax.Array]:
    read = batch[f'{side}_input_tokens'], batch[f'{side}_segment_ids']
    if network.encode is None:
      states = network.decode(params, None, None, *read)
    else:
      states = network.encode(params, *read)
    pooled = rating.pool_states(states, read[1], num_segments, settings.pooling)
    return {'pooled': pooled}

  return features._replace(name='rater/pooled', apply=apply)


def _of_texts(
  tokens: Sequence[list[int]],
  features: Features,
  run: forward.Forward,
  max_order: int,
) -> tuple[Inputs, float]:
  unnamed = [Document('', '', None)] * len(tokens)
  windows = features.examples(unnamed, tokens)
  flat = [window for own in windows for window in own]
  side = 'encoder' if features.encoder_length else 'decoder_inputs'
  lengths = np.array([len(window[side]) for window in flat], np.float64)
  text = np.repeat(np.arange(len(tokens)), [len(own) for own in windows])
  total = np.bincount(text, lengths, len(tokens))
  share = lengths / total[text]
  mean = scipy.sparse.csr_matrix(
    (share, (text, np.arange(len(flat)))), (len(tokens), len(flat))
  )
  prepared = forward.prepare(features, flat)
  pooled_WxD = run(prepared)['pooled']
  grams = None
  if max_order:
    rows = ngrams.matrix([window[side] for window in flat], max_order)
    grams = scipy.sparse.csr_matrix(mean @ rows)
  inputs = Inputs(mean @ pooled_WxD, grams, np.log(np.maximum(total, 1.0)))
  return inputs, run.cost(prepared)
