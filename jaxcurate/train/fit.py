"""Learns something small on a handful of documents: a prefix, LoRA, a head.

The network stays frozen and only what `init` makes is trained, for a number of
epochs over examples that are packed once. Rows are shuffled by seed and epoch
alone, so that a fit that goes on after any epoch ends as if it had never
stopped.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
import numpy as np
import optax

from jaxcurate.data import packing
from jaxcurate.io.errors import UserError
from jaxcurate.train.state import batch_sharding
from jaxcurate.types import Batch, Params

# Steps whose losses wait on the device before they are looked at.
_LOOK_EVERY = 64

Loss = Callable[[Any, Params, Batch], jax.Array]


class FitResult(NamedTuple):
  """What was learnt.

  Attributes:
    fitted: pytree of arrays, of the last epoch or of the best held-out one.
    opt_state: the optimizer's state after that epoch.
    losses: mean loss of each epoch, weighted by targets.
    held_out_losses: the same on the held-out examples after each epoch.
    best_epoch: the epoch of `fitted`, from 1.
  """

  fitted: Any
  opt_state: Any
  losses: tuple[float, ...]
  held_out_losses: tuple[float, ...]
  best_epoch: int


class _Rows(NamedTuple):
  """Packed rows, and how many targets count in each."""

  batch: dict[str, np.ndarray]
  targets_R: np.ndarray


def fit(
  *,
  init: Callable[[jax.Array], Any],
  loss: Loss,
  params: Params,
  examples: Sequence[Mapping[str, np.ndarray]],
  encoder_length: int,
  decoder_length: int,
  optimizer: optax.GradientTransformation,
  epochs: int,
  batch_size: int,
  seed: int,
  mesh: Mesh,
  held_out: Sequence[Mapping[str, np.ndarray]] = (),
  on_epoch: Callable[[int, Any, Any], object] | None = None,
  max_segments: int = 1,
  resume: tuple[int, Any, Any] | None = None,
) -> FitResult:
  """Trains what `init` makes; `params` stay as they are.

  Args:
    init: key -> pytree of float arrays; every device holds all of it.
    loss: (fitted, params, batch) -> [] loss, a mean over the targets that
      count. Rows without any are padding and must add nothing. Fits with the
      same loss and optimizer share what is compiled.
    params: of the frozen network, on the mesh.
    examples: as `packing.pack` takes them.
    encoder_length, decoder_length: token slots per row, 0 for a side that
      the examples lack.
    optimizer: what makes updates of gradients.
    epochs: passes over the examples, >= 1.
    batch_size: rows per step, >= 1; a row is an example where `max_segments`
      is 1. An epoch's last step takes what is left.
    seed: of `init` and of the order, >= 0.
    mesh: axes 'data' and 'model'; rows are split over 'data'.
    held_out: examples not trained on. With them the fit ends with the first
      epoch whose held-out loss is no better than the one before, and returns
      the one before.
    on_epoch: called with (epoch from 1, fitted, optimizer state), copies on
      the host, after each epoch.
    max_segments: most examples in a row.
    resume: what `on_epoch` had, to go on after that epoch; losses begin there.

  Returns:
    What was learnt; arrays on the mesh.

  Raises:
    UserError: no example or no target that counts, or a loss or gradient that
      is not finite.
    ValueError: a setting out of its range.
  """
  if epochs < 1 or batch_size < 1:
    raise ValueError(
      f'epochs is {epochs} and batch_size {batch_size}, expected at least 1'
    )
  shape = (encoder_length, decoder_length, max_segments)
  rows = _pack(examples, 'train on', *shape)
  held_rows = _pack(held_out, 'hold out', *shape) if len(held_out) else None
  everywhere = NamedSharding(mesh, PartitionSpec())
  step, look = _compiled(loss, optimizer, everywhere)
  first = 0
  if resume is None:
    fitted = jax.jit(init, out_shardings=everywhere)(jax.random.key(seed))
    opt_state = jax.jit(optimizer.init, out_shardings=everywhere)(fitted)
  else:
    first, *state = resume
    # Copies: the first step donates what it is given.
    copied = jax.tree.map(jnp.array, tuple(state))
    fitted, opt_state = jax.device_put(copied, everywhere)

  def held_out_loss(found: Any) -> float:
    assert held_rows is not None, 'asked for only where there are some'
    sums = [
      (float(look(found, params, batch)), targets)
      for batch, targets in _batches(held_rows, batch_size, mesh)
    ]
    return _mean(*zip(*sums, strict=True))

  best: tuple[int, Any, Any, float] | None = None
  if held_rows is not None and resume is not None:
    kept = jax.tree.map(jnp.copy, (fitted, opt_state))
    best = (first, *kept, held_out_loss(fitted))
  losses, held_out_losses = [], []
  for epoch in range(first + 1, epochs + 1):
    found, weights = [], []
    order = np.random.default_rng((seed, epoch)).permutation(
      len(rows.targets_R)
    )
    for batch, targets in _batches(rows, batch_size, mesh, order):
      fitted, opt_state, looked = step(fitted, opt_state, params, batch)
      found.append(looked)
      weights.append(targets)
      if len(found) % _LOOK_EVERY == 0:
        _check_finite(epoch, found, len(found) - _LOOK_EVERY)
    _check_finite(epoch, found, len(found) // _LOOK_EVERY * _LOOK_EVERY)
    losses.append(_mean([float(value[0]) for value in found], weights))
    if on_epoch is not None:
      on_epoch(epoch, *jax.tree.map(_host, (fitted, opt_state)))
    if held_rows is None:
      continue
    held_out_losses.append(held_out_loss(fitted))
    # Written so that a held-out loss of NaN also ends it.
    if best is not None and not held_out_losses[-1] < best[3]:
      break
    kept = jax.tree.map(jnp.copy, (fitted, opt_state))
    best = (epoch, *kept, held_out_losses[-1])
  epoch = first + len(losses)
  if best is not None:
    epoch, fitted, opt_state, _ = best
  return FitResult(
    fitted, opt_state, tuple(losses), tuple(held_out_losses), epoch
  )


@functools.lru_cache(maxsize=4)
def _compiled(
  loss: Loss, optimizer: optax.GradientTransformation, layout: NamedSharding
) -> tuple[Callable[..., tuple[Any, Any, jax.Array]], Loss]:
  """One update, and the loss alone; kept, as one domain follows another.

  The update also hands out the loss and the gradient's norm as one array.
  """

  def step(fitted, opt_state, params, batch):
    value, gradient = jax.value_and_grad(loss)(fitted, params, batch)
    updates, opt_state = optimizer.update(gradient, opt_state, fitted)
    looked = jnp.stack([value, optax.global_norm(gradient)])
    return optax.apply_updates(fitted, updates), opt_state, looked

  update = jax.jit(step, donate_argnums=(0, 1), out_shardings=layout)
  return update, jax.jit(loss)


def _pack(
  examples: Sequence[Mapping[str, np.ndarray]],
  purpose: str,
  encoder_length: int,
  decoder_length: int,
  max_segments: int,
) -> _Rows:
  """All rows of the examples.

  Raises:
    UserError: there is no example, or no target counts.
  """
  if not len(examples):
    raise UserError(f'no example to {purpose}; give documents with text')
  batch = packing.pack(
    examples,
    encoder_length=encoder_length,
    decoder_length=decoder_length,
    max_segments=max_segments,
  ).batch
  counted = batch.get('decoder_loss_weights')
  if counted is None:
    counted = batch['encoder_segment_ids'] > 0
  targets_R = counted.sum(axis=1, dtype=np.float64)
  if not targets_R.sum():
    raise UserError(
      f'none of the {len(examples)} examples to {purpose} has a target that'
      ' counts: all labels are masked; give documents with an answer to learn'
    )
  return _Rows(batch, targets_R)


def _batches(
  rows: _Rows, batch_size: int, mesh: Mesh, order: np.ndarray | None = None
) -> Iterator[tuple[dict[str, jax.Array], float]]:
  """Batches on the mesh, all of one shape, and their counted targets."""
  if order is None:
    order = np.arange(len(rows.targets_R))
  whole = -(-batch_size // mesh.shape['data']) * mesh.shape['data']
  for start in range(0, len(order), batch_size):
    chosen = order[start : start + batch_size]
    batch = packing.pad_rows(
      {name: array[chosen] for name, array in rows.batch.items()}, whole
    )
    targets = float(rows.targets_R[chosen].sum())
    yield jax.device_put(batch, batch_sharding(mesh)), targets


def _check_finite(epoch: int, found: list[Any], start: int) -> None:
  """Fetches what waits from `start` on; raises where it is not finite."""
  found[start:] = jax.device_get(found[start:])
  for index, values in enumerate(found[start:], start=start + 1):
    for name, value in zip(('loss', 'gradient norm'), values, strict=True):
      if not math.isfinite(value):
        raise UserError(
          f'epoch {epoch}, step {index}: the {name} is {value}; lower the'
          ' learning rate, or use --dtype=float32'
        )


def _mean(values: Sequence[float], weights: Sequence[float]) -> float:
  return float(np.average(values, weights=weights))


def _host(leaf: Any) -> np.ndarray:
  # A copy: on CPU device_get shares memory that the next step overwrites.
  return np.array(jax.device_get(leaf))
