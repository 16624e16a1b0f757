"""T5 1.0, 1.1, Flan and ByT5 as one Linen network of plain functions.

Exploring the Limits of Transfer Learning (arXiv:1910.10683); 1.1, Flan and
ByT5 differ from it in the activation, the head and the sizes only. Parameters
carry T5X's names (google-research/t5x, t5x/examples/t5/network.py); with
`scan_layers` the layers of a stack lie under `layers` with a leading axis, and
`unstack_layers` gives T5X's `layers_0`, `layers_1`, ... back.
"""

import dataclasses
import functools
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int
import numpy as np

from jaxcurate import types
from jaxcurate.models import attention, parameters, stacks
from jaxcurate.models import prefix as prefixes
from jaxcurate.models.config import T5Config
from jaxcurate.ops import pool as pool_ops

__all__ = ['T5Config', 'for_scoring', 'for_training', 'make_network']


def for_scoring(config: T5Config) -> T5Config:
  """The config that runs fastest where no gradient is taken."""
  return dataclasses.replace(config, blocked_attention=attention.blocks_pay())


def for_training(config: T5Config) -> T5Config:
  """The config that runs fastest where gradients are taken."""
  return dataclasses.replace(
    config, recomputed_attention=attention.blocks_pay()
  )


# A command asks for the same network several times; each is traced once.
@functools.lru_cache(maxsize=32)
def make_network(config: T5Config) -> types.Network:
  """The network of a config as functions of its parameters.

  Args:
    config: shape and arithmetic.

  Returns:
    A `types.Network`. Without decoder layers `decode` and `head` raise
    ValueError, the rest works.

  >>> network = make_network(T5Config(
  ...     vocab_size=8, embed_dim=4, num_heads=1, head_dim=4, mlp_dim=8,
  ...     num_encoder_layers=1, num_decoder_layers=1))
  >>> params = network.init(jax.random.key(0))
  >>> ids = jnp.ones((2, 3), jnp.int32)
  >>> network.encode(params, ids, ids).shape
  (2, 3, 4)
  """
  module = stacks.T5(config)
  prefix_shape = (config.num_decoder_layers, config.num_heads, config.head_dim)

  def init(key: Array) -> types.Params:
    key_module, key_head, key_projection = jax.random.split(key, 3)
    params = module.init(key_module)['params']
    if config.num_decoder_layers and not config.tied_head:
      kernel = _HEAD_INIT(
        key_head, (config.embed_dim, config.vocab_size), jnp.float32
      )
      params['decoder']['logits_dense'] = {'kernel': kernel}
    if config.projection_dim is not None:
      shape = (config.embed_dim, config.projection_dim)
      kernel = _HEAD_INIT(key_projection, shape, jnp.float32)
      params['projection'] = {'kernel': kernel}
    return params

  def apply(
    method: str, params: types.Params, arrays: tuple, dropout_key: Any
  ) -> Any:
    return module.apply(
      {'params': params},
      *arrays,
      deterministic=dropout_key is None,
      rngs=None if dropout_key is None else {'dropout': dropout_key},
      method=method,
    )

  def encode(
    params: types.Params,
    tokens_BxL: Int[Array | np.ndarray, 'B L'],
    segment_ids_BxL: Int[Array | np.ndarray, 'B L'],
    *,
    dropout_key: Array | None = None,
  ) -> Float[Array, 'B L D']:
    return apply('encode', params, (tokens_BxL, segment_ids_BxL), dropout_key)

  def decode(
    params: types.Params,
    encoded_BxLxD: Float[Array | np.ndarray, 'B L D'],
    encoder_segment_ids_BxL: Int[Array | np.ndarray, 'B L'],
    decoder_input_tokens_BxT: Int[Array | np.ndarray, 'B T'],
    decoder_segment_ids_BxT: Int[Array | np.ndarray, 'B T'],
    *,
    prefix: types.Prefix | None = None,
    dropout_key: Array | None = None,
  ) -> Float[Array, 'B T D']:
    _need_decoder(config)
    if prefix is not None:
      prefixes.check(prefix, prefix_shape, len(decoder_input_tokens_BxT))
    arrays = (
      encoded_BxLxD,
      encoder_segment_ids_BxL,
      decoder_input_tokens_BxT,
      decoder_segment_ids_BxT,
      prefix,
    )
    return apply('decode', params, arrays, dropout_key)

  def head(params: types.Params) -> Float[Array, 'D V']:
    _need_decoder(config)
    if config.tied_head:
      return jnp.asarray(params['token_embedder']['embedding']).T
    return jnp.asarray(params['decoder']['logits_dense']['kernel'])

  def pool(
    params: types.Params,
    states_BxLxD: Float[Array | np.ndarray, 'B L D'],
    segment_ids_BxL: Int[Array | np.ndarray, 'B L'],
    num_segments: int,
  ) -> Float[Array, 'B S P']:
    pooled = pool_ops.mean_pool(
      jnp.asarray(states_BxLxD), jnp.asarray(segment_ids_BxL), num_segments
    )
    if config.projection_dim is not None:
      pooled = pooled @ params['projection']['kernel']
    square = jnp.sum(pooled**2, -1, keepdims=True)
    # rsqrt of a positive stand-in where the segment is empty: 0 stays 0.
    return pooled * jax.lax.rsqrt(jnp.where(square > 0, square, 1.0))

  return types.Network(
    init=init,
    encode=encode,
    decode=decode,
    head=head,
    pool=pool,
    width=config.embed_dim,
    vocab_size=config.vocab_size,
    logical_axes=parameters.logical_axes(
      jax.eval_shape(init, jax.random.key(0))
    ),
    prefix_shape=prefix_shape if config.num_decoder_layers else None,
  )


# T5X's initialiser of every kernel outside attention.
_HEAD_INIT = nn.initializers.variance_scaling(1.0, 'fan_in', 'truncated_normal')


def _need_decoder(config: T5Config) -> None:
  if not config.num_decoder_layers:
    raise ValueError(
      'this network is an encoder only (num_decoder_layers=0): it can embed, '
      'but has no decoder and no output head'
    )
