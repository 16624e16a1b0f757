"""Density in the step: what the model has seen less of counts more.

A hash sketch of pooled last states lives in the weighting's state; each batch
is counted in it, and an example's weight is the inverse of the density it
finds there. It is DENSITY of How to Train Data-Efficient LLMs (arXiv
2402.09668, Algorithm 2, with the inverse that its text and Theorem A.2 call
for), with the states of the model in training instead of an encoder's.

What is ours:
* States of old parameters fade: all counts are multiplied by `decay` at each
  step, so that the sketch remembers about 1 / (1 - decay) steps.
* A batch is counted before it is looked up, as the corpus is in the paper: an
  example always finds itself, and no density is 0.
* Weights, clipped at both ends, instead of draws; `online_density_top_k` draws.

States are divided by their norm, so `bandwidth`, the width of a cell, is in
units of that sphere's radius. No data is known when training starts: run some
steps, read the logged 'distance' (root mean square between the examples of a
batch) and take 1.3 times that. It gives a density of about 0.4, near where the
paper works; 'density_mean' shows what came of it. Near 1 the sketch sees no
differences, near 0 it sees only copies.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxcurate.ops import example_means, lsh
from jaxcurate.types import Signals, State, TrainingShapes, Weighting

States = Literal['decoder', 'encoder']


class Density(NamedTuple):
  """What a batch finds in the sketch.

  Attributes:
    density_E: [E] float32 in (0, 1], mean kernel between an example and those
      counted so far, itself included; 1 where masked.
    state: with the batch counted.
    unit_ExD: [E, D] float32 states of norm 1, 0 where masked.
    info: scalars for the log: 'density_mean', 'distance' and 'counted', how
      many examples the sketch remembers.
  """

  density_E: Float[Array, ' E']
  state: State
  unit_ExD: Float[Array, 'E D']
  info: dict[str, Array]


def make(
  *,
  bandwidth: float = 0.5,
  decay: float = 0.99,
  clip: tuple[float, float] = (0.1, 10.0),
  states: States = 'decoder',
  num_rows: int = 256,
  num_buckets: int = 4096,
  seed: int = 0,
) -> Weighting:
  """w_i = c_i / mean c, c_i = clip((1 / d_i) / mean (1 / d)).

  d_i is the density of example i; both means are over the batch's real
  examples, so the weights have mean 1: they say which examples count more,
  not how much the batch does.

  Args:
    bandwidth: > 0, width of a cell, see the module.
    decay: in (0, 1], what is left of a count after a step; 1 forgets nothing.
    clip: lowest and highest weight before the last division.
    states: whose last states stand for an example.
    num_rows: R >= 1 hashes; the error of a density falls with its square root.
    num_buckets: K >= 2; the state takes 4 R (K + D) bytes.
    seed: of the hashes.

  Raises:
    ValueError: a setting is out of its range.
  """
  if not 0 <= clip[0] <= clip[1] or clip[1] == 0:
    raise ValueError(f'clip is {clip}, expected 0 <= lowest <= highest, not 0')
  init, look = make_sketch(
    bandwidth=bandwidth,
    decay=decay,
    states=states,
    num_rows=num_rows,
    num_buckets=num_buckets,
    seed=seed,
  )

  def update(signals: Signals, state: State) -> tuple[Array, State, dict]:
    found, mask_E = look(signals, state), signals.mask_E
    inverse_E = mean_one(1 / found.density_E, mask_E)
    weights_E = mean_one(jnp.clip(inverse_E, *clip), mask_E)
    clipped_E = (inverse_E < clip[0]) | (inverse_E > clip[1])
    share = example_means.masked_mean(clipped_E.astype(jnp.float32), mask_E)
    return weights_E, found.state, {**found.info, 'clipped': share}

  return Weighting(
    init=init,
    update=update,
    needs=frozenset({f'{states}_pooled'}),
    batch_coupled=True,
  )


def make_sketch(
  *,
  bandwidth: float,
  decay: float,
  states: States,
  num_rows: int,
  num_buckets: int,
  seed: int,
) -> tuple[
  Callable[[TrainingShapes], State], Callable[[Signals, State], Density]
]:
  """The state's beginning, and how a batch is counted and looked up.

  Args:
    bandwidth: as for `make`, and so are the others.
    decay: uint32 counts at 1, else float32.
    states: 'decoder' or 'encoder'.
    num_rows: R.
    num_buckets: K.
    seed: of the hashes.

  Raises:
    ValueError: a setting is out of its range.
  """
  if bandwidth <= 0:
    raise ValueError(f'bandwidth is {bandwidth}, expected above 0')
  if not 0 < decay <= 1:
    raise ValueError(f'decay is {decay}, expected above 0 and at most 1')
  if num_rows < 1 or num_buckets < 2:
    raise ValueError(
      f'{num_rows} rows of {num_buckets} buckets, expected at least 1 of 2'
    )
  if states not in ('decoder', 'encoder'):
    raise ValueError(f'states is {states!r}, expected decoder or encoder')

  def init(shapes: TrainingShapes) -> State:
    hashes = lsh.make_hashes(
      jax.random.key(seed),
      width=shapes.width,
      num_rows=num_rows,
      hashes_per_row=1,
      bandwidth=bandwidth,
    )
    sketch_RxK = lsh.empty_sketch(num_rows, num_buckets)
    if decay < 1:
      sketch_RxK = sketch_RxK.astype(jnp.float32)
    return {
      'hashes': hashes._asdict(),
      'sketch_RxK': sketch_RxK,
      'counted': jnp.zeros(()),
    }

  def look(signals: Signals, state: State) -> Density:
    pooled_ExD, mask_E = (
      getattr(signals, f'{states}_pooled_ExD'),
      signals.mask_E,
    )
    if pooled_ExD is None:
      raise ValueError(f'the signals lack {states}_pooled')
    unit_ExD = example_means.unit_rows(pooled_ExD, mask_E)
    hashes = lsh.Hashes(**state['hashes'])
    sketch_RxK = state['sketch_RxK']
    if decay < 1:  # else a pass over the table for nothing
      sketch_RxK = decay * sketch_RxK
    sketch_RxK = lsh.add(sketch_RxK, hashes, unit_ExD, mask_E)
    counted = decay * state['counted'] + jnp.sum(mask_E)
    mean_E, _ = lsh.mean_counts(sketch_RxK, hashes, unit_ExD)
    total = jnp.maximum(counted, 1.0)
    density_E = lsh.unbias(mean_E / total, num_buckets)
    density_E = jnp.clip(density_E, 1 / total, 1.0)
    density_E = jnp.where(mask_E, density_E, 1.0)
    return Density(
      density_E,
      {**state, 'sketch_RxK': sketch_RxK, 'counted': counted},
      unit_ExD,
      {
        'density_mean': example_means.masked_mean(density_E, mask_E),
        'distance': _distance(unit_ExD, mask_E),
        'counted': counted,
      },
    )

  return init, look


def mean_one(
  values_E: Float[Array, ' E'], mask_E: Bool[Array, ' E']
) -> Float[Array, ' E']:
  """Values divided by their mean over real examples, 0 where masked.

  Values that are all 0 give weights of 1.

  >>> mean_one(jnp.array([1., 3., 9.]), jnp.array([True, True, False])).tolist()
  [0.5, 1.5, 0.0]
  """
  mean = example_means.masked_mean(values_E, mask_E)
  scaled_E = values_E / jnp.where(mean > 0, mean, 1.0)
  return jnp.where(mask_E, jnp.where(mean > 0, scaled_E, 1.0), 0.0)


def _distance(unit_ExD: Array, mask_E: Array) -> Array:
  """Root mean square distance between two of the examples; 0 of one."""
  count = jnp.sum(mask_E, dtype=jnp.float32)
  mean_D = example_means.masked_mean(unit_ExD, mask_E)
  apart_E = jnp.sum((unit_ExD - mean_D) ** 2, axis=1)
  spread = example_means.masked_mean(apart_E, mask_E)
  return jnp.sqrt(2 * spread * count / jnp.maximum(count - 1, 1.0))
