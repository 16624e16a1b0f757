"""Shares of domains as the weights that one proxy learnt while it trained.

DoReMi's proxy (arXiv 2305.10429) is compared with a reference that was trained
on the same shares before it; DoGE's (2310.15393) needs none. What is finished
is kept in a log, and a run that was interrupted goes on from its checkpoint.
"""

from collections.abc import Sequence
import hashlib
import pathlib
import shutil

import jax
import numpy as np

from jaxcurate.data.training import TrainingBatches
from jaxcurate.train import loop, proxies, run_log
from jaxcurate.train.optimizers import Optimizer
from jaxcurate.train.program import Reference, StepSettings
from jaxcurate.train.progress import Plan
from jaxcurate.train.state import TrainState
from jaxcurate.types import LearnShares, Network, Params, Weighting
from jaxcurate.weightings import uniform

LOG = 'learnt_shares.jsonl'


def make_learner(
  text: proxies.ProxyText,
  domains: Sequence[str],
  code: np.ndarray,
  *,
  network: Network,
  params: Params | None = None,
  optimizer: Optimizer,
  weighting: Weighting,
  steps: int,
  rows_per_batch: int,
  folder: str | pathlib.Path,
  seed: int,
  progress: bool = True,
) -> LearnShares:
  """The function from shares of domains to a proxy's mean weights of them.

  Args:
    text: what it reads; the target is not looked at.
    domains: M names.
    code: [N] in [0, M), the domain of each document of the table.
    network: of proxy and reference.
    params: that both start from; None: from the seed.
    optimizer: of both.
    weighting: with 'mean_weight_M' in its state.
    steps: of each.
    rows_per_batch: of each.
    folder: of the log and of work in progress.
    seed: of parameters and order.
    progress: show progress bars on stderr.
  """
  folder = pathlib.Path(folder)
  own = code[text.row].astype(np.int32)
  tokens = np.bincount(own, np.diff(text.part.offsets), len(domains))

  def train(
    share: np.ndarray, chosen: Weighting, name: str, reference: Params | None
  ) -> TrainState:
    part = proxies.with_copies(
      text,
      (share / np.maximum(tokens, 1.0))[code],
      steps * rows_per_batch * text.rows.decoder_length,
      seed,
    )._replace(domain=own)
    batches = TrainingBatches(
      part,
      text.vocabulary,
      text.rows,
      rows_per_batch=rows_per_batch,
      seed=seed,
    )
    state = loop.train(
      network=network,
      batches=batches,
      optimizer=optimizer,
      weighting=chosen,
      settings=StepSettings(text.rows.max_segments, z_loss=0.0),
      plan=Plan(steps, checkpoint_every=None),
      output=folder / name,
      seed=seed,
      params=params,
      reference=None if reference is None else Reference(network, reference),
      domains=tuple(domains),
      progress=progress,
    )
    batches.close()
    return state

  def learn(share: np.ndarray) -> np.ndarray:
    words = [repr(tuple(domains)).encode(), share.astype('<f8').tobytes()]
    key = hashlib.blake2b(b'\0'.join(words), digest_size=8).hexdigest()
    known = run_log.read_log(folder / LOG)
    if key in known:
      return np.array(known[key]['learnt'])
    reference = None
    if 'reference_token_loss' in weighting.needs:
      reference = train(share, uniform.make(), f'{key}-reference', None).params
    state = train(share, weighting, f'{key}-proxy', reference)
    learnt = np.asarray(
      jax.device_get(state.weighting_state['mean_weight_M']), np.float64
    )
    runs = sorted(folder.glob(f'{key}-*'))
    line = {
      'key': key,
      'shares': share.tolist(),
      'learnt': learnt.tolist(),
      'flops': sum(proxies.last_metrics(run)['flops'] for run in runs),
    }
    run_log.append_log(folder / LOG, [line])
    for run in runs:
      shutil.rmtree(run)
    return learnt

  return learn
