"""Planned bytes from shapes alone: nothing here is allocated or compiled."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from jaxcurate.models import decoder
from jaxcurate.train.gradient_bytes import GradientBytes, planned_bytes

CONFIG = decoder.DecoderConfig(
  vocab_size=256, embed_dim=64, num_heads=4, num_kv_heads=4, head_dim=16,
  mlp_dim=176, num_layers=4, tied_head=True,
)  # fmt: skip


def plan(rows=8, length=32, accumulate=1, **changes):
  network = decoder.make_network(dataclasses.replace(CONFIG, **changes))
  params = jax.eval_shape(network.init, jax.random.key(0))
  ids = jax.ShapeDtypeStruct((rows, length), jnp.int32)
  names = ('input_tokens', 'target_tokens', 'segment_ids')
  batch = {f'decoder_{name}': ids for name in names}
  return planned_bytes(
    network, params, batch, max_segments=1, accumulate=accumulate
  )


def test_factors_by_hand():
  # Per token of a layer, inputs and outputs: two norms, q, k, v and out, the
  # two halves of the feed-forward block and its way back.
  layer = 2 * 2 * 64 + 4 * 2 * 64 + 2 * (64 + 176) + (176 + 64)
  # The tokens and their rows of the table; the last norm.
  every = 4 * 8 * 32 * (4 * layer + 1 + 64 + 2 * 64)
  saved = plan(accumulate=8).keep_factors - every  # of one row
  assert 0 < saved < plan().keep_factors - every
  # The widest matrix's own, the table's, and [8, 8] of 4 * 9 + 2 parameters.
  own = 4 * 8 * 32 * (64 + 176 + 1 + 64) + 4 * 38 * 64
  assert plan().second_pass - (plan().keep_factors - every) == own


def test_scans_change_nothing_but_remat_does():
  deep = {'num_layers': 8}
  written_out, scanned = plan(**deep), plan(scan_layers=True, **deep)
  assert scanned.keep_factors == pytest.approx(
    written_out.keep_factors, rel=0.3
  )
  assert written_out.choice() == scanned.choice() == 'keep_factors'
  again = plan(rows=32, length=128, scan_layers=True, remat=True, **deep)
  assert again.choice() == 'second_pass'
  assert again.second_pass < again.keep_factors / 3


def test_the_line_says_both():
  assert str(GradientBytes(2_000_000_000, 1_400_000)) == (
    'keep_factors 2,000 MB, second_pass 1 MB'
  )
