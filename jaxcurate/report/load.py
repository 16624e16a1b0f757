"""Finds out what every input folder holds and reads it.

Inputs are folders that `score`, `sample`, `mix` or `train` wrote, or folders
that hold such folders at any depth (a study: scores/, selections/<method>/,
runs/<method>/seed<k>/). Only artefacts are read: manifests, tables, metrics
and kept excerpts; never the corpus and never a checkpoint.
"""

from collections.abc import Iterator, Mapping, Sequence
import glob
import os
import re
from typing import Any

from etils import epath
import numpy as np

from jaxcurate.io import manifest as manifests
from jaxcurate.io import mixtures as mixtures_io
from jaxcurate.io import tables
from jaxcurate.io.errors import UserError
from jaxcurate.report import artefacts, merge, metrics

BASELINE = 'uniform'

_SEED_FOLDER = re.compile(r'seed[_-]?(\d+)')
_SKIPPED_FOLDERS = ('checkpoints', 'report')


def load(
  inputs: Sequence[str], *, baseline: str | None = None
) -> artefacts.Study:
  """Reads every artefact in the inputs.

  Args:
    inputs: folders or globs of folders.
    baseline: method to compare with; None takes 'uniform' where it is there.

  Returns:
    The study.

  Raises:
    UserError: no artefact, a broken one, or an unknown baseline.
  """
  scores, selections, runs, mixtures = [], [], [], []
  for folder in _artefacts(inputs):
    content = manifests.read_manifest(folder)
    if content['kind'] == 'scores':
      scores.append(_read_scores(folder, content))
    elif content['kind'] == 'selection':
      name = _selection_name(folder)
      selection = tables.read_selection(folder)
      selections.append(artefacts.Kept(folder, name, content, selection))
    elif content['kind'] == 'mixture':
      mixture = mixtures_io.read_mixture(folder)
      name = _selection_name(folder)
      mixtures.append(artefacts.Mixed(folder, name, content, mixture))
    elif content['kind'] != 'judge':  # no run to compare with others
      runs.append(_read_run(folder, content))
  named = [(run.path, f'run {run.method!r} seed {run.seed}') for run in runs]
  _refuse_same_names(named)
  _refuse_same_names([(s.path, f'selection {s.method!r}') for s in selections])
  _refuse_same_names([(m.path, f'mixture {m.name!r}') for m in mixtures])
  names = {run.method for run in runs}
  if baseline is not None and baseline not in names:
    raise UserError(
      f'baseline {baseline!r} is not among the runs; they are'
      f' {", ".join(sorted(names)) or "none"}'
    )
  if baseline is None and BASELINE in names:
    baseline = BASELINE
  table = merge.merged_scores(scores)
  return artefacts.Study(scores, selections, runs, table, baseline, mixtures)


def _artefacts(inputs: Sequence[str]) -> list[str]:
  """Every artefact folder below the inputs, each once, in order."""
  found: dict[str, str] = {}
  for pattern in inputs:
    is_glob = glob.has_magic(pattern) and '://' not in pattern
    folders = sorted(glob.glob(pattern)) if is_glob else [pattern]
    inside = [path for folder in folders for path in _walk(epath.Path(folder))]
    if not inside:
      raise UserError(
        f'{pattern}: no artefact there; give folders that `jaxcurate score`,'
        ' `sample`, `mix` or `train` wrote, or a folder that holds such folders'
      )
    for path in inside:
      name = os.fspath(path)
      key = name if '://' in name else os.path.realpath(name)
      found.setdefault(key, name)
  return list(found.values())


def _walk(folder: epath.Path) -> Iterator[epath.Path]:
  """Folders with a manifest; a folder with results but none is an error."""
  if not folder.is_dir():
    return
  names = sorted(child.name for child in folder.iterdir())
  if manifests.NAME in names:
    yield folder
    return
  if 'metrics.jsonl' in names or any(n.endswith('.parquet') for n in names):
    raise UserError(
      f'{folder / manifests.NAME}: missing, so the run in this folder has not'
      ' finished; run its command again to continue it, or leave the folder out'
    )
  for name in names:
    if name not in _SKIPPED_FOLDERS and not name.startswith('.'):
      yield from _walk(folder / name)


def _refuse_same_names(named: list[tuple[str, str]]) -> None:
  """Raises when two folders would share one row of the report."""
  seen: dict[str, str] = {}
  for path, name in named:
    if name in seen:
      raise UserError(
        f'{seen[name]} and {path} are both {name}; rename one folder (runs are'
        ' named by folder, seeds by a subfolder seed<k>), or leave one out'
      )
    seen[name] = path


def _last_two(folder: str) -> tuple[str, str]:
  """Names of the parent folder and of the folder itself."""
  path = folder if '://' in folder else os.path.abspath(folder)
  *_, parent, name = ['', *path.rstrip('/').split('/')]
  return parent, name


def _selection_name(folder: str) -> str:
  """'density' of .../density, 'density/seed1' of .../density/seed1."""
  parent, name = _last_two(folder)
  return f'{parent}/{name}' if _SEED_FOLDER.fullmatch(name) else name


def _method_and_seed(
  folder: str, content: Mapping[str, Any]
) -> tuple[str, str]:
  """('adapt', '1') of .../adapt/seed1, else the folder and its seed setting."""
  parent, name = _last_two(folder)
  match = _SEED_FOLDER.fullmatch(name)
  if match and parent:
    return parent, match[1]
  seed = artefacts.setting(content, 'seed')
  return name, '0' if seed is None else str(seed)


def _read_scores(folder: str, content: Mapping[str, Any]) -> artefacts.Scores:
  """Table and excerpts of a score folder."""
  if not isinstance(content.get('columns'), dict):
    path = epath.Path(folder) / manifests.NAME
    raise UserError(f'{path}: has no "columns"; run `jaxcurate score` again')
  table, _ = tables.read_score_table([folder])
  path = epath.Path(folder) / 'examples.jsonl'
  examples = metrics.read_lines(path) if path.exists() else []
  return artefacts.Scores(folder, content, table, examples)


def _read_run(folder: str, content: Mapping[str, Any]) -> artefacts.Run:
  """Metrics and held-out documents of a training folder."""
  path = epath.Path(folder) / 'metrics.jsonl'
  lines = metrics.read_lines(path) if path.exists() else []
  documents = None
  path = epath.Path(folder) / 'eval.parquet'
  if path.exists():
    columns = ['id', 'domain', 'loss', 'tokens']
    table = tables.read_parquet(path, columns)
    id_, domain, loss, tokens = (
      table.column(name).to_numpy(zero_copy_only=False) for name in columns
    )
    documents = artefacts.Documents(
      id_.astype(object),
      domain.astype(object),
      loss.astype(np.float64),
      tokens.astype(np.int64),
    )
  method, seed = _method_and_seed(folder, content)
  return artefacts.Run(
    folder,
    method,
    seed,
    content,
    metrics.columns(lines, 'loss'),
    metrics.columns(lines, 'eval/loss'),
    documents,
  )
