"""Short files, documented functions, and as much test as source."""

import ast
import io
import pathlib
import statistics
import tokenize

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


def num_code_lines(folder_path: pathlib.Path) -> int:
  """Lines of statements below a folder: no docstring, comment or blank."""
  total = 0
  for path in folder_path.rglob('*.py'):
    text = path.read_text()
    code = {
      line
      for token in tokenize.generate_tokens(io.StringIO(text).readline)
      if token.type not in _NOT_CODE
      for line in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(ast.parse(text)):
      body = getattr(node, 'body', None)
      if isinstance(body, list) and body and _is_docstring(body[0]):
        code -= set(range(body[0].lineno, body[0].end_lineno + 1))
    total += len(code)
  return total


_NOT_CODE = frozenset(
  [
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
  ]
)


def _is_docstring(node: ast.AST) -> bool:
  return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def test_tests_weigh_as_much_as_the_source():
  source = num_code_lines(PACKAGE)
  tests = num_code_lines(ROOT / 'tests') - num_code_lines(
    ROOT / 'tests' / 'tools'
  )
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
