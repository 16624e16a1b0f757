"""Real text that every machine with Python and this project already holds.

Python's documentation topics, docstrings of the standard library and of
installed packages, and package descriptions, read without a network and
without importing anything. Every module or package belongs to one split, by a
hash of its name alone: 'judge' (what the shipped judge learnt from), 'demo'
(the corpus of `make demo`) and 'held_out' (evaluation), so the three never
share a module, and near-duplicates across them are dropped.
"""

import ast
from collections.abc import Iterable, Iterator, Sequence
import hashlib
import importlib.metadata
import json
import os
import pathlib
import re
import sys
import sysconfig
from typing import NamedTuple
import warnings

from jaxcurate.data import near_duplicates

SPLITS = ('judge', 'demo', 'held_out')
# Shares of module and package names, in the order of SPLITS.
_CUMULATIVE_SHARES = (0.35, 0.8, 1.0)
_MIN_CHARACTERS = 200
_MIN_PROSE_WORDS = 25
_PIECE_CHARACTERS = 3000
_MAX_PER_FILE = 20
# Generated or foreign sources whose docstrings are test data, not prose.
_SKIPPED_FOLDERS = frozenset(
  ['test', 'tests', 'testing', 'idle_test', 'site-packages', '_vendor']
)
_OWN_NAME = 'jaxcurate'  # its docstrings change with every commit


class Document(NamedTuple):
  """One piece of text and where it comes from.

  Attributes:
    id: '<domain>/<module or package>:<object>', '#<n>' for later pieces.
    text: the cleaned text.
    domain: 'python-topics', 'stdlib-docstrings', 'package-docstrings' or
      'package-descriptions'.
    split: one of SPLITS.
  """

  id: str
  text: str
  domain: str
  split: str


def gather(
  *, max_per_package: int = 250, packages: bool = True
) -> list[Document]:
  """All documents of this machine, in an order that depends on ids alone.

  Args:
    max_per_package: most documents that one module or package may give.
    packages: read the installed packages too, not only what comes with
      Python.

  Returns:
    Documents of all splits, near-duplicates removed; where two splits hold
    the same text the judge keeps it, so that neither the demo corpus nor
    the held-out text repeats what the judge has seen.
  """
  candidates = [*_topics(), *_standard_library(max_per_package)]
  if packages:
    candidates += _packages(max_per_package)
  candidates.sort(key=lambda d: (SPLITS.index(d.split), _unit_hash(d.id), d.id))
  fresh = near_duplicates.first_seen([d.text for d in candidates])
  kept: dict[str, Document] = {}
  for document, is_fresh in zip(candidates, fresh, strict=True):
    if is_fresh:  # an id returns where a function is defined twice
      kept.setdefault(document.id, document)
  return list(kept.values())


def split_of(name: str) -> str:
  """The split that a module or package belongs to, on every machine.

  >>> split_of('Flax-Nnx') == split_of('flax_nnx')
  True
  """
  key = _unit_hash(name.lower().replace('-', '_').replace('.', '_'))
  shares = zip(SPLITS, _CUMULATIVE_SHARES, strict=True)
  return next(split for split, share in shares if key < share)


def summary(documents: Sequence[Document]) -> str:
  """A table of documents and approximate tokens per split and domain."""
  lines = [f'{"split":9} {"domain":21} {"documents":>9} {"~tokens":>9}']
  for split in SPLITS:
    for domain in sorted({d.domain for d in documents}):
      texts = [
        d.text for d in documents if (d.split, d.domain) == (split, domain)
      ]
      tokens = sum(map(len, texts)) // 4  # about 4 characters per token
      lines.append(f'{split:9} {domain:21} {len(texts):9,} {tokens:9,}')
  return '\n'.join(lines)


def write_jsonl(
  documents: Iterable[Document], path: str | os.PathLike[str]
) -> None:
  """Writes documents as JSON Lines with id, text, domain and split."""
  with open(path, 'w', encoding='utf-8') as file:
    for document in documents:
      file.write(json.dumps(document._asdict(), ensure_ascii=False) + '\n')


# --- sources -----------------------------------------------------------------


def _topics() -> Iterator[Document]:
  """Python's own documentation topics (what `help('assert')` prints)."""
  folder = pathlib.Path(sysconfig.get_path('stdlib')) / 'pydoc_data'
  # Distributions may put Python's documentation into another package
  # (Debian does for some releases); then there are no topics to read.
  if not (folder / 'topics.py').is_file():
    return
  tree = ast.parse((folder / 'topics.py').read_bytes())
  for node in tree.body:
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
      for name, text in ast.literal_eval(node.value).items():
        yield from _documents('python-topics', name, 'topic', text)


def _standard_library(max_per_package: int) -> Iterator[Document]:
  root = pathlib.Path(sysconfig.get_path('stdlib'))
  for name in sorted(sys.stdlib_module_names):
    files = (
      sorted((root / name).rglob('*.py'))
      if (root / name).is_dir()
      else [root / f'{name}.py']
    )
    files = [f.relative_to(root).as_posix() for f in files if f.is_file()]
    yield from _docstrings(
      'stdlib-docstrings', name, root, files, max_per_package
    )


