"""`jaxcurate train --mixture`: shares of domains, from files to batches."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
from jaxtyping import Float32
import numpy as np

from jaxcurate.data.mixture_batches import MixtureBatches
from jaxcurate.data.row_shape import RowSettings
from jaxcurate.data.share_sources import ScheduledShares
from jaxcurate.data.token_cache import TokenCache
from jaxcurate.data.training import TrainingBatches
from jaxcurate.io import mixtures
from jaxcurate.io.errors import UserError
from jaxcurate.mixtures import schedules
from jaxcurate.types import Mixture, Vocabulary


class MixtureSettings(NamedTuple):
  """How much of each domain is trained on; all None: the corpus as it is.

  Attributes:
    path: folder or file of the Mixture whose shares hold at step 1.
    schedule: step -> Mixture that is reached then, in straight lines.
  """

  path: str | None = None
  schedule: Mapping[int, str] | None = None


AS_IT_IS = MixtureSettings()


def read(
  settings: MixtureSettings, selection: str | None
) -> schedules.ShareSchedule | None:
  """The shares that the files say.

  Args:
    settings: names them.
    selection: folder of the Selection, or None.

  Raises:
    UserError: a file is missing or broken, a mixture chooses documents and
      nobody has chosen them yet, or a step is below 1.
  """
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
    return schedules.make_schedule(found) if found else None
  except ValueError as error:
    raise UserError(f'MixtureSettings.schedule: {error}') from error


def make_batches(
  schedule: schedules.ShareSchedule | None,
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
    schedule: of `read`.
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
  if schedule is None:
    return TrainingBatches(cache.train, words, rows, **common)
  batches = MixtureBatches(
    cache.train,
    cache.domains,
    words,
    rows,
    ScheduledShares(schedule),
    **common,
  )
  shares = schedules.share_at(schedule, 1)
  print(
    'shares of tokens at step 1: '
    + ', '.join(
      f'{name} {share:.1%}'
      for name, share in zip(schedule.domains, shares, strict=True)
    )
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
