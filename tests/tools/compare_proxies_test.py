"""Ranks of two searches: joined by candidate, with an interval."""

import json
import pathlib
import sys

import numpy as np
import pytest

from jaxcurate.train import proxies

TOOLS = pathlib.Path(__file__).parent.parent.parent / 'tools'


@pytest.fixture
def tool(monkeypatch):
  monkeypatch.syspath_prepend(str(TOOLS))
  import compare_proxies

  yield compare_proxies
  sys.modules.pop('compare_proxies')


def write(folder, losses):
  (folder / 'proxies').mkdir(parents=True)
  lines = (json.dumps({'key': k, 'loss': v}) + '\n' for k, v in losses.items())
  (folder / 'proxies' / proxies.LOG).write_text(''.join(lines))
  return folder


def test_candidates_are_joined_by_key(tool, tmp_path):
  one = write(tmp_path / '1', {'a': 1.0, 'b': 2.0, 'c': 3.0, 'd': None})
  other = write(tmp_path / '2', {'c': 9.0, 'a': 7.0, 'd': 1.0, 'b': 8.0})
  found = tool.losses(one, other)
  assert [x.tolist() for x in found] == [[1.0, 2.0, 3.0], [7.0, 8.0, 9.0]]
  alone = write(tmp_path / '3', {'x': 1.0})
  with pytest.raises(ValueError, match='share 0 finished candidates'):
    tool.losses(one, alone)


def test_the_interval_holds_the_correlation(tool):
  rng = np.random.default_rng(0)
  one = rng.normal(size=60)
  rank, low, high = tool.agreement(one, one + rng.normal(0, 0.5, 60))
  assert 0.6 < low < rank < high < 1
  assert tool.agreement(one, -one) == pytest.approx((-1.0, -1.0, -1.0))
