"""The rules of who may import what.

Imports go down only (cli -> ... -> types) and heavy libraries stay out of the
way. Imports are read from the syntax tree: absolute, relative,
`from package import name`, inside functions, `importlib.import_module('...')`.
"""

import ast
from collections.abc import Iterator
import pathlib
import subprocess
import sys
from typing import NamedTuple

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGE = ROOT / 'jaxcurate'

LEVELS = {
  'types': 0,
  'ops': 1,
  **dict.fromkeys(('scorers', 'samplers', 'mixtures', 'weightings'), 2),
  **dict.fromkeys(('models', 'data', 'train', 'scoring'), 3),
  **dict.fromkeys(('io', 'evaluate', 'report'), 3),
  **dict.fromkeys(('t5x', 'cli', '__main__'), 4),
}
FITS = {'lightgbm'}
PURE = {'jax', 'numpy', 'scipy', 'optax', 'flax.struct', 'jaxtyping'}
TASKS = {'tensorflow', 'tensorflow_text', 'tensorflow_datasets', 'seqio'}
FLAGS = {'gin', 'absl'}
PEERS = {'torch', 'transformers'}


class Import(NamedTuple):
  """One imported name: where, what, and whether import time reaches it."""

  line: int
  target: str
  at_import: bool


def modules(package: pathlib.Path) -> dict[str, pathlib.Path]:
  """Dotted name -> file of every module under the package."""
  names = {}
  for path in sorted(package.rglob('*.py')):
    parts = path.relative_to(package.parent).with_suffix('').parts
    names['.'.join(p for p in parts if p != '__init__')] = path
  return names


