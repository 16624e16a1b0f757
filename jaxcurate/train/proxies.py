"""Losses of many small models on a target, each trained on its own mixture.

Proxies train side by side, a population at a time over all devices of the host,
all from the same initial parameters. Their losses are kept in a log: a search
that is interrupted goes on where it stopped, and trains no proxy twice.
"""

from collections.abc import Mapping, Sequence
import hashlib
import math
import os
import pathlib
import shutil
from typing import Any, NamedTuple

from jaxtyping import Float64, Int64
import numpy as np
import tqdm

from jaxcurate.data.row_shape import RowSettings
from jaxcurate.data.token_part import TokenPart
from jaxcurate.data.training import TrainingBatches
from jaxcurate.train import driver, run_log
from jaxcurate.train import members as members_lib
from jaxcurate.train.evaluation import EvalBatch
from jaxcurate.train.metrics import NAME, read_metrics
from jaxcurate.train.optimizers import Optimizer
from jaxcurate.train.program import StepSettings, make_program
from jaxcurate.train.progress import Plan
from jaxcurate.types import (
  Network,
  Params,
  Proxies,
  SearchSpace,
  Vocabulary,
  Weighting,
)

LOG = 'proxies.jsonl'


class ProxyText(NamedTuple):
  """What proxies read.

  Attributes:
    part: the documents of the pool.
    row: [documents of the part] int64, their rows in the pool's table.
    vocabulary: tokenized both.
    rows: shape of the rows, of training and target.
    target: the target's text.
  """

  part: TokenPart
  row: np.ndarray
  vocabulary: Vocabulary
  rows: RowSettings
  target: Sequence[EvalBatch]


def make_proxies(
  text: ProxyText,
  *,
  network: Network,
  params: Params | None = None,
  optimizer: Optimizer,
  weighting: Weighting,
  steps: int,
  rows_per_batch: int,
  members: int,
  folder: str | os.PathLike[str],
  seed: int,
  progress: bool = True,
) -> Proxies:
  """The function that trains a proxy for every candidate of a search.

  Args:
    text: what they read.
    network: of every proxy.
    params: that every proxy starts from; None: from the seed.
    optimizer: of every proxy.
    weighting: of the examples; the uniform one, as a rule.
    steps: of each proxy.
    rows_per_batch: of each proxy.
    members: proxies side by side, >= 1.
    folder: of the log and of work in progress.
    seed: of initial parameters, order and rounding, the same for every proxy,
      so that they differ by their mixtures alone.
    progress: show a progress bar on stderr.

  Returns:
    The function. The loss of a target is its mean over target tokens and that
    of several domains of targets the mean of theirs; NaN where a model learnt
    nothing of its own text.
  """
  folder = pathlib.Path(folder)
  budget = steps * rows_per_batch * _text_length(text.rows)
  programs: dict[int, driver.Program] = {}

  def program(size: int) -> driver.Program:
    if size not in programs:  # the last group may be smaller
      programs[size] = make_program(
        network,
        optimizer,
        weighting,
        StepSettings(text.rows.max_segments, z_loss=0.0),
        seeds=[seed] * size,
        population=True,
        params=params,
        eval_batches=text.target,
        mesh=members_lib.mesh_for(size),
      )
    return programs[size]

  def train(space: SearchSpace, rows: np.ndarray, name: str) -> list[Any]:
    batches = [
      TrainingBatches(
        with_copies(text, space.values(row), budget, seed),
        text.vocabulary,
        text.rows,
        rows_per_batch=rows_per_batch,
        seed=seed,
        prefetch=1,
      )
      for row in rows
    ]
    own = folder / name
    folders = [own / str(member) for member in range(len(rows))]
    driver.run(
      program(len(rows)),
      Plan(steps, steps, None, None, max_nonfinite=None),
      batches,
      folders,
      own / 'checkpoints',
      progress=False,
    )
    found = [last_metrics(each) for each in folders]
    for iterator in batches:
      iterator.close()
    return found

  def proxies(space: SearchSpace, rows: np.ndarray) -> np.ndarray:
    keys = [_key(space, row) for row in rows]
    log = folder / LOG
    known = run_log.read_log(log)
    missing = [i for i, key in enumerate(keys) if key not in known]
    bar = tqdm.tqdm(
      total=len(keys),
      initial=len(keys) - len(missing),
      disable=not progress,
      unit='proxy',
      desc='proxies',
    )
    for first in range(0, len(missing), members):
      group = missing[first : first + members]
      name = f'population-{keys[group[0]]}'
      summaries = train(space, rows[group], name)
      lines = [
        {
          'key': keys[i],
          'loss': _target_loss(summary, text.vocabulary.size),
          'targets': _targets(summary),
          'flops': summary['flops'],
          'parameters': rows[i].tolist(),
        }
        for i, summary in zip(group, summaries, strict=True)
      ]
      run_log.append_log(log, lines)
      shutil.rmtree(folder / name)
      bar.update(len(group))
    bar.close()
    known = run_log.read_log(log)
    losses = [known[key]['loss'] for key in keys]
    return np.array([math.nan if x is None else x for x in losses], np.float64)

  return proxies


