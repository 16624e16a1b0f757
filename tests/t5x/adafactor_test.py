"""What T5X's Adafactor makes of a gradient, read from its state."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.weightings import filter_then_weight, greats

RATE = 0.01


@pytest.fixture
def adafactor(t5x):
  """Adafactor that factors all of a tiny network's matrices."""

  def make(**settings):
    return t5x.adafactor.Adafactor(
      decay_rate=0.8,
      min_dim_size_to_factor=4,
      logical_factor_rules=t5x.adafactor.standard_logical_factor_rules(),
      **settings,
    )

  return make


def flat(tree):
  paths, _ = jax.tree_util.tree_flatten_with_path(tree)
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): leaf
    for path, leaf in paths
  }


@pytest.mark.parametrize(
  'settings',
  [{}, {'multiply_by_parameter_scale': False}, {'factored': False}],
)
def test_with_moments_held_it_is_the_step_itself(t5x, adafactor, settings):
  from jaxcurate.t5x import adafactor as reader

  if 'factored' in settings:
    optimizer = t5x.adafactor.Adafactor(**settings, clipping_threshold=None)
  else:
    optimizer = adafactor(**settings, clipping_threshold=None)
  batch = t5x.make_batch()
  trainer = t5x.make_trainer(t5x.make_model(None, optimizer), batch)
  for seed in range(2):
    t5x.step(trainer, t5x.make_batch(seed))
  state = trainer.train_state
  read = reader.preconditioner(
    optimizer, state, jnp.float32(RATE), jnp.float32(1)
  )
  scales, moments = flat(read.scale), state.param_states
  hyper_params = optimizer.hyper_params.replace(learning_rate=RATE)
  rng, factored = np.random.default_rng(0), 0
  for path, param in flat(state.params).items():
    own = moments
    for key in path.split('/'):
      own = own[key]
    factored += own.v.size == 1
    gradient = rng.normal(size=param.shape).astype(np.float32)
    # So late that the running moments do not take the gradient in.
    after, _ = optimizer.apply_param_gradient(
      1e12, hyper_params, jnp.zeros_like(param) + param, own, gradient, path
    )
    update = np.float64(param) - np.float64(after)
    seen = np.asarray(scales[path]) > 0
    error = np.where(seen, update - RATE * scales[path] * gradient, 0.0)
    # Only rounding of the parameters themselves is left.
    assert np.abs(error).max() < 1e-5 * np.abs(update).max() + 1e-6
    assert seen.any()
  assert (factored > 0) == ('factored' not in settings)
  assert int(read.updates) == 2


@pytest.mark.parametrize(
  'weighting', [greats.make(), filter_then_weight.make(warmup_updates=2)]
)
def test_subsets_are_chosen_under_it(t5x, adafactor, weighting):
  batch = t5x.make_batch()
  trainer = t5x.make_trainer(
    t5x.make_model(weighting, adafactor()),
    batch,
    anchor_dataset_cfg=t5x.anchors(t5x.some_anchors()),
  )
  losses = []
  for seed in range(4):
    _, _, metrics = t5x.step(trainer, t5x.make_batch(seed))
    losses.append(metrics['loss'])
  # All weigh alike while the moments are young.
  assert 0 <= metrics['weights/min'] < metrics['weights/max']
  assert np.all(np.isfinite(losses))


def test_other_optimizers_are_refused_by_name(t5x, adafactor):
  with pytest.raises(ValueError, match=r'OptaxWrapper.*Adafactor'):
    t5x.make_model(greats.make())
  with pytest.raises(ValueError, match=r'beta1 = 0\.9'):
    t5x.make_model(greats.make(), adafactor(beta1=0.9))
