"""What a judge learns from: judgements that fit each other and the corpus."""

from collections.abc import Callable
import hashlib

import numpy as np

from jaxcurate.data import targets as targets_lib
from jaxcurate.data.targets import Pairs, Targets
from jaxcurate.io.errors import UserError
from jaxcurate.models import load
from jaxcurate.ops import judge_loss, rating
from jaxcurate.scorers import rater
from jaxcurate.train import judge, judge_data
from jaxcurate.types import Network, Scorer, Selection, Vocabulary

Judged = Targets | Pairs


def read_judgements(
  targets: str | None,
  pairs: str | None,
  by: str | None,
  loss: str | None,
  *,
  id_field: str,
) -> tuple[Judged, str]:
  """The judgements, and the loss that suits them.

  Args:
    targets, pairs, by, loss: see `train_judge.run`.
    id_field: column of the id in files of targets.

  Raises:
    UserError: neither or both are given, or the loss does not suit them.
  """
  if (targets is None) == (pairs is None):
    raise UserError('give either --targets or --pairs')
  columns = [name.strip() for name in by.split(',')] if by else []
  if loss is not None:
    try:
      judge_loss.check(loss)
    except ValueError as error:
      raise UserError(str(error)) from error
  if pairs is not None:
    if loss not in (None, 'bradley_terry'):
      raise UserError(f'--pairs are learnt with bradley_terry, not {loss}')
    return targets_lib.read_pairs(pairs, columns), 'bradley_terry'
  assert targets is not None, 'one of the two is given'
  if loss == 'bradley_terry':
    raise UserError('bradley_terry needs --pairs, not --targets')
  judged = targets_lib.read_targets(targets, columns, id_field=id_field)
  if judged.unit.startswith('log P') and loss != 'squared':
    judged = judged._replace(value=np.exp(judged.value))
  known = judged.value[~np.isnan(judged.value)]
  if loss is None:
    fits = len(known) and known.min() >= 0 and known.max() <= 1
    loss = 'binary' if fits else 'squared'
  if loss == 'binary':
    name = f'{judged.name}: {", ".join(judged.columns)}'
    targets_lib.check_probabilities(known.tolist(), name)
  return judged, loss


def check_options(
  steps: int | None,
  network: load.Config | None,
  answer: Callable[..., Scorer] | None,
  judged: Judged,
) -> None:
  """Raises UserError for options that do not go together."""
  if steps is None and network is not None:
    raise UserError(
      'a network without weights is trained: give --steps, or a checkpoint as'
      ' --model'
    )
  if steps is None and answer is not None:
    raise UserError(
      'the network itself answers, so it is trained: give --steps'
    )
  if answer is not None and len(judged.columns) > 1:
    raise UserError(
      f'one answer cannot learn {len(judged.columns)} columns'
      f' ({", ".join(judged.columns)}); choose one with --by'
    )


def unit_of(judged: Judged, loss: str) -> str:
  """Unit of what the judge will write."""
  if loss == 'binary':
    return rater.PROBABILITY
  if loss == 'bradley_terry':
    return 'Bradley-Terry log-odds'
  return getattr(judged, 'unit', '') or 'as labelled'


def digest(judged: Judged) -> str:
  """Tells judgements of one name apart, e.g. before and after more came."""
  found = hashlib.blake2b(judged.value.tobytes(), digest_size=8)
  found.update('\0'.join(judged.id.ravel().tolist()).encode())
  return found.hexdigest()


def judged_documents(judged: Judged) -> Selection:
  """Every judged id once, so that only these texts are read."""
  ids = np.unique(judged.id.astype(str)).astype(object)
  ones = np.ones(len(ids), np.int32)
  return Selection(ids, ones, ones.astype(np.float64))


def check_items(items: judge_data.Items, judged: Judged) -> None:
  """Raises UserError where there is nothing to learn."""
  for column, values in zip(judged.columns, items.target.T, strict=True):
    known = values[~np.isnan(values)]
    if len(known) < 2:
      raise UserError(
        f'{judged.name}: {len(known)} judgement(s) of {column!r} whose texts'
        ' are in the corpus and not held out; give at least 2, check the ids'
        ' and --gin.train_judge.run.holdout_share'
      )
    if isinstance(judged, Targets) and np.ptp(known) == 0:
      raise UserError(
        f'{judged.name}: all {len(known)} values of {column!r} are'
        f' {known[0]:g}, so there is nothing to learn'
      )


def first_head(
  items: judge_data.Items, loss: str, width: int, max_order: int
) -> dict[str, np.ndarray]:
  """A head that gives every text the mean target."""
  head = rating.init(width, items.target.shape[1], max_order)
  mean = np.nanmean(items.target.astype(np.float64), axis=0)
  if loss == 'binary':
    mean = np.clip(mean, 1e-3, 1 - 1e-3)
    mean = np.log(mean) - np.log1p(-mean)
  if loss != 'bradley_terry':
    head['bias'] = mean.astype(np.float32)
  return head


def read_answer(
  make: Callable[..., Scorer], network: Network, words: Vocabulary
) -> judge.Reading:
  """Ask-LLM's reading, for training.

  Raises:
    UserError: a setting that it refuses.
  """
  try:
    return judge.read_answer(make(network=network, vocabulary=words))
  except ValueError as error:
    raise UserError(f'ask_llm: {error}') from error
