from etils import epath
import numpy as np
import pytest

from jaxcurate.io.errors import UserError
from jaxcurate.report import metrics


def test_lines_are_read_and_blank_ones_skipped(tmp_path):
  path = tmp_path / 'a.jsonl'
  path.write_text('{"step": 1}\n\n  \n{"step": 2}\n')
  assert metrics.read_lines(epath.Path(path)) == [{'step': 1}, {'step': 2}]
  path.write_text('')
  assert metrics.read_lines(epath.Path(path)) == []


@pytest.mark.parametrize(
  'content, row',
  [
    (b'{"a": 1}\n{"a": \n', ':2:'),
    (b'[1]\n', ':1:'),
    (b'{"a": "\xff"}\n', ':1:'),
    (b'3', ':1:'),
  ],
)
def test_a_broken_line_is_named(tmp_path, content, row):
  path = tmp_path / 'metrics.jsonl'
  path.write_bytes(content)
  with pytest.raises(UserError, match=r'metrics\.jsonl') as raised:
    metrics.read_lines(epath.Path(path))
  assert row in str(raised.value)
  assert '\n' not in str(raised.value)


def test_columns_keep_the_last_line_of_a_step_in_order():
  lines = [
    {'step': 2, 'loss': 5.0},
    {'step': 1, 'loss': 6.0, 'weights/mean': 1},
    {'step': 2, 'loss': 4.0, 'note': 'text'},
    {'step': 3, 'eval/loss': 9.0},
    {'loss': 1.0},
  ]
  found = metrics.columns(lines, 'loss')
  np.testing.assert_array_equal(found['step'], [1, 2])
  np.testing.assert_array_equal(found['loss'], [6.0, 4.0])
  np.testing.assert_array_equal(found['weights/mean'], [1.0, np.nan])
  assert np.isnan(found['note']).all()
  assert list(metrics.columns(lines, 'eval/loss')['step']) == [3]


def test_no_line_no_columns():
  assert metrics.columns([], 'loss') == {}
