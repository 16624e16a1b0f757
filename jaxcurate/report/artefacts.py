"""What a report is made from: one dataclass per kind of folder."""

from collections.abc import Mapping, Sequence
import dataclasses
import itertools
import math
import re
import shlex
from typing import Any

import numpy as np

from jaxcurate.types import Mixture, ScoreTable, Selection


@dataclasses.dataclass(frozen=True)
class Scores:
  """A folder written by `jaxcurate score`."""

  path: str
  manifest: Mapping[str, Any]
  table: ScoreTable
  examples: Sequence[Mapping[str, Any]]


@dataclasses.dataclass(frozen=True)
class Kept:
  """A folder written by `jaxcurate sample`; named after its folder."""

  path: str
  method: str
  manifest: Mapping[str, Any]
  selection: Selection


@dataclasses.dataclass(frozen=True)
class Mixed:
  """A folder written by `jaxcurate mix`; named after its folder."""

  path: str
  name: str
  manifest: Mapping[str, Any]
  mixture: Mixture


@dataclasses.dataclass(frozen=True)
class Documents:
  """Held-out loss per document after the last step of one run."""

  id: np.ndarray
  domain: np.ndarray
  loss: np.ndarray
  tokens: np.ndarray


@dataclasses.dataclass(frozen=True)
class Run:
  """A folder written by `jaxcurate train`, or `evaluate` without metrics.

  Attributes:
    train: metric -> array over the logged steps, 'step' among them.
    evals: metric -> array over the evaluations.
    documents: None where the run has no held-out documents.
  """

  path: str
  method: str
  seed: str
  manifest: Mapping[str, Any]
  train: Mapping[str, np.ndarray]
  evals: Mapping[str, np.ndarray]
  documents: Documents | None


@dataclasses.dataclass(frozen=True)
class Study:
  """All that was found.

  Attributes:
    table: the columns of all score folders side by side, None without any.
    baseline: the method that the others are compared with, None without it.
    mixtures: of `jaxcurate mix`.
  """

  scores: Sequence[Scores]
  selections: Sequence[Kept]
  runs: Sequence[Run]
  table: ScoreTable | None
  baseline: str | None
  mixtures: Sequence[Mixed] = ()

  def methods(self) -> dict[str, list[Run]]:
    """Runs by method, baseline first, then in the order found."""
    found: dict[str, list[Run]] = {}
    for run in self.runs:
      found.setdefault(run.method, []).append(run)
    ordered = sorted(found, key=lambda name: name != self.baseline)
    return {name: found[name] for name in ordered}


def setting(content: Mapping[str, Any], name: str) -> Any:
  """A setting by its last name ('by' finds 'sample.by' too), else None."""
  settings = content.get('settings')
  if not isinstance(settings, dict):
    return None
  if name in settings:
    return settings[name]
  for key, value in settings.items():
    if re.split(r'[./]', key)[-1] == name:
      return value
  return None


def selection_path(content: Mapping[str, Any]) -> str | None:
  """The Selection a run was trained on: its setting, else its flag."""
  chosen = setting(content, 'selection')
  if chosen:
    return str(chosen)
  argv = content.get('command')
  argv = argv.split() if isinstance(argv, str) else argv
  words = [str(word) for word in argv] if isinstance(argv, list) else []
  for here, after in itertools.pairwise([*words, '']):
    flag, has_value, value = here.partition('=')
    if flag == '--selection':
      return value if has_value else after
  return None


def command(content: Mapping[str, Any]) -> str:
  """The command line of a manifest, as one would type it."""
  argv = content.get('command')
  if isinstance(argv, str):
    return argv
  return shlex.join(map(str, argv)) if isinstance(argv, list) else ''


def cost(content: Mapping[str, Any], name: str) -> float | None:
  """A number of the manifest's cost ('flops', 'seconds'), None without it."""
  costs = content.get('cost')
  value = costs.get(name) if isinstance(costs, dict) else None
  if isinstance(value, int | float) and math.isfinite(value):
    return float(value)
  return None


def criterion(kept: Kept) -> str | None:
  """The score column a selection was drawn by, None for random subsets."""
  value = setting(kept.manifest, 'by')
  return str(value).strip('\'"') if value else None


def natural(mixed: Mixed) -> dict[str, float]:
  """Domain -> share of the corpus's tokens; empty where it is not known."""
  diagnostics = mixed.manifest.get('diagnostics')
  found = diagnostics.get('natural') if isinstance(diagnostics, dict) else None
  if not isinstance(found, dict):
    return {}
  return {str(k): float(v) for k, v in found.items()}
