"""One pass: packed once, compiled once, each example its own output."""

import jax
import numpy as np
import pytest

from jaxcurate.models import forward
from jaxcurate.models import mesh as mesh_lib


def examples(lengths, seed=0):
  rng = np.random.default_rng(seed)
  return [
    {'encoder': rng.integers(1, 50, length).astype(np.int32)}
    for length in lengths
  ]


def make(toy, mesh=None, **settings):
  traced = []
  features = toy.sums(traced=traced)
  made = forward.Forward(
    features, toy.params, mesh or toy.one_device(), **settings
  )
  return made, features, traced


def test_three_by_hand(toy):
  made, features, _ = make(toy)
  given = [{'encoder': np.array(e, np.int32)} for e in ([2, 4], [10], [1] * 24)]
  out = made(forward.prepare(features, given))
  np.testing.assert_array_equal(
    out['embedding'], [[3.0, 2.0], [5.0, 1.0], [12.0, 24.0]]
  )


@pytest.mark.parametrize('rows', [1, 3, 64])
def test_outputs_come_back_in_the_order_of_the_examples(toy, rows):
  given = examples(np.random.default_rng(1).integers(1, 25, 40))
  made, features, _ = make(toy, rows=rows)
  out = made(forward.prepare(features, given))['embedding']
  expected = [[0.5 * e['encoder'].sum(), len(e['encoder'])] for e in given]
  np.testing.assert_allclose(out, expected, rtol=1e-6)


def test_one_and_eight_devices_agree_and_rows_fill_the_mesh(toy):
  given = examples([5] * 30)
  one, features, _ = make(toy)
  eight, _, _ = make(toy, mesh_lib.make_mesh('data=8'), rows=3)
  assert eight.rows == 8
  prepared = forward.prepare(features, given)
  np.testing.assert_array_equal(
    one(prepared)['embedding'], eight(prepared)['embedding']
  )


def test_compiles_once_whatever_comes(toy):
  made, features, traced = make(toy, rows=4)
  for count in (1, 7, 40):
    made(forward.prepare(features, examples([9] * count)))
  assert traced == [4]


def test_padding_and_tokens_are_counted(toy):
  _, features, _ = make(toy)
  prepared = forward.prepare(features, examples([20, 4, 24, 12]))
  assert prepared.tokens == 60
  assert prepared.slots == 3 * toy.width
  assert len(prepared.batch['encoder_input_tokens']) == 3


def test_rows_are_cut_to_what_they_use(toy):
  # Rows of 512 in steps of 128: 300 keeps 384, 512 all, 130 keeps 256, 90 128.
  features = toy.sums()._replace(encoder_length=512, max_segments=1)
  given = examples([300, 512, 130, 90])
  prepared = forward.prepare(features, given)
  assert prepared.lengths.tolist() == [512, 384, 256, 128]
  assert prepared.row.tolist() == [1, 0, 2, 3]
  assert (prepared.tokens, prepared.slots) == (1032, 1280)
  made = forward.Forward(features, toy.params, toy.one_device(), rows=3)
  shapes = [
    made.batch(prepared, start)['encoder_input_tokens'].shape
    for start in made.starts(prepared)
  ]
  assert shapes == [(3, 512), (3, 128)]
  expected = [[0.5 * e['encoder'].sum(), len(e['encoder'])] for e in given]
  np.testing.assert_allclose(made(prepared)['embedding'], expected, rtol=1e-6)


def test_four_lengths_are_the_most(toy):
  features = toy.sums()._replace(encoder_length=1000, max_segments=1)
  prepared = forward.prepare(features, examples(range(1, 1001, 7)))
  assert sorted(set(prepared.lengths)) == [256, 512, 768, 1000]


def test_cost_is_that_of_the_rows(toy):
  made, features, _ = make(toy)
  one = made.cost(forward.prepare(features, examples([24])))
  three = made.cost(forward.prepare(features, examples([24] * 3)))
  assert one > 0
  assert three == pytest.approx(3 * one)
  long = features._replace(encoder_length=512, max_segments=1)
  made = forward.Forward(long, toy.params, toy.one_device())
  costs = [made.cost(forward.prepare(long, examples([n]))) for n in (128, 512)]
  assert costs[1] == pytest.approx(4 * costs[0], rel=0.1)
  assert made.cost(forward.prepare(features, [])) == 0.0


def test_no_example_no_output(toy):
  made, features, traced = make(toy)
  assert made(forward.prepare(features, [])) == {}
  assert traced == []


def test_a_decoder_has_a_slot_per_segment(toy):
  features = toy.sums()
  assert forward.decoder_slots(features) == 0
  ask = features._replace(decoder_length=1)
  assert forward.decoder_slots(ask) == features.max_segments
  long = features._replace(decoder_length=100)
  assert forward.decoder_slots(long) == 100


def test_other_device_errors_are_not_taken_for_full_memory(toy):
  def broken(params, batch, num_segments):
    raise jax.errors.JaxRuntimeError('INTERNAL: broken')

  features = toy.sums()._replace(apply=broken)
  made = forward.Forward(features, toy.params, toy.one_device())
  with pytest.raises(jax.errors.JaxRuntimeError, match='INTERNAL'):
    made(forward.prepare(features, examples([3])))
