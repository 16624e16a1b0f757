"""Fitting something small on a frozen network."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcurate.io.errors import UserError
from jaxcurate.models import mesh as meshes
from jaxcurate.train import fit as fits

VOCAB, WIDTH = 8, 4
PARAMS = {'slope': jnp.float32(2.0)}


def one_device():
  return meshes.make_mesh(None, jax.devices()[:1])


def example(*targets, weights=None):
  targets = np.array(targets, np.int32)
  found: dict = {'decoder_inputs': targets, 'decoder_targets': targets}
  if weights is not None:
    found['decoder_weights'] = np.array(weights, np.float32)
  return found


def quadratic(fitted, params, batch):
  """Mean over targets y of (slope * x - y)^2."""
  counted = batch['decoder_loss_weights']
  error = params['slope'] * fitted['x'] - batch['decoder_target_tokens']
  return jnp.sum(counted * error**2) / jnp.maximum(counted.sum(), 1.0)


def unigram(fitted, params, batch):
  """Mean loss per target of a table of logits."""
  counted = batch['decoder_loss_weights']
  log_prob = jax.nn.log_softmax(params['slope'] * fitted['logits'])
  own = log_prob[batch['decoder_target_tokens']]
  return -jnp.sum(counted * own) / jnp.maximum(counted.sum(), 1.0)


def fit(examples, *, loss=quadratic, init=None, **settings):
  settings = {
    'optimizer': optax.sgd(0.125),
    'epochs': 1,
    'batch_size': 1,
    'mesh': one_device(),
    **settings,
  }
  return fits.fit(
    init=init or (lambda key: {'x': jnp.float32(0.0)}),
    loss=loss,
    params=PARAMS,
    examples=examples,
    encoder_length=0,
    decoder_length=6,
    seed=3,
    **settings,
  )


def logits(key):
  return {'logits': 0.1 * jax.random.normal(key, (VOCAB,))}


def texts(seed=0, count=21):
  rng = np.random.default_rng(seed)
  return [
    example(*rng.integers(1, VOCAB, rng.integers(1, 6))) for _ in range(count)
  ]


ADAM = optax.adamw(0.05, weight_decay=0.1)


def test_a_quadratic_by_hand():
  # loss (2x - 4)^2, slope 4 (2x - 4): from 0 to 2, where it is 0.
  seen = []
  result = fit([example(4)], epochs=2, on_epoch=lambda *a: seen.append(a))
  assert result.losses == (16.0, 0.0)
  assert float(result.fitted['x']) == 2.0
  assert result.best_epoch == 2
  assert result.held_out_losses == ()
  assert [(epoch, float(found['x'])) for epoch, found, _ in seen] == [
    (1, 2.0),
    (2, 2.0),
  ]


def test_epoch_loss_is_per_target_and_masked_targets_do_not_count():
  # Rate 0: losses 4 * 16 and 1 * 1 targets' worth; the 7 is masked.
  examples = [
    example(4, 4, 4, 4, weights=[1, 1, 1, 1]),
    example(1, 7, weights=[1, 0]),
  ]
  result = fit(examples, optimizer=optax.sgd(0.0), epochs=1)
  assert result.losses[0] == pytest.approx((4 * 16 + 1) / 5)


def test_agrees_with_a_slow_loop():
  examples, rate = texts(), 0.3
  result = fit(
    examples,
    loss=unigram,
    init=lambda key: {'logits': jnp.zeros(VOCAB)},
    optimizer=optax.sgd(rate),
    epochs=3,
    batch_size=4,
  )
  theta = np.zeros(VOCAB)
  for epoch in (1, 2, 3):
    order = np.random.default_rng((3, epoch)).permutation(len(examples))
    for start in range(0, len(order), 4):
      targets = np.concatenate(
        [examples[i]['decoder_targets'] for i in order[start : start + 4]]
      )
      prob = np.exp(2 * theta) / np.exp(2 * theta).sum()
      share = np.bincount(targets, minlength=VOCAB) / len(targets)
      theta -= rate * 2 * (prob - share)
  np.testing.assert_allclose(result.fitted['logits'], theta, atol=1e-5)


def test_same_seed_same_bits_and_the_order_changes_by_epoch():
  settings = {'loss': unigram, 'init': logits, 'optimizer': ADAM, 'epochs': 2}
  one, two = fit(texts(), **settings), fit(texts(), **settings)
  np.testing.assert_array_equal(one.fitted['logits'], two.fitted['logits'])
  assert one.losses == two.losses


@pytest.mark.parametrize('held_out', [(), texts()])
def test_going_on_after_an_epoch_equals_never_having_stopped(held_out):
  snapshots = []
  settings = {
    'loss': unigram,
    'init': logits,
    'optimizer': ADAM,
    'epochs': 4,
    'batch_size': 4,
    'held_out': held_out,
  }
  whole = fit(
    texts(), on_epoch=lambda *state: snapshots.append(state), **settings
  )
  assert len(whole.losses) == 4
  again = fit(texts(), resume=snapshots[1], **settings)
  np.testing.assert_array_equal(again.fitted['logits'], whole.fitted['logits'])
  assert again.losses == whole.losses[2:]
  assert again.best_epoch == whole.best_epoch
  # The snapshot is a copy: going on has not written over it.
  assert (
    snapshots[1][1]['logits'].tolist() != snapshots[3][1]['logits'].tolist()
  )


def test_stops_at_the_best_held_out_loss():
  # Trained towards 4 in steps of 1/2, held out at x = 1: the second epoch is
  # the best, the third is worse and ends it.
  found = fit(
    [example(4)], optimizer=optax.sgd(0.03125), epochs=9, held_out=[example(1)]
  )
  xs, x = [], 0.0
  for _ in range(9):
    x -= 0.03125 * 4 * (2 * x - 4)
    xs.append(x)
  held = [(2 * x - 1) ** 2 for x in xs]
  best = 1 + next(i for i in range(9) if held[i + 1] >= held[i])
  assert found.best_epoch == best
  assert float(found.fitted['x']) == pytest.approx(xs[best - 1])
  assert len(found.losses) == best + 1
  np.testing.assert_allclose(found.held_out_losses, held[: best + 1], rtol=1e-5)


@pytest.mark.parametrize('batch_size', [4, 8])
def test_rows_split_over_devices_give_the_numbers_of_one(batch_size):
  settings = {
    'loss': unigram,
    'init': logits,
    'optimizer': ADAM,
    'epochs': 2,
    'batch_size': batch_size,
    'held_out': texts(1, 5),
  }
  one = fit(texts(), **settings)
  many = fit(texts(), mesh=meshes.make_mesh('data=8'), **settings)
  np.testing.assert_allclose(
    many.fitted['logits'], one.fitted['logits'], atol=1e-6
  )
  np.testing.assert_allclose(many.losses, one.losses, rtol=1e-6)
  assert many.fitted['logits'].sharding.is_fully_replicated


def test_packing_leaves_the_numbers_of_one_step():
  # One step over everything: packed into fewer rows, the mean is the same.
  settings = {'loss': unigram, 'init': logits, 'batch_size': 64}
  plain = fit(texts(), **settings)
  packed = fit(texts(), max_segments=4, **settings)
  np.testing.assert_allclose(
    packed.fitted['logits'], plain.fitted['logits'], atol=1e-6
  )


def test_what_is_not_finite_is_named():
  def broken(fitted, params, batch):
    return quadratic(fitted, params, batch) / (1 - batch_has(batch, 7))

  def batch_has(batch, token):
    return jnp.any(batch['decoder_target_tokens'] == token)

  order = np.random.default_rng((3, 1)).permutation(5)
  examples = [example(7 if i == order[2] else 4) for i in range(5)]
  with pytest.raises(UserError, match='epoch 1, step 3: the loss is inf'):
    fit(examples, loss=broken)

  def steep(fitted, params, batch):  # finite, but its slope at 0 is not
    return quadratic(fitted, params, batch) + jnp.sqrt(fitted['x'])

  with pytest.raises(UserError, match='step 1: the gradient norm is'):
    fit([example(4)], loss=steep)


def test_bad_input_is_explained():
  with pytest.raises(UserError, match='no example to train on'):
    fit([])
  with pytest.raises(UserError, match='none of the 2 examples to train on'):
    fit([example(4, weights=[0])] * 2)
  with pytest.raises(UserError, match='none of the 1 examples to hold out'):
    fit([example(4)], held_out=[example(4, weights=[0])])
  with pytest.raises(ValueError, match='epochs is 0'):
    fit([example(4)], epochs=0)
