"""`jaxcurate mix`: score tables to a Mixture of domains."""

import argparse
from collections.abc import Callable, Sequence
import time

from jaxcurate.cli import flags as flags_lib
from jaxcurate.cli import gin_files, pool_tables
from jaxcurate.io import atomic, mixtures
from jaxcurate.io import manifest as manifests
from jaxcurate.io.errors import UserError
from jaxcurate.types import Mixture

_WITHOUT_SCORES = ('proportional',)


def main(
  flags: argparse.Namespace, bindings: Sequence[str], command: Sequence[str]
) -> None:
  """Parses the run and mixes."""
  flags_lib.parse_run(
    flags, 'mix', bindings, kind='mixtures', methods=flags.method
  )
  gin_files.call(run, command=command)


def run(
  *,
  inputs: Sequence[str],
  output: str,
  methods: Sequence[Callable[..., Mixture]],
  by: str | None = None,
  domains: str | None = None,
  domain_field: str = 'domain',
  seed: int = 0,
  command: Sequence[str] = (),
) -> None:
  """Mixes the domains of score tables joined by id.

  Args:
    inputs: score folders.
    output: folder of the Mixture.
    methods: one method's `mix` function.
    by: score column; None for the only one, or for a method that reads none.
    domains: file or score folder with ids and domains; None: of the inputs.
    domain_field: column of the domain, of files.
    seed: of methods that draw.
    command: argv, for the manifest.

  Raises:
    UserError: whatever a user can put right.
  """
  if len(methods) != 1:
    raise UserError(
      'give one --method=NAME, of'
      f' {", ".join(gin_files.known_methods("mixtures"))}'
    )
  [mix] = methods
  name = mix.__module__.rpartition('.')[2]
  inputs = [inputs] if isinstance(inputs, str) else list(inputs)
  if not inputs:
    raise UserError('give --input=FOLDER, written by `jaxcurate score`')
  started = time.monotonic()
  columns = []
  if name not in _WITHOUT_SCORES:
    columns = [pool_tables.column(inputs, by)]
  table, skipped = pool_tables.read(inputs, columns, domains, domain_field)
  settings = {
    'method': name,
    'by': columns,
    'domains': domains,
    'seed': seed,
    'tables': [manifests.read_manifest(i)['created'] for i in inputs],
    **gin_files.settings([name]),
  }
  try:
    mixture = mix(table)
  except ValueError as error:
    raise UserError(f'{name}: {error}') from error
  # Only now: a setting that was refused must not claim the folder.
  if manifests.begin(output, 'mixture', settings):
    print(f'{output}: already mixed with these settings')
    return
  mixtures.write_mixture(
    output,
    mixture,
    {
      'command': list(command),
      'settings': settings,
      'inputs': inputs,
      'skipped': skipped,
      'cost': {
        'flops': 0.0,
        'seconds': time.monotonic() - started,
        'device': 'host',
      },
      'diagnostics': {'natural': pool_tables.token_shares(table)},
    },
  )
  atomic.write_text(f'{output}/config.gin', gin_files.resolved())
  print(f'{output}: {name} of {len(table.id):,} documents')
  natural = pool_tables.token_shares(table)
  width = max(map(len, mixture.domains))
  for domain, share in zip(mixture.domains, mixture.share_M, strict=True):
    print(
      f'  {domain:<{width}}  {share:7.2%} of the tokens,'
      f' {natural.get(domain, 0.0):7.2%} of the corpus'
    )
  print(
    f'next: jaxcurate sample --mixture={output} '
    + ' '.join(f'--input={folder}' for folder in inputs)
    + ' --budget=... --output=kept'
  )
