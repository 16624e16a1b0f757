"""Text from a network, token by token: greedy, or drawn at a temperature.

A decoder reads its prompts once and keeps their keys and values in slots that
fill up; an encoder-decoder encodes its prompts once and runs its decoder over
a buffer of fixed length. Each is one compiled program per shape.
"""

from collections.abc import Callable, Sequence
import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
import numpy as np

from jaxcurate import types
from jaxcurate.models import prefix as prefixes

# Prompts are padded to multiples of this: few shapes, few programs.
_LENGTH_STEP = 64


def generate(
  network: types.Network,
  params: types.Params,
  prompts: Sequence[Sequence[int]],
  *,
  max_new_tokens: int,
  stop_ids: Sequence[int] = (),
  temperature: float = 0.0,
  key: Array | None = None,
  batch_size: int = 16,
) -> list[list[int]]:
  """What the network writes after each prompt.

  Args:
    network: decoder-only, or an encoder-decoder that reads the prompt in its
      encoder.
    params: of the network.
    prompts: token ids; a decoder's have at least one (BOS, where the model
      has one).
    max_new_tokens: at most so many, at least 1.
    stop_ids: the text ends before the first of them.
    temperature: 0 is greedy, the likeliest token, of equals the first; above
      0 token v has probability proportional to exp(logit_v / temperature).
    key: of the draws; needed above 0.
    batch_size: prompts at a time.

  Returns:
    New token ids of each prompt, in order, stop ids excluded.

  Raises:
    ValueError: an empty prompt of a decoder, no token asked for, a negative
      temperature, or a temperature without a key.
  """
  if max_new_tokens < 1:
    raise ValueError(f'max_new_tokens is {max_new_tokens}, expected at least 1')
  if temperature < 0:
    raise ValueError(f'temperature is {temperature}, expected at least 0')
  if temperature > 0 and key is None:
    raise ValueError(f'temperature is {temperature}, which needs a key')
  for index, prompt in enumerate(prompts):
    if network.encode is None and not prompt:
      raise ValueError(
        f'prompt {index} is empty: a decoder begins after at least one token'
      )
  written: list[list[int]] = [[] for _ in prompts]
  order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
  size = min(batch_size, max(1, len(prompts)))
  for start in range(0, len(order), size):
    chosen = order[start : start + size]
    tokens, segment_ids = _pad([prompts[i] for i in chosen], size)
    batch_key = None if key is None else jax.random.fold_in(key, start)
    tokens, count = continue_rows(
      network,
      params,
      tokens,
      segment_ids,
      max_new_tokens=max_new_tokens,
      stop_ids=stop_ids,
      temperature=temperature,
      key=batch_key,
    )
    rows, counts = jax.device_get((tokens, count))
    for i, row, length in zip(chosen, rows, counts, strict=False):
      written[i] = row[:length].tolist()
  return written


def continue_rows(
  network: types.Network,
  params: types.Params,
  tokens_BxT: Int[Array | np.ndarray, 'B T'],
  segment_ids_BxT: Int[Array | np.ndarray, 'B T'],
  *,
  max_new_tokens: int,
  stop_ids: Sequence[int] = (),
  temperature: float = 0.0,
  key: Array | None = None,
) -> tuple[Int[Array, 'B N'], Int[Array, 'B']]:
  """`generate` for one batch of rows, one prompt each, on the devices.

  Args:
    network, params: see `generate`, as for the rest.
    tokens_BxT: prompts, padded on either side or both.
    segment_ids_BxT: 1 where a token is, 0 = padding.
    max_new_tokens: N.
    stop_ids: end a row.
    temperature: of the draws.
    key: of the draws.

  Returns:
    New tokens [B, N] int32, and how many of each row come before its end.
  """
  if key is None:
    key = jax.random.key(0)
  return _continue_rows(
    params,
    jnp.asarray(tokens_BxT),
    jnp.asarray(segment_ids_BxT),
    key,
    functions=_Functions(
      network.encode, network.decode, network.extend, network.head
    ),
    max_new_tokens=max_new_tokens,
    stop_ids=tuple(stop_ids),
    temperature=float(temperature),
  )


class _Functions(NamedTuple):
  # Of a `types.Network`, which a dict of axes keeps from being hashed.
  encode: Callable[..., Array] | None
  decode: Callable[..., Array]
  extend: Callable[..., tuple[Array, types.Prefix]] | None
  head: Callable[..., Array]


class _Loop(NamedTuple):
  """What a step hands to the next.

  Attributes:
    step: tokens written so far.
    state: [B, D] state from which the next token is chosen.
    cache: slots of keys and values of a decoder; None with an encoder.
    tokens: [B, N] int32, written so far.
    length: [B] int32, tokens of each row before its end.
    done: [B] bool, rows that have ended.
  """

  step: Array
  state: Float[Array, 'B D']
  cache: types.Prefix | None
  tokens: Int[Array, 'B N']
  length: Int[Array, 'B']
  done: Bool[Array, 'B']


