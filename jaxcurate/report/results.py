"""Every method against the baseline: quality, cost, speed-up, break-even."""

from collections.abc import Sequence
import dataclasses
import math

import numpy as np

from jaxcurate.evaluate import bootstrap, cost, held_out
from jaxcurate.report import artefacts, scoring_cost

_EVAL = 'eval/loss'


@dataclasses.dataclass(frozen=True)
class Result:
  """One method, all its seeds together; None where it cannot be known.

  Attributes:
    method: its name.
    seeds: labels of its seeds.
    loss: mean over seeds of the token-weighted held-out loss, nats per token.
    loss_std: standard deviation over seeds; None with one seed.
    comparison: against the baseline; None for the baseline itself.
    steps: mean number of steps.
    training_flops: mean over seeds, until the last step.
    scoring_flops: of the scores that its documents were chosen by.
    reach_steps: mean steps until full-data quality; None unless all seeds
      reach it.
    reach_flops: mean training FLOPs until then.
    faster_steps: speed-up counted in steps.
    faster_flops: speed-up counted in total FLOPs, scoring included.
    break_even: fewest runs on one scored corpus for which scoring pays.
    seconds: mean wall-clock time of training.
  """

  method: str
  seeds: tuple[str, ...]
  loss: float | None
  loss_std: float | None
  comparison: bootstrap.Comparison | None
  steps: float | None
  training_flops: float | None
  scoring_flops: float | None
  reach_steps: float | None
  reach_flops: float | None
  faster_steps: cost.SpeedUp | None
  faster_flops: cost.SpeedUp | None
  break_even: int | None
  seconds: float | None

  @property
  def total_flops(self) -> float | None:
    """Training and scoring, None where one of them is unknown."""
    if self.training_flops is None or self.scoring_flops is None:
      return None
    return self.training_flops + self.scoring_flops


def compare(study: artefacts.Study) -> list[Result]:
  """One result per method: the baseline first, then the lowest loss.

  Args:
    study: what was found.

  Returns:
    The results; empty without training runs.
  """
  methods = study.methods()
  full = methods.get(study.baseline or '', [])
  results = [_result(study, name, runs, full) for name, runs in methods.items()]
  return sorted(
    results,
    key=lambda r: (
      r.method != study.baseline,
      math.inf if r.loss is None else r.loss,
    ),
  )


def _result(
  study: artefacts.Study,
  method: str,
  runs: Sequence[artefacts.Run],
  full: Sequence[artefacts.Run],
) -> Result:
  losses = [x for x in (_final_loss(run) for run in runs) if x is not None]
  is_baseline = method == study.baseline
  training = _mean([last(run, 'flops') for run in runs])
  scoring = scoring_cost.scoring_of_run(study, runs[0])
  steps = _crossings(runs, full, 'step', 0.0)
  spent = _crossings(runs, full, 'flops', 0.0)
  faster_flops, even = None, None
  if scoring is not None:
    # The baseline's own scoring counts too, should it have any.
    base = scoring_cost.scoring_of_run(study, full[0]) if full else None
    faster_flops = _speed_up(runs, full, 'flops', scoring, base or 0.0)
    whole = _mean(_crossings(full, full, 'flops', base or 0.0))
    if whole is not None and _mean(spent) is not None and not is_baseline:
      even = cost.break_even(scoring, _mean(spent) or 0.0, whole)
  return Result(
    method=method,
    seeds=tuple(run.seed for run in runs),
    loss=float(np.mean(losses)) if losses else None,
    loss_std=float(np.std(losses, ddof=1)) if len(losses) > 1 else None,
    comparison=None if is_baseline else difference(runs, full),
    steps=_mean([last(run, 'step') for run in runs]),
    training_flops=training,
    scoring_flops=scoring,
    reach_steps=_mean(steps),
    reach_flops=_mean(spent),
    faster_steps=None if is_baseline else _speed_up(runs, full, 'step'),
    faster_flops=None if is_baseline else faster_flops,
    break_even=even,
    seconds=_mean([artefacts.cost(run.manifest, 'seconds') for run in runs]),
  )


def last(run: artefacts.Run, name: str) -> float | None:
  """The last finite value of 'step' or 'flops' that a run logged."""
  logged = [
    columns[name][np.isfinite(columns[name])]
    for columns in (run.train, run.evals)
    if name in columns
  ]
  values = [float(column.max()) for column in logged if len(column)]
  return max(values) if values else None


