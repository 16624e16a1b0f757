"""`make` installs once, again after a change, and says what is missing."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent

# A stand-in for Python that makes a stand-in .venv and logs what it is asked.
FAKE_PYTHON = """#!/bin/bash
echo "$@" >> {log}
case "$*" in
  *'print('*) echo 3.12 ;;
  *'-m venv'*)
    mkdir -p .venv/bin
    cp "$0" .venv/bin/python
    for tool in ruff pyright jaxcurate; do cp "$0" .venv/bin/$tool; done ;;
esac
"""


@pytest.fixture
def checkout(tmp_path):
  """A folder with the Makefile, and make(target) -> finished process."""
  shutil.copy(ROOT / 'Makefile', tmp_path)
  (tmp_path / 'pyproject.toml').write_text('')
  fake = tmp_path / 'fake-python'
  fake.write_text(FAKE_PYTHON.format(log=tmp_path / 'log'))
  fake.chmod(0o755)

  def make(target: str, python: str = str(fake)):
    return subprocess.run(
      ['make', target, f'PYTHON={python}'],
      cwd=tmp_path,
      capture_output=True,
      text=True,
    )

  return tmp_path, make


def installations(folder: pathlib.Path) -> int:
  return (folder / 'log').read_text().count('pip install')


def test_installs_once_and_again_after_a_change(checkout):
  folder, make = checkout
  assert make('test').returncode == 0
  assert installations(folder) == 1
  assert make('test').returncode == 0
  assert installations(folder) == 1
  newer = (folder / '.venv' / 'installed-3.12').stat().st_mtime + 9
  os.utime(folder / 'pyproject.toml', (newer, newer))
  assert make('test').returncode == 0
  assert installations(folder) == 2
  assert (folder / 'log').read_text().count('-m venv') == 1


def test_targets_run_what_they_say(checkout):
  folder, make = checkout
  for target in ('test', 'test_all', 'lint', 'demo'):
    done = make(target)
    assert done.returncode == 0, done.stderr
  log = (folder / 'log').read_text()
  run = '-m pytest -q -n 2 --dist worksteal --durations=10'
  assert f'{run} -m not slow\n' in log and f'{run}\n' in log
  for line in ('check --quiet .\n', 'format --quiet --check .\n', '\ndemo\n'):
    assert line in log


def test_clean_removes_the_installation(checkout):
  folder, make = checkout
  make('test')
  assert make('clean').returncode == 0
  assert not (folder / '.venv').exists()


def test_missing_python_names_the_apt_line(checkout):
  _, make = checkout
  done = make('test', python='/nowhere/python3')
  assert done.returncode != 0
  assert '/nowhere/python3 does not run. Run: sudo apt install' in done.stderr


@pytest.mark.parametrize(
  'asked, message',
  [
    ('import sys; sys.exit', 'jaxcurate needs Python 3.11 to 3.13'),
    ('import ensurepip', 'python venv is missing. Run: sudo apt install'),
  ],
)
def test_unfit_python_is_explained(checkout, asked, message):
  folder, make = checkout
  fake = folder / 'unfit-python'
  fake.write_text(f'#!/bin/bash\n[[ "$*" != *"{asked}"* ]]\n')
  fake.chmod(0o755)
  done = make('test', python=str(fake))
  assert done.returncode != 0
  assert message in done.stderr
  assert not (folder / '.venv').exists()


def test_this_python_is_fit():
  code = (ROOT / 'Makefile').read_text().split('VERSION_OK := ')[1]
  check = code.splitlines()[0]
  assert subprocess.run([sys.executable, '-c', check]).returncode == 0


def test_ci_lints_and_tests():
  script = ROOT / '.ci' / 'run'
  assert os.access(script, os.X_OK)
  lines = script.read_text().splitlines()
  assert lines[-2:] == ['make lint', 'make test']
  assert 'set -e' in lines
