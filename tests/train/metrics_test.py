import pytest

from jaxcurate.io.errors import UserError
from jaxcurate.train import metrics


def test_later_and_partial_lines_are_dropped(tmp_path):
  path = tmp_path / 'run' / metrics.NAME
  writer = metrics.MetricsWriter(tmp_path / 'run', step=0)
  for step in (1, 10, 20, 30):
    writer.write({'step': step, 'loss': 1 / step})
  writer.sync()
  writer.close()
  with path.open('a') as file:
    file.write('{"step": 40, "lo')
  writer = metrics.MetricsWriter(tmp_path / 'run', step=20)
  writer.write({'step': 25, 'loss': 0.5})
  writer.close()
  assert list(metrics.read_metrics(path)) == [
    {'step': 1, 'loss': 1.0},
    {'step': 10, 'loss': 0.1},
    {'step': 20, 'loss': 0.05},
    {'step': 25, 'loss': 0.5},
  ]
  assert list((tmp_path / 'run' / 'tensorboard').iterdir())


def test_a_broken_line_is_named(tmp_path):
  path = tmp_path / metrics.NAME
  path.write_text('{"step": 1}\n{"st\n{"step": 3}\n')
  with pytest.raises(UserError, match='line 2 is not JSON'):
    metrics.MetricsWriter(tmp_path, step=3)


def test_numbers_that_are_not_finite_are_null(tmp_path):
  writer = metrics.MetricsWriter(tmp_path, step=0)
  writer.write({'step': 1, 'loss': float('nan'), 'norm': float('inf')})
  [line] = metrics.read_metrics(tmp_path / metrics.NAME)
  assert line == {'step': 1, 'loss': None, 'norm': None}
  writer.close()


def test_no_file_has_no_lines(tmp_path):
  assert list(metrics.read_metrics(tmp_path / 'absent')) == []
