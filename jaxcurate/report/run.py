"""From folders of artefacts to one page, its figures and their numbers."""

from collections.abc import Sequence
import shlex

from etils import epath

import jaxcurate
from jaxcurate.io import atomic
from jaxcurate.report import (
  artefacts,
  figures_kept,
  figures_mixtures,
  figures_outcome,
  figures_runs,
  figures_scores,
  findings,
  load,
  mixtures,
  page,
  plotting,
  summary,
)
from jaxcurate.report import results as results_lib

NAME = 'report.html'


def run(
  *,
  inputs: list[str],
  output: str,
  title: str | None = None,
  baseline: str | None = None,
) -> str:
  """Writes report.html, and every figure as PNG and JSON beside it.

  Args:
    inputs: folders that `score`, `sample`, `mix` or `train` wrote, folders that
      hold such folders, or globs of folders.
    output: folder of the page.
    title: heading of the page.
    baseline: the run to compare with; None takes the one called uniform.

  Returns:
    Path of the page.

  Raises:
    UserError: nothing found, a broken artefact, or an unknown baseline.
  """
  study = load.load(inputs, baseline=baseline)
  results = results_lib.compare(study)
  sections, drawn = _sections(study, results)
  flags = [
    *(f'--input={path}' for path in inputs),
    f'--output={output}',
    *([f'--title={title}'] if title else []),
    *([f'--baseline={baseline}'] if baseline else []),
  ]
  command = shlex.join(['jaxcurate', 'report', *flags])
  proof = summary.provenance(study, command)
  sections.append(page.Section('provenance', 'Provenance', proof))
  whole = page.page(
    title or 'jaxcurate report',
    _subtitle(study),
    findings.sentences(study, results),
    sections,
    f'Made by jaxcurate {jaxcurate.__version__} from manifests, tables,'
    ' metrics and kept excerpts only. Every figure lies beside this page as'
    ' PNG, and its numbers as JSON.',
  )
  folder = epath.Path(output)
  for figure in drawn:
    atomic.write_bytes(folder / f'{figure.name}.png', figure.png)
    content = {
      'title': figure.title,
      'caption': figure.caption,
      'commands': figure.commands,
      'report_command': command,
      'data': figure.data,
    }
    atomic.write_text(
      folder / f'{figure.name}.json', plotting.json_text(content) + '\n'
    )
  atomic.write_text(folder / NAME, whole)
  return str(folder / NAME)


def _sections(
  study: artefacts.Study, results: Sequence[results_lib.Result]
) -> tuple[list[page.Section], list[plotting.Figure]]:
  """Every part of the page that has something to show, and its figures."""
  parts = [
    (
      'results',
      'Results',
      summary.runs_table(study, results),
      [figures_runs.differences(study, results)],
    ),
    ('curves', 'Training', '', [figures_runs.loss_curves(study)]),
    (
      'cost',
      'Cost',
      summary.cost_table(study, results),
      [figures_outcome.cost_bars(study, results)],
    ),
    (
      'domains',
      'Held-out domains',
      summary.perplexity_table(study),
      [figures_outcome.domain_differences(study)],
    ),
    ('weights', 'Weights', '', [figures_runs.weights(study)]),
    (
      'scores',
      'Scores',
      '',
      [figures_scores.histograms(study), figures_scores.kendall(study)],
    ),
    (
      'kept',
      'What was kept',
      '',
      [figures_kept.kept_share(study), figures_kept.overlaps(study)],
    ),
    (
      'mixtures',
      'Mixtures',
      mixtures.table(study),
      [figures_mixtures.shares(study), *figures_mixtures.quality(study)],
    ),
    ('examples', 'Best and worst', page.examples(study.scores), []),
  ]
  sections, drawn = [], []
  for anchor, title, body, figures in parts:
    found = [figure for figure in figures if figure is not None]
    body += ''.join(page.figure(figure) for figure in found)
    if body:
      sections.append(page.Section(anchor, title, body))
      drawn += found
  return sections, drawn


def _subtitle(study: artefacts.Study) -> str:
  """What the inputs held."""
  counts = [
    (len(study.scores), 'score folder'),
    (len(study.selections), 'selection'),
    (len(study.mixtures), 'mixture'),
    (len(study.methods()), 'method'),
    (len(study.runs), 'training run'),
  ]
  return ', '.join(
    f'{count} {name}{"" if count == 1 else "s"}'
    for count, name in counts
    if count
  )
