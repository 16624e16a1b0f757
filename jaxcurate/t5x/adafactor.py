"""What T5X's Adafactor will make of the next gradient, from its state.

As `jaxcurate.train.preconditioners`, of T5X's own form of the state and its own
rules for which axes are factored: with the second moments held at their present
values and clipping left out the update is -learning_rate * P * gradient.
"""

# Where T5X is not installed, pyright takes this very folder for it.
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false

from typing import Any

from flax import core as flax_core
from flax import traverse_util
import jax
import jax.numpy as jnp
from t5x import adafactor

from jaxcurate.types import Params, Preconditioner


def check(optimizer: Any) -> None:
  """Raises ValueError for an optimizer whose state is not read.

  Args:
    optimizer: T5X's optimizer definition.
  """
  kind = type(optimizer).__name__
  if type(optimizer) is not adafactor.Adafactor:
    raise ValueError(
      f"the weighting looks at the optimizer's state, and that of {kind} is not"
      ' read inside T5X; use t5x.adafactor.Adafactor, or a weighting that does'
      ' not look'
    )
  if optimizer.hyper_params.beta1 is not None:
    raise ValueError(
      f'Adafactor has momentum (beta1 = {optimizer.hyper_params.beta1}), and'
      ' the weighting that looks at its state can read it without only; set'
      ' beta1 = None'
    )


def preconditioner(
  optimizer: Any,
  train_state: Any,
  learning_rate: jax.Array,
  gradient_scale: jax.Array,
) -> Preconditioner:
  """P of a T5X train state, element by element.

  Args:
    optimizer: T5X's Adafactor, as `check` accepts it.
    train_state: before the update.
    learning_rate: [] float32 of the coming update.
    gradient_scale: [] float32, T5X's gradient over the mean of the examples'.
  """
  flat = _flatten(train_state.params)
  states = _flatten(train_state.param_states)
  scales = {
    path: gradient_scale
    * _scale(optimizer, '/'.join(path), param, states[path])
    for path, param in flat.items()
  }
  return Preconditioner(
    scale=traverse_util.unflatten_dict(scales),
    momentum=None,
    momentum_decay=jnp.float32(0),
    learning_rate=jnp.float32(learning_rate),
    updates=jnp.asarray(train_state.step, jnp.int32),
  )


def _scale(optimizer: Any, path: str, param: jax.Array, moments: Any) -> Any:
  """[shape of the parameter] float32, 0 where no gradient has been seen."""
  settings = optimizer.hyper_params
  rule = None
  if settings.factored:
    rule = adafactor.HEURISTIC_RULE
    if settings.factor_map:
      rule = settings.factor_map[path]
  averaged, axes = optimizer._parse_rule(rule, param.shape, path)
  if axes is adafactor.HEURISTIC_RULE:
    axes = optimizer._factored_dims(param.shape)

  def inverse_root(v: jax.Array) -> jax.Array:
    seen = v > 2 * settings.epsilon1
    return jnp.where(seen, jax.lax.rsqrt(jnp.where(seen, v, 1.0)), 0.0)

  if axes is None:
    factor = inverse_root(moments.v)
  else:
    columns, rows = axes  # T5X's d1 and d0: v_row lacks d0, v_col lacks d1
    reduced = tuple(c - sum(r < c for r in rows) for c in columns)
    mean = jnp.mean(moments.v_row, axis=reduced, keepdims=True)
    factor = jnp.expand_dims(
      inverse_root(moments.v_row) * jnp.sqrt(mean), rows
    ) * jnp.expand_dims(inverse_root(moments.v_col), columns)
  by_size = settings.multiply_by_parameter_scale
  if not isinstance(by_size, bool):
    by_size = by_size[path]
  if not by_size:
    return factor
  size = jnp.sqrt(jnp.mean(param * param, axis=averaged, keepdims=True))
  size = jnp.maximum(size, settings.epsilon2)
  if settings.max_parameter_scale is not None:
    size = jnp.minimum(size, settings.max_parameter_scale)
  return factor * size


def _flatten(tree: Params) -> dict[tuple[str, ...], Any]:
  return traverse_util.flatten_dict(flax_core.unfreeze(tree))
