"""Counts the operations of a function from its jaxpr, loops included.

XLA's cost analysis counts the body of a loop once; here every scan is
multiplied by its length, so the count of a network does not depend on whether
its layers are scanned, mapped, rematerialised or written out.

The rules, for arrays of any dtype:

* dot_general and convolutions: 2 per multiply-add;
* reductions: one less than the reduced elements, per result; prefix sums,
  argmax and scatters that combine: one per element;
* sort and top_k: n * ceil(log2 n) per sorted row;
* moving data, changing its dtype and drawing random bits: nothing;
* everything else (arithmetic, comparisons, exp, ...): one per output element;
* cond: its dearest branch; scan: length times its body; shard_map: its body on
  every device; what no output needs: nothing, as the compiler drops it too.
"""

from collections.abc import Callable, Iterator
import math
from typing import Any

import jax
from jax.extend import core
from jax.interpreters import partial_eval

_FREE = frozenset(
  """
  all_gather all_to_all axis_index bitcast_convert_type broadcast_in_dim
  concatenate convert_element_type copy copy_p create_token device_put
  dynamic_slice dynamic_update_slice empty empty2 gather iota
  layout_constraint mesh_cast name optimization_barrier pad pbroadcast
  ppermute pvary random_bits random_clone random_fold_in random_seed
  random_split random_unwrap random_wrap reduce_precision reshape reshard rev
  rng_bit_generator scatter sharding_constraint slice split squeeze stack
  stop_gradient threefry2x32 transpose unstack
  """.split()
)
_PER_INPUT = frozenset(
  """
  argmax argmin cumlogsumexp cummax cummin cumprod cumsum
  """.split()
)
_MATMUL = frozenset({'dot_general', 'conv_general_dilated'})
# Their cost is not in the jaxpr; a guess would be silently wrong.
_REFUSED = frozenset(
  """
  cholesky custom_linear_solve eig eigh fft householder_product lu pallas_call
  pure_callback io_callback qr ragged_dot_general reduce_window
  reduce_window_max reduce_window_min reduce_window_sum schur svd
  triangular_solve tridiagonal_solve
  """.split()
)


def count_flops(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> int:
  """Operations that one call of `fn` executes, over all devices.

  Args:
    fn: a function that JAX can trace; bind static arguments with
      functools.partial.
    *args: arrays, or jax.ShapeDtypeStruct to count without allocating.
    **kwargs: the same.

  Returns:
    The number of operations by the rules of the module docstring.

  Raises:
    ValueError: for a `while` loop, whose trip count the jaxpr does not hold,
      and for primitives whose cost it does not show.

  >>> import jax.numpy as jnp
  >>> count_flops(jnp.matmul, jnp.ones((2, 3)), jnp.ones((3, 4)))
  48
  """
  return _count(_trace(fn, args, kwargs), _eqn_flops)


def count_matmul_flops(
  fn: Callable[..., Any], *args: Any, **kwargs: Any
) -> int:
  """The share of `count_flops` in matrix products and convolutions.

  Divided by the time and by the hardware's peak this is the share of peak.

  Args:
    fn: as for `count_flops`.
    *args: as for `count_flops`.
    **kwargs: as for `count_flops`.

  Returns:
    Two operations per multiply-add executed.

  Raises:
    ValueError: as `count_flops`.

  >>> import jax.numpy as jnp
  >>> x = jnp.ones((2, 3))
  >>> count_matmul_flops(lambda x: jnp.tanh(x) @ x.T, x)
  24
  """
  return _count(
    _trace(fn, args, kwargs),
    lambda eqn: _eqn_flops(eqn) if eqn.primitive.name in _MATMUL else 0,
  )


def _trace(fn: Callable[..., Any], args: Any, kwargs: Any) -> core.Jaxpr:
  """The jaxpr of fn(*args, **kwargs) without what its outputs do not need."""
  jaxpr = jax.make_jaxpr(fn)(*args, **kwargs).jaxpr
  live, _ = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
  return live


def _count(jaxpr: core.Jaxpr, cost: Callable[[Any], int]) -> int:
  """Sum of `cost` over all equations, each times how often it runs."""
  total = 0
  for eqn in jaxpr.eqns:
    name = eqn.primitive.name
    if name == 'while':
      raise ValueError(
        'cannot count a while loop: its number of trips is not in the jaxpr; '
        'use lax.scan, or lax.fori_loop with Python integers as bounds'
      )
    if name in _REFUSED:
      raise ValueError(
        f'cannot count {name}: its cost is not in the jaxpr; count the rest '
        'of the function and add its cost by hand'
      )
    if name == 'cond':
      branches = eqn.params['branches']
      total += max(_count(branch.jaxpr, cost) for branch in branches)
    elif name.startswith(('reduce', 'scatter')):  # a jaxpr of one scalar op
      total += cost(eqn)
    else:
      bodies = list(_bodies(eqn.params))
      inside = sum(_count(body, cost) for body in bodies)
      total += _repeats(eqn) * inside if bodies else cost(eqn)
  return total


def _bodies(params: dict[str, Any]) -> Iterator[core.Jaxpr]:
  """The jaxprs among an equation's parameters."""
  for value in params.values():
    for item in value if isinstance(value, tuple | list) else (value,):
      if isinstance(item, core.ClosedJaxpr):
        yield item.jaxpr
      elif isinstance(item, core.Jaxpr):
        yield item


def _repeats(eqn: Any) -> int:
  """How often the body of an equation runs, over all devices."""
  if eqn.primitive.name == 'scan':
    return eqn.params['length']
  if eqn.primitive.name == 'shard_map':
    mesh = eqn.params['mesh']
    names = eqn.params.get('newly_manual_axes', mesh.axis_names)
    return math.prod(mesh.shape[name] for name in names)
  return 1


def _eqn_flops(eqn: Any) -> int:
  """Operations of one equation that has no body."""
  name = eqn.primitive.name
  shapes_in = [var.aval.shape for var in eqn.invars]
  size_out = math.prod(eqn.outvars[0].aval.shape)
  if name in _FREE:
    return 0
  if name == 'dot_general':
    (contracted, _), _ = eqn.params['dimension_numbers']
    return 2 * size_out * math.prod(shapes_in[0][i] for i in contracted)
  if name == 'conv_general_dilated':
    out_channels = eqn.params['dimension_numbers'].rhs_spec[0]
    kernel = math.prod(shapes_in[1]) // shapes_in[1][out_channels]
    return 2 * size_out * kernel
  if name.startswith('reduce'):
    return math.prod(shapes_in[0]) - size_out
  if name.startswith('scatter'):  # operand, indices, updates
    return math.prod(shapes_in[2])
  if name in _PER_INPUT:
    return math.prod(shapes_in[0])
  if name in ('sort', 'top_k'):
    axis = eqn.params.get('dimension', eqn.params.get('axis', -1))
    rows = math.prod(shapes_in[0])
    return rows * math.ceil(math.log2(max(shapes_in[0][axis], 2)))
  return size_out
