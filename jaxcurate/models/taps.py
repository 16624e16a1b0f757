"""Where networks let per-example gradients out (`jaxcurate.ops.factors`).

A layer passes what its parameter makes through `through`. Nothing happens
unless the module's parameters hold zeros for it under 'tap', as `attach` lays
them beside the parameters; scans cut them into layers as they cut those.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
import contextvars
from typing import Any

from flax import linen as nn
import jax

from jaxcurate.ops.factors import TAP, Factors, tap
from jaxcurate.ops.parameter_factors import Probe, probe
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
  if name not in own:
    return y
  if isinstance(own[name], Probe):
    return probe(name, y, x, own[name])
  return tap(y, x, own[name])


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


def of_params(shapes: Shapes, params: Params) -> Shapes:
  """The shapes of some parameters' factors in all layers.

  Args:
    shapes: of `shapes_of`.
    params: parameters, or their shapes; those of scanned stacks have a leading
      axis, and so have their factors.
  """
  found: Shapes = {}
  for path, leaf in _leaves(params):
    if path in shapes:
      lead = leaf.shape[:1] if is_stacked(path) else ()
      found[path] = jax.tree.map(
        lambda s, lead=lead: jax.ShapeDtypeStruct((*lead, *s.shape), s.dtype),
        shapes[path],
      )
  return found


def is_stacked(path: Sequence[str]) -> bool:
  """Whether a scanned stack's layers are the parameter's first axis."""
  return _LAYERS in path


def attach(params: Params, taps: Mapping[tuple[str, ...], Any]) -> Params:
  """Parameters with taps beside them.

  Args:
    params: of the network.
    taps: path of a parameter -> its tap (`Factors` of zeros, or a `Probe`).

  >>> attach({'a': {'kernel': 1}}, {('a', 'kernel'): 0})
  {'a': {'kernel': 1, 'tap': {'kernel': 0}}}
  """
  merged = dict(params)
  inside: dict[str, dict] = {}
  for path, own in taps.items():
    if len(path) == 1:
      merged[TAP] = {**merged.get(TAP, {}), path[0]: own}
    else:
      inside.setdefault(path[0], {})[path[1:]] = own
  for name, own in inside.items():
    merged[name] = attach(merged[name], own)
  return merged


def _leaves(params: Params) -> Iterator[tuple[tuple[str, ...], Any]]:
  leaves, _ = jax.tree_util.tree_flatten_with_path(params)
  for path, leaf in leaves:
    yield tuple(entry.key for entry in path), leaf
