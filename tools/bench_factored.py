"""Gram matrices of examples' gradients, from short contexts to long ones.

  python tools/bench_factored.py --lengths 512 1024 2048 4096 8192 16384

A stack of feed-forward layers under a cross-entropy loss over Zipf tokens, in
float32. Each way runs from the batch to the Gram matrix of the stack's
gradients: from factors, as pairs of tokens ('ghost'), as gradients a slice at
a time ('materialised') or as random projections of them; and `vmap(grad)`. The
error is relative to sqrt(Q_ii Q_jj), its root mean square over pairs.
"""

import argparse
from collections.abc import Callable, Sequence
import functools
from typing import Any

import benchmarking
import jax
import jax.numpy as jnp
import numpy as np

from jaxcurate.ops.approximate_gram import Approximation
from jaxcurate.ops.dense_gradients import DenseGradients
from jaxcurate.ops.factors import Factors, Matrix, tap
from jaxcurate.types import Params

VOCAB = 512
MOST_OPERATIONS = 6e11  # of a Gram matrix: some seconds on two CPU cores
MOST_BYTES = 16e9


def make_params(width: int, layers: int) -> Params:
  """A table, its transpose's stand-in as a head, and the stack."""
  key, hidden = jax.random.key(0), width * 11 // 4
  keys = iter(jax.random.split(key, 2 + 2 * layers))

  def random(*shape: int) -> jax.Array:
    return jax.random.normal(next(keys), shape) * shape[0] ** -0.5

  return {
    'table': random(VOCAB, width) * VOCAB**0.5,
    'head': random(width, VOCAB),
    'stack': [
      {'up': random(width, hidden), 'down': random(hidden, width)}
      for _ in range(layers)
    ],
  }


def make_tokens(examples: int, length: int) -> jax.Array:
  """[E, T + 1] int32; each example prefers words of its own."""
  rng = np.random.default_rng(0)
  own = np.stack([rng.permutation(VOCAB) for _ in range(examples)])
  tokens = rng.zipf(1.3, (examples, length + 1)) % VOCAB
  special = rng.random(tokens.shape) < 0.3
  return jnp.asarray(
    np.where(special, np.take_along_axis(own, tokens, 1), tokens), jnp.int32
  )


def summed_loss(params: Params, tokens: jax.Array, taps: Any = None) -> Any:
  """Mean cross-entropy of each example's next tokens, summed over examples."""
  h = params['table'][tokens[..., :-1]]
  # A word's state depends on what came before it, as attention has it.
  h = h + jnp.cumsum(h, -2) / jnp.sqrt(1.0 + jnp.arange(h.shape[-2]))[:, None]
  for index, own in enumerate(params['stack']):
    x = h * jax.lax.rsqrt(jnp.mean(h * h, -1, keepdims=True) + 1e-6)
    for name in ('up', 'down'):
      y = x @ own[name]
      y = y if taps is None else tap(y, x, taps[index][name])
      x = jax.nn.gelu(y) if name == 'up' else y
    h = h + x
  logits = h @ params['head']
  target = jnp.take_along_axis(logits, tokens[..., 1:, None], -1)[..., 0]
  nll = jax.nn.logsumexp(logits, -1) - target
  return jnp.sum(jnp.mean(nll, -1))


def from_factors(
  way: Callable[[Matrix], jax.Array], params: Params, tokens: jax.Array
) -> jax.Array:
  """[E, E]: the sum over the stack's matrices of what `way` makes of each."""
  E, T = tokens.shape[0], tokens.shape[1] - 1
  taps = [
    {
      name: Factors(jnp.zeros((E, T, len(w))), jnp.zeros((E, T, w.shape[1])))
      for name, w in own.items()
    }
    for own in params['stack']
  ]
  found = jax.grad(summed_loss, 2)(params, tokens, taps)
  members = jnp.ones((E, T, 1), bool)
  total = jnp.zeros((E, E))
  for index, own in enumerate(found):
    for name, (x, d) in own.items():
      seed = jnp.int32(2 * index + (name == 'up'))
      total += way(Matrix(x, d, members, seed=seed))
  return total


