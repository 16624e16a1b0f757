"""One sentence: what a high score means. A second one: how it is computed.

Title of the paper (arXiv 0000.00000), section 0. Ours: what we changed, and
why. (This skeleton is complete: it scores how sure a model is of the first
token that follows a text.)
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxcurate.types import Features, Network, Scorer, Vocabulary


def make(
  *, network: Network, vocabulary: Vocabulary, max_length: int = 512
) -> Scorer:
  """Column `my_scorer`: max_v log p(v | text), natural log.

  Args:
    network: an encoder-decoder.
    vocabulary: its vocabulary.
    max_length: longest encoder input in tokens, EOS included; longer texts
      are cut.

  Returns:
    A scorer, <= 0; higher = keep, as for every scorer.

  Raises:
    ValueError: the network has no encoder, or max_length leaves no room for
      text.
  """
  if network.encode is None:
    raise ValueError(
      'my_scorer reads texts with an encoder; take an encoder-decoder (T5)'
    )
  if max_length < 2:
    raise ValueError(f'max_length is {max_length}, expected at least 2')

  def examples(documents, tokens):
    # One list per document; an empty one means that it has no score.
    del documents
    return [
      [_example(document[: max_length - 1], vocabulary)] if document else []
      for document in tokens
    ]

  def apply(params, batch, num_segments):
    # Jitted by the engine. Rows hold several documents: position s of the
    # decoder belongs to segment s + 1 where every example decodes one token.
    del num_segments
    encoder_ids = batch['encoder_segment_ids']
    decoder_ids = batch['decoder_segment_ids']
    encoded = network.encode(params, batch['encoder_input_tokens'], encoder_ids)
    states = network.decode(
      params, encoded, encoder_ids, batch['decoder_input_tokens'], decoder_ids
    )
    logits = states.astype(jnp.float32) @ network.head(params)
    best = jnp.max(jax.nn.log_softmax(logits), axis=-1)
    return {'best': jnp.where(decoder_ids > 0, best, 0.0)}

  features = Features(
    name=f'my_scorer:{max_length}',  # equal name = same computation
    examples=examples,
    encoder_length=max_length,
    decoder_length=1,
    apply=apply,
    combine=lambda outputs: {'best': outputs['best'].mean()},
  )
  return Scorer(
    columns={'my_scorer': 'log P(first token)'},
    features=features,
    score=lambda outputs: {'my_scorer': float(outputs['best'])},
  )


def _example(
  tokens: list[int], vocabulary: Vocabulary
) -> dict[str, np.ndarray]:
  start = np.zeros(1, np.int32)  # the decoder's start token is the pad id
  return {
    'encoder': np.array([*tokens, vocabulary.eos_id], np.int32),
    'decoder_inputs': start,
    'decoder_targets': start,
  }
