import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.ops import flops, gram
from jaxcurate.ops.factors import (
  Factors,
  Matrix,
  ghost_pays,
  on_tokens,
  tap,
)
from jaxcurate.ops.vector_factors import Vector
from jaxcurate.ops.vocabulary_factors import Head, Lookups

B, T, S, I, O = 3, 5, 2, 4, 6  # noqa: E741


def members():
  ids = np.array([[1, 1, 2, 2, 2], [1, 1, 1, 0, 0], [1, 2, 2, 2, 0]])
  return ids[:, :, None] == np.arange(1, S + 1)


def matrix(seed=0, rows=I, columns=O, layers=()):
  rng = np.random.default_rng(seed)
  inputs = rng.normal(size=(*layers, B, T, rows))
  cotangents = rng.normal(size=(*layers, B, T, columns))
  cotangents = cotangents * members().any(-1)[..., None]
  own = [jnp.asarray(x, jnp.float32) for x in (inputs, cotangents)]
  return Matrix(*own, jnp.asarray(members())), inputs, cotangents


def slow(inputs, cotangents):
  """[E, I, O] float64: a sum of outer products per segment."""
  gradients = np.zeros((B * S, inputs.shape[-1], cotangents.shape[-1]))
  for b, t, s in np.argwhere(members()):
    gradients[b * S + s] += np.outer(inputs[b, t], cotangents[b, t])
  return gradients


def assert_products(found, gradients, scale, directions):
  flat = gradients.reshape(len(gradients), -1)
  scaled = flat if scale is None else flat * np.asarray(scale).reshape(-1)
  np.testing.assert_allclose(found.gram, scaled @ flat.T, 1e-5, 1e-3)
  expected = [flat @ np.asarray(q).reshape(-1) for q in directions]
  np.testing.assert_allclose(
    found.dots, np.reshape(expected, (-1, len(flat))), 1e-5, 1e-3
  )


def random(*shape, seed=5):
  return jnp.asarray(
    np.random.default_rng(seed).uniform(0.1, 2, shape), jnp.float32
  )


def test_a_tap_changes_nothing_and_hands_both_sides_out():
  x = jnp.array([[1.0, 2.0], [0.0, -1.0]])
  kernel = jnp.array([[1.0], [3.0]])
  zeros = Factors(jnp.zeros((2, 2)), jnp.zeros((2, 1)))

  def loss(x, kernel, factors):
    return jnp.sum(tap(x @ kernel, x, factors) ** 2)

  plain = jax.grad(lambda x, k: jnp.sum((x @ k) ** 2), (0, 1))(x, kernel)
  *tapped, factors = jax.grad(loss, (0, 1, 2))(x, kernel, zeros)
  jax.tree.map(np.testing.assert_array_equal, tuple(tapped), plain)
  np.testing.assert_array_equal(factors.inputs, x)
  np.testing.assert_array_equal(factors.cotangents, [[14.0], [-6.0]])


def test_matrix_by_sums_of_outer_products():
  own, inputs, cotangents = matrix()
  gradients = slow(inputs, cotangents)
  scale, way = random(I, O), random(I, O, seed=6)
  assert_products(own.products(None, [way]), gradients, None, [way])
  assert_products(own.products(scale, [way]), gradients, scale, [way])
  assert_products(own.products(scale, []), gradients, scale, [])
  # The sum over the validation batch of products, never the product of sums.
  total = np.einsum('bti,bto->io', inputs, cotangents)
  np.testing.assert_allclose(
    own.weighted_sum(jnp.ones(B * S)), total, atol=1e-5
  )
  weights = np.arange(1.0, B * S + 1)
  expected = np.einsum('e,eio->io', weights, gradients)
  np.testing.assert_allclose(
    own.weighted_sum(jnp.float32(weights)), expected, atol=1e-4
  )
  rows = jnp.array([2, 0])
  np.testing.assert_allclose(
    own.take(rows).products(None, []).gram,
    own.products(None, []).gram[np.ix_([4, 5, 0, 1], [4, 5, 0, 1])],
    atol=1e-5,
  )


def test_pairs_of_tokens_give_what_gradients_give():
  own, inputs, cotangents = matrix(rows=40, columns=60)
  assert ghost_pays(B, T, S, 40, 60)
  way = random(40, 60)
  gradients = slow(inputs, cotangents)
  assert_products(own.products(None, [way]), gradients, None, [way])


@pytest.mark.parametrize(
  'rows, length, into, out',
  [(32, 128, 512, 1408), (16, 256, 512, 512), (8, 16, 1024, 1024)],
)
def test_operations_are_the_fewest_of_both_ways(rows, length, into, out):
  def products(x, d):
    return Matrix(x, d, jnp.ones((rows, length, 1), bool)).products(None, [])

  own = flops.count_flops(
    products, *(jnp.zeros((rows, length, n)) for n in (into, out))
  )
  ghost = (rows * length) ** 2 * (into + out)
  materialised = (rows * length + rows**2) * into * out
  assert own <= 1.2 * 2 * min(ghost, materialised)


