"""The weighting's state goes through T5X's own checkpoints."""

import jax
import numpy as np
import pytest

from jaxcurate.t5x import restore
from jaxcurate.weightings import adapt

ADAPT = adapt.make(center=True, refresh_interval=4)


def assert_same(actual, expected):
  jax.tree.map(np.testing.assert_array_equal, actual, expected)


@pytest.fixture
def run(t5x, tmp_path):
  """A model under Adafactor, a trainer maker, and T5X's restore."""

  def make(state=None, weighting=ADAPT):
    model = t5x.make_model(weighting, t5x.adafactor.Adafactor(
      decay_rate=0.8,
      logical_factor_rules=t5x.adafactor.standard_logical_factor_rules(),
    ))  # fmt: skip
    anchors = None
    if weighting is not None and weighting.refresh is not None:
      anchors = {'anchor_dataset_cfg': t5x.anchors(t5x.some_anchors())}
    return t5x.make_trainer(
      model, t5x.make_batch(), state=state, **(anchors or {})
    )

  def save(trainer, legacy=False):
    if legacy:  # the form of the published checkpoints
      writer = t5x.checkpoints.Checkpointer(
        trainer.train_state, trainer._partitioner, str(tmp_path)
      )
      writer.save(trainer.train_state)
      return
    manager = manager_of(t5x, trainer, tmp_path)
    manager.save(trainer.train_state)
    manager.wait_until_finished()
    manager.close()

  def load(trainer, step, **settings):
    manager = manager_of(t5x, trainer, tmp_path)
    config = t5x.utils.RestoreCheckpointConfig(
      path=str(tmp_path / f'checkpoint_{step}'), **settings
    )
    fallback = t5x.utils.get_fallback_state(
      config,
      lambda rng: jax.device_get(trainer.train_state.state_dict()),
      jax.random.PRNGKey(2),
    )
    restored = t5x.utils.restore(manager, [config.path], config, fallback)
    manager.close()
    return restored

  return make, save, load


def manager_of(t5x, trainer, folder):
  return t5x.utils.create_orbax_checkpoint_manager(
    save_cfg=t5x.utils.SaveCheckpointConfig(),
    train_state=jax.eval_shape(lambda: trainer.train_state),
    partitioner=trainer._partitioner,
    model_dir=str(folder),
  )


def test_a_resumed_run_goes_on_bit_for_bit(t5x, run):
  make, save, load = run
  batches = [t5x.make_batch(seed) for seed in range(6)]
  trainer = make()
  for batch in batches[:3]:
    t5x.step(trainer, batch)
  save(trainer)
  resumed = make(load(trainer, 3))
  assert_same(
    resumed.train_state.state_dict(), trainer.train_state.state_dict()
  )
  for batch in batches[3:]:
    _, _, metrics = t5x.step(trainer, batch)
    _, _, again = t5x.step(resumed, batch)
    assert metrics == again
  assert_same(
    resumed.train_state.state_dict(), trainer.train_state.state_dict()
  )
  kept = trainer.train_state.flax_mutables['weighting']
  assert int(kept['refreshes']) == 2  # before steps 1 and 5
  assert float(kept['rule.num_updates']) == 6
  assert 0 < metrics['weights/std'] < 1


@pytest.mark.parametrize(
  'other, legacy',
  [(None, False), (None, True), (adapt.make(states='encoder'), False)],
)
def test_a_warm_start_takes_parameters_and_looks_at_once(
  t5x, run, other, legacy
):
  make, save, load = run
  first = make(weighting=other)
  t5x.step(first, t5x.make_batch())
  save(first, legacy)
  fresh = make()
  state = load(
    fresh,
    1,
    state_transformation_fns=[restore.without_weighting],
    fallback_to_scratch=True,
  )
  theirs = first.train_state.state_dict()
  assert_same(state.state_dict()['target'], theirs['target'])
  assert_same(state.state_dict()['state'], theirs['state'])
  trainer = make(state)
  _, after, metrics = t5x.step(trainer, t5x.make_batch(1))
  # Step 2 is not one of the interval, but there had been no look.
  assert int(after.flax_mutables['weighting']['refreshes']) == 1
  assert np.any(after.flax_mutables['weighting']['rule.anchor_mean'])
  assert metrics['weights/std'] > 0


def test_stock_models_read_weighted_checkpoints(t5x, run):
  make, save, load = run
  weighted = make()
  t5x.step(weighted, t5x.make_batch())
  save(weighted)
  stock = make(weighting=None)
  state = load(stock, 1)
  assert_same(
    state.state_dict()['target'], weighted.train_state.state_dict()['target']
  )


def test_a_checkpoint_of_another_network_is_refused():
  own = {'target': {'a': 1, 'b': 2}, 'flax_mutables': {'weighting': {'c': 3}}}
  with pytest.raises(ValueError, match='no target/b'):
    restore.without_weighting({'target': {'a': 1}}, own)
  other = {'target': {'a': 1}, 'flax_mutables': {'weighting': {'d': 3}}}
  assert restore.without_weighting(other, own, is_resuming=True) is other
