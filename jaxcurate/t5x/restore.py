"""Warm starts: a checkpoint gives the parameters, the weighting starts anew."""

from collections.abc import Mapping
from typing import Any

from flax import traverse_util

_OURS = 'flax_mutables/weighting/'


def without_weighting(
  state_dict: Mapping[str, Any],
  target_state_dict: Mapping[str, Any],
  *,
  is_resuming: bool = False,
) -> Mapping[str, Any]:
  """For RestoreCheckpointConfig.state_transformation_fns.

  With fallback_to_scratch = True T5X fills what is missing afterwards; here
  that may be the weighting's state only, and no parameter.

  Args:
    state_dict: what the checkpoint holds.
    target_state_dict: what the run holds.
    is_resuming: an interrupted run goes on: nothing is dropped.

  Returns:
    The checkpoint without another run's weighting.

  Raises:
    ValueError: the checkpoint lacks more than a weighting.

  >>> own = {'target': 1, 'flax_mutables': {'weighting': {'rule': 2}}}
  >>> without_weighting({'target': 3}, own)
  {'target': 3}
  """
  if is_resuming:
    return state_dict
  kept = {
    name: leaf
    for name, leaf in _flatten(state_dict).items()
    if not name.startswith(_OURS)
  }
  missing = [
    name
    for name in _flatten(target_state_dict)
    if name not in kept and not name.startswith(_OURS)
  ]
  if missing:
    raise ValueError(
      f'the checkpoint has no {missing[0]}, nor {len(missing) - 1} others that'
      ' this network and optimizer have; is it of another size?'
    )
  return traverse_util.unflatten_dict(kept, sep='/')


def _flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
  # As t5x.state_utils: the spec of an array on disk is a leaf.
  return traverse_util.flatten_dict(
    dict(tree),
    is_leaf=lambda _, x: {'driver', 'kvstore', 'metadata'} <= set(x),
    sep='/',
  )
