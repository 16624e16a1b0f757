"""Heads that are fitted exactly, and what is chosen for them."""

import numpy as np
import pytest
import scipy.sparse

from jaxcurate.ops import judge_loss, ngrams
from jaxcurate.train import probe


def inputs_of(pooled, grams=None):
  """Inputs with texts of one length."""
  pooled = np.asarray(pooled, float)
  if grams is not None:
    shape = (len(pooled), ngrams.NUM_BUCKETS)
    full = scipy.sparse.lil_matrix(shape)
    full[:, : np.shape(grams)[1]] = grams
    grams = scipy.sparse.csr_matrix(full)
  return probe.Inputs(pooled, grams, np.zeros(len(pooled)))


def rate(head, inputs):
  rated = inputs.pooled @ head['kernel'] + head['bias']
  rated = rated + inputs.length[:, None] * head['length']
  return (
    rated if inputs.grams is None else rated + inputs.grams @ head['ngrams']
  )


def alone(num):
  return np.arange(num)[:, None]


@pytest.fixture
def data():
  rng = np.random.default_rng(0)
  states, signs = rng.normal(size=(60, 4)), rng.choice([-1.0, 1.0], (60, 2))
  return states, signs


def test_ridge_by_hand():
  # Standardised, the states are -1 and 1, and so are the targets: the weight
  # is 2 / (2 + 2) of 1, the bias 3; three numbers: 2.5, 3 and 3.5.
  inputs = inputs_of([[0.0], [2.0]])
  target = np.array([[2.0], [4.0]])
  found = probe.fit(inputs, alone(2), target, loss='squared', penalties=(2.0,))
  three = inputs_of([[0.0], [1.0], [2.0]])
  np.testing.assert_allclose(
    rate(found.head, three)[:, 0], [2.5, 3.0, 3.5], atol=1e-5
  )


@pytest.mark.parametrize('loss', ['squared', 'binary', 'bradley_terry'])
def test_the_head_is_where_the_slope_is_zero(loss, data):
  states, signs = data
  grams = np.abs(signs) * 0.5 + (signs > 0) * 0.2
  inputs = inputs_of(states, grams)
  label = (signs[:, :1] + states[:, :1] > 0).astype(float)
  text = alone(60)
  if loss == 'bradley_terry':
    text, label = np.column_stack([np.arange(60), np.arange(60)[::-1]]), label
  found = probe.fit(
    inputs, text, label, loss=loss, penalties=(0.5,), state_norms=(0.3,)
  )

  def objective(head):
    """Slow, on the inputs as they are."""
    rated = rate(head, inputs)[:, 0]
    rated = rated[text[:, 0]] - (rated[text[:, 1]] if text.shape[1] == 2 else 0)
    spread = states.std(axis=0) * np.sqrt(4) / 0.3
    weights = [head['kernel'][:, 0] * spread, head['ngrams'][:, 0]]
    deviation = label.std() if loss == 'squared' else 1.0
    penalty = 0.25 * sum(np.sum(own**2) for own in weights) / deviation**2
    wanted = label[:, 0]
    if loss == 'squared':
      return 0.5 * np.sum(((rated - wanted) / deviation) ** 2) + penalty
    return np.sum(np.logaddexp(0, rated) - wanted * rated) + penalty

  head = {name: own.astype(np.float64) for name, own in found.head.items()}
  least = objective(head)
  assert loss in judge_loss.LOSSES
  for name in ('kernel', 'ngrams', 'bias'):
    if name == 'bias' and loss == 'bradley_terry':
      continue
    for row in range(min(2, len(head[name]))):
      for step in (-1e-2, 1e-2):
        moved = {key: own.copy() for key, own in head.items()}
        moved[name][(row, 0) if moved[name].ndim == 2 else row] += step
        assert objective(moved) > least


def test_states_count_for_as_much_as_they_say(data):
  states, signs = data
  grams = np.where(signs > 0, [0.9, 0.0], [0.0, 0.9])
  of_grams = (signs[:, :1] > 0).astype(float)
  of_states = (states[:, :1] > 0).astype(float)
  inputs = inputs_of(states, grams)
  small = probe.fit(inputs, alone(60), of_grams, loss='binary')
  large = probe.fit(inputs, alone(60), of_states, loss='binary')
  assert small.state_norm == (min(probe.STATE_NORMS),)
  assert large.state_norm == (max(probe.STATE_NORMS),)
  without = probe.fit(inputs_of(states), alone(60), of_states, loss='binary')
  assert without.state_norm == probe.STATE_NORMS[:1]


def test_criteria_do_not_touch_each_other(data):
  states, signs = data
  inputs = inputs_of(states, np.where(signs > 0, 0.7, 0.1))
  target = np.column_stack([signs[:, 0] > 0, states[:, 1] > 0]).astype(float)
  target[:7, 1] = np.nan
  both = probe.fit(inputs, alone(60), target, loss='binary')
  for i in range(2):
    one = probe.fit(inputs, alone(60), target[:, i : i + 1], loss='binary')
    for name, own in one.head.items():
      np.testing.assert_array_equal(both.head[name][..., i], own[..., 0])
    assert (both.penalty[i], both.state_norm[i]) == (
      *one.penalty,
      *one.state_norm,
    )
    assert both.loss[i] == one.loss[0]


def test_texts_that_are_all_alike_get_the_mean():
  inputs = inputs_of(np.ones((4, 2)), np.full((4, 1), 0.5))
  target = np.array([[1.0], [2.0], [3.0], [6.0]])
  head = probe.fit(inputs, alone(4), target, loss='squared').head
  np.testing.assert_allclose(rate(head, inputs), 3.0, atol=1e-4)


def test_bad_settings_are_named(data):
  inputs, target = inputs_of(data[0]), np.ones((60, 1))
  with pytest.raises(ValueError, match=r'penalties are \(0\.0,\), expected'):
    probe.fit(inputs, alone(60), target, loss='binary', penalties=(0.0,))
  with pytest.raises(ValueError, match='state norms are'):
    probe.fit(inputs, alone(60), target, loss='binary', state_norms=())
  with pytest.raises(ValueError, match='loss'):
    probe.fit(inputs, alone(60), target, loss='hinge')