def copies_for(
  value: Float64[np.ndarray, ' N'],
  num_tokens: Int64[np.ndarray, ' N'],
  budget: int,
  uniform: Float64[np.ndarray, ' N'],
) -> Int64[np.ndarray, ' N']:
  """How often each document occurs, so that about `budget` tokens are read.

  Args:
    value: [N] >= 0, in proportion to the expected copies.
    num_tokens: [N] >= 0.
    budget: > 0, tokens.
    uniform: [N] in [0, 1), rounds up or down; the same for all candidates, so
      that alike candidates read the same documents.

  Returns:
    [N] >= 0, at least one of them above 0.

  Raises:
    ValueError: no document with tokens has a value above 0.

  >>> copies_for(np.array([2.0, 1.0, 0.0]), np.array([10, 10, 10]), 45,
  ...            np.array([0.1, 0.1, 0.1])).tolist()
  [3, 1, 0]
  """
  spent = float(value @ num_tokens)
  if not spent > 0:
    raise ValueError('a candidate samples no document with tokens')
  copies = np.floor(value * (budget / spent) + uniform).astype(np.int64)
  if not (copies @ num_tokens):  # a budget below the length of a document
    copies[np.argmax(value * (num_tokens > 0) + uniform * 1e-9)] = 1
  return copies


def with_copies(
  text: ProxyText, value: np.ndarray, budget: int, seed: int
) -> TokenPart:
  """The pool with as many copies as a candidate wants.

  Args:
    text: N documents.
    value: [N] by row of the table, see `copies_for`.
    budget: tokens.
    seed: of the rounding.
  """
  uniform = np.random.default_rng((seed, 3)).random(len(text.row))
  copies = copies_for(
    value[text.row], np.diff(text.part.offsets), budget, uniform
  )
  return text.part._replace(copies_end=np.cumsum(copies))


def _text_length(rows: RowSettings) -> int:
  return rows.encoder_length or rows.decoder_length


def _key(space: SearchSpace, row: np.ndarray) -> str:
  """Names a candidate; other settings of a search have another folder."""
  words = [repr(space.names).encode(), row.astype('<f8').tobytes()]
  return hashlib.blake2b(b'\0'.join(words), digest_size=8).hexdigest()


def last_metrics(folder: pathlib.Path) -> dict[str, Any]:
  """The last value of every metric of a run."""
  lines = read_metrics(folder / NAME)
  return {name: value for line in lines for name, value in line.items()}


def _targets(summary: Mapping[str, Any]) -> dict[str, float | None]:
  prefix = 'eval/domain/'
  return {
    name.removeprefix(prefix): value
    for name, value in summary.items()
    if name.startswith(prefix)
  }


def _target_loss(summary: Mapping[str, Any], vocabulary: int) -> float | None:
  """Mean over the domains of the target; None where the model diverged.

  That is where it guesses its own text no better than at random. On a target
  unlike that text a good model may do worse.
  """
  losses = list(_targets(summary).values()) or [summary['eval/loss']]
  known = [loss for loss in losses if loss is not None]
  own = summary['loss']
  if own is None or own >= math.log(vocabulary) or len(known) < len(losses):
    return None
  return float(np.mean(known))
