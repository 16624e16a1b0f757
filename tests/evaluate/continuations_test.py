"""Log-likelihoods of continuations, however they are batched."""

import jax
import numpy as np
import pytest

from jaxcurate.evaluate import continuations

TABLE = [[0.7, 0.2, 0.1], [0.1, 0.5, 0.4], [0.25, 0.25, 0.5]]


def _read(model, mesh, pairs, max_length=64, say=print):
  read = continuations.make_reader(*model, mesh, max_length=max_length, say=say)
  return read(pairs)


def _random_pairs(count, seed=0, longest=40, most=12, size=40):
  rng = np.random.default_rng(seed)

  def ids(most):
    return rng.integers(1, size, rng.integers(1, most)).tolist()

  contexts = [ids(longest) for _ in range(-(-count // 3))]
  return [(contexts[i // 3], ids(most)) for i in range(count)]


def test_three_by_hand(make_bigram, mesh):
  model = make_bigram(TABLE)
  pairs = [([1, 0], [0, 0, 1]), ([1, 0], [2]), ([2], [2, 2])]
  first, second, third = _read(model, mesh, pairs)
  assert first.log_prob == pytest.approx(np.log(0.7 * 0.7 * 0.2))
  assert second.log_prob == pytest.approx(np.log(0.1))
  assert third.log_prob == pytest.approx(np.log(0.5 * 0.5))
  assert [found.greedy for found in (first, second, third)] == [
    False,
    False,
    True,
  ]


def test_against_one_at_a_time_in_float64(model, mesh, slow):
  pairs = _random_pairs(12)
  # Greedy ones are rare by chance; of one token there is always one.
  context = pairs[0][0]
  pairs += [(context, [token]) for token in range(40)]
  found = _read(model, mesh, pairs)
  for pair, (log_prob, is_greedy) in zip(pairs, found, strict=True):
    expected = slow(model, *pair)
    assert log_prob == pytest.approx(expected[0], rel=1e-4, abs=1e-5)
    assert is_greedy == expected[1]
  assert sum(is_greedy for _, is_greedy in found[12:]) == 1


def test_order_company_and_devices_change_nothing(model, mesh, small_mesh):
  pairs = _random_pairs(6, seed=1, longest=30, most=8)
  found = _read(model, mesh, pairs)
  again = _read(model, small_mesh, pairs[::-1])[::-1]
  alone = [_read(model, small_mesh, [pair])[0] for pair in pairs[:1]]
  for others in (again, alone):
    np.testing.assert_allclose(
      [one.log_prob for one in found][: len(others)],
      [one.log_prob for one in others],
      rtol=1e-5,
    )


def test_long_contexts_lose_their_left_end(model, mesh, slow):
  rng = np.random.default_rng(2)
  context, continuation = rng.integers(1, 40, 50).tolist(), [3, 4, 5]
  [found] = _read(model, mesh, [(context, continuation)], max_length=16)
  # Sixteen are read: the last of the continuation is only predicted.
  kept = 16 if model.network.encode else 16 + 1 - 3
  expected, _ = slow(model, context[-kept:], continuation)
  assert found.log_prob == pytest.approx(expected, rel=1e-4)
  [full] = _read(model, mesh, [([7, 8], [9] * 16)], max_length=16)
  kept = [7, 8] if model.network.encode else [8]
  assert full.log_prob == pytest.approx(
    slow(model, kept, [9] * 16)[0], rel=1e-4
  )


def test_nothing_to_write_is_certain(model, mesh):
  found = _read(model, mesh, [([5], []), ([5], [6]), ([6], [])])
  assert found[0] == found[2] == (0.0, True)
  assert found[1].log_prob < 0
  assert _read(model, mesh, []) == []


@pytest.mark.parametrize(
  'pair, words',
  [
    (([], [1]), 'context 1 has no token'),
    (([1], [2] * 9), 'continuation 1 has 9 tokens, the model reads 8'),
  ],
)
def test_what_cannot_be_read_is_refused(decoder_model, mesh, pair, words):
  with pytest.raises(ValueError, match=words):
    _read(decoder_model, mesh, [([1], [2]), pair], max_length=8)


def test_a_batch_that_does_not_fit_is_halved(decoder_model, small_mesh):
  network = decoder_model.network
  said = []

  def decode(*arguments, **more):
    if arguments[3].shape[0] > 2:
      raise jax.errors.JaxRuntimeError('RESOURCE_EXHAUSTED: emulated')
    return network.decode(*arguments, **more)

  small = decoder_model._replace(network=network._replace(decode=decode))
  pairs = [([token], [3]) for token in range(1, 9)]
  found = _read(small, small_mesh, pairs, say=said.append)
  expected = _read(decoder_model, small_mesh, pairs)
  np.testing.assert_allclose(
    [one.log_prob for one in found],
    [one.log_prob for one in expected],
    rtol=1e-5,
  )
  assert said[-1] == 'out of device memory: batch halved to 2 rows'
