"""Live parity with `transformers`; needs the extra [parity], else skipped."""

import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcurate.models import huggingface, t5

torch = pytest.importorskip('torch')
transformers = pytest.importorskip('transformers')

_TOOL = pathlib.Path(__file__).parents[2] / 'tools/make_t5_goldens.py'


@pytest.fixture(scope='module')
def tool():
  spec = importlib.util.spec_from_file_location('make_t5_goldens', _TOOL)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


def _relative_error(found, expected, mask):
  found, expected = np.asarray(found)[mask], expected[mask]
  return np.linalg.norm(found - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize('variant', ['t5_1_0', 't5_1_1', 'flan', 'byt5'])
@pytest.mark.parametrize('seed', [1, 2])
def test_saved_by_transformers_and_read_by_us(variant, seed, tool, tmp_path):
  model = tool.make_model(variant, seed)
  model.save_pretrained(tmp_path)
  inputs = tool.make_inputs(model.config.vocab_size, seed)
  expected = tool.run(model, inputs)
  params, config = huggingface.read(tmp_path)
  network = t5.make_network(config)
  tokens = jnp.asarray(inputs['input_ids'], jnp.int32)
  labels = jnp.asarray(inputs['labels'], jnp.int32)
  segments, real = jnp.sign(tokens), (labels != -100).astype(jnp.int32)
  targets = jnp.maximum(labels, 0)

  @jax.jit
  def run(params):
    encoded = network.encode(params, tokens, segments)
    shifted = jnp.pad(targets, ((0, 0), (1, 0)))[:, :-1]
    states = network.decode(params, encoded, segments, shifted, real)
    logits = states @ network.head(params)
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    return encoded, logits, jnp.sum(loss * real) / jnp.sum(real)

  encoded, logits, loss = run(params)
  mask = np.asarray(segments) > 0
  error = _relative_error(encoded, expected['encoder_states'], mask)
  assert error < 1e-4
  assert _relative_error(logits, expected['logits'], np.asarray(real) > 0) < (
    1e-4
  )
  np.testing.assert_allclose(loss, expected['loss'], rtol=1e-4)


@pytest.mark.parametrize('variant', ['t5_1_0', 't5_1_1', 'flan', 'byt5'])
def test_exported_by_us_and_read_by_transformers(variant, tool, tmp_path):
  model = tool.make_model(variant)
  model.save_pretrained(tmp_path / 'theirs')
  inputs = tool.make_inputs(model.config.vocab_size)
  params, config = huggingface.read(tmp_path / 'theirs')
  huggingface.export_huggingface(tmp_path / 'ours', params, config, 'bytes')
  loaded = transformers.T5ForConditionalGeneration.from_pretrained(
    tmp_path / 'ours'
  ).eval()
  expected, found = tool.run(model, inputs), tool.run(loaded, inputs)
  for name, array in expected.items():
    np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize('bidirectional', [True, False])
def test_buckets_of_every_distance(bidirectional):
  from transformers.models.t5.modeling_t5 import T5Attention

  from jaxcurate.models import layers

  distance = np.arange(-3000, 3001)
  for num_buckets, max_distance in ((32, 128), (12, 40), (16, 64)):
    expected = T5Attention._relative_position_bucket(
      torch.tensor(distance), bidirectional, num_buckets, max_distance
    )
    found = layers.relative_buckets(
      distance, bidirectional, num_buckets, max_distance
    )
    np.testing.assert_array_equal(found, expected.numpy())