def test_a_stack_is_the_sum_over_its_layers():
  own, inputs, cotangents = matrix(layers=(2,))
  gradients = np.stack([slow(*x) for x in zip(inputs, cotangents)], axis=1)
  scale, way = random(2, I, O), random(2, I, O, seed=6)
  assert_products(own.products(scale, [way]), gradients, scale, [way])
  weights = random(B * S)
  np.testing.assert_allclose(
    own.weighted_sum(weights),
    np.einsum('e,elio->lio', weights, gradients),
    atol=1e-4,
  )


@pytest.mark.parametrize('stacked', [False, True])
def test_vector(stacked):
  gradients = np.random.default_rng(0).normal(size=(2, B * S, 3))
  if not stacked:
    gradients = gradients[0]
  by_row = gradients.reshape(*gradients.shape[:-2], B, S, 3)
  own = Vector(jnp.float32(by_row), stacked)
  by_example = np.moveaxis(gradients, 1, 0) if stacked else gradients
  scale = random(*by_example.shape[1:])
  assert_products(own.products(scale, [scale]), by_example, scale, [scale])
  weights = random(B * S)
  np.testing.assert_allclose(
    own.weighted_sum(weights),
    np.einsum('e,e...->...', weights, by_example),
    atol=1e-5,
  )


@pytest.mark.parametrize('width', [1, 2, 6])
def test_slices_add_up(width):
  gradients = np.random.default_rng(0).normal(size=(4, I, 6))
  scale, way = random(I, 6), random(I, 6, seed=6)

  def piece(start):
    def cut(x):
      return jax.lax.dynamic_slice_in_dim(x, start, width, -1)

    own = cut(jnp.float32(gradients)).reshape(4, -1)
    return own, lambda leaf: cut(leaf).reshape(-1)

  found = gram.over_slices(piece, width, 6, scale, [way])
  assert_products(found, gradients, scale, [way])


def test_the_weight_of_a_token_is_that_of_its_segment():
  weights = on_tokens(jnp.arange(1.0, B * S + 1), jnp.asarray(members()))
  assert weights.tolist() == [
    [1, 1, 2, 2, 2],
    [3, 3, 3, 0, 0],
    [5, 6, 6, 6, 0],
  ]


def lookups(vocab_size=9):
  rng = np.random.default_rng(1)
  tokens = rng.integers(0, vocab_size, (B, T))
  cotangents = rng.normal(size=(B, T, I)) * members().any(-1)[..., None]
  gradients = np.zeros((B * S, vocab_size, I))
  for b, t, s in np.argwhere(members()):
    gradients[b * S + s, tokens[b, t]] += cotangents[b, t]
  own = Lookups(
    jnp.asarray(tokens, jnp.int32),
    jnp.float32(cotangents),
    jnp.asarray(members()),
    vocab_size,
  )
  return own, gradients


def test_table():
  own, gradients = lookups()
  scale, way = random(9, I), random(9, I, seed=6)
  assert_products(own.products(scale, [way]), gradients, scale, [way])
  weights = random(B * S)
  np.testing.assert_allclose(
    own.weighted_sum(weights),
    np.einsum('e,evd->vd', weights, gradients),
    atol=1e-5,
  )
  sliced = own.slice(jnp.int32(3), 4).reshape(B * S, 4, I)
  np.testing.assert_allclose(sliced, gradients[:, 3:7], atol=1e-6)


@pytest.mark.parametrize('tied', [False, True])
def test_output_matrix(tied):
  rng = np.random.default_rng(2)
  looked_up, gradients_in = lookups()
  states = jnp.float32(rng.normal(size=(B, T, I)))
  head = jnp.float32(rng.normal(size=(I, 9)))
  targets = jnp.asarray(rng.integers(0, 9, (B, T)))
  share = jnp.float32(rng.uniform(size=(B, T)) * members().any(-1))

  def loss(head, chosen):
    logits = states @ head
    log_normaliser = jax.nn.logsumexp(logits, -1)
    nll = log_normaliser - jnp.take_along_axis(
      logits, targets[..., None], -1
    )[..., 0]  # fmt: skip
    own = on_tokens(chosen, jnp.asarray(members()))
    return jnp.sum(own * share * (nll + 0.1 * log_normaliser**2))

  gradients = jax.vmap(jax.grad(loss), (None, 0))(head, jnp.eye(B * S))
  gradients = np.asarray(gradients, np.float64)
  if tied:
    gradients = gradients.swapaxes(1, 2) + gradients_in
  own = Head(
    states=states,
    head=head,
    targets=targets,
    share=share,
    log_normaliser=jax.nn.logsumexp(states @ head, -1),
    members=jnp.asarray(members()),
    lookups=looked_up if tied else None,
    z_loss=0.1,
    tied=tied,
    chunk_tokens=4,
  )
  scale = random(*gradients.shape[1:])
  assert_products(own.products(scale, [scale]), gradients, scale, [scale])
  weights = random(B * S)
  np.testing.assert_allclose(
    own.weighted_sum(weights),
    np.einsum('e,e...->...', weights, gradients),
    atol=1e-5,
  )
  rows = jnp.array([1])
  np.testing.assert_allclose(
    own.take(rows).products(None, []).gram,
    own.products(None, []).gram[2:4, 2:4],
    atol=1e-5,
  )
