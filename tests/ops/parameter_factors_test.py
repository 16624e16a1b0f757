"""Probes add up inside a backward pass what taps hand out of it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.ops import gram
from jaxcurate.ops.factors import Factors, tap
from jaxcurate.ops.parameter_factors import Probe, part_of, probe

B, T, S, I, O = 2, 3, 2, 4, 5  # noqa: E741


def random(*shape, seed=0):
  values = np.random.default_rng(seed).normal(size=shape)
  return jnp.asarray(values, jnp.float32)


def members():
  ids = np.array([[1, 1, 2], [1, 2, 0]])
  return jnp.asarray(ids[:, :, None] == np.arange(1, S + 1))


def test_what_is_probed_is_what_is_tapped():
  kernel, x = random(I, O), random(B * T, I, seed=1)
  own = members()
  scale, way = jnp.abs(random(I, O, seed=2)), random(I, O, seed=3)
  real = own.any(-1).reshape(-1, 1)

  def loss(y):
    return jnp.sum(jnp.where(real, y, 0) ** 3)

  def probed(kernel, x, sums):
    given = Probe(sums, own, scale, (way,))
    return loss(probe('kernel', x @ kernel, x, given))

  def tapped(kernel, x, zeros):
    return loss(tap(x @ kernel, x, zeros))

  start = gram.nothing(own, 1)
  *plain, sums = jax.grad(probed, (0, 1, 2))(kernel, x, start)
  zeros = Factors(jnp.zeros_like(x), jnp.zeros((B * T, O)))
  *also, factors = jax.grad(tapped, (0, 1, 2))(kernel, x, zeros)
  jax.tree.map(np.testing.assert_array_equal, plain, also)
  expected = part_of('kernel', factors, own).products(scale, [way])
  np.testing.assert_allclose(sums.gram, expected.gram, rtol=1e-5)
  np.testing.assert_allclose(sums.dots, expected.dots, rtol=1e-5)


def test_bias_and_scale():
  d, x = random(B * T, I), random(B * T, I, seed=1)
  d = jnp.where(members().any(-1).reshape(-1, 1), d, 0)
  for name, inputs in (('bias', None), ('scale', x)):
    gradients = np.zeros((B, S, I))
    for b, t, s in np.argwhere(members()):
      own = np.asarray(d)[b * T + t]
      gradients[b, s] += own if inputs is None else own * x[b * T + t]
    found = part_of(name, Factors(inputs, d), members())
    np.testing.assert_allclose(found.gradients, gradients, atol=1e-5)


def test_unknown_parameters_are_named():
  with pytest.raises(ValueError, match='gate: no rule'):
    part_of('gate', Factors(None, random(B * T, I)), members())
