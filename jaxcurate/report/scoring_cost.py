"""Which scoring does a training run owe its documents to, and its cost."""

import os

from jaxcurate.report import artefacts


def scoring_flops(study: artefacts.Study, kept: artefacts.Kept) -> float | None:
  """Operations spent on the scores that a selection was drawn by.

  The whole cost of the score folder that has the column, or of the column
  alone where the manifest's cost has it under 'columns'; 0 without a column.

  Args:
    study: what was found.
    kept: the selection.

  Returns:
    FLOPs, None where no score folder given has the column or its cost.
  """
  column = artefacts.criterion(kept)
  if column is None:
    return 0.0
  holders = [s for s in study.scores if column in s.table.scores]
  inputs = kept.manifest.get('inputs')
  named = {
    os.path.basename(str(path).rstrip('/'))
    for path in (inputs if isinstance(inputs, list) else ())
  }
  exact = [s for s in holders if os.path.basename(s.path) in named]
  for folder in exact or holders:
    costs = folder.manifest.get('cost')
    by_column = costs.get('columns') if isinstance(costs, dict) else None
    if isinstance(by_column, dict) and column in by_column:
      return artefacts.cost({'cost': by_column}, column)
    return artefacts.cost(folder.manifest, 'flops')
  return None


def selection_of(
  study: artefacts.Study, run: artefacts.Run
) -> artefacts.Kept | None:
  """The selection that a run was trained on.

  Found by the path in the run's settings or command, else by the folder's
  name where a study was moved; a run without any by its method's name.

  Args:
    study: what was found.
    run: the run.

  Returns:
    The selection, None where the run had none or it was not given.
  """
  wanted = artefacts.selection_path(run.manifest) or ''
  for kept in study.selections:
    if wanted and os.path.realpath(wanted) == os.path.realpath(kept.path):
      return kept
  name = os.path.basename(wanted.rstrip('/')) or run.method
  for kept in study.selections:
    if kept.method == name or kept.method == f'{name}/seed{run.seed}':
      return kept
  return None


def scoring_of_run(study: artefacts.Study, run: artefacts.Run) -> float | None:
  """Scoring operations charged to a run; None where they cannot be known."""
  kept = selection_of(study, run)
  if kept is not None:
    return scoring_flops(study, kept)
  return None if artefacts.selection_path(run.manifest) else 0.0
