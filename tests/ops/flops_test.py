"""Operation counts against numbers by hand and against XLA's own."""

import functools

import jax
from jax import lax
import jax.numpy as jnp
from jax.sharding import AxisType, PartitionSpec
import numpy as np
import pytest

from jaxcurate.ops.flops import count_flops, count_matmul_flops

W = jax.ShapeDtypeStruct((8, 8), jnp.float32)
X = jax.ShapeDtypeStruct((4, 8), jnp.float32)
MATMUL = 2 * 4 * 8 * 8  # x @ w
TANH = 4 * 8


def layer(w, x):
  return jnp.tanh(x @ w)


@pytest.mark.parametrize(
  'fn, expected',
  [
    (lambda w, x: x @ w, MATMUL),
    (layer, MATMUL + TANH),
    (lambda w, x: x.T.reshape(8, 2, 2)[:, 0] + 1, 16),
    (lambda w, x: jnp.sum(x), 31),
    (lambda w, x: jnp.sum(x, axis=1), 4 * 7),
    (lambda w, x: jnp.cumsum(x, axis=1), 32),
    (lambda w, x: jnp.argmax(x, axis=1), 32),
    (lambda w, x: lax.sort(x), 4 * 8 * 3),
    (lambda w, x: lax.top_k(x, 2), 4 * 8 * 3),
    (lambda w, x: x.astype(jnp.bfloat16), 0),
    # Three additions, after wrapping three indices (compare, add, select).
    (lambda w, x: jnp.zeros(5).at[jnp.arange(3)].add(x[0, :3]), 3 + 9),
    (lambda w, x: jax.random.bits(jax.random.key(0), (3,)), 0),
  ],
)
def test_one_primitive_by_hand(fn, expected):
  assert count_flops(fn, W, X) == expected


def test_convolution_counts_two_per_multiply_add():
  image = jnp.ones((2, 3, 10))  # batch, channels, width
  kernel = jnp.ones((5, 3, 4))  # out, in, width
  fn = functools.partial(
    lax.conv_general_dilated, window_strides=(1,), padding='VALID'
  )
  assert count_flops(fn, image, kernel) == 2 * (2 * 5 * 7) * (3 * 4)


def scanned(w, x):
  return lax.scan(lambda h, _: (layer(w, h), None), x, None, length=6)[0]


def nested(w, x):
  return lax.scan(lambda h, _: (scanned(w, h), None), x, None, length=3)[0]


def mapped(w, x):
  return lax.map(lambda row: layer(w, row[None]), x)


def counted_loop(w, x):
  return lax.fori_loop(0, 5, lambda _, h: layer(w, h), x)


@pytest.mark.parametrize(
  'fn, layers',
  [
    (scanned, 6),
    (nested, 18),
    (mapped, 1),
    (jax.jit(scanned), 6),
    (jax.checkpoint(scanned), 6),
    (lambda w, x: jax.vmap(scanned, (None, 0))(w, jnp.stack([x, x])), 12),
    (lambda w, x: lax.map(lambda a: layer(w, a), jnp.stack([x] * 7)), 7),
  ],
)
def test_loops_are_multiplied_by_their_length(fn, layers):
  assert count_flops(fn, W, X) == layers * (MATMUL + TANH)
  assert count_matmul_flops(fn, W, X) == layers * MATMUL


def test_fori_loop_with_integer_bounds_is_counted():
  assert count_flops(counted_loop, W, X) == 5 * (MATMUL + TANH)


def loss(w, x):
  return jnp.sum(layer(w, layer(w, x)))


def test_gradient_counts_two_products_per_forward_product():
  # Forward 2 products; backward: dw twice, dx once (x itself has none).
  assert count_matmul_flops(jax.grad(loss), W, X) == 5 * MATMUL
  # The gradient of x needs the sixth.
  both = jax.grad(loss, argnums=(0, 1))
  assert count_matmul_flops(both, W, X) == 6 * MATMUL


def test_remat_counts_the_recomputed_forward():
  def step(w, x):
    hidden = jax.checkpoint(layer)(w, x)
    return jnp.sum(jax.checkpoint(layer)(w, hidden))

  # The second layer's forward has no reader but the loss: of grad alone it is
  # needed only inside the recomputation.
  plain = count_matmul_flops(jax.value_and_grad(loss), W, X)
  remat = count_matmul_flops(jax.value_and_grad(step), W, X)
  assert remat - plain == 2 * MATMUL
  assert count_matmul_flops(jax.grad(step), W, X) - plain == 1 * MATMUL


def test_custom_derivatives_are_entered():
  @jax.custom_vjp
  def double(w, x):
    return layer(w, x)

  double.defvjp(
    lambda w, x: (layer(w, x), (w, x)),
    lambda saved, g: (saved[1].T @ g, g @ saved[0].T),
  )
  assert count_flops(double, W, X) == MATMUL + TANH
  total = jax.grad(lambda w, x: jnp.sum(double(w, x)))
  assert count_matmul_flops(total, W, X) == MATMUL  # the forward is dead
  assert count_flops(jax.nn.relu, X) == 32


def test_cond_costs_its_dearest_branch():
  def fn(w, x):
    return lax.cond(x[0, 0] > 0, lambda: layer(w, x), lambda: x)

  assert count_flops(fn, W, X) == MATMUL + TANH + 1


def test_what_no_output_needs_costs_nothing():
  def fn(w, x):
    _ = scanned(w, x)
    return x + 1

  assert count_flops(fn, W, X) == 32


def test_shard_map_counts_every_device():
  mesh = jax.make_mesh((4,), ('data',), axis_types=(AxisType.Auto,))
  split = jax.shard_map(
    layer,
    mesh=mesh,
    in_specs=(PartitionSpec(), PartitionSpec('data')),
    out_specs=PartitionSpec('data'),
  )
  assert count_flops(split, W, X) == MATMUL + TANH


def test_equals_xla_on_an_unrolled_program():
  def unrolled(w, x):
    for _ in range(6):
      x = layer(w, x) + x * 0.5
    return jnp.sum(jnp.square(x))

  w, x = jnp.ones(W.shape), jnp.ones(X.shape)
  cost = jax.jit(unrolled).lower(w, x).compile().cost_analysis()
  # XLA counts tanh apart, as a transcendental.
  expected = cost['flops'] + cost['transcendentals']
  assert count_flops(unrolled, w, x) == pytest.approx(expected, rel=1e-3)


def test_shapes_alone_are_enough_and_keywords_are_traced():
  big = jax.ShapeDtypeStruct((1 << 20, 1 << 20), jnp.bfloat16)
  assert count_flops(lambda *, a: a @ a, a=big) == 2 * (1 << 60)


def test_degenerate_sizes():
  assert count_flops(lambda x: x @ x.T, jnp.ones((0, 3))) == 0
  assert count_flops(lambda x: lax.sort(x), jnp.ones((1,))) == 1
  assert count_flops(lambda x: x, np.ones(3)) == 0


def test_while_is_refused():
  def fn(x):
    return lax.while_loop(lambda v: v[0] < 9, lambda v: v + 1, x)

  with pytest.raises(ValueError, match='cannot count a while loop'):
    count_flops(fn, jnp.ones(3))


def test_unknown_linear_algebra_is_refused():
  with pytest.raises(ValueError, match='cannot count cholesky'):
    count_flops(jnp.linalg.cholesky, jnp.eye(3))
