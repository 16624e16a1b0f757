"""Proxies prefer the mixture that is like the target, and are trained once."""

import json

import numpy as np
import pytest

from jaxcurate.data import row_shape, token_cache
from jaxcurate.data import vocabulary as vocabularies
from jaxcurate.io.errors import UserError
from jaxcurate.mixtures import regmix
from jaxcurate.models import decoder
from jaxcurate.train import optimizers, proxies, run_log, text
from jaxcurate.types import Document, ScoreTable
from jaxcurate.weightings import uniform

NUM, STEPS = 24, 25
ROWS = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])


def write(domain, index):
  word = {'like': 'abcd', 'unlike': 'wxyz'}[domain]
  return (word * 8)[index % 4 :][:24]


@pytest.fixture(scope='module')
def pool():
  domain = np.array(['like', 'unlike'] * (NUM // 2), object)
  ids = np.array([f'doc{i}' for i in range(NUM)], object)
  return ScoreTable(ids, domain, np.full(NUM, 24, np.int32), {}, {})


@pytest.fixture(scope='module')
def read(pool, tmp_path_factory):
  words = vocabularies.load_vocabulary('bytes')
  cache = token_cache.build(
    tmp_path_factory.mktemp('tokens') / 'cache',
    # In another order than the table's.
    [
      Document(pool.id[i], write(pool.domain[i], i), pool.domain[i])
      for i in reversed(range(NUM))
    ],
    words,
    settings={},
    holdout_share=0.0,
    eval_rows=[Document(f't{i}', write('like', i), None) for i in range(4)],
  )
  rows = row_shape.causal_settings(length=28, max_segments=1)
  return proxies.ProxyText(
    cache.train,
    token_cache.document_rows(cache.train, pool.id, 'pool'),
    words,
    rows,
    text.held_out_batches(cache.eval, cache.domains, words, rows, 4),
  )


NETWORK = decoder.make_network(
  decoder.DecoderConfig(
    vocab_size=384, embed_dim=8, num_heads=1, num_kv_heads=1, head_dim=8,
    mlp_dim=8, num_layers=1, max_length=32, tied_head=True,
  )
)  # fmt: skip


def make(read, folder, members=3, rate=0.05):
  return proxies.make_proxies(
    read,
    network=NETWORK,
    optimizer=optimizers.make_optimizer(
      'adamw', schedule='constant', learning_rate=rate, warmup_steps=1
    ),
    weighting=uniform.make(),
    steps=STEPS,
    rows_per_batch=4,
    members=members,
    folder=folder,
    seed=0,
    progress=False,
  )


@pytest.fixture(scope='module')
def losses(read, pool, tmp_path_factory):
  folder = tmp_path_factory.mktemp('proxies')
  return folder, make(read, folder)(regmix.share_space(pool), ROWS)


def test_text_like_the_target_helps(losses):
  _, found = losses
  # The pattern of 24 bytes is soon learnt where it occurs.
  assert found[0] < found[2] - 1.0
  assert found[0] < found[1] + 0.2 < found[2]


def test_a_finished_proxy_is_not_trained_again(read, pool, losses, tmp_path):
  folder, found = losses
  space = regmix.share_space(pool)
  # One group of two, one of one; the first line's loss is marked.
  lines = (folder / proxies.LOG).read_text().splitlines()
  assert sorted(path.name for path in folder.iterdir()) == [proxies.LOG]
  marked = {**json.loads(lines[0]), 'loss': 77.0}
  log = tmp_path / proxies.LOG
  log.write_text(f'{json.dumps(marked)}\n{lines[1][:40]}')  # and one cut off
  again = make(read, tmp_path, members=2)(space, ROWS)
  assert again[0] == 77.0
  # Whoever trains beside it changes nothing.
  np.testing.assert_allclose(again[1:], found[1:], rtol=1e-4)
  assert len(run_log.read_log(log)) == 3


def test_a_model_that_diverged_has_no_loss(read, pool, tmp_path):
  found = make(read, tmp_path, rate=1e30)(regmix.share_space(pool), ROWS)
  assert np.isnan(found).all()
  [first, *_] = run_log.read_log(tmp_path / proxies.LOG).values()
  assert first['loss'] is None


def test_a_broken_line_of_the_log_is_named(tmp_path):
  log = tmp_path / proxies.LOG
  assert run_log.read_log(log) == {}
  for broken in ('{"key": "b", ', '{"loss": 1.0}', '7'):
    log.write_text(f'{{"key": "a", "loss": 1.0}}\n{broken}\n{{"key"')
    with pytest.raises(UserError, match='line 2 is no finished proxy'):
      run_log.read_log(log)


def test_copies_spend_the_budget_in_proportion():
  rng = np.random.default_rng(0)
  value, tokens = rng.random(5000) * 3, rng.integers(1, 90, 5000)
  uniform_N = rng.random(5000)
  for budget in (60_000, 700_000):
    copies = proxies.copies_for(value, tokens, budget, uniform_N)
    expected = value * budget / (value @ tokens)
    assert (np.abs(copies - expected) < 1).all()
    assert copies @ tokens == pytest.approx(budget, rel=0.05)
    for part in (value > 2, value < 1):  # rounded without a bias
      error = 4 * 0.5 * np.sqrt(part.sum())
      assert copies[part].sum() == pytest.approx(
        expected[part].sum(), abs=error
      )


def test_a_small_budget_still_reads_something():
  copies = proxies.copies_for(
    np.array([1.0, 2.0, 3.0]), np.array([100, 100, 0]), 5, np.full(3, 0.3)
  )
  assert copies.tolist() == [0, 1, 0]
  with pytest.raises(ValueError, match='no document with tokens'):
    proxies.copies_for(np.ones(1), np.zeros(1, int), 5, np.zeros(1))
