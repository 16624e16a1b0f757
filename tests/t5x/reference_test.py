"""Weightings that compare with a frozen second network."""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.types import Weighting
from jaxcurate.weightings import rho_1, rho_loss, uniform


@pytest.fixture(scope='module')
def saved(t5x, tmp_path_factory):
  """Checkpoints of a stock run: a folder of Orbax, one of T5X's older form."""
  trainer = t5x.make_trainer(t5x.make_model(), t5x.make_batch())
  folder, older = (tmp_path_factory.mktemp(name) for name in ('new', 'old'))
  state = trainer.train_state
  state = state.replace_params(jax.tree.map(lambda x: 1.5 * x, state.params))
  manager = t5x.utils.create_orbax_checkpoint_manager(
    save_cfg=t5x.utils.SaveCheckpointConfig(),
    train_state=jax.eval_shape(lambda: state),
    partitioner=trainer._partitioner,
    model_dir=str(folder),
  )
  manager.save(state)
  manager.wait_until_finished()
  manager.close()
  t5x.checkpoints.Checkpointer(state, trainer._partitioner, str(older)).save(
    state
  )
  params = jax.device_get(state.params)
  return params, [str(f / 'checkpoint_0') for f in (folder, older)]


def config(t5x, path):
  return t5x.utils.RestoreCheckpointConfig(path=path, mode='specific')


def weigh(signals, state):
  """What the reference says of each target, as the weight of the target."""
  more = jnp.where(signals.mask_E, signals.reference_loss_E, 0.0).sum()
  return signals.reference_token_loss_BxT, state, {'reference': more}


BY_REFERENCE = Weighting(
  init=lambda shapes: {},
  update=weigh,
  needs=frozenset({'reference_loss', 'reference_token_loss'}),
)


def nll_of(model, params, batch):
  logits = np.float64(model._compute_logits(params, batch))
  targets = batch['decoder_target_tokens'][..., None]
  chosen = np.take_along_axis(logits, targets, -1)[..., 0]
  return np.log(np.exp(logits).sum(-1)) - chosen


@pytest.mark.parametrize(
  'parts, mesh, form', [(None, (1, 1), 0), (2, (4, 1), 1)]
)
def test_it_is_the_network_of_the_checkpoint(t5x, saved, parts, mesh, form):
  params, paths = saved
  files = [sorted(pathlib.Path(path).rglob('*')) for path in paths]
  batch = t5x.make_batch(4)
  model = t5x.make_model(BY_REFERENCE)
  trainer = t5x.make_trainer(
    model,
    batch,
    parts=parts,
    mesh=mesh,
    reference_cfg=config(t5x, paths[form]),
  )
  jax.tree.map(np.testing.assert_array_equal, trainer._reference.params, params)
  assert sorted(pathlib.Path(paths[form]).rglob('*')) == files[form]
  _, after, metrics = t5x.step(trainer, batch)
  real = batch['decoder_loss_weights'] > 0
  nll = nll_of(model, params, batch)
  np.testing.assert_allclose(
    metrics['weights/mean'], nll[real].mean(), rtol=1e-5
  )
  np.testing.assert_allclose(metrics['weights/max'], nll[real].max(), rtol=1e-5)
  ids = batch['decoder_segment_ids']
  by_example = [
    row[own == segment].mean()
    for row, own in zip(nll, ids, strict=True)
    for segment in range(1, own.max() + 1)
  ]
  np.testing.assert_allclose(
    metrics['weights/reference'], sum(by_example), rtol=1e-5
  )
  # It is laid out like the model, and no part of what is checkpointed.
  where = [
    tree['decoder']['layers_0']['mlp']['wi_0']['kernel'].sharding.spec
    for tree in (trainer._reference.params, after.params)
  ]
  assert where[0] == where[1]
  assert set(after.flax_mutables['weighting']) == {'refreshes', 'nonfinite'}
  # It is compiled ahead as T5X does, and stays what it was.
  trainer.compile_train(batch)
  given = {name: jnp.asarray(value) for name, value in batch.items()}
  _, again = trainer._compiled_train_step(trainer.train_state, given)
  np.testing.assert_allclose(
    float(again['weights/reference'].total), sum(by_example), rtol=1e-5
  )


@pytest.mark.parametrize('rule', [rho_loss.make(), rho_1.make()])
def test_methods_keep_what_exceeds_the_reference(t5x, saved, rule):
  _, (path, _) = saved
  batch = t5x.make_batch(4)
  trainer = t5x.make_trainer(
    t5x.make_model(rule), batch, reference_cfg=config(t5x, path)
  )
  _, _, metrics = t5x.step(trainer, batch)
  assert metrics['weights/min'] == 0 < metrics['weights/max']


def test_a_network_of_its_own(t5x, tmp_path):
  small = t5x.make_model(mlp_dim=8)
  batch = t5x.make_batch(4)
  trainer = t5x.make_trainer(small, batch)
  params = jax.device_get(trainer.train_state.params)
  writer = t5x.checkpoints.Checkpointer(
    trainer.train_state, trainer._partitioner, str(tmp_path)
  )
  writer.save(trainer.train_state)
  trainer = t5x.make_trainer(
    t5x.make_model(BY_REFERENCE),
    batch,
    reference_cfg=config(t5x, str(tmp_path / 'checkpoint_0')),
    reference_module=small.module,
  )
  _, _, metrics = t5x.step(trainer, batch)
  nll = nll_of(small, params, batch)[batch['decoder_loss_weights'] > 0]
  np.testing.assert_allclose(metrics['weights/mean'], nll.mean(), rtol=1e-5)


def test_who_needs_one_and_who_does_not(t5x):
  batch = t5x.make_batch()
  with pytest.raises(ValueError, match='second model, and there is none'):
    t5x.make_trainer(t5x.make_model(rho_loss.make()), batch)
  with pytest.raises(ValueError, match="no checkpoint 'not/there'"):
    t5x.make_trainer(
      t5x.make_model(rho_loss.make()),
      batch,
      reference_cfg=config(t5x, 'not/there'),
    )
  with pytest.raises(ValueError, match='compares with none'):
    t5x.make_trainer(
      t5x.make_model(uniform.make()), batch, reference_cfg=config(t5x, 'a')
    )
  rule = BY_REFERENCE._replace(
    refresh=lambda signals, state: state,
    anchor_needs=frozenset({'reference_loss'}),
  )
  with pytest.raises(ValueError, match=r"cannot have \['reference_loss'\]"):
    t5x.make_model(rule)
