"""What is said before a run is what it then takes, within a fifth."""

import functools

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jaxcurate.models import forward
from jaxcurate.models import mesh as mesh_lib
from jaxcurate.scoring import memory
from jaxcurate.scoring import parts as parts_lib
from jaxcurate.types import Features, Scorer, Summary

LENGTH, WIDTH, ROWS = 128, 4096, 8


@functools.cache
def features():
  """A pass whose memory is known: [B, L, K] float32 and its mean over L."""

  def apply(params, batch, num_segments):
    states_BxLxK = jnp.take(params, batch['decoder_input_tokens'], axis=0)
    sorted_BxLxK = jnp.sort(states_BxLxK, axis=1)  # no fusion avoids it
    found = sorted_BxLxK[:, :num_segments].astype(jnp.bfloat16)
    return {'embedding': found}

  return Features(
    name='the pass', examples=list, encoder_length=0, decoder_length=LENGTH,
    apply=apply, combine=dict, max_segments=1, rows=ROWS,
  )  # fmt: skip


def scorer(**fields):
  summary = Summary(0, *[lambda *of: None] * 5)
  return Scorer(
    {'column': 'unit'}, features(), **{'summary': summary, **fields}
  )


def run_of(devices=1, num_examples=ROWS):
  mesh = mesh_lib.make_mesh(None, jax.devices()[:devices])
  replicated = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  params = jax.device_put(jnp.ones((50, WIDTH)), replicated)
  run = forward.Forward(features(), params, mesh)
  ids = np.arange(LENGTH, dtype=np.int32) % 50
  example = {'decoder_inputs': ids, 'decoder_targets': ids}
  return run, forward.prepare(features(), [example] * num_examples)


def test_by_arithmetic():
  stored, device = memory.plan(*run_of())
  assert stored == 2 * WIDTH
  gathered = ROWS * LENGTH * WIDTH * 4
  params = 50 * WIDTH * 4
  # Sorted in place; the rest is small beside it.
  assert device == pytest.approx(gathered + params, rel=0.2)


def test_a_lone_cpu_runs_two_batches_at_a_time():
  _, once = memory.plan(*run_of())
  _, twice = memory.plan(*run_of(num_examples=2 * ROWS))
  params = 50 * WIDTH * 4
  assert twice - params == 2 * (once - params)


def test_several_devices_share_the_rows():
  # Four devices, and 8 rows on each: as much as one.
  _, shared = memory.plan(*run_of(devices=4, num_examples=4 * ROWS))
  _, alone = memory.plan(*run_of())
  assert shared == pytest.approx(alone, rel=0.2)


def test_the_store_on_disk(tmp_path):
  stored, _ = memory.plan(*run_of())
  documents = 64
  rng = np.random.default_rng(0)
  vectors = rng.normal(size=(documents, WIDTH)).astype(ml_dtypes.bfloat16)
  part = parts_lib.Part('a.jsonl', 0, documents, True, {}, documents)
  columns = {'id': [f'd{i}' for i in range(documents)], 'vector': vectors}
  parts_lib.commit(tmp_path, part, columns)
  size = (tmp_path / part.name).stat().st_size
  assert size == pytest.approx(documents * stored, rel=0.2)


def test_who_is_told():
  run, prepared = run_of()
  said = []

  def announce(*scorers, of=prepared):
    memory.announce(scorers, {'the pass': run}, {'the pass': of}, said.append)
    return [said.pop() for _ in list(said)]

  fit = jnp.ones
  [line] = announce(scorer(fit=fit))
  assert line.startswith('column: 8.0 KiB per document on disk until scored')
  assert announce(scorer(fit=fit, summary=None), scorer(fit=None)) == []
  nothing = forward.prepare(features(), [])
  assert announce(scorer(fit=fit), of=nothing) == []
