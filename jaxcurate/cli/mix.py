"""`jaxcurate mix`: score tables to a Mixture of domains."""

import argparse
from collections.abc import Callable, Mapping, Sequence
import functools
import inspect
import time
from typing import Any

from etils import epath
import jax
import scipy

from jaxcurate.cli import flags as flags_lib
from jaxcurate.cli import gin_files, mix_proxies, pool_tables
from jaxcurate.io import atomic, mixtures
from jaxcurate.io import manifest as manifests
from jaxcurate.io.errors import UserError
from jaxcurate.types import Mixture, Searched

_WITHOUT_SCORES = (
  'climb', 'doge_proxy', 'doremi_rounds', 'proportional', 'regmix',
)  # fmt: skip
_ONE_SCORE = ('score_mixture',)


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
  methods: Sequence[Callable[..., Mixture | Searched]],
  by: str | None = None,
  column_files: Sequence[str] = (),
  domains: str | None = None,
  domain_field: str = 'domain',
  proxies: Callable[..., mix_proxies.Plan] = mix_proxies.prepare,
  seed: int = 0,
  command: Sequence[str] = (),
) -> None:
  """Mixes the domains of score tables joined by id.

  Args:
    inputs: score folders.
    output: folder of the Mixture.
    methods: one method's `mix` function.
    by: score columns 'a,b'; None for the only one, for all where a method
      reads several, or for a method that reads none.
    column_files: files or score folders with more columns, by id.
    domains: file or score folder with ids and domains; None: of the inputs.
    domain_field: column of the domain, of files.
    proxies: sets up the small models of a method that trains some.
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
  columns, more = [], pool_tables.read_files(column_files, by)
  if name in _ONE_SCORE:
    columns = [pool_tables.column(inputs, by, more)]
  elif name not in _WITHOUT_SCORES:
    columns = pool_tables.columns(inputs, by, more)
  table, skipped = pool_tables.read(
    inputs, columns, domains, domain_field, more
  )
  settings = {
    'method': name,
    'by': columns,
    'domains': domains,
    'seed': seed,
    'tables': [manifests.read_manifest(i)['created'] for i in inputs],
    **pool_tables.settings_of(more),
    **gin_files.settings([name, 'regressors', 'optimizers']),
  }
  arguments: dict[str, Any] = {}
  cost: dict[str, Any] = {'flops': 0.0, 'device': 'host'}
  plan = None
  wanted = inspect.signature(mix).parameters
  for part in ('proxies', 'learn'):
    if part not in wanted:
      continue
    plan = proxies(output=output, seed=seed, needs_target=part == 'proxies')
    settings['proxies'] = plan.settings
    open_part = plan.search if part == 'proxies' else plan.learn

    # Only when the first is asked for: a setting that is refused before must
    # not claim the folder.
    @functools.cache
    def begun(open_part: Callable[..., Any] = open_part) -> Any:
      manifests.begin(output, 'mixture', settings)
      return open_part(table)

    arguments[part] = lambda *args, begun=begun: begun()(*args)
  if 'seed' in wanted:
    arguments['seed'] = seed
  done = (epath.Path(output) / manifests.NAME).exists()
  if done and manifests.begin(output, 'mixture', settings):
    print(f'{output}: already mixed with these settings')
    return
  try:
    found = mix(table, **arguments)
  except ValueError as error:
    raise UserError(f'{name}: {error}') from error
  if not isinstance(found, Searched):
    found = Searched(found, {})
  mixture, diagnostics = found
  if plan is not None:
    devices = jax.devices()
    cost['flops'] = plan.flops()
    cost['device'] = f'{devices[0].device_kind} x{len(devices)}'
  manifests.begin(output, 'mixture', settings)
  mixtures.write_mixture(
    output,
    mixture,
    {
      'command': list(command),
      'settings': settings,
      'inputs': inputs,
      'skipped': skipped,
      'cost': {**cost, 'seconds': time.monotonic() - started},
      'diagnostics': {
        'natural': pool_tables.token_shares(table),
        'entropy': _entropy(mixture),
        **diagnostics,
      },
    },
  )
  atomic.write_text(f'{output}/config.gin', gin_files.resolved())
  print(f'{output}: {name} of {len(table.id):,} documents')
  _report(diagnostics)
  natural = pool_tables.token_shares(table)
  width = max(map(len, mixture.domains))
  for domain, share in zip(mixture.domains, mixture.share_M, strict=True):
    print(
      f'  {domain:<{width}}  {share:7.2%} of the tokens,'
      f' {natural.get(domain, 0.0):7.2%} of the corpus'
    )
  print(
    f'next: jaxcurate sample --mixture={output} '
    + ' '.join(
      [
        *(f'--input={folder}' for folder in inputs),
        *(f'--columns={path}' for path in column_files),
      ]
    )
    + ' --budget=... --output=kept'
  )


def _entropy(mixture: Mixture) -> float:
  """Of the shares, in nats: 0 is one domain, log M equal shares."""
  return float(scipy.special.entr(mixture.share_M).sum())


def _report(diagnostics: Mapping[str, Any]) -> None:
  """What a search found, and how far to trust it."""
  for number, line in enumerate(diagnostics.get('rounds', ()), start=1):
    print(f'  round {number} moved the shares by {line["moved"]:.3f} (L1)')
  if 'regressor' not in diagnostics:
    return
  if diagnostics['diverged']:
    print(
      f'  {diagnostics["diverged"]} of {diagnostics["proxies"]} proxies'
      ' diverged (they guess their own text at random) and were left out;'
      ' lower the learning rate'
    )
  for line in diagnostics['regressor'][-1:]:
    rank = line['spearman']
    print(
      f'  the regressor on {line["held_out"]} proxies it has not seen: rank'
      f' correlation {"unknown" if rank is None else f"{rank:.2f}"}, mean error'
      f' {line["mae"]:.4f} nats per token'
    )
  found = diagnostics['loss/realised']
  print(
    f'  target loss {diagnostics["loss/predicted"]:.4f} predicted,'
    f' {"diverged" if found is None else f"{found:.4f}"} realised; the best'
    f' proxy {diagnostics["loss/best_proxy"]:.4f}, the median'
    f' {diagnostics["loss/median_proxy"]:.4f}'
  )
