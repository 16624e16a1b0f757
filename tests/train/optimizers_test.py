import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.io.errors import UserError
from jaxcurate.train import optimizers


def test_schedules_by_hand():
  make = optimizers.make_schedule
  linear = make('linear', learning_rate=2.0, warmup_steps=4, schedule_steps=12)
  np.testing.assert_allclose(
    [linear(t) for t in (0, 2, 4, 8, 12, 99)], [0, 1, 2, 1, 0, 0], atol=1e-6
  )
  cosine = make(
    'cosine',
    learning_rate=2.0,
    warmup_steps=0,
    schedule_steps=8,
    final_fraction=0.1,
  )
  # Half-way between the peak and a tenth of it, then the tenth.
  np.testing.assert_allclose(
    [cosine(t) for t in (0, 4, 8, 99)], [2, 1.1, 0.2, 0.2], atol=1e-6
  )
  constant = make('constant', learning_rate=3.0, warmup_steps=2)
  np.testing.assert_allclose(
    [constant(t) for t in (0, 1, 2, 9)], [0, 1.5, 3, 3]
  )
  rsqrt = make('rsqrt', learning_rate=2.0, warmup_steps=100)
  np.testing.assert_allclose(
    [rsqrt(t) for t in (0, 100, 400)], [0.2, 0.2, 0.1], rtol=1e-6
  )


def slow_adafactor(param, gradients, rates):
  """The paper's Algorithm 4 on a factored matrix, in float64."""
  row, column = np.zeros(param.shape[0]), np.zeros(param.shape[1])
  for t, (gradient, rate) in enumerate(zip(gradients, rates), start=1):
    decay = 1 - t**-0.8
    square = gradient**2 + 1e-30
    row = decay * row + (1 - decay) * square.mean(1)
    column = decay * column + (1 - decay) * square.mean(0)
    update = gradient / np.sqrt(np.outer(row, column) / row.mean())
    update /= max(1.0, np.sqrt((update**2).mean()))
    scale = max(1e-3, np.sqrt((param**2).mean()))
    param = param - rate * scale * update
  return param


def run(optimizer, params, gradients):
  @jax.jit
  def step(gradient, state, params):
    updates, state = optimizer.update(gradient, state, params)
    return jax.tree.map(jnp.add, params, updates), state

  state = optimizer.init(params)
  for gradient in gradients:
    params, state = step(gradient, state, params)
  return params


def test_adafactor_is_the_papers_with_t5s_settings():
  rng = np.random.default_rng(0)
  param, gradients = rng.normal(size=(128, 130)), rng.normal(size=(3, 128, 130))
  optimizer = optimizers.make_optimizer(warmup_steps=2)
  rates = [1 / np.sqrt(max(t, 2)) for t in range(3)]
  np.testing.assert_allclose(
    [optimizer.learning_rate(t) for t in range(3)], rates
  )
  final = run(optimizer, jnp.asarray(param), jnp.asarray(gradients))
  np.testing.assert_allclose(
    final, slow_adafactor(param, gradients, rates), rtol=1e-4, atol=1e-5
  )


def test_adamw_first_step_by_hand():
  # Bias-corrected moments of one gradient give its sign; then decay.
  optimizer = optimizers.make_optimizer(
    'adamw',
    schedule='constant',
    learning_rate=0.1,
    warmup_steps=0,
    weight_decay=0.5,
  )
  final = run(optimizer, jnp.array([2.0, -2.0]), [jnp.array([3.0, 7.0])])
  np.testing.assert_allclose(final, [2 - 0.1 - 0.1, -2 - 0.1 + 0.1], atol=1e-5)


def test_clipping_bounds_the_global_norm():
  settings = {
    'schedule': 'constant',
    'learning_rate': 1.0,
    'warmup_steps': 0,
    'beta1': 0.0,
  }
  clipped = optimizers.make_optimizer('adamw', clip_norm=1.0, **settings)
  state = clipped.init(jnp.zeros(2))
  _, state = clipped.update(jnp.array([30.0, 40.0]), state, jnp.zeros(2))
  moments = [x for x in jax.tree.leaves(state) if x.shape == (2,)]
  np.testing.assert_allclose(moments[0], [0.6, 0.8], rtol=1e-6)


@pytest.mark.parametrize(
  'name, settings, message',
  [
    ('adamw', {'schedule': 'cosine'}, 'schedule_steps is None'),
    ('adamw', {'schedule': 'linear', 'schedule_steps': 10}, 'more than its 10'),
    ('adafactor', {'weight_decay': 0.1}, 'weight_decay is 0.1'),
    ('adafactor', {'warmup_steps': 0}, 'needs at least 1'),
    ('adamw', {'learning_rate': 0.0}, 'learning_rate is 0.0'),
  ],
)
def test_settings_that_do_not_go_together_are_refused(name, settings, message):
  with pytest.raises(UserError, match=message):
    optimizers.make_optimizer(name, **{'warmup_steps': 10, **settings})
