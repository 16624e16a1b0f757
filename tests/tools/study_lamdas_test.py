"""The LAMDAS study: who is dealt where, and what its tables say."""

import gzip
import json
import pathlib
import sys

import numpy as np
import pytest

from jaxcurate.types import Document

TOOLS = pathlib.Path(__file__).parent.parent.parent / 'tools'
TEST = [Document(str(i), 'x', domain) for i, domain in enumerate('aabb')]


@pytest.fixture
def study(monkeypatch):
  monkeypatch.syspath_prepend(str(TOOLS))
  import study_lamdas

  yield study_lamdas
  for name in ('study_lamdas', 'small_judges'):
    sys.modules.pop(name)


def test_separation_by_hand(study):
  scores = {
    'a': np.array([3.0, 1.0, 2.0, 0.0]),
    'b': np.array([0.0, 0.0, 1.0, 2.0]),
  }
  found = study.separation(scores, TEST)
  assert {name: area.auc for name, area in found.items()} == {
    'a': 0.75,  # three of four pairs in order
    'b': 1.0,
  }


def test_thresholds_by_hand(study):
  ratios = {
    'a': np.log([1.5, 0.9, 1.05, 0.7]),
    'b': np.log([0.5, 0.5, 1.2, 0.95]),
  }
  one, high, none = study.keeping(ratios, TEST, [1.0, 1.1, 2.0])
  assert one == pytest.approx(
    {'threshold': 1.0, 'kept': 3 / 8, 'recall': 0.5, 'precision': 2 / 3}
  )
  assert high == pytest.approx(
    {'threshold': 1.1, 'kept': 0.25, 'recall': 0.5, 'precision': 1.0}
  )
  assert none['kept'] == none['recall'] == 0 and np.isnan(none['precision'])


def test_no_document_is_dealt_twice(study, tmp_path):
  rows = [
    {
      'id': str(i),
      'text': f'{i:02}' + 'abcdefgh' * (i % 3 + 1),
      'domain': 'ab'[i % 2],
    }
    for i in range(20)
  ]
  with gzip.open(tmp_path / 'both.jsonl.gz', 'wt') as file:
    file.writelines(json.dumps(row) + '\n' for row in rows)
  domains = {'first': ('both', 'a'), 'all': ('both', None)}

  def deal(seed):
    return study.small_judges.read_pool(
      str(tmp_path), domains, characters=10, counts=(6, 3, 2), seed=seed
    )

  pool = deal(0)
  assert pool == deal(0) != deal(1)
  for domain in domains:
    train, anchors, test = (
      [d for d in part if d.domain == domain] for part in pool
    )
    assert (len(train), len(anchors), len(test)) == (6, 3, 2)
    sources = {d.id.partition('#')[0] for d in train}
    assert len(sources | {d.id for d in (*anchors, *test)}) == len(sources) + 5
    assert max(len(d.text) for d in (*train, *anchors, *test)) <= 10
    # Every document once before any second passage.
    starts = [int(d.id.partition('#')[2]) for d in train]
    assert starts == sorted(starts)
  numbers = {d.id.partition('/')[2] for d in pool.test if d.domain == 'first'}
  assert all(int(number) % 2 == 0 for number in numbers)


def test_tables_are_means_over_seeds(study):
  areas = [('x', 0.5, 0), ('x', 0.7, 1), ('y', 0.9, 0), ('y', 0.9, 1)]
  text = study.tables(
    {
      'domains': [
        {'domain': 'd', 'method': m, 'auc': auc, 'seed': seed}
        for m, auc, seed in areas
      ],
      'thresholds': [{'threshold': 1.0, 'kept': 0.25}],
      'tunings': [(30, 1e-2, 0.8)],
      'judges': [{'judge': 's', 'num_params': 1234, 'loss': 3.0, 'auc': 0.75}],
    }
  )
  assert '| d | 0.600 ± 0.141 | 0.900 ± 0.000 |' in text
  assert '| mean | 0.600 ± 0.141 | 0.900 ± 0.000 |' in text
  assert '| 30 | 0.01 | 0.800 |' in text
  assert '| s | 1,234 | 3.00 | 0.750 |' in text
