import json

import numpy as np
import pytest

from jaxcurate.data import mixture_batches, row_shape, token_cache, training
from jaxcurate.data.share_sources import ScheduledShares
from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.io.errors import UserError
from jaxcurate.mixtures import schedules
from jaxcurate.types import Document, Mixture, Selection

VOCABULARY = ByteVocabulary()
SETTINGS = row_shape.row_settings(encoder_length=24, max_segments=3)
DOMAINS = ('a', 'b', 'c')
# Documents of each; 'lone' has one, 'other' no share, None no domain.
SIZES = {'a': 14, 'b': 9, 'c': 6, 'lone': 1, 'other': 4, None: 3}


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
  rng = np.random.default_rng(0)
  names = [name for name, size in SIZES.items() for _ in range(size)]
  rows = [
    Document(f'id{i}', chr(97 + i % 26) * int(rng.integers(1, 60)), name)
    for i, name in enumerate(names)
  ]
  rows = [rows[i] for i in rng.permutation(len(rows))]
  selection = Selection(
    id=np.array([row.id for row in rows], object),
    count=1 + 2 * (rng.integers(0, 4, len(rows)) == 0).astype(np.int32),
    expected_count=np.ones(len(rows)),
  )
  return token_cache.build(
    tmp_path_factory.mktemp('data') / 'cache',
    rows,
    VOCABULARY,
    settings={},
    selection=selection,
    holdout_share=0.0,
  )


def scheduled(mixtures):
  """{step: {domain: share}} as a source."""
  return ScheduledShares(
    schedules.make_schedule(
      {
        step: Mixture(tuple(own), np.array(list(own.values())))
        for step, own in mixtures.items()
      }
    )
  )


def make(cache, mixtures, **options):
  options = {
    'rows_per_batch': 4,
    'seed': 7,
    'block_documents': 4,
    'prefetch': 0,
    **options,
  }
  return mixture_batches.MixtureBatches(
    cache.train, cache.domains, VOCABULARY, SETTINGS,
    scheduled(mixtures), **options,
  )  # fmt: skip


def draw(rng, domains=DOMAINS):
  return dict(zip(domains, rng.dirichlet(np.full(len(domains), 0.7)).tolist()))


def rows_of(batch, domains):
  """(domain, bytes) of every row; a row never has two domains."""
  found = []
  for row, codes in enumerate(batch['document_domain']):
    [code] = {*codes.tolist()} - {-1}
    content = b''.join(batch[name][row].tobytes() for name in sorted(batch))
    found.append((domains[code], content))
  return found


def lists(rows):
  """Domain -> its rows in order."""
  found = {}
  for domain, content in rows:
    found.setdefault(domain, []).append(content)
  return found


@pytest.fixture(scope='module')
def orders(cache):
  """Domain -> the rows of a run on it alone."""
  return {
    domain: [
      content
      for _ in range(20)
      for _, content in rows_of(next(batches), cache.domains)
    ]
    for domain in (*DOMAINS, 'lone')
    for batches in [make(cache, {1: {domain: 1.0}})]
  }


def take_hosts(cache, mixtures, state, count, hosts, **options):
  """Batches of all hosts side by side, and each host's last state."""
  iterators = [
    make(cache, mixtures, shard=shard, num_shards=hosts, **options)
    for shard in range(hosts)
  ]
  for iterator in iterators:
    if state:
      iterator.restore(state)
  rows, batches = [], []
  for _ in range(count):
    parts = [next(iterator) for iterator in iterators]
    batches.append(
      {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}
    )
    rows += rows_of(batches[-1], cache.domains)
  states = [json.dumps(iterator.state()) for iterator in iterators]
  for iterator in iterators:
    iterator.close()
  assert len(set(states)) == 1
  return rows, json.loads(states[0]), batches


