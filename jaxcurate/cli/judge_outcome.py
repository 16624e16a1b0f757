"""How a judge's training ends: figures, files, and what comes next."""

from collections.abc import Sequence
import json
import pathlib
import time
from typing import Any

from etils import epath
import jax
import numpy as np

from jaxcurate.cli import gin_files
from jaxcurate.data import token_cache, token_part
from jaxcurate.evaluate import agreement, auc
from jaxcurate.io import atomic
from jaxcurate.io import manifest as manifests
from jaxcurate.models import heads, load
from jaxcurate.train import judge, judge_program
from jaxcurate.types import Head, HeadSettings


def outcome(
  reading: judge.Reading,
  loss: str,
  held_out: judge_program.HeldOut,
  params: Any,
  num_items: int,
  columns: Sequence[str],
  mesh: jax.sharding.Mesh | None,
) -> dict[str, Any]:
  """How well the held-out judgements are met, for the manifest.

  Args:
    reading, loss, held_out, params, num_items, mesh: see
      `judge_program.rate_held_out`.
    columns: names of the criteria.

  Returns:
    Column -> 'judgements'; 'spearman' and 'kendall' of texts, 'auc' with
    'auc_low' and 'auc_high' of labels 0 and 1, 'right' (the share of pairs
    that are ordered right) of pairs; what is not defined is left out.
  """
  if not len(held_out.items.target):
    return {}
  rated = judge_program.rate_held_out(
    judge_program.make_rate(reading, loss),
    reading,
    held_out,
    params,
    num_items=num_items,
    mesh=mesh,
  )
  found: dict[str, Any] = {}
  for name, own, target in zip(
    columns, rated.T, held_out.items.target.T, strict=True
  ):
    known = ~np.isnan(target)
    own, target = own[known], target[known]
    figures: dict[str, float] = {'judgements': int(known.sum())}
    if loss == 'bradley_terry':
      decided = target != 0.5
      if decided.any():
        right = (own[decided] > 0) == (target[decided] > 0.5)
        figures['right'] = float(right.mean())
    else:
      ranks = agreement.rank_agreement(own, target)
      figures |= {'spearman': ranks.spearman, 'kendall': ranks.tau}
      if set(target.tolist()) == {0.0, 1.0}:
        area = auc.roc_auc(own, target == 1)
        figures |= {'auc': area.auc, 'auc_low': area.low, 'auc_high': area.high}
    found[name] = {k: v for k, v in figures.items() if np.isfinite(v)}
  return found


def finish(
  output: str,
  params: Any,
  start: load.LoadedModel,
  head: HeadSettings | None,
  *,
  diagnostics: dict[str, Any],
  content: dict[str, Any],
  cache: token_cache.TokenCache,
  started: float,
) -> None:
  """Exports the judge, writes config and manifest, prints what comes next.

  Args:
    output: folder of the run.
    params: 'network' and 'head'.
    start: where training began.
    head: its settings, None where the network itself answers.
    diagnostics: what came out.
    content: of the manifest: command, settings, inputs, steps, flops.
    cache: the texts.
    started: `time.monotonic()` at the start.
  """
  folder = epath.Path(output)
  model = pathlib.Path(output) / 'model'
  load.export_huggingface(
    model, params['network'], start.config, start.vocabulary
  )
  if head is not None:
    heads.write(model, Head(head, params['head']))
  atomic.write_text(folder / 'config.gin', gin_files.resolved())
  devices = jax.devices()
  flops = content.pop('flops')
  manifests.write_manifest(
    folder,
    {
      'kind': 'judge',
      **content,
      'num_rows': token_part.num_documents(cache.train),
      'skipped': dict(cache.skipped),
      'cost': {
        'flops': flops,
        'seconds': time.monotonic() - started,
        'device': f'{devices[0].device_kind} x{len(devices)}',
      },
      'diagnostics': diagnostics,
    },
  )
  for name, figures in diagnostics.get('held_out', {}).items():
    said = ', '.join(
      f'{key} {value:,.3f}' if isinstance(value, float) else f'{value:,} {key}'
      for key, value in figures.items()
    )
    print(f'{output}: held out, {name}: {said}')
  method = 'ask_llm' if head is None else 'rater'
  print(
    f'next: jaxcurate score --method={method} --model={model} --input=...'
    ' --output=scores'
  )


def last_flops(output: str) -> float:
  """Operations of all steps, from metrics.jsonl."""
  lines = (epath.Path(output) / 'metrics.jsonl').read_text().splitlines()
  rows = [json.loads(line) for line in lines]
  return next(row['flops'] for row in reversed(rows) if 'loss' in row)
