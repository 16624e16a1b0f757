import jax
import numpy as np
import pytest

from jaxcurate.ops import domain_gains

to_domains = jax.jit(domain_gains.to_domains, static_argnums=2)
to_anchors = jax.jit(domain_gains.to_anchors, static_argnums=4)
ALL = np.ones(3, bool)


def clipped(gradients, max_norm=1.0):
  norms = np.linalg.norm(gradients, axis=1, keepdims=True)
  return gradients * np.minimum(1, max_norm / norms)


def test_by_hand():
  # Gradients (2, 0), (0, 1), (1, 1): each with their sum (3, 2).
  gradients = np.array([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
  gram = np.asarray(gradients @ gradients.T, np.float32)
  gain, known = to_domains(gram, ALL, 'paper')
  assert gain.tolist() == [6.0, 2.0, 5.0] and known.all()
  # At norm 1 and without the own product: 1/sqrt(2), 1/sqrt(2), sqrt(2).
  gain, _ = to_domains(gram, ALL, 'code')
  np.testing.assert_allclose(gain, [0.70711, 0.70711, 1.41421], atol=1e-4)


@pytest.mark.parametrize('scale', [0.2, 5.0])
def test_the_code_against_float64(scale):
  rng = np.random.default_rng(0)
  gradients = (rng.normal(size=(4, 6)) + 0.5) * scale
  anchors = (rng.normal(size=6) + 0.5) * scale
  small = clipped(gradients)
  mean_norm = np.linalg.norm(small, axis=1).mean() + 1e-6
  products = small @ small.T
  expected = (products.sum(1) - np.diag(products)) / mean_norm
  gram = np.asarray(gradients @ gradients.T, np.float32)
  gain, _ = to_domains(gram, np.ones(4, bool), 'code')
  np.testing.assert_allclose(
    gain, np.clip(expected, 0, 5), rtol=1e-4, atol=1e-6
  )
  gain = to_anchors(
    np.asarray(gradients @ anchors, np.float32),
    np.float32(np.linalg.norm(anchors)),
    gram,
    np.ones(4, bool),
    'code',
  )
  expected = small @ clipped(anchors[None])[0] / mean_norm
  np.testing.assert_allclose(
    gain, np.clip(expected, 0, 5), rtol=1e-4, atol=1e-6
  )


@pytest.mark.parametrize('formula', ['code', 'paper'])
def test_absent_domains_are_not_read_and_the_sum_is_scaled_up(formula):
  gram = np.array([[0.5, 0.25, 0.0], [0.25, 0.5, 0.0], [0.0, 0.0, 0.0]])
  present = np.array([True, True, False])
  gain, known = to_domains(gram, present, formula)
  assert known.tolist() == [True, True, False]
  # One of two others present, or two of three.
  expected = 0.25 * 2 / np.sqrt(0.5) if formula == 'code' else 0.75 * 1.5
  np.testing.assert_allclose(gain[:2], expected, rtol=1e-5)


@pytest.mark.parametrize('formula', ['code', 'paper'])
def test_zero_gradients_gain_nothing(formula):
  gain, _ = to_domains(np.zeros((3, 3)), ALL, formula)
  assert gain.tolist() == [0.0] * 3
  zeros = np.zeros(3)
  gain = to_anchors(zeros, np.float32(0), np.zeros((3, 3)), ALL, formula)
  assert gain.tolist() == [0.0] * 3


def test_one_domain_alone_says_nothing_about_others():
  alone = np.array([False, True, False])
  _, known = to_domains(np.eye(3), alone, 'code')
  assert not known.any()
