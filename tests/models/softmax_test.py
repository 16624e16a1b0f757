import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.models import softmax


def _draw(seed, *shape):
  draw = np.random.default_rng(seed).normal(size=shape)
  return jnp.asarray(draw, jnp.float32)


def _slow(query, keys, values, mask):
  """One query at a time in float64; keys [B, P, H, K], mask [B, T, P]."""
  query, keys, values = map(np.float64, (query, keys, values))
  mixed = np.zeros_like(query)
  for b, h, t in np.ndindex(query.shape[:3]):
    seen = mask[b, t]
    score = keys[b, seen, h] @ query[b, h, t]
    weight = np.exp(score - score.max())
    mixed[b, h, t] = weight @ values[b, seen, h] / weight.sum()
  return mixed


def test_two_groups_by_hand():
  query = jnp.ones((1, 1, 1, 2))
  zeros, ones = jnp.zeros((1, 1, 1, 2)), jnp.ones((1, 1, 1, 2))
  seen = jnp.ones((1, 1, 1), bool)
  groups = [
    softmax.group(query, zeros, 4 * ones, seen),
    softmax.group(query, ones * np.log(3) / 2, 8 * ones, seen),
  ]
  np.testing.assert_allclose(softmax.mixture(groups), 7.0 * ones, rtol=1e-6)


@pytest.mark.parametrize('rows', [1, 3])
def test_groups_against_one_softmax_in_float64(rows):
  query = _draw(0, 3, 2, 5, 4)
  keys, values = _draw(1, 3, 7, 2, 4), _draw(2, 3, 7, 2, 4)
  first, second = _draw(3, rows, 6, 2, 4), _draw(4, rows, 6, 2, 4)
  rng = np.random.default_rng(5)
  mask, slots = rng.random((3, 5, 7)) < 0.5, rng.random((rows, 1, 6)) < 0.5
  mask[:, :, 0] = True
  groups = [
    softmax.group(query, keys, values, jnp.asarray(mask)),
    softmax.group(query, first, second, jnp.asarray(slots)),
  ]
  many = 3 // rows
  expected = _slow(
    query,
    np.concatenate([keys, np.tile(first, (many, 1, 1, 1))], 1),
    np.concatenate([values, np.tile(second, (many, 1, 1, 1))], 1),
    np.concatenate([mask, np.tile(slots, (many, 5, 1))], 2),
  )
  np.testing.assert_allclose(softmax.mixture(groups), expected, atol=1e-5)
  turned = softmax.mixture(groups[::-1])
  np.testing.assert_allclose(turned, expected, atol=1e-5)


def test_a_mask_repeats_for_the_heads_of_one_group():
  query = _draw(0, 2, 2, 6, 4)  # three heads of two queries each
  keys, mask = _draw(1, 2, 5, 2, 4), np.random.default_rng(2).random((2, 2, 5))
  mask = jnp.asarray(mask < 0.5)
  found = softmax.group(query, keys, keys, mask).score
  for i in range(3):
    part = query[:, :, 2 * i : 2 * i + 2]
    expected = softmax.group(part, keys, keys, mask).score
    np.testing.assert_allclose(found[:, :, 2 * i : 2 * i + 2], expected)


def test_nothing_to_see_and_large_scores_stay_finite():
  query, keys = 1e4 * _draw(0, 1, 1, 2, 4), _draw(1, 1, 3, 1, 4)
  for mask in (jnp.zeros((1, 1, 3), bool), jnp.ones((1, 1, 3), bool)):
    groups = [softmax.group(query, keys, keys, mask)]
    value, gradient = jax.value_and_grad(
      lambda k, m=mask: jnp.sum(
        softmax.mixture([softmax.group(query, k, k, m)])
      )
    )(keys)
    assert np.isfinite(softmax.mixture(groups)).all()
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_dropout_falls_on_the_weights():
  query, keys = _draw(0, 1, 1, 2, 4), _draw(1, 1, 3, 1, 4)
  one = softmax.group(query, keys, keys, jnp.ones((1, 1, 3), bool))
  plain = softmax.mixture([one, one])
  doubled = softmax.mixture([one, one], lambda weight: 2 * weight)
  np.testing.assert_allclose(doubled, 2 * plain, rtol=1e-6)
