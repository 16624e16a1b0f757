"""Sums against numbers by hand, on a network whose logits are its head."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.train import optimizers
from jaxcurate.train.gradients import make_gradient_fn
from jaxcurate.train.state import TrainState
from jaxcurate.types import Network, Weighting

# States are always 1 wide and 1, so logits are the head's one row.
CONSTANT = Network(
  init=lambda key: {'head': jnp.zeros((1, 2))},
  encode=lambda p, tokens, ids, *, dropout_key=None: jnp.ones(
    (*tokens.shape, 1)
  ),
  decode=lambda p, encoded, e_ids, tokens, ids, *, dropout_key=None: jnp.ones(
    (*tokens.shape, 1)
  ),
  head=lambda p: p['head'],
  pool=lambda *_: jnp.zeros(()),
  width=1,
  vocab_size=2,
  logical_axes={'head': ('embed', 'vocab')},
)
WEIGHTS = [2.0, 3.0, 0.5, 7.0]  # of the two segments of two rows


def batch():
  ids = np.array([[1, 1, 2, 0], [1, 0, 0, 0]], np.int32)
  return {
    'encoder_input_tokens': ids,
    'encoder_segment_ids': ids,
    'decoder_input_tokens': ids,
    'decoder_segment_ids': ids,
    'decoder_target_tokens': np.array([[0, 1, 1, 0], [1, 0, 0, 0]], np.int32),
    'decoder_loss_weights': np.array([[1, 1, 1, 0], [1, 0, 0, 0]], np.float32),
  }


def run(accumulate=1, z_loss=0.0, count_updates=False, reduction='tokens'):
  calls = []

  def update(signals, state):
    calls.append(signals.mask_E.shape[0])
    rows = signals.batch['decoder_target_tokens'][:, 0]
    # A row-local rule: rows are told apart by their first target.
    weights = jnp.where(rows[:, None] == 0, jnp.array([WEIGHTS[:2]]), 0.5)
    return weights.reshape(-1), state + signals.mask_E.sum(), {}

  weighting = Weighting(
    lambda shapes: jnp.int32(0), update, needs=frozenset({'batch'})
  )
  gradient_fn = make_gradient_fn(
    CONSTANT,
    weighting,
    optimizers.make_optimizer(),
    max_segments=2,
    z_loss=z_loss,
    reduction=reduction,
    accumulate=accumulate,
    chunk_tokens=None,
  )
  state = TrainState(
    step=jnp.int32(0),
    params={'head': jnp.log(jnp.array([[1.0, 3.0]]))},
    opt_state=(),
    weighting_state=jnp.int32(0),
  )
  result = jax.jit(gradient_fn)(state, batch(), None)
  return (result, calls) if count_updates else result


@pytest.mark.parametrize('accumulate', [1, 2])
def test_sums_by_hand(accumulate):
  # P = (1/4, 3/4). Weighted targets: row 0: 0 (w 2), 1 (w 2), 1 (w 3);
  # row 1: 1 (w 0.5).
  result = run(accumulate)
  low, high = np.log(4), np.log(4 / 3)
  sums = {k: float(v) for k, v in result.sums.items()}
  np.testing.assert_allclose(sums['targets'], 4)
  np.testing.assert_allclose(sums['weights'], 7.5)
  np.testing.assert_allclose(sums['nll'], low + 3 * high, rtol=1e-6)
  np.testing.assert_allclose(
    sums['weighted_nll'], 2 * low + 5.5 * high, rtol=1e-6
  )
  # d nll / d logits = P - onehot: sum_t w_t (P - onehot_t).
  np.testing.assert_allclose(
    result.gradients['head'],
    [[7.5 / 4 - 2, 7.5 * 3 / 4 - 5.5]],
    atol=1e-5,
  )
  assert result.mask_E.tolist() == [True, True, True, False]
  assert result.weighed.weights.tolist() == [2.0, 3.0, 0.5, 0.0]
  # The state sees the whole batch once, not each part.
  assert int(result.weighed.weighting_state) == 3


@pytest.mark.parametrize('accumulate', [1, 2])
def test_means_of_examples_by_hand(accumulate):
  # Targets of example 0: 0, 1 (half each); of example 1: 1; of row 1: 1.
  result = run(accumulate, reduction='examples')
  low, high = np.log(4), np.log(4 / 3)
  sums = {k: float(v) for k, v in result.sums.items()}
  np.testing.assert_allclose(sums['targets'], 3)
  np.testing.assert_allclose(sums['weights'], 5.5)
  np.testing.assert_allclose(sums['count'], 4)
  np.testing.assert_allclose(sums['nll'], low + 3 * high, rtol=1e-6)
  np.testing.assert_allclose(sums['weighted_nll'], low + 4.5 * high, rtol=1e-6)
  np.testing.assert_allclose(
    result.gradients['head'], [[5.5 / 4 - 1, 5.5 * 3 / 4 - 4.5]], atol=1e-5
  )


def test_z_loss_by_hand():
  # d (log Z)^2 / d logits = 2 log Z P, here with Z = 4 and 7.5 in weights.
  plain, with_z = run(), run(z_loss=0.1)
  np.testing.assert_allclose(
    with_z.gradients['head'] - plain.gradients['head'],
    [[0.2 * np.log(4) * 7.5 / 4, 0.2 * np.log(4) * 7.5 * 3 / 4]],
    rtol=1e-5,
  )
  assert float(with_z.sums['nll']) == float(plain.sums['nll'])


def test_one_trace_of_update_per_batch():
  _, calls = run(count_updates=True)
  assert set(calls) == {4}
  _, calls = run(accumulate=2, count_updates=True)
  assert set(calls) == {2, 4}  # the parts, then the whole for state and log
