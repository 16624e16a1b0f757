"""The demo's text: corpus, held-out set and anchors, split by module."""

from collections.abc import Sequence
import json
import pathlib
from typing import Any, NamedTuple

from jaxcurate.data import damage, machine_text
from jaxcurate.io import atomic
from jaxcurate.io.errors import UserError
from jaxcurate.report import findings
from jaxcurate.report import load as report_load


class Text(NamedTuple):
  """Paths of the demo's JSON Lines files.

  Attributes:
    corpus: what is scored, sampled and trained on, a share of it damaged.
    held_out: sound text of other modules and packages.
    anchors: sound text of the modules that the judge learnt from.
  """

  corpus: pathlib.Path
  held_out: pathlib.Path
  anchors: pathlib.Path


def write(
  folder: pathlib.Path,
  *,
  num_documents: int,
  num_held_out: int,
  num_anchors: int,
  damaged_share: float,
  packages: bool,
  seed: int,
) -> Text:
  """Gathers the text of this machine into `folder/text`, once.

  Args:
    folder: of the study.
    num_documents, num_held_out, num_anchors: most documents of each file;
      which ones depends on their ids alone.
    damaged_share: share of the corpus that is damaged.
    packages: read the installed packages too, not only Python's own text.
    seed: of the damage.

  Raises:
    UserError: the folder holds text of other settings, or this machine has
      too little text.
  """
  paths = Text(*(folder / 'text' / f'{name}.jsonl' for name in Text._fields))
  settings = {
    'num_documents': num_documents,
    'num_held_out': num_held_out,
    'num_anchors': num_anchors,
    'damaged_share': damaged_share,
    'packages': packages,
    'seed': seed,
  }
  record = folder / 'text' / 'settings.json'
  if record.exists():
    if json.loads(record.read_text()) != settings:
      raise UserError(
        f'{folder}: holds the demo with other settings; give another --output'
      )
    return paths
  print('gathering text of this machine ...', flush=True)
  documents = machine_text.gather(packages=packages)
  print(machine_text.summary(documents))
  demo, held_out, judge = (
    [d for d in documents if d.split == split]
    for split in ('demo', 'held_out', 'judge')
  )
  if len(demo) < 100 or len(held_out) < 20:
    raise UserError(
      f'this machine has only {len(demo)} documents for the demo and'
      f' {len(held_out)} to hold out; install jaxcurate with its dependencies'
    )
  corpus = damage.with_damage(demo[:num_documents], damaged_share, seed)
  _write(paths.corpus, corpus)
  _write(paths.held_out, held_out[:num_held_out])
  _write(paths.anchors, judge[:num_anchors])
  atomic.write_text(record, json.dumps(settings))
  counts = {label: 0 for label in (damage.SOUND, *damage.KINDS)}
  for document in corpus:
    counts[document.label] += 1
  print(
    'corpus: '
    + ', '.join(f'{count} {label}' for label, count in counts.items())
    + f'; held out: {min(num_held_out, len(held_out))} sound'
    f' documents of other modules; anchors: {min(num_anchors, len(judge))}'
  )
  return paths


def _write(path: pathlib.Path, documents: Sequence[Any]) -> None:
  """JSON Lines, one named tuple a line."""
  atomic.write_text(
    path,
    ''.join(
      json.dumps(document._asdict(), ensure_ascii=False) + '\n'
      for document in documents
    ),
  )


def print_findings(folder: pathlib.Path) -> None:
  """What the study found, whichever method won."""
  print('\nfindings:')
  for sentence in findings.findings(report_load.load([str(folder)])):
    print(f'- {sentence}')