def imports(name: str, path: pathlib.Path, known: set[str]) -> Iterator[Import]:
  """Every import of a module, resolved to absolute dotted names."""
  package = name if path.name == '__init__.py' else name.rpartition('.')[0]

  def targets(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
      base = package.split('.')[: -(node.level - 1) or None]
      above = '.'.join(base) if node.level else ''
      source = '.'.join(part for part in (above, node.module) if part)
      for alias in node.names:
        full = f'{source}.{alias.name}'
        layer = source == package.split('.')[0] and alias.name in LEVELS
        wanted = layer or full in known or full in PURE
        yield full if wanted else source
    elif isinstance(node, ast.Call):
      called = ast.unparse(node.func)
      if called in ('importlib.import_module', 'import_module', '__import__'):
        first = node.args[0] if node.args else None
        literal = isinstance(first, ast.Constant)
        yield str(first.value) if literal else '<computed>'

  def walk(node: ast.AST, at_import: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
      for target in targets(child):
        yield Import(child.lineno, target, at_import)
      is_function = isinstance(
        child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
      )
      yield from walk(child, at_import and not is_function)

  yield from walk(ast.parse(path.read_text()), True)


def folder(name: str) -> str:
  """The part of a dotted name that has a level; '' for the root itself."""
  return [*name.split('.'), ''][1]


def fault(name: str, item: Import, root: str) -> str | None:
  """What is wrong with one import, or None."""
  here, target = folder(name), item.target
  level = LEVELS.get(here, 0)  # the root __init__ is at the bottom
  top = target.split('.')[0]
  if top == root:
    there = folder(target)
    if there and there not in LEVELS:
      return f'{there} has no level'
    if there and LEVELS[there] > level:
      return f'L{level} must not import L{LEVELS[there]}'
    if there != here and LEVELS.get(there, 0) == level and level in (1, 2):
      return f'{here} must not import its neighbour {there}'
    return None
  if top in FLAGS and here != 'cli':
    return 'only cli may import gin and absl'
  if top in PEERS:
    return 'belongs in tools/ or tests/'
  if top in TASKS and item.at_import:
    return 'must be imported inside the function that reads tasks'
  if top in FITS and item.at_import:
    return 'must be imported inside the function that fits'
  if level <= 2 and top not in {*sys.stdlib_module_names, *FITS}:
    if not PURE & {target, top, '.'.join(target.split('.')[:2])}:
      return f'L{level} may import only {", ".join(sorted(PURE))}'
  return None


def faults(package: pathlib.Path) -> list[str]:
  """All broken import rules of a package, one line each."""
  found = []
  files = modules(package)
  for name, path in files.items():
    if folder(name) and folder(name) not in LEVELS:
      found.append(f'{path.name}: {folder(name)} has no level')
    for item in imports(name, path, set(files)):
      wrong = fault(name, item, package.name)
      if wrong:
        found.append(f'{name}:{item.line}: {item.target}: {wrong}')
  return found + cycles(package)


def cycles(package: pathlib.Path) -> list[str]:
  """Folders that import each other, directly or around a corner."""
  files = modules(package)
  edges: dict[str, set[str]] = {}
  for name, path in files.items():
    for item in imports(name, path, set(files)):
      if item.target.split('.')[0] == package.name:
        edges.setdefault(folder(name), set()).add(folder(item.target))
  found = []
  for start in sorted(edges):
    seen, ahead = set(), edges[start] - {start}
    while ahead - seen:
      seen |= ahead
      ahead = {far for near in ahead for far in edges.get(near, ())}
    if start in seen:
      found.append(f'{start} is part of an import cycle')
  return found


# --- the package --------------------------------------------------------------


def test_imports_go_down_only():
  assert faults(PACKAGE) == []


def test_importing_every_module_loads_no_tensorflow():
  names = [name for name in modules(PACKAGE) if folder(name) != 't5x']
  program = (
    'import importlib, sys\n'
    'import jaxcurate\n'
    'light = {"jax", "gin", "pyarrow", "scipy"} & set(sys.modules)\n'
    'assert not light, f"import jaxcurate loads {light}"\n'
    f'for name in {[n for n in names if not n.endswith("__main__")]}:\n'
    '  importlib.import_module(name)\n'
    f'heavy = {TASKS | PEERS} & set(sys.modules)\n'
    'assert not heavy, f"import time loads {heavy}"\n'
  )
  done = subprocess.run(
    [sys.executable, '-c', program], cwd=ROOT, capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr


# --- the checker can fail -----------------------------------------------------


@pytest.fixture
def tree(tmp_path):
  """Writes {'ops/a.py': source} as a package and returns its folder."""

  def write(**sources: str) -> pathlib.Path:
    for name, source in sources.items():
      path = tmp_path / 'jaxcurate' / (name.replace('__', '/') + '.py')
      path.parent.mkdir(parents=True, exist_ok=True)
      path.write_text(source)
    return tmp_path / 'jaxcurate'

  return write


@pytest.mark.parametrize(
  'name, source, message',
  [
    ('ops__a', 'from jaxcurate import train', 'L1 must not import L3'),
    ('ops__a', 'from jaxcurate.train import x', 'L1 must not import L3'),
    ('ops__a', 'from ..train import x', 'L1 must not import L3'),
    ('ops__a', 'from .. import train', 'L1 must not import L3'),
    ('ops__a', 'import jaxcurate.cli.main as m', 'L1 must not import L4'),
    ('ops__a', 'def f():\n  from ..io import b', 'L1 must not import L3'),
    ('data__a', "import_module('jaxcurate.cli.x')", 'L3 must not import L4'),
    ('ops__a', 'import_module(f(x))', 'L1 may import only'),
    ('scorers__a', 'from jaxcurate.samplers import b', 'its neighbour'),
    ('ops__a', 'import pyarrow', 'L1 may import only'),
    ('ops__a', 'from flax import linen', 'L1 may import only'),
    ('ops__a', 'import flax.linen as nn', 'L1 may import only'),
    ('types', 'from jaxcurate.ops import a', 'L0 must not import L1'),
    ('train__a', 'def f():\n  import gin', 'only cli may import gin'),
    ('train__a', 'from absl import logging', 'only cli may import gin'),
    ('data__a', 'try:\n  import seqio\nexcept E: pass', 'inside the function'),
    ('data__a', 'class A:\n  import tensorflow as tf', 'inside the function'),
    ('models__a', 'def f():\n  import torch', 'belongs in tools/'),
    ('misc__a', 'x = 1', 'misc has no level'),
    ('cli__a', 'from jaxcurate.misc import b', 'misc has no level'),
  ],
)
def test_each_rule_is_enforced(tree, name, source, message):
  found = faults(tree(**{name: source}))
  assert len(found) == 1
  assert message in found[0]


@pytest.mark.parametrize(
  'name, source',
  [
    ('ops__a', 'import math\nimport jax.numpy as jnp\nfrom flax import struct'),
    ('ops__a', 'from . import b\nfrom .b import c\nimport scipy.special'),
    ('scorers__a', 'import flax.struct\nfrom jaxcurate.ops.a import f'),
    ('data__a', 'def f():\n  import seqio\n  import tensorflow as tf'),
    (
      'cli__a',
      'import gin\nfrom absl import app\nfrom jaxcurate.train import x',
    ),
    ('train__a', 'from jaxcurate.models import t5\nimport pyarrow'),
  ],
)
def test_what_is_allowed_passes(tree, name, source):
  assert faults(tree(**{name: source})) == []


def test_cycles_are_found_around_corners(tree):
  package = tree(
    io__a='from jaxcurate.data import b',
    data__b='def f():\n  from jaxcurate import train',
    train__c='import jaxcurate.io.a',
    models__d='import jaxcurate.io.a',
  )
  cyclic = [line.split()[0] for line in faults(package)]
  assert cyclic == ['data', 'io', 'train']
