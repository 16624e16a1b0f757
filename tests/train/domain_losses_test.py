"""Losses by domain: out of the step, and back to the batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.data import row_shape, token_cache
from jaxcurate.data.mixture_batches import MixtureBatches
from jaxcurate.data.share_sources import LearntShares
from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.mixtures import odm
from jaxcurate.train import (
  loop,
  losses,
  metrics,
  optimizers,
  state,
  step,
)
from jaxcurate.train.program import StepSettings
from jaxcurate.train.progress import Plan
from jaxcurate.types import Document
from jaxcurate.weightings import uniform

S, M = 2, 3
OPTIMIZER = optimizers.make_optimizer(
  'adamw', schedule='constant', learning_rate=0.05, warmup_steps=0
)


def with_domains(batch):
  """Row r is of domain r % 4 - 1; -1 is none."""
  codes = np.arange(len(batch['decoder_segment_ids'])) % 4 - 1
  return {**batch, 'document_domain': np.tile(codes[:, None], (1, S))}


def test_by_hand():
  targets = losses.Targets(
    real=jnp.array([[1.0, 1.0, 0.5], [1.0, 0.0, 0.0]]),
    share=jnp.zeros((2, 3)),
    nll=jnp.array([[2.0, 3.0, 4.0], [7.0, np.nan, np.inf]]),
    penalty=jnp.zeros((2, 3)),
  )
  batch = {
    'decoder_segment_ids': np.array([[1, 1, 2], [1, 0, 0]]),
    'document_domain': np.array([[0, 2], [2, -1]], np.int32),
  }
  found = losses.domain_sums(targets, batch, S, M)
  assert found['domain_nll'].tolist() == [5.0, 0.0, 9.0]
  assert found['domain_targets'].tolist() == [2.0, 0.0, 1.5]
  del batch['document_domain']
  with pytest.raises(ValueError, match="set windowing = 'document'"):
    losses.domain_sums(targets, batch, S, M)


def test_they_add_up_to_the_loss_whatever_the_microbatches(tiny):
  network, batch = tiny.make_network(), with_domains(tiny.make_batch(0))
  found = []
  for accumulate in (1, 2):
    run = step.make_train_step(
      network, OPTIMIZER, uniform.make(), max_segments=S, num_domains=M,
      accumulate=accumulate,
    )  # fmt: skip
    begun = state.init_state(network, OPTIMIZER, uniform.make(), seed=0)
    found.append(jax.device_get(run(begun, batch)[1]))
  whole, parts = found
  real = (batch['decoder_segment_ids'] > 0).sum(axis=1)
  codes = batch['document_domain'][:, 0]
  expected = [real[codes == code].sum() for code in range(M)]
  np.testing.assert_array_equal(whole['domain_targets'], expected)
  for name in losses.DOMAIN_SUMS:
    np.testing.assert_allclose(whole[name], parts[name], rtol=1e-6)
  outside = real[codes < 0].sum()
  assert whole['domain_nll'].sum() < whole['loss'] * (sum(expected) + outside)


def train(network, batches, steps, output, domains):
  return loop.train(
    network=network,
    batches=batches,
    optimizer=OPTIMIZER,
    weighting=uniform.make(),
    settings=StepSettings(max_segments=S, domain_losses=True),
    plan=Plan(steps, log_every=4, checkpoint_every=None),
    output=output,
    domains=domains,
    progress=False,
  )


def test_a_resumed_run_with_learnt_shares_repeats_an_uninterrupted_one(
  tiny, tmp_path
):
  words = ByteVocabulary()
  rows = [
    Document(f'id{i}', 'xyz'[i % 3] * (9 + i), 'ab'[i % 2]) for i in range(8)
  ]
  cache = token_cache.build(
    tmp_path / 'cache', rows, words, settings={}, holdout_share=0.0
  )
  settings = row_shape.row_settings(encoder_length=16, max_segments=S)
  network = tiny.make_network(vocab_size=words.size)

  def run(steps, folder):
    rule = odm.make(warmup_steps=1, reward_scale=50.0)
    source = LearntShares(rule, ('a', 'b'), np.array([0.5, 0.5]))
    batches = MixtureBatches(
      cache.train, cache.domains, words, settings, source, rows_per_batch=4,
      seed=0,
    )  # fmt: skip
    end = train(network, batches, steps, tmp_path / folder, ('a', 'b'))
    batches.close()
    lines = metrics.read_metrics(tmp_path / folder / 'metrics.jsonl')
    log = [
      {k: v for k, v in line.items() if k not in metrics.TIMING}
      for line in lines
    ]
    return end.params, batches.state(), log

  whole = run(12, 'whole')
  run(4, 'parts')
  jax.tree.map(np.testing.assert_array_equal, run(12, 'parts'), whole)
  assert not any('domain_nll' in line for line in whole[2])
  last = whole[1]['memory']['asked'][-1]
  assert abs(last[0] - 0.5) > 1e-3
