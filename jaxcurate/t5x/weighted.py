"""The weighted loss of both kinds of T5X model.

  loss = sum_t w_e(t) m_t (nll_t + z_loss * log_normaliser_t^2) / divisor

T5X's own loss with a weight w per example (or per target) that no gradient
flows through. The divisor is T5X's loss_normalizing_factor, of the unweighted
targets of the whole batch: absolute weights act as written, and microbatches
change nothing. By default it is the number of real targets.

The weights come from the same forward pass. The states that a weighting may
look at are outputs of the network's final norms, caught as they are returned.
Metrics under T5X's names leave the weights aside; what is minimised is
'weighted/loss'.
"""

# Where T5X is not installed, pyright takes this very folder for it.
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any, NamedTuple

from flax import core as flax_core
from flax import linen as nn
from flax import traverse_util
from flax.linen import partitioning as flax_partitioning
import jax
import jax.numpy as jnp
from t5x import losses, models
from t5x import metrics as metrics_lib

from jaxcurate.t5x import batches, state
from jaxcurate.t5x.token_losses import token_losses
from jaxcurate.train import forward as forwards
from jaxcurate.train.losses import on_tokens
from jaxcurate.train.weighed import weigh
from jaxcurate.types import (
  Batch,
  Params,
  Signals,
  State,
  TrainingShapes,
  Weighting,
)

# In a batch: what was computed beforehand.
WEIGHTS, REFERENCE = 'jaxcurate_weights', 'jaxcurate_reference_log_prob'


class Observed(NamedTuple):
  """A forward pass.

  Attributes:
    signals: what the weighting asked for.
    logits: [B, T, V] float.
    loss: [B, T] float32 T5X's loss of each target.
    z_loss: [B, T] float32 its z part.
  """

  signals: Signals
  logits: jax.Array
  loss: jax.Array
  z_loss: jax.Array


