"""Short files, documented functions, and as much test as source."""

import ast
import pathlib
import statistics

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / 'jaxcurate'
MAX_LINES, MEDIAN_LINES, TEST_RATIO = 300, 150, 0.9


def undocumented(path: pathlib.Path) -> list[str]:
  """Public top-level functions without docstring or full annotations."""
  found = []
  for node in ast.parse(path.read_text()).body:
    if isinstance(node, ast.FunctionDef) and not node.name.startswith('_'):
      spec = node.args
      args = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs]
      args += [arg for arg in (spec.vararg, spec.kwarg) if arg]
      bare = [arg.arg for arg in args if arg.annotation is None]
      bare += [] if node.returns else ['return']
      if bare:
        found.append(f'{path}:{node.lineno}: {node.name}: no type: {bare}')
      if not ast.get_docstring(node):
        found.append(f'{path}:{node.lineno}: {node.name}: no docstring')
  return found


def num_lines(folder_path: pathlib.Path) -> dict[pathlib.Path, int]:
  """Lines of every Python file below a folder."""
  return {
    path: len(path.read_text().splitlines())
    for path in sorted(folder_path.rglob('*.py'))
  }


def test_public_functions_are_documented_and_annotated():
  found = [
    line for path in PACKAGE.rglob('*.py') for line in undocumented(path)
  ]
  assert found == []


def test_every_module_has_a_docstring():
  bare = [
    str(path)
    for part in ('jaxcurate', 'tools')
    for path in (ROOT / part).rglob('*.py')
    if path.name != '__init__.py'
    and not ast.get_docstring(ast.parse(path.read_text()))
  ]
  assert bare == []


@pytest.mark.parametrize('part', ['jaxcurate', 'tests', 'tools'])
def test_files_are_short(part):
  lines = num_lines(ROOT / part)
  long = {str(path): n for path, n in lines.items() if n > MAX_LINES}
  assert long == {}


def test_the_median_file_is_shorter_still():
  lines = [n for n in num_lines(PACKAGE).values() if n > 1]
  assert statistics.median(lines) <= MEDIAN_LINES


def test_tests_weigh_as_much_as_the_source():
  source = sum(num_lines(PACKAGE).values())
  tests = sum(num_lines(ROOT / 'tests').values())
  tests -= sum(num_lines(ROOT / 'tests' / 'tools').values())
  assert tests >= TEST_RATIO * source, f'{tests} lines test {source} lines'


def test_missing_docstrings_and_types_are_found(tmp_path):
  path = tmp_path / 'a.py'
  path.write_text('def f(x, *, y: int):\n  return x\ndef _g(x): pass')
  found = undocumented(path)
  assert len(found) == 2
  assert "f: no type: ['x', 'return']" in found[0]
  assert 'f: no docstring' in found[1]


def test_documented_functions_pass(tmp_path):
  path = tmp_path / 'a.py'
  path.write_text('def f(x: int, *y: int) -> int:\n  """Doc."""\n  return x')
  assert undocumented(path) == []
