import jax
import numpy as np
import pyarrow.parquet as pq
import pytest

from jaxcurate.models import mesh as meshes
from jaxcurate.train import evaluation, loop, metrics, optimizers
from jaxcurate.train.population import train_population
from jaxcurate.train.program import StepSettings
from jaxcurate.train.progress import Plan
from jaxcurate.types import AnchorSet
from jaxcurate.weightings import adapt

SEEDS = [3, 8, 1, 2, 4, 5, 6, 7]


def settings(tiny, output, steps=7):
  return {
    'network': tiny.make_network(),
    'optimizer': optimizers.make_optimizer(
      'adamw', schedule='constant', learning_rate=0.05, warmup_steps=2
    ),
    'weighting': adapt.make(refresh_interval=3),
    'anchors': AnchorSet('anchors', (tiny.make_batch(7),)),
    'settings': StepSettings(max_segments=2, dropout_seed=1),
    'plan': Plan(steps, log_every=2, checkpoint_every=2),
    'output': output,
    'progress': False,
    'eval_batches': [
      evaluation.EvalBatch(
        tiny.make_batch(99), [f'd{e}' for e in range(16)], [None] * 16
      )
    ],
  }


def streams(tiny):
  return [tiny.Stream(seed) for seed in SEEDS]


@pytest.fixture(scope='module')
def population(tiny, tmp_path_factory):
  folder = tmp_path_factory.mktemp('population')
  state = train_population(
    batches=streams(tiny), seeds=SEEDS, **settings(tiny, folder)
  )
  return folder, state


def read(folder):
  return list(metrics.read_metrics(folder / metrics.NAME))


def test_each_member_is_the_model_trained_alone(tiny, tmp_path, population):
  folder, state = population
  alone = loop.train(
    batches=tiny.Stream(SEEDS[1]), seed=SEEDS[1], **settings(tiny, tmp_path)
  )
  member = jax.tree.map(lambda x: x[1], state)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
    member,
    alone,
  )
  lines, expected = read(folder / 'seed8'), read(tmp_path)
  assert len(lines) == len(expected)
  for line, other in zip(lines, expected):
    assert line.keys() == other.keys()
    for name in line.keys() - set(metrics.TIMING):
      np.testing.assert_allclose(line[name], other[name], rtol=1e-4, atol=1e-6)
  runs = folder / 'seed8', tmp_path
  tables = [pq.read_table(run / 'eval.parquet') for run in runs]
  assert tables[0]['id'].equals(tables[1]['id'])
  np.testing.assert_allclose(tables[0]['loss'], tables[1]['loss'], rtol=1e-4)


def test_members_differ(population):
  folder, _ = population
  losses = [read(folder / f'seed{seed}')[0]['loss'] for seed in SEEDS]
  assert losses[0] != losses[1]


def test_a_resumed_population_repeats_an_uninterrupted_one(
  tiny, tmp_path, population
):
  train_population(
    batches=streams(tiny), seeds=SEEDS, **settings(tiny, tmp_path, steps=4)
  )
  state = train_population(
    batches=streams(tiny), seeds=SEEDS, **settings(tiny, tmp_path)
  )
  jax.tree.map(np.testing.assert_array_equal, state, population[1])
  for seed in SEEDS:
    ends, expected = (
      [line for line in read(run / f'seed{seed}') if 'epoch' in line]
      for run in (tmp_path, population[0])
    )
    assert [line['step'] for line in ends] == [4, 5, 7]
    assert ends[1:] == expected  # step 4 was the last at first


class Diverging:
  """A member's stream whose losses are infinite from the third batch on."""

  def __init__(self, stream):
    self.stream = stream
    self.state, self.restore = stream.state, stream.restore
    self.epochs, self.document_id = stream.epochs, stream.document_id

  def __next__(self):
    batch = next(self.stream)
    if self.stream.position < 3:
      return batch
    return batch | {'decoder_loss_weights': np.full((8, 8), np.inf, 'f4')}


def test_members_over_devices_and_one_that_diverges(tiny, tmp_path, population):
  members = streams(tiny)
  members[-1] = Diverging(members[-1])
  mesh = meshes.make_mesh('data=4,model=2')
  for steps in (4, 7):
    own = settings(tiny, tmp_path, steps)
    own['plan'] = Plan(
      steps, log_every=2, checkpoint_every=None, max_nonfinite=None
    )
    state = train_population(batches=members, seeds=SEEDS, mesh=mesh, **own)
  for leaf in jax.tree.leaves(state):
    assert leaf.sharding.shard_shape(leaf.shape)[0] == 2
  folder, alone = population
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(
      a[:-1], b[:-1], rtol=1e-4, atol=1e-5
    ),
    *jax.device_get((state, alone)),
  )
  for seed in SEEDS[:-1]:
    lines, expected = (
      {line['step']: line for line in read(run / f'seed{seed}')}
      for run in (tmp_path, folder)
    )
    for name in expected[7].keys() - {*metrics.TIMING, 'flops'}:
      np.testing.assert_allclose(
        lines[7][name], expected[7][name], rtol=1e-4, atol=1e-6
      )
  lost = [line for line in read(tmp_path / 'seed7') if 'nonfinite' in line]
  assert [line['step'] for line in lost if line['nonfinite']] == [4, 6, 7]


def test_devices_must_share_the_members_equally(tiny, tmp_path):
  with pytest.raises(ValueError, match=r'3 members for 8 devices .* of 8, or'):
    train_population(
      batches=streams(tiny)[:3],
      seeds=SEEDS[:3],
      mesh=meshes.make_mesh('data=8'),
      **settings(tiny, tmp_path),
    )


def test_seeds_and_streams_must_match(tiny, tmp_path):
  with pytest.raises(ValueError, match=r'8 iterators .* seeds \[3, 3\]'):
    train_population(
      batches=streams(tiny), seeds=[3, 3], **settings(tiny, tmp_path)
    )
