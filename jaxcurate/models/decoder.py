"""Decoder-only language models of the Llama family as plain functions.

Llama 2 (arXiv:2307.09288) and 3, Mistral (arXiv:2310.06825), Qwen2 and 2.5
(arXiv:2412.15115), Qwen3 (arXiv:2505.09388) and Gemma 3's text part
(arXiv:2503.19786) differ in what `DecoderConfig` says. Parameters carry names
in T5X's manner (`decoder/layers_0/self_attention/query/kernel`); with
`scan_layers` the layers lie under `layers` with a leading axis.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from jaxcurate import types
from jaxcurate.models import decoder_layers, layers, parameters
from jaxcurate.models import prefix as prefixes
from jaxcurate.models.decoder_config import DecoderConfig
from jaxcurate.models.rope import Rope
from jaxcurate.ops import pool as pool_ops

__all__ = ['DecoderConfig', 'Rope', 'make_network']


# A command asks for the same network several times; each is traced once.
@functools.lru_cache(maxsize=32)
def make_network(config: DecoderConfig) -> types.Network:
  """The network of a config as functions of its parameters.

  Args:
    config: shape and arithmetic.

  Returns:
    A `types.Network` without encoder: `decode` takes None for both encoder
    arrays.

  >>> network = make_network(DecoderConfig(
  ...     vocab_size=8, embed_dim=4, num_heads=2, num_kv_heads=1, head_dim=4,
  ...     mlp_dim=8, num_layers=1))
  >>> params = network.init(jax.random.key(0))
  >>> ids = jnp.ones((2, 3), jnp.int32)
  >>> network.decode(params, None, None, ids, ids).shape
  (2, 3, 4)
  """
  module = decoder_layers.Decoder(config)
  prefix_shape = (config.num_layers, config.num_kv_heads, config.head_dim)

  def init(key: Array) -> types.Params:
    key_module, key_head = jax.random.split(key)
    ids = jnp.ones((1, 1), jnp.int32)
    params = module.init(key_module, ids, ids, None)['params']
    if not config.tied_head:
      kernel = layers.Dense.kernel_init(
        key_head, (config.embed_dim, config.vocab_size), jnp.float32
      )
      params['decoder']['logits_dense'] = {'kernel': kernel}
    return params

  def apply(
    params: types.Params,
    tokens_BxT: Array | np.ndarray,
    segment_ids_BxT: Array | np.ndarray,
    prefix: types.Prefix | None,
    dropout_key: Array | None,
  ) -> tuple[Array, tuple[Array, Array]]:
    if prefix is not None:
      prefixes.check(prefix, prefix_shape, len(tokens_BxT))
    result: Any = module.apply(
      {'params': params},
      jnp.asarray(tokens_BxT),
      jnp.asarray(segment_ids_BxT),
      prefix,
      deterministic=dropout_key is None,
      rngs=None if dropout_key is None else {'dropout': dropout_key},
    )
    return result

  def decode(
    params: types.Params,
    encoded: Array | None,
    encoder_segment_ids: Array | None,
    decoder_input_tokens_BxT: Int[Array | np.ndarray, 'B T'],
    decoder_segment_ids_BxT: Int[Array | np.ndarray, 'B T'],
    *,
    prefix: types.Prefix | None = None,
    dropout_key: Array | None = None,
  ) -> Float[Array, 'B T D']:
    if encoded is not None or encoder_segment_ids is not None:
      raise ValueError(
        'this network has no encoder: decode takes None for the encoder states '
        'and segment ids'
      )
    return apply(
      params,
      decoder_input_tokens_BxT,
      decoder_segment_ids_BxT,
      prefix,
      dropout_key,
    )[0]

  def extend(
    params: types.Params,
    tokens_BxT: Int[Array | np.ndarray, 'B T'],
    segment_ids_BxT: Int[Array | np.ndarray, 'B T'],
    *,
    prefix: types.Prefix | None = None,
  ) -> tuple[Float[Array, 'B T D'], types.Prefix]:
    states, (key, value) = apply(
      params, tokens_BxT, segment_ids_BxT, prefix, None
    )
    mask = jnp.asarray(segment_ids_BxT) > 0
    return states, types.Prefix(key, value, mask)

  def head(params: types.Params) -> Float[Array, 'D V']:
    if config.tied_head:
      return jnp.asarray(params['token_embedder']['embedding']).T
    return jnp.asarray(params['decoder']['logits_dense']['kernel'])

  def pool(
    params: types.Params,
    states_BxLxD: Float[Array | np.ndarray, 'B L D'],
    segment_ids_BxL: Int[Array | np.ndarray, 'B L'],
    num_segments: int,
  ) -> Float[Array, 'B S D']:
    pooled = pool_ops.position_weighted_pool(
      jnp.asarray(states_BxLxD), jnp.asarray(segment_ids_BxL), num_segments
    )
    square = jnp.sum(pooled**2, -1, keepdims=True)
    # rsqrt of a positive stand-in where the segment is empty: 0 stays 0.
    return pooled * jax.lax.rsqrt(jnp.where(square > 0, square, 1.0))

  return types.Network(
    init=init,
    encode=None,
    decode=decode,
    head=head,
    pool=pool,
    width=config.embed_dim,
    vocab_size=config.vocab_size,
    logical_axes=parameters.logical_axes(
      jax.eval_shape(init, jax.random.key(0))
    ),
    extend=extend,
    prefix_shape=prefix_shape,
  )
