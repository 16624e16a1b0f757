"""LoRA: a trainable low-rank addition to chosen matrices of a frozen network.

LoRA: Low-Rank Adaptation of Large Language Models (arXiv 2106.09685, section
4.1). W + (alpha / r) A B stands for W; A is random and B zero at first, so
that training begins with the network as it is.

`attach` lays A and B beside the kernel they belong to, and the network's own
linear layers then compute x W + (x A) B (`jaxcurate.models.layers.Dense`).
Merging instead would work on any network, but the gradient of A and B would go
through that of W: a product as large as the forward pass's own, and B x |W|
numbers for the per-example gradients of B examples. `merge` is for what is
done once: export, and scoring with adapters that no longer change.
"""

from collections.abc import Mapping, Sequence
import math
import re
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array
import numpy as np

from jaxcurate.ops.factors import TAP, Factors
from jaxcurate.ops.gram import Products
from jaxcurate.ops.parameter_factors import Probe
from jaxcurate.types import Params

A, B = 'lora_a', 'lora_b'  # leaves beside 'kernel'
TARGETS = ('query', 'key', 'value', 'out')  # LESS: q, k, v and o
_KERNEL, _LAYERS = 'kernel', 'layers'


def init(
  key: Array,
  params: Params,
  *,
  rank: int = 8,
  targets: Sequence[str] = TARGETS,
) -> dict[str, Any]:
  """Fresh adapters for the matrices that `targets` name.

  A is uniform in +-1 / sqrt(in), as PEFT has it; B is 0.

  Args:
    key: of A.
    params: of the network; nested dicts, or their shapes. Kernels are [in,
      out], or [layers, in, out] below a name `layers`.
    rank: r >= 1.
    targets: regular expressions; a matrix is adapted where one of them matches
      all of its module's name ('query') or of its path
      ('decoder/layers_0/self_attention/query').

  Returns:
    A nested dict like `params` with, in place of each chosen kernel, 'lora_a'
    [..., in, r] and 'lora_b' [..., r, out], float32.

  Raises:
    ValueError: rank is below 1, a target matches nothing, or a kernel that
      was chosen is no matrix.

  >>> params = {'query': {'kernel': jnp.ones((3, 4))}, 'norm': {'scale': 1.0}}
  >>> adapters = init(jax.random.key(0), params, rank=2, targets=['query'])
  >>> jax.tree.map(jnp.shape, adapters)
  {'query': {'lora_a': (3, 2), 'lora_b': (2, 4)}}
  """
  if rank < 1:
    raise ValueError(f'rank is {rank}, expected at least 1')
  kernels = _kernels(params)
  unmatched = set(targets)
  chosen = []
  for path in kernels:
    found = [target for target in targets if _matches(target, path)]
    unmatched -= set(found)
    if found:
      chosen.append(path)
  if unmatched or not chosen:
    raise ValueError(
      f'no matrix is named {sorted(unmatched) or list(targets)}; there are'
      f' {", ".join(sorted({path[-1] for path in kernels}))}'
    )
  adapters: dict[str, Any] = {}
  keys = jax.random.split(key, len(chosen))
  for own_key, path in zip(keys, sorted(chosen), strict=True):
    *stack, rows, columns = _matrix_shape(path, kernels[path])
    bound = 1 / math.sqrt(rows)
    node = adapters
    for name in path:
      node = node.setdefault(name, {})
    node[A] = jax.random.uniform(
      own_key, (*stack, rows, rank), jnp.float32, -bound, bound
    )
    node[B] = jnp.zeros((*stack, rank, columns), jnp.float32)
  return adapters


