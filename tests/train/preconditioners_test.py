import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcurate.train import preconditioners
from jaxcurate.train.optimizers import make_optimizer
from jaxcurate.types import Preconditioner


def predicted(known, gradient):
  """The update that the preconditioner promises, in float64 NumPy."""
  decay, rate = float(known.momentum_decay), float(known.learning_rate)

  def leaf(scale, g, momentum):
    scale, g, momentum = (np.asarray(x, float) for x in (scale, g, momentum))
    return -rate * (decay * momentum + (1 - decay) * scale * g)

  momentum = known.momentum
  if momentum is None:
    momentum = jax.tree.map(jnp.zeros_like, known.scale)
  return jax.tree.map(leaf, known.scale, gradient, momentum)


def normal(rng, *shape):
  return jnp.asarray(rng.normal(size=shape), jnp.float32)


def run(optimizer, params, gradients):
  state = optimizer.init(params)
  for gradient in gradients:
    _, state = jax.jit(optimizer.update)(gradient, state, params)
  return state


def read(optimizer, state, params) -> Preconditioner:
  return jax.jit(optimizer.preconditioner)(state, params)


def check(optimizer, state, params, gradient):
  known = read(optimizer, state, params)
  actual, _ = jax.jit(optimizer.update)(gradient, state, params)
  jax.tree.map(
    lambda a, p: np.testing.assert_allclose(
      a, p, rtol=1e-5, atol=1e-6 * np.abs(p).max()
    ),
    actual,
    predicted(known, gradient),
  )
  return known


ADAMW = {'schedule': 'constant', 'learning_rate': 0.1, 'warmup_steps': 0}


def test_adam_by_hand():
  # One gradient g: m = 0.1 g, v-hat = g^2, c = 1 / (1 - 0.9^2).
  optimizer = make_optimizer('adamw', **ADAMW)
  params = jnp.zeros(3)
  gradient = jnp.array([2.0, -4.0, 0.0])
  state = run(optimizer, params, [gradient])
  known = read(optimizer, state, params)
  np.testing.assert_allclose(
    known.scale, [1 / 0.19 / 2, 1 / 0.19 / 4, 0], rtol=1e-5
  )
  assert known.momentum is not None
  np.testing.assert_allclose(
    known.momentum, [0.1 / 0.19, -0.1 / 0.19, 0], rtol=1e-5
  )
  assert [float(known.learning_rate), float(known.momentum_decay)] == [
    np.float32(0.1),
    np.float32(0.9),
  ]
  assert int(known.updates) == 1


@pytest.mark.parametrize('steps', [1, 7])
def test_adam_is_the_next_step_where_the_second_moment_stays(steps):
  """Gradients of constant size: v-hat is their square, before and after."""
  rng = np.random.default_rng(0)
  params = {'a': normal(rng, 3, 4), 'b': normal(rng, 5)}
  size = jax.tree.map(lambda p: normal(rng, *p.shape), params)

  def signed():
    return jax.tree.map(
      lambda s: s * jnp.asarray(rng.choice([-1.0, 1.0], s.shape), s.dtype), size
    )

  optimizer = make_optimizer(
    'adamw',
    schedule='linear',
    learning_rate=0.1,
    warmup_steps=2,
    schedule_steps=9,
    clip_norm=1e6,  # wrapped, and never reached
  )
  state = run(optimizer, params, [signed() for _ in range(steps)])
  known = check(optimizer, state, params, signed())
  np.testing.assert_allclose(
    known.learning_rate, optimizer.learning_rate(steps)
  )


def test_adam_is_the_next_step_as_beta2_goes_to_one():
  """The issue's limit: an old state, whose v the next gradient cannot move."""
  rng = np.random.default_rng(1)
  params = {'a': normal(rng, 3, 4)}
  gradients = [{'a': normal(rng, 3, 4)} for _ in range(4)]
  young = run(
    make_optimizer('adamw', beta2=0.9, **ADAMW), params, gradients[:3]
  )
  old = optax.tree_utils.tree_set(young, count=jnp.int32(2_000_000_000))
  optimizer = make_optimizer('adamw', beta2=1 - 1e-7, **ADAMW)
  check(optimizer, old, params, gradients[3])


SHAPES = {
  'factored': (130, 128),
  'heads': (128, 2, 128),  # d, heads, head_dim: a tie, factored for each head
  'small_heads': (128, 4, 8),  # head_dim below 128: an element each
  'scale': (6,),
}


def old_adafactor(size):
  """(optimizer, params, a state that a gradient no longer moves, rng)."""
  rng = np.random.default_rng(2)
  params = {name: normal(rng, *shape) for name, shape in SHAPES.items()}
  params['scale'] = params['scale'] * 1e-5  # below the smallest RMS
  optimizer = make_optimizer('adafactor', warmup_steps=10)

  def away_from_zero(p):
    g = rng.normal(size=p.shape)
    return jnp.asarray(size * g + np.sign(g), jnp.float32)

  gradients = [jax.tree.map(away_from_zero, params) for _ in range(2)]
  state = run(optimizer, params, gradients)
  old = optax.tree_utils.tree_set(state, count=jnp.int32(2_000_000_000))
  return optimizer, params, old, rng


def test_adafactor_is_the_next_step_up_to_its_clipping():
  optimizer, params, old, rng = old_adafactor(size=3.0)
  # A tenth of the usual size: no tensor is clipped, and all are exact.
  small = jax.tree.map(lambda p: 0.1 * normal(rng, *p.shape), params)
  known = check(optimizer, old, params, small)
  assert known.momentum is None
  assert int(known.updates) == 2_000_000_000
  # Clipped: one number per tensor, at most 1, is all that differs.
  large = jax.tree.map(lambda g: 100 * g, small)
  actual, _ = jax.jit(optimizer.update)(large, old, params)
  promised = predicted(known, large)
  for name in SHAPES:
    ratio = np.asarray(actual[name]) / promised[name]
    np.testing.assert_allclose(ratio, ratio.flat[0], rtol=1e-4)
    assert ratio.flat[0] < 1


def test_adafactor_knows_nothing_of_rows_without_gradient():
  params = {'embedding': jnp.ones((130, 128))}
  gradient = {'embedding': jnp.ones((130, 128)).at[5:].set(0.0)}
  optimizer = make_optimizer('adafactor')
  state = optimizer.init(params)
  fresh = read(optimizer, state, params).scale['embedding']
  np.testing.assert_array_equal(fresh, 0.0)
  state = run(optimizer, params, [gradient])
  scale = read(optimizer, state, params).scale['embedding']
  np.testing.assert_allclose(scale[:5], 1.0, rtol=1e-5)
  np.testing.assert_array_equal(scale[5:], 0.0)


def test_a_state_of_another_optimizer_is_refused():
  params = jnp.zeros(2)
  reader = preconditioners.adam(lambda t: 1.0, beta1=0.9, beta2=0.999)
  with pytest.raises(
    ValueError, match=r'0 ScaleByAdamState.*known: optax.Scale'
  ):
    reader(optax.sgd(0.1).init(params), params)
  twice = optax.chain(optax.adam(0.1), optax.adam(0.1))
  with pytest.raises(ValueError, match='2 ScaleByAdamState'):
    reader(twice.init(params), params)
