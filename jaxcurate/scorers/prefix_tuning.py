"""Prefix tuning: keys and values before the text, learnt from a few documents.

The network stays frozen; every decoder layer gets P slots of keys and values
that make the reference documents likely. Source: Prefix-Tuning (arXiv
2101.00190) as LAMDAS (arXiv 2509.06524, Eq. 1) uses it; without the paper's
reparametrisation, which a start from real tokens makes needless (ours).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcurate.scorers import likelihood
from jaxcurate.types import Batch, Network, Params, Prefix

_INIT_STD = 0.02  # of a prefix that does not begin as text, as embeddings do

Example = dict[str, np.ndarray]


class Part(NamedTuple):
  """Examples to make likely, and others that say when to stop.

  Attributes:
    examples: of the reference documents, as `Likelihood.examples` makes them.
    held_out: the tuning ends with the first epoch that does not lower their
      loss; none = all epochs.
  """

  examples: Sequence[Example]
  held_out: Sequence[Example] = ()


def tune(
  network: Network,
  params: Params,
  train: Callable[..., Any],
  text: likelihood.Likelihood,
  parts: Sequence[Part],
  *,
  prefix_length: int,
  optimizer: optax.GradientTransformation,
  epochs: int,
  batch_size: int,
) -> dict[str, jax.Array]:
  """For each of M parts the prefix that makes its examples likeliest.

  Args:
    network: takes a prefix of `network.prefix_shape`.
    params: its parameters, which stay as they are.
    train: `FitTools.train`.
    text: the likelihood.
    parts: M.
    prefix_length: P.
    optimizer: of the prefix.
    epochs, batch_size: over and of the examples.

  Returns:
    'key' and 'value', [M, layers, P, heads, head_dim] float32 each.
  """
  # One shape and one loss for all, so that they share what is compiled.
  every = [e for part in parts for e in (*part.examples, *part.held_out)]
  loss = _make_loss(network, text)
  prefixes = [
    train(
      init=make_init(network, params, part.examples, prefix_length),
      loss=loss,
      params=params,
      examples=part.examples,
      held_out=part.held_out,
      encoder_length=_longest(every, 'encoder'),
      decoder_length=_longest(every, 'decoder_targets'),
      optimizer=optimizer,
      epochs=epochs,
      batch_size=batch_size,
    ).fitted
    for part in parts
  ]
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *prefixes)


def as_prefix(fitted: Params) -> Prefix:
  """One prefix for every row.

  Args:
    fitted: 'key' and 'value', [layers, P, heads, head_dim] float.
  """
  return Prefix(
    fitted['key'][:, None],
    fitted['value'][:, None],
    jnp.ones((1, fitted['key'].shape[1]), bool),
  )


def _make_loss(
  network: Network, text: likelihood.Likelihood
) -> Callable[[Any, Params, Batch], jax.Array]:
  """Mean natural-log loss per target token under a prefix (Eq. 1)."""

  def loss(fitted, params, batch):
    sums = text.sums(network, params, batch, 1, prefix=as_prefix(fitted))
    total = jnp.sum(sums['targets'])
    return -jnp.sum(sums['log_prob']) / jnp.maximum(total, 1.0)

  return loss


def make_init(
  network: Network,
  params: Params,
  examples: Sequence[Example],
  prefix_length: int,
) -> Callable[[jax.Array], dict[str, jax.Array]]:
  """key -> a first prefix: the examples' first tokens, as the network has them.

  Random where the network keeps no keys and values (an encoder-decoder).

  Args:
    network: see `tune`, as for all.
    params: its parameters.
    examples: of the reference documents; too few tokens are repeated.
    prefix_length: P.

  Raises:
    ValueError: the network takes no prefix.
  """
  if network.prefix_shape is None:
    raise ValueError('this network takes no prefix; give a decoder or a T5')
  layers, heads, head_dim = network.prefix_shape
  if network.extend is None:
    shape = (layers, prefix_length, heads, head_dim)

    def draw(key: jax.Array) -> dict[str, jax.Array]:
      keys = dict(zip(('key', 'value'), jax.random.split(key), strict=True))
      return {
        name: _INIT_STD * jax.random.normal(own, shape)
        for name, own in keys.items()
      }

    return draw
  # Its own name: the closure below needs to know that it is there.
  extend = network.extend
  words = np.concatenate([example['decoder_inputs'] for example in examples])
  tokens = np.resize(words, (1, prefix_length))  # repeats what is too short
  _, start = jax.jit(extend)(params, tokens, np.ones_like(tokens))
  kept = {
    name: jnp.asarray(leaf[:, 0], jnp.float32)
    for name, leaf in (('key', start.key), ('value', start.value))
  }
  return lambda key: jax.tree.map(jnp.array, kept)


def _longest(examples: Sequence[Example], key: str) -> int:
  """Length of the longest array of that name, 0 where there is none."""
  return max(len(example.get(key, ())) for example in examples)
