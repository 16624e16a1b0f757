"""The trusted examples of a run inside T5X, read once and padded to batches."""

# Where T5X is not installed, pyright takes this very folder for it.
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false

from collections.abc import Callable
import dataclasses
from typing import Any, NamedTuple

import numpy as np
from t5x import utils

from jaxcurate.types import Weighting


class Anchors(NamedTuple):
  """All anchors as one batch that runs in parts.

  Attributes:
    batch: T5X's features, each [parts * B, L]; rows of 0 are padding.
    parts: how many batches of B rows.
  """

  batch: dict[str, np.ndarray]
  parts: int


def load(
  weighting: Weighting,
  config: utils.DatasetConfig | None,
  num_anchors: int | None,
  feature_converter_cls: Callable[..., Any],
) -> Anchors | None:
  """Reads the anchors of a weighting.

  Args:
    weighting: the rule.
    config: where they are; without a task's name there are none.
    num_anchors: the first so many examples; None: all of the split.
    feature_converter_cls: the model's.

  Returns:
    The anchors, the same on every host; None for a weighting without.

  Raises:
    ValueError: the weighting takes anchors and there are none, or the other
      way round.
  """
  task = config.mixture_or_task_name if config is not None else None
  if weighting.refresh is None:
    if task:
      raise ValueError(
        f'there are anchors, {task!r}, and the weighting'
        ' takes none; leave WeightedTrainer.anchor_dataset_cfg out'
      )
    return None
  if config is None or not task:
    raise ValueError(
      'the weighting looks at anchors, and there are none; bind'
      ' WeightedTrainer.anchor_dataset_cfg (in the run files: ANCHORS)'
    )
  # One row at a time: a last batch that is not full would be dropped.
  dataset = utils.get_dataset(
    dataclasses.replace(config, batch_size=1),
    shard_id=0,
    num_shards=1,
    feature_converter_cls=feature_converter_cls,
    num_epochs=1,
  )
  rows = list(dataset.take(-1 if num_anchors is None else num_anchors))
  if not rows:
    raise ValueError(
      f'task {task!r} has no example in split {config.split!r}: there are no'
      ' anchors'
    )
  parts = -(-len(rows) // config.batch_size)
  missing = parts * config.batch_size - len(rows)

  def stack(name: str) -> np.ndarray:
    values = np.concatenate([np.asarray(row[name]) for row in rows])
    return np.pad(values, [(0, missing)] + [(0, 0)] * (values.ndim - 1))

  return Anchors({name: stack(name) for name in rows[0]}, parts)
