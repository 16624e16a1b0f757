"""Gradients of examples inside T5X's step, from this project's T5.

T5X's layers hand out nothing that per-example gradients could be made of. Ours
do, and have T5X's parameter names: for weightings that look at gradients the
loss of T5X's T5 (t5x/examples/t5) is computed by `jaxcurate.models.t5` on the
same parameters, and T5X's optimizer, partitioning and checkpoints go on as
before. Only the dropout masks are others than T5X's.
"""

# Where T5X is not installed, pyright takes this very folder for it.
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false

from typing import Any, NamedTuple

from flax import core as flax_core
import jax
import jax.numpy as jnp
from t5x import metrics as metrics_lib
from t5x.examples.t5 import network as t5x_network

from jaxcurate.models import t5
from jaxcurate.t5x import adafactor, batches
from jaxcurate.t5x.anchors import Anchors
from jaxcurate.train import anchors as anchors_lib
from jaxcurate.train import forward as forwards
from jaxcurate.train.gradients import make_gradient_fn
from jaxcurate.train.optimizers import Optimizer
from jaxcurate.train.state import TrainState
from jaxcurate.train.weighed import Weighed
from jaxcurate.types import Network, Preconditioner, Signals, State


class Accumulated(NamedTuple):
  """What T5X's accumulation would return, and the weights.

  Attributes:
    gradients: like T5X's parameters.
    metrics: T5X's, by name.
    weighed: the weights of the batch.
    signals: of the batch; here the mask alone.
  """

  gradients: Any
  metrics: dict[str, Any]
  weighed: Weighed
  signals: Signals


def network_of(module: Any) -> Network | None:
  """This project's network of the parameters of a T5X module, if it has one.

  Args:
    module: of `t5x/examples/t5`; for any other there is none.
  """
  if type(module) is not t5x_network.Transformer:
    return None
  config = module.config
  return t5.make_network(
    t5.T5Config(
      vocab_size=config.vocab_size,
      embed_dim=config.emb_dim,
      num_heads=config.num_heads,
      head_dim=config.head_dim,
      mlp_dim=config.mlp_dim,
      num_encoder_layers=config.num_encoder_layers,
      num_decoder_layers=config.num_decoder_layers,
      activations=tuple(config.mlp_activations),
      tied_head=config.logits_via_embedding,
      scale_decoder_outputs=config.logits_via_embedding,
      dtype=jnp.dtype(config.dtype).name,
      dropout_rate=config.dropout_rate,
    )
  )


def accumulate(
  model: Any,
  train_state: Any,
  batch: Any,
  rule: State,
  dropout_rng: Any,
  learning_rate: Any,
  num_parts: int,
) -> Accumulated:
  """Gradients of a whole batch, weighted by what the gradients look like.

  Args:
    model: a `weighted.Weighted` whose network `network_of` knows.
    train_state: T5X's.
    batch: T5X's, with at most `max_segments` examples per row.
    rule: state of the weighting.
    dropout_rng: key of the step.
    learning_rate: of the coming update.
    num_parts: microbatches; must divide the rows.
  """
  network = network_of(model.module)
  assert network is not None
  rows = batches.as_batch(batch, model.max_segments)
  divisor, reduction = model.divisor(batch), reduction_of(model)
  scale = jnp.float32(1)  # T5X's gradient over the mean of the examples'
  if reduction == 'tokens':
    scale = jnp.sum(forwards.loss_weights(rows)) / divisor

  def preconditioner(opt_state: Any, params: Any) -> Preconditioner:
    del opt_state, params
    return adafactor.preconditioner(
      model.optimizer_def, train_state, jnp.float32(learning_rate), scale
    )

  gradient_fn = make_gradient_fn(
    network,
    model.weighting,
    Optimizer(_unused, _unused, _unused, preconditioner),
    max_segments=model.max_segments,
    z_loss=model._z_loss,
    reduction=reduction,
    accumulate=num_parts,
    chunk_tokens=None,
  )
  start = _own_state(train_state, rule)
  result = gradient_fn(start, rows, dropout_rng)
  sums = result.sums
  gradients = jax.tree.map(lambda g: g / divisor, result.gradients)
  if isinstance(train_state.params, flax_core.FrozenDict):
    gradients = flax_core.freeze(gradients)
  per_step = metrics_lib.AveragePerStep.from_model_output
  loss = sums['nll'] / jnp.maximum(sums['count'], 1.0)
  metrics = {
    'loss': per_step(loss),  # per target, without the z loss
    'cross_ent_loss': per_step(loss),
    'weighted/cross_ent_loss': per_step(sums['weighted_nll'] / divisor),
    'timing/steps_per_second': metrics_lib.StepsPerTime.from_model_output(),
    'timing/seconds': metrics_lib.Time(),
  }
  signals = Signals(mask_E=result.mask_E, step=start.step + 1)
  return Accumulated(gradients, metrics, result.weighed, signals)


def refresh(model: Any, train_state: Any, anchors: Anchors, rule: State) -> Any:
  """State of the weighting after a look at the anchors and their gradient.

  Args:
    model: as for `accumulate`.
    train_state: T5X's.
    anchors: the anchors.
    rule: state of the weighting.
  """
  network = network_of(model.module)
  assert network is not None
  look = anchors_lib.make_refresh_step(
    network,
    model.weighting,
    max_segments=model.max_segments,
    reduction=reduction_of(model),
  )
  rows = batches.as_batch(anchors.batch, model.max_segments)
  stacked = {
    name: value.reshape(anchors.parts, -1, *value.shape[1:])
    for name, value in rows.items()
  }
  return look(_own_state(train_state, rule), stacked)


def reduction_of(model: Any) -> Any:
  """Whether T5X's normaliser counts targets or examples alike.

  Raises:
    ValueError: there is label smoothing, which our loss has not.
  """
  if model._label_smoothing:
    raise ValueError(
      f'label_smoothing is {model._label_smoothing}; a weighting that looks at'
      ' gradients needs 0'
    )
  factor = getattr(
    model._loss_normalizing_factor, 'name', model._loss_normalizing_factor
  )
  return 'examples' if factor == 'AVERAGE_PER_SEQUENCE' else 'tokens'


def _own_state(train_state: Any, rule: State) -> TrainState:
  return TrainState(
    step=train_state.step,
    params=flax_core.unfreeze(train_state.params),
    opt_state=None,
    weighting_state=rule,
  )


def _unused(*arguments: Any) -> Any:
  raise AssertionError('T5X updates the parameters')
