"""A frozen second network, for weightings that compare losses with its own.

Its parameters are an argument of the compiled step: laid out over the devices
as T5X lays out a network of that kind, neither trained nor checkpointed.
"""

# Where T5X is not installed, pyright takes this very folder for it.
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false

from collections.abc import Mapping
import copy
from typing import Any, NamedTuple

from etils import epath
from flax import linen as nn
import jax
from t5x import utils

from jaxcurate.t5x import batches, parts, weighted
from jaxcurate.train import forward as forwards
from jaxcurate.types import Batch, Params


class Reference(NamedTuple):
  """A network that is compared with.

  Attributes:
    model: T5X's model of it.
    params: its parameters, on the devices.
    axes: how they lie there, as T5X's partitioner says it.
  """

  model: Any
  params: Params
  axes: Any


def load(
  model: weighted.Weighted,
  config: utils.RestoreCheckpointConfig | None,
  module: nn.Module | None,
  partitioner: Any,
) -> Reference | None:
  """Reads the reference of a weighting.

  Args:
    model: the one in training.
    config: where the parameters are; without a path there is no reference.
    module: their network; None: that of the model in training.
    partitioner: T5X's.

  Returns:
    The reference; None for a weighting without.

  Raises:
    ValueError: the weighting compares and there is no reference, or no such
      checkpoint, or the other way round.
  """
  path = config.path if config is not None else None
  if not model.weighting.needs & forwards.REFERENCE:
    if path:
      raise ValueError(
        f'there is a reference, {path!r}, and the weighting compares with none;'
        ' leave WeightedTrainer.reference_cfg out'
      )
    return None
  if config is None or not path:
    raise ValueError(
      'the weighting compares with a second model, and there is none; bind'
      ' WeightedTrainer.reference_cfg (in the run files: REFERENCE)'
    )
  if module is not None:
    model = copy.copy(model)
    model.module = module
  shapes, types = model.input_shapes
  # Without a weighting's state.
  init: Any = super(weighted.Weighted, model).get_initial_variables
  start = utils.TrainStateInitializer(None, init, shapes, partitioner, types)
  _, paths = utils.get_first_valid_restore_config_and_paths([config])
  # T5X would look beside a folder that is not there, and tidy up.
  if not paths or not epath.Path(paths[0]).is_dir():
    raise ValueError(f'there is no checkpoint {path!r} for the reference')
  restored, manager = utils.create_checkpoint_manager_and_restore(
    start, partitioner, config, paths[0], None, use_orbax=True
  )
  assert restored is not None
  manager.close()
  return Reference(model, restored.params, start.train_state_axes.params)


def log_prob(
  reference: Reference,
  params: Params,
  batch: Batch,
  num_parts: int,
  spec: Any,
) -> jax.Array:
  """[B, T] float32, the reference's natural-log probability of each target.

  Args:
    reference: the reference.
    params: its parameters.
    batch: T5X's; the rows must be a multiple of `num_parts`.
    num_parts: how many parts of the batch run one behind the other.
    spec: how T5X lays rows out over devices.
  """

  def one(rows: Mapping[str, jax.Array]) -> jax.Array:
    logits = reference.model._compute_logits(params, rows)
    return batches.target_log_prob(logits, rows['decoder_target_tokens'])

  return parts.in_parts(one, batch, num_parts, spec)


class Bound:
  """A partitioned function that is given its last argument here.

  A class because T5X lowers and compiles the functions that it calls.
  """

  def __init__(self, function: Any, last: Any):
    self._function, self._last = function, last

  def __call__(self, *arguments: Any) -> Any:
    """Calls it."""
    return self._function(*arguments, self._last)

  def lower(self, *arguments: Any) -> 'Bound':
    """As `jax.jit`'s."""
    return Bound(self._function.lower(*arguments, self._last), self._last)

  def compile(self) -> 'Bound':
    """As `jax.stages.Lowered`'s."""
    return Bound(self._function.compile(), self._last)
