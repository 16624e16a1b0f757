import math

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.models import rope
from jaxcurate.models.rope import Rope

K = 16


def _turn(x, position, frequency):
  """One head by its definition, pair by pair, in float64."""
  turned = np.zeros_like(x)
  half = len(x) // 2
  for i in range(half):
    z = complex(x[i], x[i + half]) * np.exp(1j * position * frequency[i])
    turned[i], turned[i + half] = z.real, z.imag
  return turned


def _angles(settings, positions, lengths=None, head_dim=K):
  positions = jnp.asarray([positions])
  lengths = positions * 0 if lengths is None else jnp.asarray([lengths])
  return rope.angles(settings, head_dim, positions, lengths)


def test_a_quarter_turn_by_hand():
  cos, sin = jnp.zeros((1, 1, 1)), jnp.ones((1, 1, 1))
  x = jnp.array([[[[3.0, 4.0]]]])
  assert rope.rotate(x, cos, sin).tolist() == [[[[-4.0, 3.0]]]]


def test_rotation_against_complex_numbers():
  rng = np.random.default_rng(0)
  x = rng.normal(size=(1, 5, 3, K))
  positions = [0, 1, 7, 100, 3000]
  for kind in ('default', 'linear', 'llama3', 'yarn'):
    settings = Rope(1e4, kind, 4.0, 64, attention_factor=1.0)
    frequency = rope.frequencies(settings, K)
    found = rope.rotate(
      jnp.asarray(x, jnp.float32), *_angles(settings, positions)
    )
    for t, position in enumerate(positions):
      for h in range(3):
        expected = _turn(x[0, t, h], position, frequency)
        np.testing.assert_allclose(found[0, t, h], expected, atol=2e-3)


@pytest.mark.parametrize('kind', rope.KINDS)
def test_scores_depend_on_the_distance_alone(kind):
  settings = Rope(100.0, kind, 2.0, 16, attention_factor=1.0)
  query, key = np.random.default_rng(0).normal(size=(2, 1, 1, 1, K))

  def score(at, distance):
    turned = [
      rope.rotate(jnp.asarray(x, jnp.float32), *_angles(settings, [p], [30]))
      for x, p in ((query, at), (key, at - distance))
    ]
    return float(jnp.vdot(*turned))

  for distance in (0, 1, 9):
    near, far = score(10, distance), score(29, distance)
    np.testing.assert_allclose(near, far, atol=1e-4)
  assert abs(score(10, 9) - score(10, 0)) > 0.01
  np.testing.assert_allclose(score(5, 0), float(np.vdot(query, key)), rtol=1e-5)


def test_frequencies_by_hand():
  np.testing.assert_allclose(
    rope.frequencies(Rope(10.0), 4), [1.0, 10**-0.5], rtol=1e-12
  )
  linear = rope.frequencies(Rope(10.0, 'linear', 8.0), 4)
  np.testing.assert_allclose(linear, [1 / 8, 10**-0.5 / 8], rtol=1e-12)


def test_llama3_keeps_fast_and_divides_slow_turns():
  settings = Rope(5e5, 'llama3', 32.0, 8192)
  plain, found = rope.frequencies(Rope(5e5), 64), rope.frequencies(settings, 64)
  turns = 8192 * plain / (2 * math.pi)  # within the length of pretraining
  fast, slow = turns >= 4, turns <= 1
  assert fast.any() and slow.any() and not (fast | slow).all()
  np.testing.assert_array_equal(found[fast], plain[fast])
  np.testing.assert_allclose(found[slow], plain[slow] / 32, rtol=1e-12)
  between = found[~fast & ~slow] / plain[~fast & ~slow]
  assert ((between > 1 / 32) & (between < 1)).all()
  # Llama 3.1's own code, for the one that is in the middle of its cut.
  i = int(np.argmin(abs(turns - 2.5)))
  smooth = (turns[i] - 1) / 3
  expected = (1 - smooth) * plain[i] / 32 + smooth * plain[i]
  np.testing.assert_allclose(found[i], expected, rtol=1e-12)


def test_yarn_keeps_fast_and_divides_slow_turns():
  settings = Rope(1e4, 'yarn', 4.0, 4096)
  plain, found = (
    rope.frequencies(Rope(1e4), 128),
    rope.frequencies(settings, 128),
  )
  # Dimensions where 32 turns and 1 turn fit into 4096 tokens: 20.94 and 45.03.
  np.testing.assert_array_equal(found[:21], plain[:21])
  np.testing.assert_allclose(found[46:], plain[46:] / 4, rtol=1e-12)
  ratio = found / plain
  assert (np.diff(ratio[20:47]) < 0).all()
  # And cosine and sine grow: 0.1 ln 4 + 1.
  cos, _ = _angles(settings, [0])
  np.testing.assert_allclose(cos, 1.138629, rtol=1e-6)
  cos, _ = _angles(Rope(1e4, 'yarn', 1.0, 4096), [0])
  np.testing.assert_allclose(cos, 1.0)


def test_dynamic_stretches_each_long_text_by_its_own_length():
  settings = Rope(100.0, 'dynamic', 3.0, 16)
  cos, sin = _angles(settings, [9, 9, 9], [10, 16, 24])
  plain, _ = _angles(Rope(100.0), [9])
  np.testing.assert_allclose(cos[0, :2], np.tile(plain[0], (2, 1)), atol=1e-5)
  base = 100.0 * (3.0 * 24 / 16 - 2.0) ** (K / (K - 2))
  frequency = base ** -(np.arange(0, K, 2) / K)
  np.testing.assert_allclose(cos[0, 2], np.cos(9 * frequency), atol=1e-5)
  np.testing.assert_allclose(sin[0, 2], np.sin(9 * frequency), atol=1e-5)
  with pytest.raises(ValueError, match='dynamic has no frequencies'):
    rope.frequencies(settings, K)


def test_a_factor_of_one_changes_nothing():
  plain = _angles(Rope(1e4), [3, 12])
  for kind in rope.KINDS:
    found = _angles(Rope(1e4, kind, 1.0, 16), [3, 12], [13, 13])
    for ours, expected in zip(found, plain, strict=True):
      np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_an_unknown_kind_lists_the_known_ones():
  with pytest.raises(ValueError, match="'su', known: default, linear, dynamic"):
    Rope(kind='su')
