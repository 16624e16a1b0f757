"""The skeletons of CONTRIBUTING.md work as they are, in a copy of the tree."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent
SKELETONS = ROOT / 'tools' / 'skeletons'
KINDS = ('scorer', 'sampler', 'weighting')


@pytest.fixture(scope='module')
def tree(tmp_path_factory):
  """A copy of the project in which every skeleton has become a method."""
  root = tmp_path_factory.mktemp('copy')
  ignore = shutil.ignore_patterns('__pycache__')
  for name in ('jaxcurate', 'gin_configs'):
    shutil.copytree(ROOT / name, root / name, symlinks=True, ignore=ignore)
  shutil.copy(ROOT / 'pyproject.toml', root)
  (root / 'tests').mkdir()
  for path in ROOT.glob('tests/*.py'):
    shutil.copy(path, root / 'tests')
  for kind in KINDS:
    name, folder = f'my_{kind}', f'{kind}s'
    (root / 'tests' / folder).mkdir()
    for source, target in (
      (f'{kind}.py', f'jaxcurate/{folder}/{name}.py'),
      (f'{kind}.gin', f'gin_configs/methods/{name}.gin'),
      (f'{kind}_test.py', f'tests/{folder}/{name}_test.py'),
    ):
      shutil.copy(SKELETONS / source, root / target)
  return root


def pytest_in(tree, *args):
  return subprocess.run(
    [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', *args],
    cwd=tree,
    env={**os.environ, 'PYTHONPATH': str(tree)},
    capture_output=True,
    text=True,
  )


@pytest.mark.slow
def test_the_skeletons_pass_their_tests_conform_and_keep_the_rules(tree):
  done = pytest_in(
    tree,
    *(f'tests/{kind}s' for kind in KINDS),
    *map(str, (tree / 'tests').glob('conformance*_test.py')),
    'tests/layers_test.py',
    '-k',
    '(my_ and not encoder-decoder) or go_down',
  )
  assert done.returncode == 0, done.stdout[-3000:]
  passed = int(done.stdout.split(' passed')[0].split()[-1])
  assert passed >= 20, done.stdout[-3000:]


def test_gin_binds_every_setting_to_its_default(tree):
  program = (
    'import gin, importlib, inspect\n'
    f'for kind in {KINDS}:\n'
    "  module = importlib.import_module(f'jaxcurate.{kind}s.my_{kind}')\n"
    "  gin.parse_config_file(f'gin_configs/methods/my_{kind}.gin')\n"
    "  make = getattr(module, 'make', None) or module.sample\n"
    '  for name, spec in inspect.signature(make).parameters.items():\n'
    '    if spec.default is not spec.empty:\n'
    "      key = f'my_{kind}.{make.__name__}.{name}'\n"
    '      assert gin.query_parameter(key) == spec.default, key\n'
  )
  done = subprocess.run(
    [sys.executable, '-c', program],
    cwd=tree,
    env={**os.environ, 'PYTHONPATH': str(tree)},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr


def test_contributing_names_every_skeleton():
  guide = (ROOT / 'CONTRIBUTING.md').read_text()
  for path in SKELETONS.iterdir():
    if path.suffix in ('.py', '.gin'):
      assert f'tools/skeletons/{path.name}' in guide, path.name
