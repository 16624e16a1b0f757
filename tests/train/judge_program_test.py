"""The step and the inputs of a judge, on one device and on eight."""

import jax
import numpy as np
import pytest

from jaxcurate.data import token_part
from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.models import decoder, t5
from jaxcurate.models import mesh as mesh_lib
from jaxcurate.ops import rating
from jaxcurate.ops.ids import hash_ids
from jaxcurate.scorers import rater
from jaxcurate.train import (
  judge,
  judge_data,
  judge_program,
  optimizers,
  probe_inputs,
)
from jaxcurate.types import HeadSettings

WORDS = ByteVocabulary()
N = 8
SHAPE = {
  'vocab_size': WORDS.size, 'embed_dim': 16, 'num_heads': 2, 'head_dim': 8,
  'mlp_dim': 32,
}  # fmt: skip
NETWORKS = {
  'encoder': t5.make_network(
    t5.T5Config(num_encoder_layers=1, num_decoder_layers=0, **SHAPE)
  ),
  'decoder': decoder.make_network(
    decoder.DecoderConfig(num_kv_heads=1, num_layers=1, **SHAPE)
  ),
}


@pytest.fixture(scope='module')
def part(tmp_path_factory):
  folder = tmp_path_factory.mktemp('part') / 'text'
  rng = np.random.default_rng(0)
  tokens = [rng.integers(3, 200, size=n).tolist() for n in range(1, 4 * N, 4)]
  ids = [f'd{i}' for i in range(N)]
  writer = token_part.PartWriter(folder, 'uint16')
  domains = np.arange(N, dtype=np.int32) % 2 - 1
  writer.append(tokens, ids, hash_ids(ids), domains, np.ones(N, np.int32))
  writer.finish()
  return token_part.open_part(folder, 'uint16')


def settings_of(network):
  return HeadSettings((), '', rater.pooling_of(network), 12, 2, 1)


def random_head(network):
  rng = np.random.default_rng(1)
  shapes = rating.init(network.width, 1, 1)
  params = {n: rng.normal(size=a.shape) for n, a in shapes.items()}
  return jax.tree.map(np.float32, params)


@pytest.mark.parametrize('kind', NETWORKS)
def test_a_head_is_fitted_on_what_is_trained_and_scored(
  kind, part, draw_params
):
  network = NETWORKS[kind]
  params, head = draw_params(network), random_head(network)
  settings = settings_of(network)
  one = mesh_lib.make_mesh(None, jax.devices()[:1])
  seen, flops = probe_inputs.gather(part, network, WORDS, settings, params, one)
  expected = seen.pooled @ head['kernel'] + seen.grams @ head['ngrams']
  expected += seen.length[:, None] * head['length'] + head['bias']
  reading = judge.read_with_head(network, WORDS, settings)
  items = judge_data.Items(np.arange(N)[:, None], np.zeros((N, 1), np.float32))
  batch = judge_data.make_batch(part, items, reading.features, N)
  found = jax.jit(
    lambda params, batch: judge.rate_texts(reading, params, batch, N)
  )({'network': params, 'head': head}, batch)
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
  assert flops > 0


def program_of(mesh, part, loss='binary', head=None):
  network = NETWORKS['encoder']
  reading = judge.read_with_head(network, WORDS, settings_of(network))
  sides = 2 if loss == 'bradley_terry' else 1
  document = np.arange(N).reshape(-1, sides)
  target = np.linspace(0, 1, len(document), dtype=np.float32)[:, None]
  items = judge_data.Items(document, target)
  program = judge_program.make_program(
    reading,
    network,
    optimizers.make_optimizer(
      'adamw', schedule='constant', learning_rate=0.01, warmup_steps=1
    ),
    loss,
    head=random_head(network) if head is None else head,
    seed=0,
    num_items=len(document),
    held_out=judge_program.HeldOut(part, items, ('x',)),
    mesh=mesh,
  )
  batch = judge_data.make_batch(
    part, items, reading.features, len(document),
    shards=1 if mesh is None else 8,
  )  # fmt: skip
  return program, batch, items


def test_eight_devices_make_the_step_of_one(part):
  found = []
  for mesh in (None, mesh_lib.make_mesh('data=8')):
    program, batch, _ = program_of(mesh, part)
    _, metrics = program.step(program.init(), program.put([batch]))
    found.append(jax.device_get(metrics))
  for name in ('loss', 'gradient_norm', 'examples', 'tokens'):
    np.testing.assert_allclose(found[0][name], found[1][name], rtol=1e-5)
  assert found[0]['examples'] == N


def test_the_loss_goes_down(part):
  program, batch, _ = program_of(None, part)
  state, losses = program.init(), []
  for _ in range(12):
    state, metrics = program.step(state, program.put([batch]))
    losses.append(float(metrics['loss']))
  assert losses[-1] < 0.8 * losses[0]
  assert int(state.step) == 12


@pytest.mark.parametrize('loss', ['binary', 'bradley_terry'])
def test_a_judge_without_an_opinion_is_evaluated(part, loss):
  nothing = rating.init(16, 1, 1)
  program, _, items = program_of(None, part, loss, head=nothing)
  [found] = program.evaluate(program.init().params)
  np.testing.assert_allclose(found.loss, np.log(2), rtol=1e-6)
  pair = loss == 'bradley_terry'
  assert found.id[0] == ('d0 > d1' if pair else 'd0')
  assert found.domain.tolist()[:2] == ([None, None] if pair else [None, 'x'])
  assert len(found.loss) == len(items.target)


def test_an_unknown_loss_is_refused(part):
  with pytest.raises(ValueError, match="'hinge', expected one of"):
    program_of(None, part, 'hinge')