@functools.partial(
  jax.jit,
  static_argnames=('functions', 'max_new_tokens', 'stop_ids', 'temperature'),
)
def _continue_rows(
  params: types.Params,
  tokens_BxT: Array,
  segment_ids_BxT: Array,
  key: Array,
  functions: _Functions,
  max_new_tokens: int,
  stop_ids: tuple[int, ...],
  temperature: float,
) -> tuple[Array, Array]:
  num_rows = len(tokens_BxT)
  head = functions.head(params)
  begin = _begin_decoder if functions.encode is None else _begin_encoder_decoder
  start = begin(functions, params, tokens_BxT, segment_ids_BxT, max_new_tokens)
  blank = jnp.zeros((num_rows, max_new_tokens), jnp.int32)

  def choose(loop: _Loop) -> Array:
    logits = jnp.einsum(
      'bd,dv->bv',
      loop.state,
      head.astype(loop.state.dtype),
      preferred_element_type=jnp.float32,
    )
    if not temperature:
      return jnp.argmax(logits, axis=-1).astype(jnp.int32)
    step_key = jax.random.fold_in(key, loop.step)
    drawn = jax.random.categorical(step_key, logits / temperature, axis=-1)
    return drawn.astype(jnp.int32)

  def body(loop: _Loop) -> _Loop:
    token_B = choose(loop)
    ends_B = jnp.isin(token_B, jnp.asarray(stop_ids, jnp.int32))
    done_B = loop.done | ends_B
    tokens = loop.tokens.at[:, loop.step].set(token_B)
    state, cache = start.read(tokens, loop.step, loop.cache)
    length = loop.length + ~done_B
    return _Loop(loop.step + 1, state, cache, tokens, length, done_B)

  def goes_on(loop: _Loop) -> Array:
    return (loop.step < max_new_tokens) & ~jnp.all(loop.done)

  end = jax.lax.while_loop(
    goes_on,
    body,
    _Loop(
      jnp.int32(0),
      start.state,
      start.cache,
      blank,
      jnp.zeros(num_rows, jnp.int32),
      ~jnp.any(segment_ids_BxT > 0, axis=1),  # rows that fill up a batch
    ),
  )
  return end.tokens, end.length


class _Start(NamedTuple):
  """Where the loop begins, and how it goes on.

  Attributes:
    read: (tokens_BxN so far, step, cache) -> (state_BxD after the token of
      that step, cache).
    cache: before the first new token.
    state: [B, D], from which the first new token is chosen.
  """

  read: Callable[..., tuple[Array, types.Prefix | None]]
  cache: types.Prefix | None
  state: Float[Array, 'B D']


def _begin_decoder(
  functions: _Functions,
  params: types.Params,
  tokens_BxT: Array,
  segment_ids_BxT: Array,
  num_new: int,
) -> _Start:
  if (extend := functions.extend) is None:
    raise ValueError('this network has neither an encoder nor a cache')
  num_rows, length = tokens_BxT.shape
  states, cache = extend(params, tokens_BxT, segment_ids_BxT)
  is_real = segment_ids_BxT > 0
  last_B = length - 1 - jnp.argmax(is_real[:, ::-1], axis=1)
  state = jnp.take_along_axis(states, last_B[:, None, None], axis=1)[:, 0]
  one = jnp.ones((num_rows, 1), jnp.int32)

  def read(
    tokens: Array, step: Array, cache: types.Prefix
  ) -> tuple[Array, types.Prefix]:
    token = jax.lax.dynamic_slice_in_dim(tokens, step, 1, axis=1)
    states, new = extend(params, token, one, prefix=cache)
    return states[:, 0], prefixes.write(cache, new, length + step)

  return _Start(read, prefixes.reserve(cache, num_new), state)


def _begin_encoder_decoder(
  functions: _Functions,
  params: types.Params,
  tokens_BxT: Array,
  segment_ids_BxT: Array,
  num_new: int,
) -> _Start:
  assert functions.encode is not None, 'chosen by the caller'
  encoded = functions.encode(params, tokens_BxT, segment_ids_BxT)
  ones = jnp.ones((len(tokens_BxT), num_new), jnp.int32)

  def state_at(tokens: Array, place: Array | int) -> Array:
    inputs = jnp.pad(tokens, ((0, 0), (1, 0)))[:, :-1]  # 0 starts a decoder
    states = functions.decode(params, encoded, segment_ids_BxT, inputs, ones)
    return jax.lax.dynamic_index_in_dim(states, place, 1, keepdims=False)

  def read(tokens: Array, step: Array, cache: None) -> tuple[Array, None]:
    # After the last token the state of the one before, which no one asks for.
    return state_at(tokens, jnp.minimum(step + 1, num_new - 1)), None

  return _Start(read, None, state_at(jnp.zeros_like(ones), 0))


def _pad(
  prompts: Sequence[Sequence[int]], num_rows: int
) -> tuple[np.ndarray, np.ndarray]:
  longest = max(map(len, prompts))
  length = max(1, -(-longest // _LENGTH_STEP)) * _LENGTH_STEP
  tokens = np.zeros((num_rows, length), np.int32)
  segment_ids = np.zeros_like(tokens)
  for b, prompt in enumerate(prompts):
    tokens[b, length - len(prompt) :] = prompt
    segment_ids[b, length - len(prompt) :] = 1
  return tokens, segment_ids