@pytest.mark.parametrize('seed', range(4))
def test_every_domain_is_read_in_its_own_order_whatever_happens(
  cache, orders, seed
):
  rng = np.random.default_rng(seed)
  rows, state = [], {}
  for _ in range(6):
    mixtures = {
      step: draw(rng, (*DOMAINS, 'lone')[: rng.integers(1, 5)])
      for step in rng.integers(1, 60, 3).tolist()
    }
    options = {
      'rows_per_batch': int(rng.choice([2, 4])),
      'prefetch': int(rng.integers(0, 3)),
    }
    hosts = int(rng.choice([1, 2]))
    count = int(rng.integers(1, 4))
    taken, new, _ = take_hosts(cache, mixtures, state, count, hosts, **options)
    if rng.random() < 0.3:  # killed before its checkpoint: made again
      continue
    rows, state = rows + taken, new
  for domain, content in lists(rows).items():
    assert content == orders[domain][: len(content)], domain
  tokens = {name: own['tokens'] for name, own in state['domains'].items()}
  assert {name for name, count in tokens.items() if count} == set(lists(rows))


def test_a_resumed_run_repeats_an_uninterrupted_one(cache):
  mixtures = {1: {'a': 0.6, 'b': 0.4}, 12: {'b': 0.1, 'c': 0.9}}
  _, end, whole = take_hosts(cache, mixtures, {}, 24, 1)
  state, batches = {}, []
  for _ in range(8):
    _, state, more = take_hosts(cache, mixtures, state, 3, 1, prefetch=3)
    batches += more
  assert state == end
  for one, two in zip(whole, batches, strict=True):
    for name in one:
      np.testing.assert_array_equal(one[name], two[name], err_msg=name)


def test_shares_of_tokens_are_kept_to_within_a_row(cache):
  shares = {'a': 0.55, 'b': 0.35, 'lone': 0.1}
  batches = make(cache, {1: shares}, rows_per_batch=1)
  longest = SETTINGS.max_segments * SETTINGS.raw_length
  tokens, total = {}, 0
  for _ in range(100):
    next(batches)
    tokens = {k: v['tokens'] for k, v in batches.state()['domains'].items()}
    total = sum(tokens.values())
    for domain, share in shares.items():
      assert abs(tokens[domain] - share * total) < longest
  report = batches.report()
  assert list(report) == ['mixture/a', 'mixture/b', 'mixture/lone']
  assert report['mixture/a'] == tokens['a'] / total
  next(batches)
  assert sum(batches.report().values()) == pytest.approx(1.0)


def test_shares_move_with_the_batches(cache):
  mixtures = {1: {'a': 1.0}, 4: {'a': 1.0}, 5: {'b': 1.0}}
  batches = make(cache, mixtures, prefetch=2)
  seen = [
    {domain for domain, _ in rows_of(next(batches), cache.domains)}
    for _ in range(8)
  ]
  batches.close()
  assert seen == [{'a'}] * 4 + [{'b'}] * 4


def test_new_shares_on_resuming_are_a_jump_of_the_schedule(cache):
  one, two = {'a': 0.7, 'b': 0.3}, {'a': 0.2, 'b': 0.8}
  _, end, whole = take_hosts(cache, {1: one, 5: one, 6: two}, {}, 10, 1)
  _, state, first = take_hosts(cache, {1: one}, {}, 5, 1)
  _, state, second = take_hosts(cache, {1: two}, state, 5, 2, prefetch=1)
  assert state['domains'] == end['domains']
  for expected, batch in zip(whole, first + second, strict=True):
    for name in expected:
      np.testing.assert_array_equal(expected[name], batch[name], err_msg=name)


