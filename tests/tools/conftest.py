"""The scripts of tools/ as modules, which no other test sees afterwards."""

import importlib
import pathlib
import sys

import pytest

TOOLS = pathlib.Path(__file__).parent.parent.parent / 'tools'


@pytest.fixture
def tool(monkeypatch):
  """Name -> module of tools/."""
  monkeypatch.syspath_prepend(str(TOOLS))
  yield importlib.import_module
  for path in TOOLS.glob('*.py'):
    sys.modules.pop(path.stem, None)