def attach(
  params: Params,
  adapters: Params,
  *,
  alpha: float,
  dropout_rate: float = 0.0,
  dropout_key: Array | None = None,
) -> Params:
  """Parameters under which the network computes x W + (alpha / r) (x A) B.

  Args:
    params: of the network.
    adapters: from `init`, with or without taps (`ops.factors`).
    alpha: the scale, before it is divided by the rank.
    dropout_rate: share of the inputs of A that are dropped, in [0, 1).
    dropout_key: None = no dropout. One mask serves all tokens of a batch
      (LoRA's dropout draws one per token), as dropping a row of A then does
      it and the adapter stays two matrices.

  Returns:
    `params` with two more leaves beside each adapted kernel; the network must
    be one whose layers look for them.
  """

  def beside(node: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    if A not in own:
      return {
        name: beside(value, own[name]) if name in own else value
        for name, value in node.items()
      }
    a, b = own[A], own[B]
    scale = alpha / a.shape[-1]
    kept = None
    if dropout_key is not None and dropout_rate:
      rows = (*a.shape[:-1], 1)
      keep = jax.random.bernoulli(next(keys), 1 - dropout_rate, rows)
      kept = jnp.where(keep, 1 / (1 - dropout_rate), 0.0)
      a = a * kept
    attached = {**node, A: a, B: b * scale}
    if TAP in own:  # what a tap tells is of A and B as they are in `own`
      beside_a, beside_b = own[TAP][A], own[TAP][B]
      if kept is not None:
        beside_a = _of_rows(beside_a, kept, a.shape)
      attached[TAP] = {A: beside_a, B: _times(beside_b, scale)}
    return attached

  plain = _without_taps(adapters)
  keys = iter(())
  if dropout_key is not None:
    keys = iter(jax.random.split(dropout_key, len(jax.tree.leaves(plain))))
  _check_names(params, plain)
  return beside(params, adapters)


def merge(params: Params, adapters: Params, *, alpha: float) -> Params:
  """Parameters of the same shapes with W + (alpha / r) A B for each W.

  Args:
    params: of the network.
    adapters: from `init`.
    alpha: the scale, before it is divided by the rank.

  Returns:
    New parameters, any network's own.

  >>> params = {'query': {'kernel': jnp.zeros((1, 1))}}
  >>> adapters = {'query': {'lora_a': jnp.full((1, 2), 3.0),
  ...                       'lora_b': jnp.ones((2, 1))}}
  >>> merge(params, adapters, alpha=4.0)['query']['kernel'].tolist()
  [[12.0]]
  """

  def merged(node: Mapping[str, Any]) -> dict[str, Any]:
    if A not in node:
      return {
        name: merged(value) if isinstance(value, Mapping) else value
        for name, value in node.items()
      }
    rest = {name: leaf for name, leaf in node.items() if name not in (A, B)}
    return {**rest, _KERNEL: whole(node[_KERNEL], node[A], node[B])}

  return merged(attach(params, adapters, alpha=alpha))


def whole(kernel: Array, a: Array, b: Array) -> Array:
  """kernel + A B; the scale is in B already (`attach`)."""
  product = jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)
  return kernel + product.astype(kernel.dtype)


def _times(own: Factors | Probe, factor: float) -> Factors | Probe:
  """The tap of x for a layer that is given factor * x."""
  if isinstance(own, Factors):
    return own._replace(cotangents=own.cotangents * factor)
  gram, dots = own.sums
  sums = Products(gram * factor**2, dots * factor)
  return own.replace(sums=sums)  # pyright: ignore[reportAttributeAccessIssue]


def _of_rows(
  own: Factors | Probe, factor: Array, shape: tuple[int, ...]
) -> Factors | Probe:
  """The same for a factor [..., I, 1] of the rows of x [..., I, O]."""
  if isinstance(own, Factors):
    return own._replace(inputs=own.inputs * jnp.swapaxes(factor, -1, -2))
  scale = 1.0 if own.scale is None else own.scale
  return own.replace(  # pyright: ignore[reportAttributeAccessIssue]
    scale=jnp.broadcast_to(scale * factor**2, shape),
    directions=tuple(q * factor for q in own.directions),
  )


def _without_taps(adapters: Params) -> Params:
  if not isinstance(adapters, Mapping):
    return adapters
  return {
    name: _without_taps(value)
    for name, value in adapters.items()
    if name != TAP
  }


def _matches(target: str, path: tuple[str, ...]) -> bool:
  pattern = re.compile(target)
  return any(pattern.fullmatch(text) for text in (path[-1], '/'.join(path)))


def _kernels(params: Params) -> dict[tuple[str, ...], Any]:
  """Path of each module that has a kernel -> the kernel."""
  leaves, _ = jax.tree_util.tree_flatten_with_path(params)
  names = [(tuple(entry.key for entry in path), leaf) for path, leaf in leaves]
  return {path[:-1]: leaf for path, leaf in names if path[-1] == _KERNEL}


def _matrix_shape(path: tuple[str, ...], kernel: Any) -> tuple[int, ...]:
  shape = np.shape(kernel)
  if len(shape) != (3 if _LAYERS in path else 2):
    raise ValueError(
      f'{"/".join(path)}: the kernel has shape {shape}, expected [in, out], or'
      ' [layers, in, out] below "layers"'
    )
  return shape


def _check_names(params: Params, adapters: Params) -> None:
  """Raises where adapters have no kernel, or one of another shape."""
  kernels = _kernels(params)
  leaves, _ = jax.tree_util.tree_flatten_with_path(adapters)
  for path, leaf in leaves:
    *module, name = (entry.key for entry in path)
    kernel = kernels.get(tuple(module))
    if kernel is None:
      raise ValueError(
        f'adapters for {"/".join(module)}, but the network has no kernel there'
      )
    axis = -2 if name == A else -1
    if kernel.shape[axis] != leaf.shape[axis]:
      raise ValueError(
        f'{"/".join(module)}: {name} has shape {leaf.shape}, the kernel'
        f' {kernel.shape}: the adapters are of another network'
      )
