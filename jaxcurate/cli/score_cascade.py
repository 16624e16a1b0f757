"""`jaxcurate score --cascade=SMALL --band=LOW,HIGH`: what is read, and why."""

from collections.abc import Mapping, Sequence
import sys
from typing import Any

from jaxcurate.io import manifest as manifests
from jaxcurate.io.errors import UserError
from jaxcurate.scoring import cascade as cascades
from jaxcurate.types import Scorer

_EXAMPLE = (
  '--band=LOW,HIGH, e.g. 0.7,0.9 for what lies between the 0.7 and 0.9'
  ' quantiles of the small score'
)


def open_cascade(
  folder: str | None,
  band: str | None,
  by: str | None,
  *,
  scorers: Sequence[Scorer],
  audit: int,
  seed: int,
) -> cascades.Cascade | None:
  """The plan of a cascade, said before work begins; None without --cascade.

  Args:
    folder: the small judge's table.
    band: 'LOW,HIGH'.
    by: its column; None for the large judge's, or the only one.
    scorers: the large judge.
    audit, seed: see `cascade.plan`.

  Raises:
    UserError: a flag is missing or wrong, or the table is.
  """
  if folder is None:
    for flag, value in (('band', band), ('by', by)):
      if value is not None:
        raise UserError(f'--{flag} is for --cascade=SCORES; drop it')
    return None
  if band is None:
    raise UserError(f'--cascade={folder} needs {_EXAMPLE}')
  try:
    low, high = (float(part) for part in band.split(','))
  except ValueError as error:
    raise UserError(f'--band={band} is not understood; give {_EXAMPLE}') from (
      error
    )
  cascades.check(scorers)
  known = list(manifests.read_manifest(folder, 'scores')['columns'])
  [own] = scorers[0].columns
  if by is None and own not in known and len(known) > 1:
    raise UserError(f'{folder}: give --by=COLUMN, one of {", ".join(known)}')
  column = by or (own if own in known else known[0])
  plan = cascades.plan(folder, column, band=(low, high), audit=audit, seed=seed)
  print(
    f'cascade: reads {int(plan.for_large.sum()):,} of the'
    f' {len(plan.score):,} documents of {folder}: {int(plan.in_band.sum()):,}'
    f' in the band of {column}, {len(plan.audit):,} drawn from all to compare'
    ' both judges'
  )
  return plan


def report(diagnostics: Mapping[str, Any]) -> None:
  """Prints saving and agreement.

  Args:
    diagnostics: `cascade` of a finished manifest.
  """
  counts, cost = diagnostics['documents'], diagnostics['flops']
  saved, both = diagnostics['saving']['flops'], cost['small'] + cost['large']
  line = (
    f'cascade: the large judge read {counts["large"]:,} of {counts["all"]:,}'
    f' documents; both judges took {both:.3g} operations, it alone'
    f' {cost["large_on_all"]:.3g}'
  )
  if saved is not None:
    word = 'saved' if saved >= 0 else 'more'
    line += f': {abs(saved):.0%} {word}'
  print(line)
  if counts['without_small_score']:
    print(
      f'{counts["without_small_score"]} documents have no small score; the'
      ' large judge read them'
    )
  if counts['not_in_input']:
    print(
      f'{counts["not_in_input"]} documents of {diagnostics["small"]} are not in'
      ' --input'
    )
  found = diagnostics['agreement']
  print(
    f'ranks on {found["documents"]} audited documents against the large judge:'
    f' small judge {_ranks(found["small"])}; cascade'
    f' {_ranks(found["cascade"])}'
  )
  if (found['small']['spearman'] or 0) <= 0:
    print(
      'the small judge orders documents no better than chance would: its band'
      ' says nothing about the large judge',
      file=sys.stderr,
    )


def _ranks(found: Mapping[str, Any]) -> str:
  if found['spearman'] is None:
    return 'undefined (all equal)'
  text = f'Kendall {found["kendall"]:.2f}, Spearman {found["spearman"]:.2f}'
  if found['interval'] is not None:
    low, high = found['interval']
    text += f' ({low:.2f} to {high:.2f})'
  return text
