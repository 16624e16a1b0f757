"""Adapters are trained, and what they are attached to stays as it is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.io import tables
from jaxcurate.models import decoder
from jaxcurate.ops import lora
from jaxcurate.train import adapters, evaluation, loop, optimizers, program
from jaxcurate.train.progress import Plan
from jaxcurate.train.step import make_train_step
from jaxcurate.weightings import uniform

SETTINGS = adapters.LoraSettings(rank=2, alpha=4.0, dropout_rate=0.5)
NETWORK = decoder.make_network(
  decoder.DecoderConfig(
    vocab_size=16, embed_dim=8, num_heads=2, num_kv_heads=1, head_dim=4,
    mlp_dim=8, num_layers=2, scan_layers=True,
  )
)  # fmt: skip
BASE = NETWORK.init(jax.random.key(0))
STEP = {'max_segments': 2, 'z_loss': 0.0}


def causal(batch):
  return {k: v for k, v in batch.items() if not k.startswith('encoder')}


class Stream:
  """Endless causal batches."""

  def __init__(self, tiny):
    self.rows = tiny.Stream()

  def __next__(self):
    return causal(next(self.rows))

  def state(self):
    return self.rows.state()

  def restore(self, state):
    self.rows.restore(state)

  def epochs(self):
    return self.rows.epochs()

  def document_id(self, id_hash):
    return f'document {id_hash}'


def states(network, params, batch, key=None):
  tokens, ids = batch['decoder_input_tokens'], batch['decoder_segment_ids']
  return network.decode(params, None, None, tokens, ids, dropout_key=key)


def optimizer():
  return optimizers.make_optimizer(
    'adamw', schedule='constant', learning_rate=0.05, warmup_steps=0
  )


@pytest.fixture(scope='module')
def bound():
  return adapters.bind(NETWORK, BASE, SETTINGS)


def nudged(trained):
  """Adapters whose product is not 0."""
  return jax.tree.map(lambda leaf: leaf + 0.1, trained)


def test_fresh_adapters_change_nothing_and_merged_ones_the_same(tiny, bound):
  batch = causal(tiny.make_batch(0))
  fresh = bound.init(jax.random.key(1))
  own = states(NETWORK, BASE, batch)
  np.testing.assert_allclose(states(bound, fresh, batch), own, atol=1e-6)
  other = nudged(fresh)
  merged = lora.merge(BASE, other, alpha=4.0)
  np.testing.assert_allclose(
    states(bound, other, batch), states(NETWORK, merged, batch), atol=1e-5
  )
  assert np.abs(states(bound, other, batch) - own).max() > 1e-2
  np.testing.assert_array_equal(bound.head(other), NETWORK.head(BASE))
  assert bound.encode is None


def test_dropout_is_of_the_adapters_and_keyed(tiny, bound):
  batch = causal(tiny.make_batch(0))
  fresh = bound.init(jax.random.key(1))
  one, two = jax.random.key(1), jax.random.key(2)
  np.testing.assert_allclose(
    states(bound, fresh, batch, one), states(NETWORK, BASE, batch), atol=1e-6
  )
  other = nudged(fresh)
  first = states(bound, other, batch, one)
  np.testing.assert_array_equal(first, states(bound, other, batch, one))
  assert np.abs(first - states(bound, other, batch, two)).max() > 1e-3


def test_the_base_is_an_argument_and_no_constant(tiny, bound):
  batch = causal(tiny.make_batch(0))

  def make(network):
    return make_train_step(network, optimizer(), uniform.make(), **STEP)

  frozen = adapters.Frozen(BASE, SETTINGS)
  state = jax.eval_shape(
    lambda: program.init_state(bound, optimizer(), uniform.make())
  )
  step = adapters.around(make, NETWORK, frozen, donate=True)
  jaxpr = jax.make_jaxpr(step)(state, batch, None, None, BASE)
  consts = [*jaxpr.consts, *jaxpr.eqns[0].params['jaxpr'].consts]
  kept = sum(np.size(const) for const in consts)  # RoPE's frequencies
  assert kept < 0.1 * sum(np.size(leaf) for leaf in jax.tree.leaves(BASE))
  plain = adapters.around(lambda network: lambda *given: given, NETWORK, None)
  assert plain(1, 2, 'base') == (1, 2)


def test_training_moves_adapters_only(tiny, tmp_path):
  before = jax.tree.map(np.array, BASE)
  held = causal(tiny.make_batch(9))
  ids = [f'{i}' for i in range(16)]
  state = loop.train(
    network=NETWORK,
    batches=Stream(tiny),
    optimizer=optimizer(),
    weighting=uniform.make(),
    settings=program.StepSettings(dropout_seed=0, **STEP),
    plan=Plan(steps=3, log_every=1),
    output=tmp_path,
    frozen=adapters.Frozen(BASE, SETTINGS),
    eval_batches=[evaluation.EvalBatch(held, ids, ids)],
    progress=False,
  )
  jax.tree.map(np.testing.assert_array_equal, BASE, before)
  names = {path[-1].key for path, _ in _leaves(state.params)}
  assert names == {lora.A, lora.B}
  moved = [np.abs(leaf).max() for path, leaf in _leaves(state.params)]
  assert all(size > 0 for size in moved)  # B began at 0
  assert sum(np.size(x) for x in jax.tree.leaves(state)) < 0.9 * sum(
    np.size(x) for x in jax.tree.leaves(BASE)
  )
  # The written losses are those of the merged parameters.
  merged = lora.merge(BASE, state.params, alpha=4.0)
  log_probs = jax.nn.log_softmax(
    states(NETWORK, merged, held) @ NETWORK.head(merged)
  )
  own = jnp.take_along_axis(
    log_probs, held['decoder_target_tokens'][..., None], axis=-1
  )[..., 0]
  table = tables.read_parquet(tmp_path / 'eval.parquet').to_pydict()
  row, segment = divmod(int(table['id'][1]), 2)
  mine = held['decoder_segment_ids'][row] == segment + 1
  np.testing.assert_allclose(-own[row][mine].mean(), table['loss'][1], 1e-5)


def _leaves(params):
  return jax.tree_util.tree_leaves_with_path(params)


@pytest.mark.parametrize(
  'change, words',
  [
    ({'rank': 0}, 'rank is 0'),
    ({'alpha': 0.0}, r'alpha is 0\.0'),
    ({'dropout_rate': 1.0}, r'dropout_rate is 1\.0'),
    ({'targets': ('keys',)}, r"no matrix is named \['keys'\].*query"),
  ],
)
def test_settings_out_of_range_are_refused(change, words):
  with pytest.raises(ValueError, match=words):
    adapters.bind(NETWORK, BASE, SETTINGS._replace(**change))
