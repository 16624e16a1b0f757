"""What a judge learns from: judgements that fit each other and the corpus."""

from collections.abc import Callable, Iterable, Iterator
import dataclasses
import hashlib

from jaxtyping import Float
import numpy as np

from jaxcurate.data import targets as targets_lib
from jaxcurate.data.targets import Pairs, Targets
from jaxcurate.io.errors import UserError
from jaxcurate.models import load, t5
from jaxcurate.ops import judge_loss, rating
from jaxcurate.scorers import rater
from jaxcurate.train import judge, judge_data
from jaxcurate.types import Document, Network, Scorer, Vocabulary

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
    judged = targets_lib.read_pairs(pairs, columns)
    check_values(judged, judged.value, '')
    return judged, 'bradley_terry'
  assert targets is not None, 'one of the two is given'
  if loss == 'bradley_terry':
    raise UserError('bradley_terry needs --pairs, not --targets')
  judged = targets_lib.read_targets(targets, columns, id_field=id_field)
  check_values(judged, judged.value, '')
  if judged.unit.startswith('log P(yes') and loss != 'squared':
    judged = judged._replace(value=np.exp(judged.value))
  known = judged.value[~np.isnan(judged.value)]
  if loss is None:
    fits = known.min() >= 0 and known.max() <= 1
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


def judged_rows(rows: Iterable[Document], judged: Judged) -> Iterator[Document]:
  """The documents of a corpus that were judged.

  Raises:
    UserError: none was.
  """
  wanted = set(judged.id.ravel().tolist())
  found, last = 0, 'nothing'
  for row in rows:
    last = row.id
    if row.id in wanted:
      found += 1
      yield row
  if not found:
    raise UserError(
      f'{judged.name}: none of its {len(wanted):,} ids is in the corpus; it has'
      f' {next(iter(wanted))!r}, the corpus {last!r}; name the column of the'
      ' ids with --id_field'
    )


def check_values(
  judged: Judged, value: Float[np.ndarray, 'N C'], which: str
) -> None:
  """Raises UserError where there is nothing to learn.

  Args:
    judged: names of the judgements.
    value: of those that are left.
    which: says which these are.
  """
  if not judged.columns:
    raise UserError(f'{judged.name}: has no judgements')
  for column, values in zip(judged.columns, value.T, strict=True):
    known = values[~np.isnan(values)]
    if len(known) < 2:
      raise UserError(
        f'{judged.name}: has {len(known)} judgement(s) of {column!r}{which},'
        ' expected at least 2'
      )
    if isinstance(judged, Targets) and np.ptp(known) == 0:
      raise UserError(
        f'{judged.name}: all {len(known):,} values of {column!r}{which} are'
        f' {known[0]:g}, so there is nothing to learn'
      )


def without_projection(start: load.LoadedModel) -> load.LoadedModel:
  """A Sentence-T5 without the dense layer behind its states: a head reads the
  states, and the format that a judge is saved in has no place for it."""
  config = start.config
  if not isinstance(config, t5.T5Config) or config.projection_dim is None:
    return start
  config = dataclasses.replace(config, projection_dim=None)
  params = {**start.params}
  del params['projection']
  network = load.make_network(config)
  return start._replace(network=network, params=params, config=config)


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
    UserError: a setting that it refuses, or several prompts per text.
  """
  try:
    scorer = make(network=network, vocabulary=words)
  except ValueError as error:
    raise UserError(f'ask_llm: {error}') from error
  features = scorer.features
  long = [0] * (features.encoder_length + features.decoder_length + 1)
  [prompts] = features.examples([Document('', '', None)], [long])
  if len(prompts) > 1:
    raise UserError(
      f'ask_llm asks {len(prompts)} questions about a long text, and only one'
      " can be learnt: leave criteria out, and long_texts='head'"
    )
  return judge.read_answer(scorer)
