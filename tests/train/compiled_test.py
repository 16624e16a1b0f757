"""What the compiled steps hold: no callbacks on TPU, no overhead for ADAPT."""

import re

import jax
import pytest

from jaxcurate.models import t5
from jaxcurate.ops.flops import count_flops
from jaxcurate.train import anchors, evaluation, optimizers
from jaxcurate.train.state import abstract_state
from jaxcurate.train.step import make_train_step
from jaxcurate.types import AnchorSet
from jaxcurate.weightings import adapt, uniform

S = 4
# Not scanned, so that XLA's own count, which sees a loop's body once, holds.
NETWORK = t5.make_network(
  t5.T5Config(
    vocab_size=2048,
    embed_dim=128,
    num_heads=4,
    head_dim=32,
    mlp_dim=256,
    num_encoder_layers=1,
    num_decoder_layers=1,
    scan_layers=False,
  )
)
OPTIMIZER = optimizers.make_optimizer(
  'adamw', schedule='constant', learning_rate=1e-3, warmup_steps=0
)


@pytest.fixture(scope='module')
def batch(tiny):
  return tiny.make_batch(
    0,
    num_rows=4,
    encoder_length=128,
    decoder_length=64,
    max_segments=S,
    vocab_size=2048,
  )


def test_adapt_costs_no_memory_and_a_thousandth_of_the_operations(batch):
  flops, xla_flops, temp_bytes = [], [], []
  for weighting in (uniform.make(), adapt.make(center=True)):
    step = make_train_step(NETWORK, OPTIMIZER, weighting, max_segments=S)
    state = abstract_state(NETWORK, OPTIMIZER, weighting)
    flops.append(count_flops(step, state, batch))
    compiled = step.lower(state, batch).compile()
    xla_flops.append(compiled.cost_analysis()['flops'])
    temp_bytes.append(compiled.memory_analysis().temp_size_in_bytes)
  assert flops[0] < flops[1] <= 1.001 * flops[0]
  assert xla_flops[0] < xla_flops[1] <= 1.001 * xla_flops[0]
  # Room for the order of the work; the states alone are 130 kB, 0.8 % more.
  assert temp_bytes[1] <= 1.001 * temp_bytes[0]


def assert_lowers_for_tpu(step, *args):
  text = jax.export.export(step, platforms=['tpu'])(*args).mlir_module()
  calls = set(re.findall(r'custom_call @(\w+)', text))
  assert not [name for name in calls if 'callback' in name.lower()]
  assert not re.search('infeed|outfeed|stablehlo.(send|recv)', text)


@pytest.mark.parametrize('accumulate', [1, 2])
def test_train_step_lowers_for_tpu_without_callbacks(batch, accumulate):
  weighting = adapt.make(center=True)
  optimizer = optimizers.make_optimizer(clip_norm=1.0)
  step = make_train_step(
    NETWORK,
    optimizer,
    weighting,
    max_segments=S,
    accumulate=accumulate,
    chunk_tokens=64,
  )
  state = abstract_state(NETWORK, optimizer, weighting)
  key = jax.eval_shape(lambda: jax.random.key(0))
  assert_lowers_for_tpu(step, without_devices(state), batch, key)


def test_refresh_and_evaluation_lower_for_tpu_without_callbacks(batch):
  weighting = adapt.make()
  state = without_devices(abstract_state(NETWORK, OPTIMIZER, weighting))
  refresh = anchors.make_refresh_step(NETWORK, weighting, max_segments=S)
  stacked = anchors.stack_anchors(AnchorSet('a', (batch, batch)))
  assert_lowers_for_tpu(refresh, state, stacked)
  eval_step = evaluation.make_eval_step(NETWORK, max_segments=S)
  assert_lowers_for_tpu(eval_step, state.params, batch)


def without_devices(state):
  return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), state)
