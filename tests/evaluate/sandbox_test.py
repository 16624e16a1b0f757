"""Programs that end, and those that must be ended."""

import pathlib
import socket
import subprocess
import sys
import time

import pytest

from jaxcurate.evaluate import sandbox


@pytest.mark.parametrize(
  'program, passes',
  [
    ('assert sum([1, 2]) == 3', True),
    ('print("x" * 10_000_000)\nassert True', True),
    ('', True),
    ('assert sum([1, 2]) == 4', False),
    ('def f(:', False),
    ('import sys\nsys.exit(0)', False),  # before the tests
    ('import os\nos._exit(0)', False),
    ('raise SystemExit', False),
    ('input()', False),  # nothing to read
    ('x = "\\ud800"', True),
    ('"\udc80"', True),
  ],
)
def test_only_a_program_that_reaches_its_end_passes(program, passes):
  assert sandbox.run(program) is passes


def test_an_endless_loop_is_ended():
  started = time.monotonic()
  assert not sandbox.run('while True: pass', seconds=1)
  assert not sandbox.run('import time\ntime.sleep(60)', seconds=1)
  assert time.monotonic() - started < 20


def test_a_memory_hog_is_ended():
  hog = 'x = bytearray(300 * 2**20)'
  assert sandbox.run(hog, memory_bytes=2**30)
  assert not sandbox.run(hog, memory_bytes=2**28)


def test_limits_cannot_be_raised_again():
  assert not sandbox.run(
    'import resource\nresource.setrlimit(resource.RLIMIT_CPU, (1000, 1000))'
  )


def test_a_large_file_is_not_written():
  assert not sandbox.run('open("f", "w").write("x" * 2**22)')


def test_what_it_starts_dies_with_it(tmp_path):
  mark = tmp_path / 'mark'
  program = (
    'import subprocess, sys\n'
    'subprocess.Popen([sys.executable, "-c", "import time\\n'
    f'time.sleep(1.5)\\nopen({str(mark)!r}, chr(119))"])'
  )
  started = time.monotonic()
  sandbox.run(program, seconds=2)
  time.sleep(max(0.0, 2.2 - (time.monotonic() - started)))
  assert not mark.exists()


def test_it_begins_in_an_empty_folder_without_our_environment(monkeypatch):
  monkeypatch.setenv('A_SECRET', 'x')
  assert sandbox.run(
    'import os\nassert os.listdir() == ["program.py"]\n'
    'assert "A_SECRET" not in os.environ\n'
    'open("small", "w").write("x")'
  )
  assert not pathlib.Path('small').exists()


def test_there_is_no_network_where_the_system_lets_it_go():
  can = subprocess.run(
    [sys.executable, '-c', 'import ctypes, sys\n'
     'sys.exit(ctypes.CDLL(None).unshare(0x50000000) != 0)']
  ).returncode == 0  # fmt: skip
  if not can:
    pytest.skip('this system grants no network namespace')
  with socket.create_server(('127.0.0.1', 0)) as server:
    program = (
      f'import socket\nsocket.create_connection({server.getsockname()!r}, 1)'
    )
    assert not sandbox.run(program)
