"""The wheel holds the gin files, and works from another folder."""

import importlib.metadata
import os
import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent


@pytest.fixture(scope='module')
def site(tmp_path_factory):
  """A folder into which the wheel has been unpacked."""
  version = importlib.metadata.version('setuptools')
  if int(version.split('.')[0]) < 77:
    pytest.skip(f'setuptools {version} cannot build it: pip install -e .[dev]')
  work = tmp_path_factory.mktemp('wheel')
  source = work / 'source'
  ignore = shutil.ignore_patterns('__pycache__', '*.egg-info')
  for name in ('jaxcurate', 'gin_configs'):
    shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignore)
  for name in ('pyproject.toml', 'LICENSE', 'README.md'):
    shutil.copy(ROOT / name, source)
  subprocess.run(
    f'{sys.executable} -m pip wheel . -q --no-deps --no-build-isolation -w ..',
    shell=True,
    cwd=source,
    check=True,
    capture_output=True,
  )
  [wheel] = work.glob('*.whl')
  with zipfile.ZipFile(wheel) as archive:
    archive.extractall(work / 'site')
  return work / 'site'


def test_every_gin_file_and_module_is_in_the_wheel(site):
  def names(folder: pathlib.Path, pattern: str) -> set[str]:
    files = folder.rglob(pattern)
    return {str(path.relative_to(folder)) for path in files}

  assert names(site / 'jaxcurate' / 'gin_configs', '*.gin') == names(
    ROOT / 'gin_configs', '*.gin'
  )
  assert names(site / 'jaxcurate', '*.py') == names(ROOT / 'jaxcurate', '*.py')
  assert (site / 'jaxcurate' / 'py.typed').exists()


def test_only_the_package_is_in_the_wheel(site):
  top = {path.name for path in site.iterdir() if path.suffix != '.dist-info'}
  assert top == {'jaxcurate'}


def test_the_wheel_imports_in_another_folder(site, tmp_path):
  program = 'import jaxcurate; print(jaxcurate.__file__)'
  done = subprocess.run(
    [sys.executable, '-c', program],
    cwd=tmp_path,
    env={**os.environ, 'PYTHONPATH': str(site)},
    capture_output=True,
    text=True,
    check=True,
  )
  assert done.stdout.startswith(str(site))
