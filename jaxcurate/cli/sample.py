"""`jaxcurate sample`: score tables and a budget to a Selection."""

import argparse
from collections.abc import Callable, Sequence, Set
import hashlib
import math
import time
from typing import Any

from etils import epath
import numpy as np

from jaxcurate.cli import flags as flags_lib
from jaxcurate.cli import (
  gin_files,
  pool_tables,
  sample_candidates,
  sample_mixture,
)
from jaxcurate.data import read_ids
from jaxcurate.io import atomic, mixtures, tables
from jaxcurate.io import manifest as manifests
from jaxcurate.io.errors import UserError
from jaxcurate.ops import log_ratio
from jaxcurate.samplers import budget as budget_lib
from jaxcurate.types import Mixture, ScoreTable, Selection

_TRAIN = (
  'next: jaxcurate train --model=models/tiny.gin --weighting=uniform'
  ' --input=... --selection={output} --steps=1000 --output=model'
)
_NEXT = {
  'uncertainty': 'next: label these documents; then jaxcurate train --model=...'
  ' --targets=labels.jsonl --input=... --output=judge, and for more of them'
  ' this command with one more --exclude={output}'
}
_WITH_LINE = ('threshold', 'uncertainty')  # methods that take --threshold
_SEVERAL = ('criteria_mix',)  # methods of several score columns
_WITHOUT_BUDGET = ('threshold', 'pareto')  # methods that need no --budget


def main(
  flags: argparse.Namespace, bindings: Sequence[str], command: Sequence[str]
) -> None:
  """Parses the run and samples."""
  flags_lib.parse_run(
    flags, 'sample', bindings, kind='samplers', methods=flags.method
  )
  gin_files.call(run, command=command)


def run(
  *,
  inputs: Sequence[str],
  output: str,
  methods: Sequence[Callable[..., Selection]],
  by: str | None,
  column_files: Sequence[str] = (),
  budget: str | None = None,
  mixture: str | None = None,
  domains: str | None = None,
  domain_field: str = 'domain',
  max_copies: float = 4.0,
  allocation: str = 'quota',
  threshold: float | None = None,
  exclude: Sequence[str] = (),
  seed: int = 0,
  command: Sequence[str] = (),
) -> None:
  """Samples from score tables joined by id.

  Args:
    inputs: score folders.
    output: folder of the Selection.
    methods: one sampler's `sample` function.
    by: score column; None for the only one, or for a method that reads none;
      of a method that reads several 'a,b', None for all.
    column_files: files or score folders with more columns, by id.
    budget: see `samplers.budget.parse_budget`; None for a method that needs
      none.
    mixture: folder or file of a Mixture that is followed, instead of a method.
    domains: ids and domains, for a mixture; None: of the inputs.
    domain_field: column of the domain, of files.
    max_copies: of one document, under a mixture.
    allocation: 'quota' gives every domain its share of the budget,
      'probability' on average only; under a mixture.
    threshold: see `samplers.threshold` and `samplers.uncertainty`; None for
      their own default.
    exclude: ids that are left out, see `data.read_ids`: a selection drawn
      before, or files of labels.
    seed: of the draw.
    command: argv, for the manifest.

  Raises:
    UserError: whatever a user can put right.
  """
  name = _method_name(methods, mixture)
  options = {} if threshold is None else {'threshold': threshold}
  if options and name not in _WITH_LINE:
    raise UserError(
      f'--threshold is for --method={" or ".join(_WITH_LINE)}; drop it'
    )
  if mixture is not None and by is not None:
    raise UserError('--mixture names its own score columns; drop --by')
  if mixture is None and domains is not None:
    raise UserError('--domains is for --mixture; drop it')
  if budget is None and name not in _WITHOUT_BUDGET:
    raise UserError(f'{name} needs a --budget, e.g. --budget=0.2')
  inputs = [inputs] if isinstance(inputs, str) else list(inputs)
  if not inputs:
    raise UserError('give --input=FOLDER, written by `jaxcurate score`')
  started = time.monotonic()
  wanted = None if mixture is None else mixtures.read_mixture(mixture)
  if wanted is not None:
    columns = list(wanted.shape.criteria) if wanted.shape else []
    more = pool_tables.read_files(column_files, ','.join(columns))
    table, left_out = pool_tables.read(
      inputs, columns, domains, domain_field, more
    )
  else:
    more = pool_tables.read_files(column_files, by)
    if name in _SEVERAL:
      columns = pool_tables.columns(inputs, by, more)
    elif name != 'uniform':
      columns = [pool_tables.column(inputs, by, more)]
    else:
      columns = [by] if by else []
    by = ','.join(columns) or None
    table, left_out = pool_tables.read_joined(inputs, columns, more)
    pool_tables.warn_of_constants(table)
  excluded = {id_ for path in exclude for id_ in read_ids.read_ids(path)}
  settings = {
    'method': name,
    'by': by,
    'budget': None if budget is None else str(budget),
    'threshold': threshold,
    'exclude': _digest(excluded),
    'seed': seed,
    'tables': [manifests.read_manifest(i)['created'] for i in inputs],
    **pool_tables.settings_of(more),
    **_settings_of(wanted, domains, max_copies, allocation),
    **gin_files.settings([name]),
  }
  if (epath.Path(output) / manifests.NAME).exists():
    old = manifests.read_manifest(output, 'selection')['settings']
    manifests.refuse_other_settings(output, old, settings)
    print(f'{output}: already sampled with these settings')
    return
  candidates, without = sample_candidates.of_table(
    table, columns if wanted is None else ()
  )
  candidates, known = sample_candidates.leave_out(candidates, excluded)
  try:
    amount = None if budget is None else budget_lib.parse_budget(str(budget))
    if wanted is not None:
      assert amount is not None
      selection, other = sample_mixture.sample(
        seed,
        wanted,
        table,
        candidates,
        amount,
        max_copies=max_copies,
        allocation=allocation,
      )
      for domain, count in other.items():
        known[f'in domain {domain}, not of the mixture'] = count
    else:
      selection = methods[0](seed, candidates, amount, **options)
  except ValueError as error:
    raise UserError(f'{name}: {error}') from error
  kept = _kept(table, selection)
  tables.write_selection(
    output,
    selection,
    {
      'command': list(command),
      'settings': settings,
      'inputs': inputs,
      'skipped': {'no score': without, **known, **left_out},
      'cost': {
        'flops': 0.0,
        'seconds': time.monotonic() - started,
        'device': 'host',
      },
      'diagnostics': kept | _threshold(selection, candidates.unit),
    },
  )
  atomic.write_text(f'{output}/config.gin', gin_files.resolved())
  print(
    f'{output}: kept {kept["documents"]:,} of {len(table.id):,} documents'
    f' ({kept["tokens"]:,} of {kept["tokens_in_all"]:,} tokens) by {name}'
    + (f' of {by}' if by else '')
    + (f'; {without} had no score' if without else '')
    + ''.join(f'; {n} {why}' for why, n in known.items())
  )
  print(_NEXT.get(name, _TRAIN).format(output=output))


