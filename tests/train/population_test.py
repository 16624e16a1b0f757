import jax
import numpy as np
import pyarrow.parquet as pq
import pytest

from jaxcurate.train import evaluation, loop, metrics, optimizers
from jaxcurate.train.population import train_population
from jaxcurate.train.program import StepSettings
from jaxcurate.train.progress import Plan
from jaxcurate.types import AnchorSet
from jaxcurate.weightings import adapt

SEEDS = [3, 8]


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


def test_seeds_and_streams_must_match(tiny, tmp_path):
  with pytest.raises(ValueError, match=r'2 iterators .* seeds \[3, 3\]'):
    train_population(
      batches=streams(tiny), seeds=[3, 3], **settings(tiny, tmp_path)
    )
