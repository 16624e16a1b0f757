import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.train import anchors, optimizers
from jaxcurate.train.state import init_state
from jaxcurate.types import AnchorSet
from jaxcurate.weightings import adapt, uniform

S = 2


@pytest.mark.parametrize('states', ['decoder', 'encoder'])
def test_anchor_mean_against_numpy(tiny, states):
  network = tiny.make_network()
  weighting = adapt.make(states=states)
  batches = [tiny.make_batch(seed) for seed in (0, 1)]
  state = init_state(network, optimizers.make_optimizer(), weighting)
  refresh = anchors.make_refresh_step(network, weighting, max_segments=S)
  stacked = anchors.stack_anchors(AnchorSet('test', tuple(batches)))
  mean = refresh(state, stacked)['anchor_mean']

  @jax.jit
  def hidden_states(batch):
    hidden = network.encode(
      state.params, batch['encoder_input_tokens'], batch['encoder_segment_ids']
    )
    if states == 'encoder':
      return hidden
    return network.decode(
      state.params,
      hidden,
      batch['encoder_segment_ids'],
      batch['decoder_input_tokens'],
      batch['decoder_segment_ids'],
    )

  units = []
  for batch in batches:
    hidden = hidden_states(batch)
    ids = batch[f'{states}_segment_ids']
    for row in range(len(ids)):
      for s in range(1, S + 1):
        tokens = np.asarray(hidden, np.float64)[row, ids[row] == s]
        if len(tokens):
          rank = np.arange(1, len(tokens) + 1) if states == 'decoder' else 1
          pooled = (tokens * np.reshape(rank, (-1, 1))).sum(0)
          units.append(pooled / np.linalg.norm(pooled))
  np.testing.assert_allclose(mean, np.mean(units, 0), atol=1e-5)


def test_state_is_not_donated_and_keeps_the_rest(tiny):
  network, weighting = tiny.make_network(), adapt.make(center=True)
  state = init_state(network, optimizers.make_optimizer(), weighting)
  moved = {**state.weighting_state, 'running_mean': jnp.ones(8)}
  state = state.replace(weighting_state=moved)
  refresh = anchors.make_refresh_step(network, weighting, max_segments=S)
  stacked = anchors.stack_anchors(AnchorSet('test', (tiny.make_batch(0),)))
  new = refresh(state, stacked)
  np.testing.assert_array_equal(new['running_mean'], 1.0)
  assert not any(x.is_deleted() for x in jax.tree.leaves(state))


def test_wrong_requests_are_refused(tiny):
  with pytest.raises(ValueError, match="'empty' has no batch"):
    anchors.stack_anchors(AnchorSet('empty', ()))
  with pytest.raises(ValueError, match='no refresh'):
    anchors.make_refresh_step(
      tiny.make_network(), uniform.make(), max_segments=S
    )