def _method_name(
  methods: Sequence[Callable[..., Selection]], mixture: str | None
) -> str:
  """Name of the one method, or 'mixture'.

  Raises:
    UserError: there is neither, or both.
  """
  if mixture is not None and not methods:
    return 'mixture'
  if mixture is not None or len(methods) != 1:
    raise UserError(
      f'give one --method=NAME, of'
      f' {", ".join(gin_files.known_methods("samplers"))}, or --mixture=FOLDER'
    )
  return methods[0].__module__.rpartition('.')[2]


def _settings_of(
  mixture: Mixture | None,
  domains: str | None,
  max_copies: float,
  allocation: str,
) -> dict[str, Any]:
  """Settings of a draw by a mixture; none where there is none."""
  if mixture is None:
    return {}
  digest = hashlib.blake2b(repr(mixture).encode(), digest_size=8).hexdigest()
  return {
    'mixture': digest,
    'domains': domains,
    'max_copies': max_copies,
    'allocation': allocation,
  }


def _digest(ids: Set[str]) -> str | None:
  """Short hash of a set of ids; None of none."""
  text = '\n'.join(sorted(ids)).encode('utf-8', 'replace')
  return hashlib.blake2b(text, digest_size=8).hexdigest() if ids else None


def _kept(table: ScoreTable, selection: Selection) -> dict[str, Any]:
  """Documents and tokens kept, in all and per domain."""
  tokens = dict(zip(table.id, table.num_tokens.tolist(), strict=True))
  domains = dict(zip(table.id, table.domain, strict=True))
  by_domain: dict[str, dict[str, int]] = {}
  for domain in table.domain:
    own = by_domain.setdefault(str(domain), {'documents': 0, 'kept': 0})
    own['documents'] += 1
  for id_ in selection.id:
    by_domain[str(domains[id_])]['kept'] += 1
  counts = selection.count.tolist()
  return {
    'documents': len(selection.id),
    'documents_in_all': len(table.id),
    'tokens': sum(
      tokens[i] * c for i, c in zip(selection.id, counts, strict=True)
    ),
    'tokens_in_all': int(table.num_tokens.sum(dtype=np.int64)),
    'domains': by_domain,
  }


def _threshold(selection: Selection, unit: str) -> dict[str, Any]:
  """Where a line was drawn: the stored score, and the ratio it stands for."""
  if selection.threshold is None:
    return {}
  line = {'score': selection.threshold, 'unit': unit}
  if unit == log_ratio.UNIT:
    line['ratio'] = math.exp(selection.threshold)
  return {'threshold': line}
