"""Atomic writes: whole or absent, one clear line when the disk is full."""

import errno

import pytest

from jaxcurate.io import atomic
from jaxcurate.io.errors import UserError


def test_writes_and_overwrites(tmp_path):
  path = tmp_path / 'a' / 'b.txt'
  atomic.write_text(path, 'one')
  atomic.write_bytes(path, b'two')
  assert path.read_bytes() == b'two'
  assert [p.name for p in path.parent.iterdir()] == ['b.txt']


def test_failed_write_leaves_the_old_file_and_no_other(tmp_path):
  path = tmp_path / 'b.txt'
  atomic.write_text(path, 'old')

  def fails(temporary):
    temporary.write_bytes(b'half')
    raise OSError(errno.ENOSPC, 'No space left on device')

  with pytest.raises(UserError, match=r'b\.txt: the disk is full; free some'):
    atomic.write_with(path, fails)
  assert path.read_text() == 'old'
  assert [p.name for p in tmp_path.iterdir()] == ['b.txt']


def test_full_disk_of_the_machine_is_named():
  with pytest.raises(UserError, match=r'/dev/full.*cannot write'):
    atomic.write_text('/dev/full/x', 'text')


def test_programming_errors_pass_through(tmp_path):
  with pytest.raises(ZeroDivisionError):
    atomic.write_with(tmp_path / 'x', lambda temporary: 1 / 0)
  assert not list(tmp_path.iterdir())


def test_remove_stale_only_touches_temporary_files(tmp_path):
  (tmp_path / '.writing-abc').write_text('half')
  (tmp_path / 'whole').write_text('x')
  atomic.remove_stale(tmp_path)
  assert [p.name for p in tmp_path.iterdir()] == ['whole']