def test_history_and_domains_without_a_share_stay_in_the_state(cache):
  first = make(cache, {1: {'a': 0.5, 'lone': 0.5}})
  next(first)
  state = json.loads(json.dumps(first.state()))
  second = make(cache, {1: {'b': 1.0}})
  second.restore(state)
  assert {d for d, _ in rows_of(next(second), cache.domains)} == {'b'}
  after = json.loads(json.dumps(second.state()))
  assert after['domains']['lone'] == state['domains']['lone']
  assert list(second.read()) == ['a', 'lone', 'b']
  assert second.read()['lone'] == {'tokens': state['domains']['lone']['tokens']}
  assert after['shares'] == [
    [1, {'1': {'a': 0.5, 'lone': 0.5}}],
    [2, {'1': {'b': 1.0}}],
  ]
  second.restore(after)  # the same shares again: no new entry
  assert second.state()['shares'] == after['shares']


def test_one_document_comes_again_and_again(cache):
  batches = make(cache, {1: {'lone': 1.0}})
  copies = {*next(batches)['document_id_hash'][..., 1].reshape(-1).tolist()}
  assert len(copies - {0}) == 1
  assert batches.epochs() >= 1
  assert batches.rows_per_epoch() >= 1


def test_domains_are_shuffled_apart_from_their_codes(cache, tmp_path):
  """The order of a domain depends on its name, not on other domains."""
  rows = [Document(f'id{i}', 'xyz' * (i + 1), 'a') for i in range(6)]
  extra = [Document(f'z{i}', 'z' * 20, 'zzz') for i in range(6)]
  content = []
  for number, corpus in enumerate((rows, [*extra, *rows])):
    own = token_cache.build(
      tmp_path / f'{number}', corpus, VOCABULARY, settings={},
      holdout_share=0.0,
    )  # fmt: skip
    batch = next(make(own, {1: {'a': 1.0}}))
    content.append(batch['encoder_input_tokens'])
  np.testing.assert_array_equal(*content)


def test_what_is_left_out_is_counted(cache):
  batches = make(cache, {1: {'a': 0.5, 'b': 0.5, 'c': 0.0}})
  assert batches.left_out == {
    'in domain c, without a share': 6,
    'in domain lone, without a share': 1,
    'in domain other, without a share': 4,
    'without a domain': 3,
  }


def test_mistakes_are_one_clear_line(cache, tmp_path):
  with pytest.raises(UserError, match=r'in domain zz, y of the mixture; the'):
    make(cache, {1: {'a': 0.5, 'zz': 0.3, 'y': 0.2}})
  with pytest.raises(UserError, match=r'names a, zz, the corpus has .* in .*a'):
    make(cache, {1: {'a': 0.5, 'zz': 0.5}})
  bare = token_cache.build(
    tmp_path / 'bare', [Document('x', 'abc', None)], VOCABULARY, settings={},
    holdout_share=0.0,
  )  # fmt: skip
  with pytest.raises(UserError, match='has documents in no domain'):
    make(bare, {1: {'a': 1.0}})
  batches = make(cache, {1: {'a': 1.0}})
  with pytest.raises(UserError, match=r'other data of domain a \(doc'):
    make(cache, {1: {'a': 1.0}}, seed=8).restore(batches.state())
  plain = training.TrainingBatches(
    cache.train, VOCABULARY, SETTINGS, rows_per_batch=4, seed=7
  )
  with pytest.raises(UserError, match='trained without a mixture; drop --mix'):
    batches.restore(plain.state())
  with pytest.raises(UserError, match='trained on other data'):
    plain.restore(batches.state())


@pytest.mark.parametrize('windowing', ['document', 'concat'])
def test_windows_of_both_kinds_keep_to_a_domain(cache, windowing):
  batches = make(cache, {1: {'a': 0.5, 'b': 0.5}}, windowing=windowing)
  part = cache.train
  for _ in range(6):
    batch = next(batches)
    if windowing == 'document':
      assert len(rows_of(batch, cache.domains)) == 4
      continue
    for sources in batch['encoder_source_ids']:
      codes = part.domain[sources[sources > 0] - 1]
      assert len({*codes.tolist()}) == 1
  assert batches.document_id(int(part.id_hash[0])) is not None
