"""The small models that a search for a mixture trains: text, network, cost."""

from collections.abc import Callable, Sequence
import pathlib
import sys
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxcurate.cli import inputs as inputs_lib
from jaxcurate.cli import train_parts
from jaxcurate.data import (
  row_shape,
  shared_documents,
  token_cache,
  token_part,
)
from jaxcurate.data import vocabulary as vocabularies
from jaxcurate.io.errors import UserError
from jaxcurate.models import load
from jaxcurate.train import learnt_shares, optimizers, run_log
from jaxcurate.train import proxies as proxies_lib
from jaxcurate.train import text as text_lib
from jaxcurate.types import (
  LearnShares,
  Proxies,
  ScoreTable,
  Selection,
  Weighting,
)
from jaxcurate.weightings import uniform


class Plan(NamedTuple):
  """Proxies that are set up, but have not read any text yet.

  Attributes:
    settings: all that decides what they find, for the manifest.
    search: pool -> what trains the proxies of a search.
    learn: pool -> what trains a proxy that learns shares itself.
    flops: () -> operations of all that are finished.
  """

  settings: dict[str, Any]
  search: Callable[[ScoreTable], Proxies]
  learn: Callable[[ScoreTable], LearnShares]
  flops: Callable[[], float]


def prepare(
  *,
  output: str,
  seed: int,
  needs_target: bool,
  corpus: Sequence[str] = (),
  anchors: Sequence[str] = (),
  network: load.Config | None = None,
  model: str | None = None,
  vocabulary: str | None = None,
  steps: int = 1000,
  rows_per_batch: int = 32,
  length: int = 512,
  max_segments: int = 8,
  members: int = 32,
  optimizer: Callable[..., optimizers.Optimizer] = optimizers.make_optimizer,
  online: Callable[..., Weighting] = uniform.make,
  format: str | None = None,
  text_field: str = 'text',
  id_field: str = 'id',
  domain_field: str = 'domain',
  on_bad_row: str = 'stop',
  dtype: str | None = None,
) -> Plan:
  """Sets proxies up.

  Args:
    output: folder of the search, for the proxies' log and their tokens.
    seed: the same for every proxy.
    needs_target: whether the method searches for the lowest target loss.
    corpus: the text of the pool.
    anchors: the target: text on which the loss is to be low. Where it has
      domains they count alike.
    network: shape of a proxy that is trained from scratch.
    model: a checkpoint that every proxy starts from, instead.
    vocabulary: spiece.model or 'bytes'; None: the checkpoint's own, from
      scratch the shipped judge's, or bytes where the network has fewer pieces.
    steps, rows_per_batch, length, max_segments: of the training of a proxy, as
      `train.run`'s.
    members: proxies side by side.
    optimizer: of every proxy.
    online: the weighting of a proxy that learns shares itself.
    format, text_field, id_field, domain_field, on_bad_row: of both corpora.
    dtype: of activations; None chooses by device.

  Raises:
    UserError: no target, no network, or nothing to read.
  """
  if needs_target and not anchors:
    raise UserError(
      'a search needs a target: --anchors=FILES, text on which models trained'
      ' on the mixture should do well'
    )
  if min(steps, members, rows_per_batch) < 1:
    raise UserError(
      f'steps {steps}, members {members} and rows_per_batch {rows_per_batch}'
      ' must be at least 1'
    )
  if not corpus:
    raise UserError(
      'proxies read text: give that of the tables with --corpus=FILES, as it'
      ' was given to `jaxcurate score`'
    )
  if dtype is None:
    dtype = 'float32' if jax.default_backend() == 'cpu' else 'bfloat16'
  start = train_parts.start_from(network, model, vocabulary, dtype)
  words = vocabularies.load_vocabulary(start.vocabulary)
  if vocabulary is None and words.size > start.config.vocab_size:
    start = train_parts.start_from(network, model, 'bytes', dtype)
    words = vocabularies.load_vocabulary(start.vocabulary)
  vocabularies.check_fits(words, start.config.vocab_size)

  def read(files: Sequence[str]):
    return inputs_lib.open_documents(
      inputs=files,
      task=None,
      split='train',
      text_field=text_field,
      id_field=id_field,
      domain_field=domain_field,
      on_bad_row=on_bad_row,
      format=format,
    )

  pool_text = read(corpus)
  target_text = read(anchors) if anchors else None
  rows = row_shape.settings_for(
    start.network, length=length, max_segments=max_segments
  )
  weighting = train_parts.make_weighting(online, online.__module__)
  settings = {
    'corpus': [source.name for source in pool_text.sources],
    'anchors': [s.name for s in target_text.sources] if target_text else [],
    'fields': list(pool_text.fields),
    'model': model or str(start.config),
    'vocabulary': getattr(words, 'name', f'size {words.size}'),
    'steps': steps,
    'rows': [rows_per_batch, length, max_segments],
  }
  shared = {
    'network': load.for_training(start),
    'params': start.params,
    'optimizer': optimizer(),
    'steps': steps,
    'rows_per_batch': rows_per_batch,
    'folder': f'{output}/proxies',
    'seed': seed,
  }

  def text_of(table: ScoreTable) -> proxies_lib.ProxyText:
    ones = np.ones(len(table.id))
    cache = token_cache.build(
      train_parts.cache_folder(output),
      pool_text.rows(),
      words,
      settings={'files': settings['corpus'], 'fields': settings['fields']},
      selection=Selection(table.id, ones.astype(np.int32), ones),
      holdout_share=0.0,
      eval_rows=target_text.rows() if target_text else None,
    )
    lost = cache.skipped.get('selected but not in the corpus', 0)
    if lost:
      raise UserError(
        f'{lost:,} of {len(table.id):,} documents of the tables are not in'
        f' {", ".join(corpus)}; give their text with --corpus=FILES'
      )
    _warn_shared(cache)
    _announce(start, cache, steps * rows_per_batch * length)
    target = []
    if target_text:
      target = text_lib.held_out_batches(
        cache.eval, cache.domains, words, rows, rows_per_batch
      )
    row = token_cache.document_rows(cache.train, table.id, 'the tables')
    return proxies_lib.ProxyText(cache.train, row, words, rows, target)

  def search(table: ScoreTable) -> Proxies:
    return proxies_lib.make_proxies(
      text_of(table), weighting=uniform.make(), members=members, **shared
    )

  def learn(table: ScoreTable) -> LearnShares:
    domains, code = np.unique(table.domain.astype(str), return_inverse=True)
    return learnt_shares.make_learner(
      text_of(table), domains.tolist(), code, weighting=weighting, **shared
    )

  def flops() -> float:
    folder = pathlib.Path(output) / 'proxies'
    logs = (proxies_lib.LOG, learnt_shares.LOG)
    return sum(run_log.flops_of(folder / log) for log in logs)

  return Plan(settings, search, learn, flops)


def _announce(
  start: load.LoadedModel, cache: token_cache.TokenCache, tokens: int
) -> None:
  shapes = jax.eval_shape(start.network.init, jax.random.key(0))
  size = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes))
  print(
    f'proxies of {size / 1e6:.2g} M parameters, {tokens:,} tokens each of'
    f' {len(cache.train.tokens):,}; about {6.0 * size * tokens:.2g}'
    f' floating-point operations each; target: {len(cache.eval.tokens):,}'
    f' tokens of {token_part.num_documents(cache.eval):,} documents',
    flush=True,
  )


def _warn_shared(cache: token_cache.TokenCache) -> None:
  shared = shared_documents.count_shared(cache.train, cache.eval)
  if shared:
    print(
      f'{shared:,} documents of the pool are also in --anchors: mixtures that'
      ' favour them learn the target by heart; take them out of one of the two',
      file=sys.stderr,
    )
