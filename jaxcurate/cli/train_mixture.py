"""`jaxcurate train --mixture`: shares of domains, from files to batches."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
from jaxtyping import Float32
import numpy as np

from jaxcurate.data.mixture_batches import MixtureBatches
from jaxcurate.data.row_shape import RowSettings
from jaxcurate.data.share_sources import LearntShares, ScheduledShares
from jaxcurate.data.token_cache import TokenCache
from jaxcurate.data.training import TrainingBatches
from jaxcurate.io import mixtures
from jaxcurate.io.errors import UserError
from jaxcurate.mixtures import schedules
from jaxcurate.types import Mixture, Vocabulary
from jaxcurate.types.online import OnlineShares


class MixtureSettings(NamedTuple):
  """How much of each domain is trained on; all None: the corpus as it is.

  Attributes:
    path: folder or file of the Mixture whose shares hold at step 1.
    schedule: step -> Mixture that is reached then, in straight lines.
    online: makes a rule that shares follow while the model trains, from those
      of `path`, or of the corpus.
  """

  path: str | None = None
  schedule: Mapping[int, str] | None = None
  online: Callable[..., OnlineShares] | None = None


AS_IT_IS = MixtureSettings()


class Shares(NamedTuple):
  """Shares known beforehand, or a rule and where it starts (None: the corpus).

  Attributes:
    schedule: the shares.
    online: the rule.
  """

  schedule: schedules.ShareSchedule | None
  online: OnlineShares | None = None


def read(
  settings: MixtureSettings, selection: str | None, windowing: str
) -> Shares | None:
  """The shares that the files and the rule say; None without either.

  Args:
    settings: names them.
    selection: folder of the Selection, or None.
    windowing: of the rows.

  Raises:
    UserError: a file is missing or broken, a mixture chooses documents and
      nobody has chosen them yet, a step is below 1, or settings clash.
  """
  online = None
  if settings.online is not None:
    try:
      online = settings.online()
    except ValueError as error:
      raise UserError(f'MixtureSettings.online: {error}') from error
    if settings.schedule or windowing != 'document':
      other = 'a schedule' if settings.schedule else f'windowing {windowing!r}'
      raise UserError(
        f'{online.name} moves the shares by the losses of documents; drop'
        f' {other}'
      )
  places = {int(step): path for step, path in (settings.schedule or {}).items()}
  if settings.path is not None:
    places[1] = settings.path
  elif places:
    raise UserError(
      'MixtureSettings.schedule says where shares go to; give --mixture=FOLDER,'
      ' where they start'
    )
  found: dict[int, Mixture] = {}
  for step, path in sorted(places.items()):
    found[step] = mixtures.read_mixture(path)
    if found[step].shape is not None and selection is None:
      raise UserError(
        f'{path}: chooses documents by quality; run `jaxcurate sample'
        f' --mixture={path} --input=SCORES --budget=... --output=kept` first,'
        ' and give --selection=kept'
      )
  try:
    schedule = schedules.make_schedule(found) if found else None
  except ValueError as error:
    raise UserError(f'MixtureSettings.schedule: {error}') from error
  return Shares(schedule, online) if schedule or online else None


def make_batches(
  shares: Shares | None,
  cache: TokenCache,
  words: Vocabulary,
  rows: RowSettings,
  *,
  rows_per_batch: int,
  seed: int,
  windowing: str,
  columns: Mapping[str, Float32[np.ndarray, ' N']],
) -> TrainingBatches | MixtureBatches:
  """This host's batches: of the corpus as it is, or in the shares wanted.

  Args:
    shares: of `read`.
    cache: the documents.
    words: the vocabulary that tokenized them.
    rows, rows_per_batch, seed, windowing, columns: see
      `data.training.TrainingBatches`.

  Raises:
    UserError: a domain has no document.
  """
  common: dict[str, Any] = {
    'rows_per_batch': rows_per_batch,
    'seed': seed,
    'windowing': windowing,
    'columns': columns,
    'shard': jax.process_index(),
    'num_shards': jax.process_count(),
  }
  if shares is None:
    return TrainingBatches(cache.train, words, rows, **common)
  schedule = shares.schedule or _natural(cache)
  start_M = schedules.share_at(schedule, 1)
  source = ScheduledShares(schedule)
  if shares.online is not None:
    source = LearntShares(shares.online, schedule.domains, start_M)
  batches = MixtureBatches(
    cache.train, cache.domains, words, rows, source, **common
  )
  print(
    'shares of tokens at step 1: '
    + ', '.join(
      f'{name} {share:.1%}'
      for name, share in zip(schedule.domains, start_M, strict=True)
    )
    + (f'; then by {shares.online.name}' if shares.online else '')
    + ''.join(f'; {n:,} {why}' for why, n in batches.left_out.items()),
    flush=True,
  )
  return batches


def left_out(batches: TrainingBatches | MixtureBatches) -> Mapping[str, int]:
  """Why -> documents that have no share."""
  return {} if isinstance(batches, TrainingBatches) else batches.left_out


def outcome(
  batches: TrainingBatches | MixtureBatches,
) -> dict[str, dict[str, Any]]:
  """What the manifest says of the mixture; nothing where there was none."""
  if isinstance(batches, TrainingBatches):
    return {}
  return {'mixture': {'shares': batches.history(), 'read': batches.read()}}


def write_learnt(
  output: str,
  batches: TrainingBatches | MixtureBatches,
  settings: Mapping[str, Any],
  command: Sequence[str],
) -> None:
  """Writes OUTPUT/mixture where shares were learnt: their mean over the steps.

  Args:
    output: folder of the run.
    batches: after the last step.
    settings: of the run.
    command: argv.
  """
  if isinstance(batches, TrainingBatches) or batches.memory is None:
    return
  domains, memory = batches.domains, batches.memory
  mean_M = np.array(memory['mean'])
  mixtures.write_mixture(
    f'{output}/mixture',
    Mixture(domains, mean_M / mean_M.sum()),
    {
      'command': list(command),
      'settings': dict(settings),
      'inputs': settings['files'],
      'diagnostics': {
        'last': dict(zip(domains, memory['asked'][-1], strict=True))
      },
    },
  )


def _natural(cache: TokenCache) -> schedules.ShareSchedule:
  """The shares of the corpus itself, copies counted.

  Raises:
    UserError: no document has a domain.
  """
  part = cache.train
  tokens = np.diff(part.offsets) * np.diff(part.copies_end, prepend=0)
  total_M = np.array(
    [tokens[part.domain == code].sum() for code in range(len(cache.domains))]
  )
  if not total_M.sum():
    raise UserError(
      'no document has a domain; name the column with --domain_field'
    )
  share_M = total_M / total_M.sum()
  return schedules.make_schedule({1: Mixture(cache.domains, share_M)})
