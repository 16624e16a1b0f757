"""Where networks let per-example gradients out (`jaxcurate.ops.factors`).

A layer passes what its parameter makes through `through`. Nothing happens
unless the module's parameters hold zeros for it under 'tap', as `attach` lays
them beside the parameters; scans cut them into layers as they cut those.
"""

from collections.abc import Callable, Iterator, Mapping
import contextvars
from typing import Any

from flax import linen as nn
import jax
import jax.numpy as jnp

from jaxcurate.ops.factors import TAP, Factors, tap
from jaxcurate.types import Params

_LAYERS = 'layers'  # a scanned stack's name

Shapes = dict[tuple[str, ...], Factors]
_listener: contextvars.ContextVar[Shapes | None] = contextvars.ContextVar(
  'taps', default=None
)


def through(
  module: nn.Module, name: str, y: jax.Array, x: jax.Array | None
) -> jax.Array:
  """y = f(x; the module's parameter `name`), tapped if there is a tap."""
  shapes = _listener.get()
  if shapes is not None:
    shapes[(*module.path, name)] = jax.tree.map(
      lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype), Factors(x, y)
    )
  if not module.has_variable('params', TAP):
    return y
  own = module.get_variable('params', TAP)
  return tap(y, x, own[name]) if name in own else y


def listening(module: nn.Module) -> bool:
  """Whether somebody wants this module's factors: it must then be applied."""
  return _listener.get() is not None or module.has_variable('params', TAP)


def shapes_of(run: Callable[..., Any], params: Params, *arrays: Any) -> Shapes:
  """Path and name of every tapped parameter -> shapes of one use.

  Args:
    run: calls the network.
    params: its first argument.
    *arrays: its others.
  """
  found: Shapes = {}
  token = _listener.set(found)
  try:
    # A function of its own: a trace that jax remembers would tell nothing.
    jax.eval_shape(lambda *inputs: run(*inputs), params, *arrays)
  finally:
    _listener.reset(token)
  return found


def zeros(shapes: Shapes, params: Params) -> dict[str, Any]:
  """The taps to `attach`, zeros; those of scanned stacks with a leading axis.

  Args:
    shapes: of `shapes_of`.
    params: parameters, or their shapes; only theirs are tapped.
  """
  taps: dict[str, Any] = {}
  for path, leaf in _leaves(params):
    if path not in shapes:
      continue
    lead = leaf.shape[:1] if _LAYERS in path else ()
    node = taps
    for name in (*path[:-1], TAP):
      node = node.setdefault(name, {})
    node[path[-1]] = jax.tree.map(
      lambda s, lead=lead: jnp.zeros((*lead, *s.shape), s.dtype), shapes[path]
    )
  return taps


def attach(params: Params, taps: Mapping[str, Any]) -> Params:
  """Parameters with the taps beside them."""
  merged = dict(params)
  for name, value in taps.items():
    old = merged.get(name, {})
    merged[name] = value if name == TAP else attach(old, value)
  return merged


def flatten(
  taps: Mapping[str, Any],
) -> Iterator[tuple[tuple[str, ...], Factors]]:
  """(path of the parameter, its factors) of what `zeros` made."""
  for name, value in taps.items():
    if name == TAP:
      for parameter, own in value.items():
        yield (parameter,), own
    else:
      for path, own in flatten(value):
        yield (name, *path), own


def _leaves(params: Params) -> Iterator[tuple[tuple[str, ...], Any]]:
  leaves, _ = jax.tree_util.tree_flatten_with_path(params)
  for path, leaf in leaves:
    yield tuple(entry.key for entry in path), leaf