def _packages(max_per_package: int) -> Iterator[Document]:
  seen = {_OWN_NAME}
  for package in importlib.metadata.distributions():
    name = package.metadata['Name']
    if not name or name.lower().replace('-', '_') in seen:
      continue
    seen.add(name.lower().replace('-', '_'))
    description = str(package.metadata.json.get('description') or '')
    yield from _documents(
      'package-descriptions', name, 'description', _without_markup(description)
    )
    files = [str(f) for f in package.files or () if f.suffix == '.py']
    yield from _docstrings(
      'package-docstrings',
      name,
      pathlib.Path(str(package.locate_file(''))),
      files,
      max_per_package,
    )


def _docstrings(
  domain: str,
  name: str,
  root: pathlib.Path,
  files: Sequence[str],
  limit: int,
) -> Iterator[Document]:
  """Docstrings of up to `limit` objects, files in the order of their hash."""
  files = [f for f in files if not _SKIPPED_FOLDERS & set(f.split('/')[:-1])]
  count = 0
  for file in sorted(files, key=_unit_hash):
    module = file.removesuffix('.py').removesuffix('/__init__')
    module = module.replace('/', '.')
    found = []
    for path, text in _docstrings_of(root / file):
      target = f'{module}.{path}' if path else module
      found += _documents(domain, name, target, text)
    found = found[: min(_MAX_PER_FILE, limit - count)]
    yield from found
    count += len(found)
    if count == limit:
      return


def _docstrings_of(file: pathlib.Path) -> Iterator[tuple[str, str]]:
  """Yields (dotted path within the module, docstring)."""
  if not file.is_file():  # listed by the package but removed since
    return
  source = file.read_bytes()
  if b'"""' not in source and b"'''" not in source:
    return
  try:
    with warnings.catch_warnings():
      warnings.simplefilter('ignore')  # invalid escapes in others' sources
      tree = ast.parse(source)
  except (SyntaxError, ValueError, RecursionError):
    return  # a template, or source of another Python version
  scopes: list[tuple[str, ast.AST]] = [('', tree)]
  while scopes:
    path, scope = scopes.pop()
    text = ast.get_docstring(scope)  # pyright: ignore[reportArgumentType]
    if text:
      yield path, text
    for node in reversed(scope.body):  # pyright: ignore
      if isinstance(
        node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
      ):
        scopes.append((f'{path}.{node.name}' if path else node.name, node))


# --- cleaning ----------------------------------------------------------------


def _documents(
  domain: str, name: str, target: str, text: str
) -> Iterator[Document]:
  """Cuts a text into pieces and keeps those that are prose."""
  split = split_of(name)
  for number, piece in enumerate(_pieces(text)):
    if _is_prose(piece):
      suffix = f'#{number}' if number else ''
      yield Document(f'{domain}/{name}:{target}{suffix}', piece, domain, split)


def _pieces(text: str) -> list[str]:
  """Parts of at most about _PIECE_CHARACTERS, cut at blank lines."""
  text = text.replace('\r\n', '\n').replace('\x00', '').expandtabs()
  text = text.encode('utf-8', 'replace').decode('utf-8')  # lone surrogates
  pieces, part = [], ''
  for paragraph in re.split(r'\n\s*\n', text):
    paragraph = paragraph.rstrip().lstrip('\n')
    if part and len(part) + len(paragraph) > _PIECE_CHARACTERS:
      pieces.append(part)
      part = ''
    part = f'{part}\n\n{paragraph}' if part else paragraph
  return [*pieces, part]


def _is_prose(text: str) -> bool:
  """Whether enough of a text is sentences and not code, tables or symbols."""
  if len(text) < _MIN_CHARACTERS or len(text) > 2 * _PIECE_CHARACTERS:
    return False
  lines = [line.strip() for line in text.splitlines()]
  prose = [
    line
    for line in lines
    if not line.startswith(('>>>', '...', '$ ', '|', '+--', '.. '))
    and len(re.findall(r'\b[A-Za-z]{2,}\b', line)) >= 4
  ]
  words = sum(len(line.split()) for line in prose)
  share = sum(map(len, prose)) / max(1, sum(map(len, lines)))
  return words >= _MIN_PROSE_WORDS and share >= 0.5


def _without_markup(text: str) -> str:
  """Drops HTML tags, badges and images from a package description."""
  text = re.sub(r'<!--.*?-->', '', text, flags=re.DOTALL)
  text = re.sub(r'</?[a-zA-Z][^<>]*>', '', text)
  lines = [
    line
    for line in text.splitlines()
    if '![' not in line
    and 'shields.io' not in line
    and not re.match(r'\s*(\.\. (image|figure|\|)|:\w+:)', line)
  ]
  return '\n'.join(lines)


def _unit_hash(text: str) -> float:
  digest = hashlib.blake2b(text.encode('utf-8', 'replace'), digest_size=8)
  return int.from_bytes(digest.digest(), 'big') / 2**64
