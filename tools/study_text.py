"""Text for the studies of weightings, dealt out of real corpora.

Every function writes one JSON Lines file per part, such as pool.jsonl to train
on, anchors.jsonl to trust and held_out.jsonl to be measured on, and
spiece.model, a vocabulary of what is trained on. No document is in two parts.
"""

from collections.abc import Iterable, Mapping
import gzip
import json
import lzma
import pathlib
from typing import Any

import numpy as np
import small_judges

from jaxcurate.data import damage
from jaxcurate.io import atomic
from jaxcurate.ops import ids as ids_lib

Rows = list[dict[str, Any]]
_SPOKEN = ('instruction', 'input', 'output')
_TRAINED_ON = ('base', 'pool')


def passages(
  folder: pathlib.Path,
  *,
  corpora: str,
  domains: Mapping[str, tuple[str, str | None]],
  counts: Mapping[str, Mapping[str, int]],
  characters: int,
  pieces: int,
  seed: int,
) -> None:
  """One passage of each document of several domains, some of them damaged.

  Args:
    folder: to write to.
    corpora: folder of JSON Lines files, gzipped.
    domains: name -> (file without .jsonl.gz, value of `domain`, None = all).
    counts: name -> part -> documents. Those of the part 'damaged' are damaged
      and go to the pool; they keep their domain's name.
    characters: of a passage; it lies in the middle of its document.
    pieces: of the vocabulary.
    seed: of the dealing and the damage.

  Raises:
    ValueError: a domain has too few documents.
  """
  parts: dict[str, Rows] = {}
  for domain, (file, value) in domains.items():
    rows = [
      {'id': f'{domain}/{row["id"]}', 'text': row['text'], 'domain': domain}
      for row in _read(pathlib.Path(corpora) / f'{file}.jsonl.gz')
      if value in (None, row['domain']) and len(row['text'].split()) > 20
    ]
    for row in rows:
      row['text'] = small_judges.middle(row['text'].strip(), characters)
    _deal(rows, domain, counts[domain], parts, seed)
  for row in parts.pop('damaged', []):
    rng = np.random.default_rng(int(ids_lib.hash_ids([row['id']], seed)[0]))
    kind = damage.KINDS[rng.integers(len(damage.KINDS))]
    row['text'] = damage.damage(row['text'], kind, rng)[:characters]
    parts['pool'].append(row | {'label': kind})
  _write(folder, parts, pieces)


def instructions(
  folder: pathlib.Path,
  *,
  corpora: str,
  domains: Mapping[str, str],
  counts: Mapping[str, Mapping[str, int]],
  base: Mapping[str, int],
  characters: int,
  pieces: int,
  seed: int,
) -> None:
  """Instructions with answers, and plain text to pretrain on.

  Args:
    folder: to write to.
    corpora: folder that holds instruction/ and text/.
    domains: name -> file of instruction/, a list in Alpaca's layout.
    counts: name -> part -> rows.
    base: file of text/ without .jsonl.gz -> documents of the part 'base', plain
      text to pretrain on.
    characters: longest row that is taken; of plain text the first so many.
    pieces: of the vocabulary.
    seed: of the dealing.

  Raises:
    ValueError: a domain has too few rows.
  """
  parts: dict[str, Rows] = {}
  for domain, file in domains.items():
    found = json.loads(
      lzma.open(pathlib.Path(corpora) / 'instruction' / file).read()
    )
    rows = {  # the same question once
      (row['instruction'], row['input']): {
        'id': f'{domain}/{index}',
        'instruction': row['instruction'],
        'input': row['input'],
        'output': row['output'],
        'domain': domain,
      }
      for index, row in enumerate(found)
      if row['output'].strip()
      and len(row['instruction'] + row['input'] + row['output']) <= characters
    }
    _deal(list(rows.values()), domain, counts[domain], parts, seed)
  for file, count in base.items():
    rows = [
      {'id': row['id'], 'text': row['text'][:characters], 'domain': file}
      for row in _read(pathlib.Path(corpora) / f'text/{file}.jsonl.gz')
    ]
    _deal(rows, file, {'base': count}, parts, seed)
  _write(folder, parts, pieces)


def _deal(
  rows: Rows,
  domain: str,
  counts: Mapping[str, int],
  parts: dict[str, Rows],
  seed: int,
) -> None:
  """The first of `counts` to the first part, and so on, by hashed id."""
  if len(rows) < sum(counts.values()):
    raise ValueError(
      f'{domain} has {len(rows)} documents, {sum(counts.values())} are needed'
    )
  order = np.argsort(ids_lib.hash_ids([row['id'] for row in rows], seed))
  dealt = iter(order.tolist())
  for part, count in counts.items():
    own = parts.setdefault(part, [])
    own.extend(rows[next(dealt)] for _ in range(count))


def _write(
  folder: pathlib.Path, parts: Mapping[str, Rows], pieces: int
) -> None:
  """Writes the parts, and a vocabulary of those that are trained on."""
  folder.mkdir(parents=True, exist_ok=True)
  for name, rows in parts.items():
    lines = (json.dumps(row, ensure_ascii=False) + '\n' for row in rows)
    atomic.write_text(folder / f'{name}.jsonl', ''.join(lines))
  texts = [
    row.get('text') or '\n'.join(row[name] for name in _SPOKEN)
    for part in _TRAINED_ON
    for row in parts.get(part, [])
  ]
  small_judges.write_vocabulary(folder / 'spiece.model', texts, pieces)


def _read(path: pathlib.Path) -> Iterable[dict[str, Any]]:
  with gzip.open(path, 'rt', encoding='utf-8') as lines:
    yield from map(json.loads, lines)
