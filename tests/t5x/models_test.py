"""What the models accept, and the decoder-only one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.types import Weighting
from jaxcurate.weightings import (
  adapt,
  column,
  lin_upper,
  tracin,
  uniform,
)


def of_decoder(batch):
  return {
    name: value
    for name, value in batch.items()
    if not name.startswith('encoder')
  }


BY_LOSS = Weighting(
  init=lambda shapes: (),
  update=lambda signals, state: (signals.loss_E / 4, state, {}),
  needs=frozenset({'loss'}),
)


def test_a_decoder_equals_a_hand_written_weighted_loss(t5x):
  batch = of_decoder(t5x.make_batch())
  model = t5x.make_decoder(BY_LOSS)
  before, after, metrics = t5x.step(t5x.make_trainer(model, batch), batch)
  ids = batch['decoder_segment_ids']

  def nll_of(params):
    logits = model.module.apply(
      {'params': params},
      batch['decoder_input_tokens'],
      batch['decoder_target_tokens'],
      decoder_segment_ids=ids,
      enable_dropout=False,
    )
    targets = batch['decoder_target_tokens'][..., None]
    log_prob = jax.nn.log_softmax(logits)
    return -jnp.take_along_axis(log_prob, targets, -1)[..., 0]

  nll = np.asarray(nll_of(before.params))
  weights = np.zeros(ids.shape)
  for row, segment in zip(*np.nonzero(ids), strict=True):
    own = ids[row] == ids[row, segment]
    weights[row, own] = nll[row, own].mean() / 4
  loss, expected = jax.value_and_grad(
    lambda params: (nll_of(params) * weights).sum() / (ids > 0).sum()
  )(before.params)
  np.testing.assert_allclose(metrics['weighted/loss'], loss, rtol=1e-6)

  def check(old, new, gradient):
    error = (np.asarray(old) - np.asarray(new)) / t5x.RATE - gradient
    assert np.linalg.norm(error) <= 1e-6 * np.linalg.norm(gradient)

  jax.tree.map(check, before.params, after.params, expected)


def test_label_smoothing_is_t5xs(t5x):
  batch = t5x.make_batch()
  settings = {'label_smoothing': 0.1}
  metrics = [
    t5x.step(
      t5x.make_trainer(t5x.make_model(weighting, **settings), batch), batch
    )[2]
    for weighting in (None, uniform.make())
  ]
  np.testing.assert_allclose(
    metrics[1]['weighted/loss'], metrics[0]['loss'], rtol=1e-6
  )


def test_a_step_compiles_once_and_calls_nothing_outside(t5x):
  batch = t5x.make_batch()
  trainer = t5x.make_trainer(
    t5x.make_model(adapt.make(refresh_interval=2)),
    batch,
    anchor_dataset_cfg=t5x.anchors(t5x.some_anchors()),
  )
  for seed in range(3):
    t5x.step(trainer, t5x.make_batch(seed))
  refreshes = trainer.train_state.flax_mutables['weighting']['refreshes']
  assert int(refreshes) == 2
  jitted = trainer._partitioned_train_step
  assert jitted._pjitted_fn._cache_size() == 1
  program = jitted.lower(trainer.train_state, batch).as_text()
  for word in ('callback', 'infeed', 'outfeed'):
    assert word not in program
  trainer.compile_train(batch)  # what t5x.train does first


def test_examples_beyond_the_last_are_counted(t5x):
  batch = t5x.make_batch()
  model = t5x.make_model(lin_upper.make(), max_segments=1)
  _, _, metrics = t5x.step(t5x.make_trainer(model, batch), batch)
  ids = batch['decoder_segment_ids']
  assert metrics['weights/merged'] == (ids.max(1) == 2).sum()
  np.testing.assert_allclose(metrics['weights/mean'], 1, rtol=1e-5)


def test_gradients_of_examples_in_parts_and_partitioned(t5x):
  batch, results = t5x.make_batch(), []
  for mesh, parts in (((1, 1), None), ((4, 2), 2)):
    trainer = t5x.make_trainer(
      t5x.make_model(tracin.make()),
      batch,
      mesh=mesh,
      parts=parts,
      anchor_dataset_cfg=t5x.anchors(t5x.some_anchors()),
    )
    before, after, metrics = t5x.step(trainer, batch)
    target = after.flax_mutables['weighting']
    results.append((before, jax.device_get(after), metrics))
  name = 'decoder.layers_0.mlp.wi_0.kernel'
  assert target[f'rule.target.{name}'].sharding.spec == (
    after.params['decoder']['layers_0']['mlp']['wi_0']['kernel'].sharding.spec
  )
  (before, one, metrics), (_, many, metrics_on_8) = results

  def check(start, a, b):
    a, b = (np.asarray(x) - np.asarray(start) for x in (a, b))
    assert np.linalg.norm(a - b) <= 1e-5 * np.linalg.norm(a)

  jax.tree.map(check, before.params, one.params, many.params)
  for key in metrics:
    np.testing.assert_allclose(
      metrics_on_8[key], metrics[key], rtol=1e-5, atol=1e-6
    )
  assert metrics['weights/min'] == 0  # half of the examples are kept


def test_gradients_of_examples_want_t5_without_label_smoothing(t5x):
  batch = t5x.make_batch()
  trainer = t5x.make_trainer(
    t5x.make_model(tracin.make(), label_smoothing=0.1),
    batch,
    anchor_dataset_cfg=t5x.anchors(t5x.some_anchors()),
  )
  with pytest.raises(ValueError, match='label_smoothing is'):
    t5x.step(trainer, batch)
  with pytest.raises(ValueError, match='gradients'):
    t5x.make_decoder(tracin.make())


def test_scores_that_a_batch_brings_are_weights(t5x):
  batch = t5x.make_batch()
  scores = np.random.default_rng(0).normal(size=(8, t5x.SEGMENTS))
  batch['document_score'] = scores.astype(np.float32)
  for parts in (None, 2):
    trainer = t5x.make_trainer(
      t5x.make_model(column.make(scale='raw')), batch, parts=parts
    )
    _, _, metrics = t5x.step(trainer, batch)
    real = np.arange(1, 3) <= batch['decoder_segment_ids'].max(1)[:, None]
    weights = 1 / (1 + np.exp(-scores[real]))
    np.testing.assert_allclose(
      [metrics['weights/min'], metrics['weights/max']],
      [weights.min(), weights.max()],
      rtol=1e-5,
    )


def test_settings_that_cannot_be_are_refused(t5x):
  batch = t5x.make_batch()
  with pytest.raises(ValueError, match=r'opt_state.*own step'):
    t5x.make_model(BY_LOSS._replace(needs=frozenset({'opt_state'})))
  with pytest.raises(ValueError, match='no encoder'):
    t5x.make_decoder(adapt.make(states='encoder'))
  with pytest.raises(ValueError, match='add document_score'):
    t5x.make_trainer(t5x.make_model(column.make()), batch)
  model = t5x.make_model(uniform.make(), decoder_norm='last')
  with pytest.raises(ValueError, match=r"no module named \['last'\].*encoder_"):
    t5x.make_trainer(model, batch)
  with pytest.raises(ValueError, match='there are none; bind'):
    t5x.make_trainer(t5x.make_model(adapt.make()), batch)
  config = t5x.anchors(t5x.some_anchors())
  with pytest.raises(ValueError, match='takes none'):
    t5x.make_trainer(
      t5x.make_model(uniform.make()), batch, anchor_dataset_cfg=config
    )
  model = t5x.make_model(uniform.make())
  state = t5x.make_trainer(model, batch).train_state
  with pytest.raises(ValueError, match='trainer_cls'):
    model.loss_fn(state.params, batch, None, state.flax_mutables)
