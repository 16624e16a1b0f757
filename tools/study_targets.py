"""Targets for the studies of mixtures: instructions, and benchmark questions.

Beside the pool of `study_text.passages`: instructions.jsonl and
benchmarks.jsonl to search with, and others of both in held_out.jsonl. No row is
in two parts.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import json
import lzma
import pathlib
import tarfile
from typing import Any

import numpy as np

from jaxcurate.io import atomic
from jaxcurate.ops import ids as ids_lib


def pool_and_targets(
  folder: pathlib.Path,
  *,
  write_pool: Callable[[pathlib.Path], None],
  corpora: str,
  instructions: Sequence[str],
  benchmarks: Sequence[str],
  num_search: int,
  num_held_out: int,
  characters: int,
  seed: int,
) -> None:
  """Writes the pool, then the targets.

  Args:
    folder: to write to.
    write_pool: writes the pool and its held-out text, see `study_text`.
    corpora: folder that holds instruction/ and benchmarks/.
    instructions: files of instruction/, lists in Alpaca's layout.
    benchmarks: members of benchmarks/llm_foundry_local_data.tar.xz; a row is a
      question and its right answer.
    num_search: rows of each target to search with.
    num_held_out: rows of each target to measure on.
    characters: longest row that is taken.
    seed: of the dealing.

  Raises:
    ValueError: a target has too few rows.
  """
  write_pool(folder)
  root = pathlib.Path(corpora)
  held_out = (folder / 'held_out.jsonl').read_text()
  found = {
    'instructions': list(_instructions(root / 'instruction', instructions)),
    'benchmarks': list(_questions(root / 'benchmarks', benchmarks)),
  }
  for name, texts in found.items():
    rows = [
      {'id': f'{name}/{index}', 'text': text, 'domain': name}
      for index, text in enumerate(dict.fromkeys(texts))
      if len(text) <= characters
    ]
    if len(rows) < num_search + num_held_out:
      raise ValueError(
        f'{name} has {len(rows)} rows, {num_search + num_held_out} are needed'
      )
    order = np.argsort(ids_lib.hash_ids([row['id'] for row in rows], seed))
    lines = [json.dumps(rows[i], ensure_ascii=False) + '\n' for i in order]
    atomic.write_text(folder / f'{name}.jsonl', ''.join(lines[:num_search]))
    held_out += ''.join(lines[num_search : num_search + num_held_out])
  atomic.write_text(folder / 'held_out.jsonl', held_out)


def _instructions(folder: pathlib.Path, files: Sequence[str]) -> Iterator[str]:
  for file in files:
    for row in json.loads(lzma.open(folder / file).read()):
      parts = (row['instruction'], row['input'], row['output'])
      if row['output'].strip():
        yield '\n'.join(part.strip() for part in parts if part.strip())


def _questions(folder: pathlib.Path, members: Sequence[str]) -> Iterator[str]:
  with tarfile.open(folder / 'llm_foundry_local_data.tar.xz') as archive:
    for member in members:
      file = archive.extractfile(member)
      assert file is not None, 'the archive holds plain files'
      for line in file:
        yield _question(json.loads(line))


def _question(row: Mapping[str, Any]) -> str:
  if 'choices' in row:
    return f'{row["query"].strip()} {row["choices"][row["gold"]].strip()}'
  return f'{row["context"].strip()} {row["answer"].strip()}'