class Weighted(models.BaseTransformerModel):
  """What both models have in common; mixed in before T5X's class.

  Attributes:
    weighting: how much each example counts.
    max_segments: S, examples of a packed row with weights of their own.
    domains: names of the codes in the batch's 'document_domain'.
    norms: side -> name of the module that returns its last states.
    input_shapes: those of batches and their types, once T5X has named them.
  """

  weighting: Weighting
  max_segments: int
  domains: Sequence[str]
  norms: Mapping[str, str]
  input_shapes: tuple[Any, Any]

  def get_initial_variables(
    self, rng: Any, input_shapes: Any, input_types: Any = None
  ) -> Any:
    """Those of T5X and the weighting's state."""
    self.input_shapes = input_shapes, input_types
    variables = super().get_initial_variables(rng, input_shapes, input_types)
    variables = flax_core.unfreeze(variables)
    batch = {
      name: jax.ShapeDtypeStruct(shape, jnp.int32)
      for name, shape in input_shapes.items()
    }
    rule = self.initial_rule(variables['params'], batch)
    params_axes = {
      (*path[:-1], path[-1].removesuffix('_axes')): tuple(leaf.names)
      for path, leaf in traverse_util.flatten_dict(
        variables.get('params_axes', {})
      ).items()
    }
    variables[state.COLLECTION] = state.pack(rule)
    variables[f'{state.COLLECTION}_axes'] = {
      f'{name}_axes': flax_partitioning.AxisMetadata(names)
      for name, names in state.axes(rule, params_axes).items()
    }
    return flax_core.freeze(variables)

  def initial_rule(self, params: Params, batch: Batch) -> State:
    """State of the weighting before the first step; only shapes are read.

    Raises:
      ValueError: the batch has not what the weighting reads of documents.
    """
    for name in self.weighting.needs & {'domain', 'score'}:
      if f'document_{name}' not in batch:
        raise ValueError(
          f"the weighting reads the {name} of documents, and T5X's batches have"
          f' none; a feature converter of yours must add document_{name}, one'
          ' per row and example [B, max_segments]'
        )
    _, states = jax.eval_shape(self.look, params, batch)
    width = states['decoder'].shape[-1]
    shapes = jax.tree.map(
      lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype),
      flax_core.unfreeze(params),
    )
    return self.weighting.init(
      TrainingShapes(width, params=shapes, domains=tuple(self.domains))
    )

  def look(
    self, params: Params, batch: Batch, dropout_rng: Any = None
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Logits [B, T, V], and the states after each side's final norm.

    Raises:
      ValueError: the network has no module of a name in `norms`.
    """
    seen, caught = set(), {}

    def catch(call: Callable, args: Any, kwargs: Any, context: Any) -> Any:
      output, name = call(*args, **kwargs), context.module.name
      if context.method_name == '__call__':
        seen.add(name)
        if name in self.norms.values():
          caught[name] = output
      return output

    with nn.intercept_methods(catch):
      logits = self._compute_logits(params, batch, dropout_rng)
    missing = set(self.norms.values()) - set(caught)
    if missing:
      raise ValueError(
        f'the network has no module named {sorted(missing)}, whose output are'
        f' the last states; it has {sorted(name for name in seen if name)}'
      )
    return logits, {side: caught[name] for side, name in self.norms.items()}

  def observe(
    self,
    params: Params,
    batch: Batch,
    dropout_rng: Any,
    step: jax.Array,
    needs: frozenset[str],
    loss: bool = True,
  ) -> Observed:
    """One forward pass, and what a weighting sees of it.

    Args:
      params: of the network.
      batch: T5X's.
      dropout_rng: None: no dropout.
      step: [] int32, 1 for the first.
      needs: names of the signals.
      loss: whether losses are needed; if not, they are not computed.
    """
    targets = batch['decoder_target_tokens']
    logits, states = self.look(params, batch, dropout_rng)
    loss_BxT, z_BxT, log_prob_BxT = token_losses(
      logits,
      targets,
      z_loss=self._z_loss,
      label_smoothing=self._label_smoothing,
    )
    outputs = forwards.Forward(
      states.get('encoder'),
      states['decoder'],
      log_prob_BxT if loss else None,
      None,
    )
    other = None
    if REFERENCE in batch:
      other = forwards.Forward(None, None, batch[REFERENCE], None)
    signals = forwards.make_signals(
      outputs,
      needs,
      batches.as_batch(batch, self.max_segments),
      self.max_segments,
      step,
      other,
    )
    return Observed(signals, logits, loss_BxT, z_BxT)

  def divisor(self, batch: Batch) -> jax.Array:
    """[] float32 that the summed loss of a whole batch is divided by."""
    factor, _ = losses.get_loss_normalizing_factor_and_weights(
      self._loss_normalizing_factor, batch
    )
    factor = jnp.float32(1.0 if factor is None else factor)
    # The smallest normal number: a batch without targets gives 0, not NaN.
    return jnp.maximum(factor, jnp.finfo(jnp.float32).tiny)

  def loss_fn(
    self,
    params: Any,
    batch: Any,
    dropout_rng: Any,
    flax_mutables: Any = None,
  ) -> Any:
    """The weighted loss, and (metrics, what the step carries).

    Args:
      params: of the network.
      batch: T5X's; with `WEIGHTS` the weights are those, [B, S] or [B, T].
      dropout_rng: None: no dropout.
      flax_mutables: a `state.Carried`; None: T5X's own loss.

    Raises:
      ValueError: the trainer is not `WeightedTrainer`.
    """
    if flax_mutables is None:
      return super().loss_fn(params, batch, dropout_rng)
    if not isinstance(flax_mutables, state.Carried):
      raise ValueError(
        'this model is trained by jaxcurate.t5x.trainer.WeightedTrainer; bind'
        ' train_script.train.trainer_cls to it'
      )
    carried, targets = flax_mutables, batch['decoder_target_tokens']
    rows = batches.as_batch(batch, self.max_segments)
    signals, logits, loss_BxT, z_BxT = self.observe(
      params, batch, dropout_rng, carried.step, self.weighting.needs
    )
    weighed = None
    if WEIGHTS in batch:
      weights = batch[WEIGHTS]
      weights = weights if weights.shape == targets.shape else weights.ravel()
    else:
      offered = {'batch': rows, 'params': params}
      weighed = weigh(self.weighting, signals, carried.rule, rows, offered)
      weights = weighed.weights
    if carried.signals is None:
      carried = dataclasses.replace(
        carried, signals=vars(signals), weighed=weighed
      )
    else:
      carried = dataclasses.replace(
        carried,
        signals=state.fill(carried.signals, signals, carried.row, len(targets)),
        row=carried.row + len(targets),
      )
    weights = on_tokens(weights, rows, self.max_segments)
    _, share_BxT = losses.get_loss_normalizing_factor_and_weights(
      self._loss_normalizing_factor, batch
    )
    if share_BxT is None:
      share_BxT = targets > 0
    # Examples whose loss is not finite count nowhere.
    share_BxT = share_BxT * on_tokens(signals.mask_E, rows, self.max_segments)

    def total(weights_BxT: jax.Array, values_BxT: jax.Array) -> jax.Array:
      summed = jnp.where(weights_BxT > 0, weights_BxT * values_BxT, 0.0)
      return jnp.sum(summed) / carried.divisor

    loss = total(weights * share_BxT, loss_BxT)
    metrics = self._compute_metrics(
      logits=logits,
      targets=targets,
      mask=share_BxT,
      loss=total(share_BxT, loss_BxT),
      z_loss=total(share_BxT, z_BxT),
      segment_ids=batches.packing(batch),
    )
    per_step = metrics_lib.AveragePerStep.from_model_output
    metrics['weighted/loss'] = per_step(loss)
    metrics['weighted/cross_ent_loss'] = per_step(
      total(weights * share_BxT, loss_BxT - z_BxT)
    )
    return loss, (metrics, carried)

  def eval_fn(self, params: Any, batch: Any, flax_mutables: Any = None) -> Any:
    """T5X's loss and metrics; weights have no part in them."""
    del flax_mutables
    return super().loss_fn(params, batch, None)