def _mean(values: Sequence[float | None]) -> float | None:
  """The mean, None if there is no value or one is missing."""
  known = [value for value in values if value is not None]
  if not known or len(known) < len(values):
    return None
  return float(np.mean(known))


def _final_loss(run: artefacts.Run) -> float | None:
  """Held-out loss after the last step: per document if kept, else as logged."""
  if run.documents is not None:
    loss = held_out.mean_loss(run.documents.loss, run.documents.tokens)
    return None if math.isnan(loss) else loss
  return _last_evaluation(run)


def _last_evaluation(run: artefacts.Run) -> float | None:
  """The held-out loss of the last evaluation of the curve."""
  curve = run.evals.get(_EVAL, np.zeros(0))
  curve = curve[np.isfinite(curve)]
  return float(curve[-1]) if len(curve) else None


def _target(run: artefacts.Run, full: Sequence[artefacts.Run]) -> float | None:
  """Full-data quality: of the same seed, else the mean over seeds."""
  same = [other for other in full if other.seed == run.seed]
  return _mean([_last_evaluation(other) for other in same or full])


def _crossings(
  runs: Sequence[artefacts.Run],
  full: Sequence[artefacts.Run],
  name: str,
  scoring: float,
) -> list[float | None]:
  """Cost of each run when its curve first falls to full-data quality."""
  found: list[float | None] = []
  for run in runs:
    target = _target(run, full)
    if target is None or name not in run.evals or _EVAL not in run.evals:
      found.append(None)
      continue
    spent = cost.reached_at(run.evals[name], run.evals[_EVAL], target)
    found.append(None if spent is None else spent + scoring)
  return found


def _speed_up(
  runs: Sequence[artefacts.Run],
  full: Sequence[artefacts.Run],
  name: str,
  scoring: float = 0.0,
  full_scoring: float = 0.0,
) -> cost.SpeedUp | None:
  """Cost ratio per seed; unpaired seeds meet the mean of the baseline."""
  if not full:
    return None
  by_seed = {run.seed: run for run in full}
  slow = []
  for run in runs:
    same = [by_seed[run.seed]] if run.seed in by_seed else full
    slow.append(_mean(_crossings(same, same, name, full_scoring)))
  fast = _crossings(runs, full, name, scoring)
  return None if None in slow else cost.speed_up(slow, fast)


def difference(
  runs: Sequence[artefacts.Run],
  full: Sequence[artefacts.Run],
  domain: str | None = None,
) -> bootstrap.Comparison | None:
  """Paired bootstrap over the held-out documents that all runs have.

  Args:
    runs: one method's runs.
    full: the baseline's runs.
    domain: only this domain's documents ('(no domain)' for those without).

  Returns:
    The comparison, None without common documents with a finite loss.
  """
  everyone = [run.documents for run in (*runs, *full)]
  documents = [found for found in everyone if found is not None]
  if not runs or not full or len(documents) < len(everyone):
    return None
  first = documents[0]
  inside = np.ones(len(first.id), bool)
  if domain is not None:
    names = np.array(held_out.domain_names(first.domain), dtype=object)
    inside = names == domain
  common = set(first.id[inside]).intersection(*(d.id for d in documents[1:]))
  order = [name for name in first.id if name in common]
  loss = np.empty((len(documents), len(order)))
  tokens = np.zeros(len(order))
  for row, found in enumerate(documents):
    position = {name: i for i, name in enumerate(found.id)}
    index = np.array([position[name] for name in order], dtype=np.int64)
    loss[row] = found.loss[index]
    tokens = np.maximum(tokens, found.tokens[index])
  usable = np.isfinite(loss).all(axis=0) & (tokens > 0)
  if not usable.any():
    return None
  loss, tokens = loss[:, usable], tokens[usable]
  # Same seed labels: pair them, in the same order.
  seeds, base_seeds = [r.seed for r in runs], [r.seed for r in full]
  paired = sorted(seeds) == sorted(base_seeds)
  own, base = loss[: len(runs)], loss[len(runs) :]
  if paired:
    own, base = own[np.argsort(seeds)], base[np.argsort(base_seeds)]
  return bootstrap.paired_bootstrap(own, base, tokens, paired_seeds=paired)
