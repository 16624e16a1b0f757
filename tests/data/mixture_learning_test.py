import json

import numpy as np
import pytest

from jaxcurate.data import row_shape, token_cache
from jaxcurate.data.mixture_batches import MixtureBatches
from jaxcurate.data.share_sources import LAG, LearntShares, ScheduledShares
from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.mixtures import odm, schedules
from jaxcurate.types import Document, Mixture

DOMAINS = ('a', 'b', 'c')
START = np.array([0.2, 0.5, 0.3])


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
  rng = np.random.default_rng(0)
  rows = [
    Document(f'id{i}', 'xyz'[i % 3] * int(rng.integers(1, 60)), DOMAINS[i % 3])
    for i in range(24)
  ]
  return token_cache.build(
    tmp_path_factory.mktemp('data') / 'cache', rows, ByteVocabulary(),
    settings={}, holdout_share=0.0,
  )  # fmt: skip


def online():
  rule = odm.make(warmup_steps=2, reward_scale=300.0)
  return LearntShares(rule, DOMAINS, START)


def make(cache, source, prefetch=2):
  return MixtureBatches(
    cache.train, cache.domains, ByteVocabulary(),
    row_shape.row_settings(encoder_length=24, max_segments=3), source,
    rows_per_batch=4, seed=7, block_documents=4, prefetch=prefetch,
  )  # fmt: skip


def learn(batches, steps, domains):
  """Takes batches as the loop does: losses come two steps late."""
  taken, waiting = [], []
  for step in steps:
    batch = next(batches)
    taken.append(batch)
    targets = np.zeros(len(domains))
    for codes, ids in zip(
      batch['document_domain'], batch['decoder_segment_ids']
    ):
      targets[codes[0]] += (ids > 0).sum()
    rng = np.random.default_rng(step)
    waiting.append((step, targets * rng.uniform(1, 9, len(targets)), targets))
    if len(waiting) > 2:
      batches.observe(*waiting.pop(0))
  for late in waiting:  # the loop fetches all before it saves
    batches.observe(*late)
  return taken


@pytest.mark.parametrize('prefetch', [0, 2])
def test_learnt_shares_repeat_an_uninterrupted_run(cache, prefetch):
  straight = make(cache, online())
  whole = learn(straight, range(1, 21), cache.domains)
  state, taken = None, []
  for begin, end in ((1, 3), (3, 10), (10, 21)):
    batches = make(cache, online(), prefetch=prefetch)
    if state is not None:
      batches.restore(state)
    taken += learn(batches, range(begin, end), cache.domains)
    state = json.loads(json.dumps(batches.state()))
    assert len(state['losses']) == min(end - 1, LAG)
    batches.close()
  assert state == json.loads(json.dumps(straight.state()))
  straight.close()
  for one, two in zip(whole, taken, strict=True):
    np.testing.assert_array_equal(
      one['encoder_input_tokens'], two['encoder_input_tokens']
    )
  asked = np.array(state['memory']['asked'])
  assert np.abs(asked[-1] - START).max() > 0.01


def test_a_rule_may_take_over_from_a_schedule(cache):
  plain = schedules.make_schedule({1: Mixture(('a',), np.ones(1))})
  first = make(cache, ScheduledShares(plain), prefetch=0)
  for _ in range(3):
    next(first)
  second = make(cache, online(), prefetch=0)
  second.restore(json.loads(json.dumps(first.state())))
  learn(second, range(4, 12), cache.domains)
  state = second.state()
  assert [begin for begin, _ in state['shares']] == [1, 4]
  assert state['memory']['first'] == 4 and second.memory == state['memory']
