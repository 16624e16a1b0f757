"""A weighting's state inside T5X's train state, and what one step carries.

T5X partitions, donates and checkpoints `flax_mutables`, a dict of named
arrays, and hands it to the loss. Between steps it holds a weighting's state,
leaf by leaf; within a step the loss is handed a `Carried` in its place.
"""

from collections.abc import Mapping
from typing import Any

from flax import traverse_util
import flax.struct
import jax
import jax.numpy as jnp

from jaxcurate.train import forward as forwards
from jaxcurate.types import Signals, State, Weighting

COLLECTION = 'weighting'  # in flax_mutables, and so in checkpoints
# Signals that T5X's step can give; what else there is needs our own step.
OFFERED = frozenset(
  {
    'loss',
    'token_loss',
    'reference_loss',
    'reference_token_loss',
    'encoder_pooled',
    'decoder_pooled',
    'domain',
    'score',
    'batch',
    'params',
  }
)
NOT_OF_ANCHORS = forwards.REFERENCE | {'batch'}


@flax.struct.dataclass
class Carried:
  """What the loss of a step is given besides parameters and batch.

  The fields are not typed, because T5X also asks for their shapes alone.

  Attributes:
    step: [] int32, 1 for the first.
    rule: state of the weighting.
    divisor: [] float32, of the loss summed over the whole batch's targets.
    row: [] int32, the next row of `signals` to fill.
    signals: fields of the `Signals` of the whole batch, by name; where the
      batch is cut they are filled part by part, else None at first.
    weighed: the `Weighed` of a batch that is not cut, None at first.
  """

  step: Any
  rule: Any
  divisor: Any
  row: Any
  signals: Any = None
  weighed: Any = None


def check(
  weighting: Weighting, has_encoder: bool, has_gradients: bool = False
) -> None:
  """Raises ValueError when T5X's step cannot give what a weighting needs.

  Args:
    weighting: the rule.
    has_encoder: whether the network has one.
    has_gradients: whether `factored` knows the network.
  """
  needs = weighting.needs | weighting.anchor_needs
  missing = needs - OFFERED | weighting.anchor_needs & NOT_OF_ANCHORS
  if has_gradients:
    missing -= {'gradients', 'mean_gradient', 'mean_loss', 'preconditioner'}
  if missing:
    raise ValueError(
      f'inside T5X a weighting cannot have {sorted(missing)}, only'
      f" {sorted(OFFERED)}; train with this project's own step (`jaxcurate"
      ' train`), or take another weighting'
    )
  if 'encoder_pooled' in needs and not has_encoder:
    raise ValueError(
      "the weighting reads the encoder's states, and a decoder-only model has"
      " no encoder; set states = 'decoder'"
    )


def pack(rule: State, refreshes: Any = 0, nonfinite: Any = 0) -> dict:
  """The arrays that T5X keeps between steps, by name.

  Args:
    rule: state of the weighting, any pytree.
    refreshes: times that the anchors were looked at.
    nonfinite: examples without finite loss so far; they weigh 0.
  """
  leaves = jax.tree_util.tree_flatten_with_path(rule)[0]
  named = {f'rule{_name(path)}': jnp.asarray(leaf) for path, leaf in leaves}
  return {
    'refreshes': jnp.asarray(refreshes, jnp.int32),
    'nonfinite': jnp.asarray(nonfinite, jnp.int32),
    **named,
  }


def axes(
  rule: State, params_axes: Mapping[tuple[str, ...], tuple]
) -> dict[str, tuple]:
  """T5X's axis names of what `pack` returns; None: not cut.

  Args:
    rule: state of the weighting, or its shapes.
    params_axes: path of a parameter -> its axes. A leaf whose path ends with
      that of a parameter is laid out like it, all others are replicated.
  """
  named: dict[str, tuple] = {'refreshes': (), 'nonfinite': ()}
  for path, leaf in jax.tree_util.tree_flatten_with_path(rule)[0]:
    keys = tuple(str(getattr(key, 'key', key)) for key in path)
    ends = (params_axes.get(keys[i:], ()) for i in range(len(keys)))
    fits = (end for end in ends if end and len(end) == leaf.ndim)
    named[f'rule{_name(path)}'] = next(fits, (None,) * leaf.ndim)
  return named


def unpack(kept: Mapping[str, jax.Array], like: State) -> State:
  """The weighting's state again.

  Args:
    kept: what `pack` returned.
    like: a state of the weighting, or its shapes.
  """
  paths, treedef = jax.tree_util.tree_flatten_with_path(like)
  return jax.tree.unflatten(
    treedef, [kept[f'rule{_name(path)}'] for path, _ in paths]
  )


def nested(kept: Mapping[str, Any]) -> dict[str, Any]:
  """The weighting's state, of a weighting that keeps dicts of arrays.

  Args:
    kept: what `pack` returned.

  >>> nested({'refreshes': 0, 'rule.sums.a': 1, 'rule.sums.b': 2})
  {'sums': {'a': 1, 'b': 2}}
  """
  first = 'rule.'
  named = {
    tuple(name.removeprefix(first).split('.')): leaf
    for name, leaf in kept.items()
    if name.startswith(first)
  }
  return traverse_util.unflatten_dict(named)


def fill(
  whole: Mapping[str, Any], part: Signals, row: jax.Array, num_rows: int
) -> dict[str, Any]:
  """Writes the signals of some rows into those of the whole batch.

  Args:
    whole: fields of the signals of all rows.
    part: those of `num_rows` rows.
    row: [] int32, the first of them.
    num_rows: how many.
  """

  def write(into: jax.Array, piece: jax.Array) -> jax.Array:
    if not piece.ndim:  # the step
      return piece
    start = row * (len(piece) // num_rows)
    return jax.lax.dynamic_update_slice_in_dim(into, piece, start, axis=0)

  return jax.tree.map(write, dict(whole), vars(part))


def _name(path: tuple) -> str:
  # Names of files in a checkpoint: no slash.
  name = jax.tree_util.keystr(path, simple=True, separator='.')
  return f'.{name}' if name else ''
