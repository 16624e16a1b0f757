"""What `jaxcurate score` prints when it is done."""

from collections.abc import Mapping
import sys
from typing import Any

from jaxcurate.cli import score_cascade
from jaxcurate.scoring import overlap

_POOR_AGREEMENT = 0.7  # Spearman; below it an estimate is mostly noise
_SAMPLERS = {
  'density': 'inverse_propensity',
  'density_references': 'inverse_propensity',
  'dsir': 'importance',
}
_NAMES = 30  # lines of names of what was fitted


def report(manifest: dict[str, Any], names: list[str], output: str) -> None:
  """Prints what came out, and the next command.

  Args:
    manifest: of the finished table.
    names: its score columns.
    output: its folder.
  """
  skipped = ', '.join(f'{n} {why}' for why, n in manifest['skipped'].items())
  without = manifest['diagnostics']['without_score']
  print(
    f'{output}: {manifest["num_rows"]} documents, columns {", ".join(names)}'
    + (f'; skipped {skipped}' if skipped else '')
    + ''.join(f'; {n} without {name}' for name, n in without.items())
    + f'; padding {manifest["diagnostics"]["padding_share"]:.1%}'
  )
  for name, said in manifest['diagnostics'].get('fitted', {}).items():
    _say(name, said)
  if 'cascade' in manifest['diagnostics']:
    score_cascade.report(manifest['diagnostics']['cascade'])
  found = manifest['diagnostics'].get('anchors', {})
  if found.get('either') and not manifest['settings']['exclude_anchors']:
    print(
      overlap.warning(found['id'], found['text'], found['either']),
      file=sys.stderr,
    )
  for name in names:
    agreement = manifest['diagnostics'].get(name, {}).get('spearman_exact', 1)
    if agreement < _POOR_AGREEMENT:
      print(
        f'{name}: ranks agree with the exact density at Spearman'
        f' {agreement:.2f} only; use --method=density_references, or more'
        ' hashes (--gin.density.make.hashes_per_row=4)'
      )
  if 'clusters' in manifest['diagnostics'].get('fitted', {}):
    print(
      f'next: jaxcurate mix --method=... --domains={output} --input=SCORES'
      f' (or --input={output}) --output=mixture'
    )
    return
  method = _SAMPLERS.get(names[0], 'top_k')
  print(
    f'next: jaxcurate sample --method={method} --by={names[0]}'
    f' --input={output} --budget=0.2 --output=kept'
  )


def _say(column: str, said: Mapping[str, Any]) -> None:
  """What a method said of its fit: numbers in a line, then names."""
  numbers = {k: v for k, v in said.items() if isinstance(v, int | float)}
  print(f'{column}: ' + ', '.join(f'{k} {v:.4g}' for k, v in numbers.items()))
  names = said.get('names', [])
  for name in names[:_NAMES]:
    print(f'  {name}')
  if len(names) > _NAMES:
    print(f'  and {len(names) - _NAMES} more in manifest.json')