def by_vmap(params: Params, tokens: jax.Array) -> jax.Array:
  """[E, E] of gradients that are all held."""

  def of(stack: Any, tokens: jax.Array) -> jax.Array:
    return summed_loss({**params, 'stack': stack}, tokens[None])

  gradients = jax.vmap(jax.grad(of), (None, 0))(params['stack'], tokens)
  return DenseGradients(gradients).gram()


def ghost(own: Matrix) -> jax.Array:
  """By all pairs of tokens."""
  return own.pairs_of_tokens([]).gram


def materialised(own: Matrix) -> jax.Array:
  """By the gradients, which a preconditioner asks for."""
  shape = own.inputs.shape[-1], own.cotangents.shape[-1]
  return own.products(jnp.ones(shape), []).gram


def projected(size: int, own: Matrix) -> jax.Array:
  """By random projections to `size` numbers a matrix."""
  near: Any = own
  near = near.replace(approximation=Approximation(projection=size))
  return near.products(None, []).gram


def make_ways(sizes: Sequence[int]) -> dict[str, Callable[..., jax.Array]]:
  """Name -> (params, tokens) -> Gram matrix; the first is the exact one."""
  ways: dict[str, Callable[..., jax.Array]] = {
    'materialised': functools.partial(from_factors, materialised),
    'ghost': functools.partial(from_factors, ghost),
  }
  for size in sizes:
    way = functools.partial(projected, size)
    ways[f'projected to {size}'] = functools.partial(from_factors, way)
  return ways | {'vmap(grad)': by_vmap}


def ghost_operations(params: Params, examples: int, length: int) -> float:
  """Of the pairs of tokens in all matrices."""
  sides = sum(sum(w.shape) for own in params['stack'] for w in own.values())
  return 2.0 * (examples * length) ** 2 * sides


def relative_error(found: np.ndarray, exact: np.ndarray) -> float:
  """Root mean square over pairs of the error over sqrt(Q_ii Q_jj)."""
  size = np.sqrt(np.diag(exact))
  return float(np.sqrt(np.mean(((found - exact) / np.outer(size, size)) ** 2)))


def main(argv: Sequence[str] | None = None) -> None:
  """Prints a table for each length."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  add = parser.add_argument
  add('--lengths', type=int, nargs='+', default=[512 << i for i in range(6)])
  add('--examples', type=int, default=4)
  add('--width', type=int, default=256)
  add('--layers', type=int, default=2)
  add('--projections', type=int, nargs='+', default=[256, 4096])
  add('--rounds', type=int, default=3)
  flags = parser.parse_args(argv)
  print(benchmarking.device_line())
  params = make_params(flags.width, flags.layers)
  for length in flags.lengths:
    tokens = make_tokens(flags.examples, length)
    rows, notes, skipped = [], [], []
    exact = None
    for name, function in make_ways(flags.projections).items():
      operations = ghost_operations(params, flags.examples, length)
      if name == 'ghost' and operations > MOST_OPERATIONS:
        skipped.append(f'  {name}: left out, {operations:.1g} operations')
        continue
      run = jax.jit(function)
      size = benchmarking.compiled_memory(run, params, tokens)['temporaries']
      if size > MOST_BYTES:
        skipped.append(f'  {name}: left out, {size / 1e9:.0f} GB')
        continue
      gram = np.asarray(run(params, tokens), np.float64)
      exact = gram if exact is None else exact
      error = relative_error(gram, exact)
      notes.append(
        f'  {name}: error {error:.2g}, temporaries {size / 1e6:,.0f} MB'
      )
      rows.append(
        benchmarking.Row(
          name,
          lambda run=run, t=tokens: run(params, t).block_until_ready(),
          flags.examples,
        )
      )
    benchmarking.run_rounds(rows, rounds=flags.rounds, warm_up=0, pause=0.1)
    title = f'{flags.examples} examples of {length} tokens'
    print(benchmarking.table(title, rows, 'examples'))
    print('\n'.join(notes + skipped), flush=True)


if __name__ == '__main__':
  main()
