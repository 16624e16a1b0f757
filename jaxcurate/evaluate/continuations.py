"""Log-likelihoods of continuations: what every multiple choice rests on.

A context is read once, however many continuations follow it: a decoder-only
network keeps its keys and values, an encoder-decoder its encoder states.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import tqdm

from jaxcurate.evaluate import continuation_rows
from jaxcurate.evaluate.continuation_rows import Pair, Shape
from jaxcurate.models import forward
from jaxcurate.ops import greedy
from jaxcurate.types import Batch, Features, Network, Params

# Logits are the largest array of a pass; so many tokens have them at a time.
_CHUNK_TOKENS = 1024
# Tokens of one device batch, padding included: as `models.forward` has them.
_CPU_TOKENS, _ACCELERATOR_TOKENS = 1024, 32_768
_BATCHES_PER_CALL = 16  # the bar moves after each call


class LogLikelihood(NamedTuple):
  """What the network says of a continuation.

  Attributes:
    log_prob: natural-log probability given the context, summed over tokens.
    greedy: whether greedy decoding would write exactly this.
  """

  log_prob: float
  greedy: bool


def make_reader(
  network: Network,
  params: Params,
  mesh: jax.sharding.Mesh,
  *,
  max_length: int,
  say: Callable[[str], object] = print,
) -> Callable[[Sequence[Pair]], list[LogLikelihood]]:
  """A function that gives the log-likelihood of each continuation.

  Args:
    network: decoder-only, or an encoder-decoder that reads the context in its
      encoder.
    params: on the mesh.
    mesh: axes 'data' and 'model'.
    max_length: tokens the network reads at a time; longer contexts lose their
      left end.
    say: where the one line about a halved batch goes.

  Returns:
    (context ids, continuation ids) -> `LogLikelihood` of each, in order. A
    context has at least one id. An empty continuation is certain: 0.0 and
    greedy. Compiled programs are kept between calls. Raises ValueError where a
    continuation alone is longer than `max_length`.
  """
  causal = network.encode is None
  tokens = _ACCELERATOR_TOKENS
  if jax.default_backend() == 'cpu':
    tokens = _CPU_TOKENS
  passes: dict[tuple[Shape, int], forward.Forward] = {}

  def apply(params: Params, batch: Batch, choices: int) -> dict[str, Any]:
    del choices  # the shapes say it
    states = (_causal if causal else _with_encoder)(network, params, batch)
    return _sums(network, params, states, batch)

  def step_for(shape: Shape, num_rows: int) -> forward.Forward:
    few = 2 ** (num_rows - 1).bit_length()  # no batch of padding
    rows = max(1, min(tokens // shape.slots, few))
    if (shape, rows) not in passes:
      features = Features(
        name='continuations',
        examples=lambda documents, tokens: [],  # rows are filled already
        encoder_length=shape.context,
        decoder_length=shape.choices * shape.length,
        apply=apply,
        combine=lambda outputs: outputs,
        max_segments=shape.choices,
      )
      passes[shape, rows] = forward.Forward(
        features, params, mesh, rows=rows, say=say
      )
    return passes[shape, rows]

  def read(pairs: Sequence[Pair]) -> list[LogLikelihood]:
    found = [LogLikelihood(0.0, True)] * len(pairs)
    rows = continuation_rows.gather(pairs, max_length, causal=causal)
    with tqdm.tqdm(total=len(rows), unit='context', leave=False) as bar:
      for shape, same in continuation_rows.by_shape(rows):
        step = step_for(shape, len(same))
        size = _BATCHES_PER_CALL * step.rows
        for start in range(0, len(same), size):
          part = same[start : start + size]
          outputs = step(continuation_rows.prepare(part, shape))
          for place, log_prob, is_greedy in zip(
            [place for row in part for place in row.places],
            outputs['log_prob'].tolist(),
            outputs['greedy'].tolist(),
            strict=True,
          ):
            found[place] = LogLikelihood(log_prob, is_greedy)
          bar.update(len(part))
    return found

  return read


def _mask(length: jax.Array, slots: int) -> jax.Array:
  return jnp.arange(slots) < length[..., None]


def _causal(network: Network, params: Params, batch: Batch) -> jax.Array:
  """States of a row's continuations, as segments behind one prefix."""
  assert network.extend is not None
  num_rows, choices, length = batch['inputs'].shape
  number = jnp.arange(1, choices + 1)[:, None]
  segments = jnp.where(_mask(batch['lengths'], length), number, 0)
  prefix = None
  if 'context' in batch:
    context = batch['context']
    real = _mask(batch['context_length'], context.shape[1])
    _, prefix = network.extend(params, context, real.astype(jnp.int32))
  return network.decode(
    params,
    None,
    None,
    batch['inputs'].reshape(num_rows, -1),
    segments.reshape(num_rows, -1),
    prefix=prefix,
  )


def _with_encoder(network: Network, params: Params, batch: Batch) -> jax.Array:
  """States of the continuations, rows of the decoder beside one encoding."""
  assert network.encode is not None
  num_rows, choices, length = batch['inputs'].shape
  context = batch['context']
  real = _mask(batch['context_length'], context.shape[1]).astype(jnp.int32)
  states = network.decode(
    params,
    jnp.repeat(network.encode(params, context, real), choices, axis=0),
    jnp.repeat(real, choices, axis=0),
    batch['inputs'].reshape(-1, length),
    _mask(batch['lengths'], length).astype(jnp.int32).reshape(-1, length),
  )
  return states.reshape(num_rows, choices * length, -1)


def _sums(
  network: Network, params: Params, states: jax.Array, batch: Batch
) -> dict[str, jax.Array]:
  """'log_prob' [R, C] float32 and 'greedy' [R, C] bool."""
  shape = batch['targets'].shape
  log_prob, is_greedy = greedy.token_log_prob_and_greedy(
    states,
    network.head(params),
    batch['targets'].reshape(shape[0], -1),
    chunk_tokens=_CHUNK_TOKENS,
  )
  real = _mask(batch['lengths'], shape[-1])
  return {
    'log_prob': jnp.sum(jnp.where(real, log_prob.reshape(shape), 0.0), -1),
    'greedy': jnp.all(~real | is_greedy.reshape(shape), -1),
  }
