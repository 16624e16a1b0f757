"""T5X's trainer with weights over the whole batch and refreshed anchors.

T5X's own functions cut the batch into parts, add gradients up and apply them.
Before that, in the same compiled step: every `refresh_interval` steps the
anchors are run through the network (a branch that other steps skip, so there
is one program and one compilation), and where weights depend on other rows
of the batch and the batch is cut, one more forward pass looks at all of it
first. A warm start from a checkpoint of another run refreshes at once.
"""

# Where T5X is not installed, pyright takes this very folder for it.
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false

from collections.abc import Callable, Sequence
import dataclasses
import functools
from typing import Any

import cached_property
from flax import core as flax_core
from flax import linen as nn
import jax
import jax.numpy as jnp
from t5x import metrics as metrics_lib
from t5x import trainer, utils

from jaxcurate.t5x import anchors as anchors_lib
from jaxcurate.t5x import batches, factored, state
from jaxcurate.t5x import parts as parts_lib
from jaxcurate.t5x import reference as reference_lib
from jaxcurate.t5x.factored import Accumulated
from jaxcurate.t5x.weighted import REFERENCE, WEIGHTS, Weighted
from jaxcurate.train import forward as forwards
from jaxcurate.train import weighed as weighed_lib
from jaxcurate.types import Params, Signals, State


class WeightedTrainer(trainer.Trainer):
  """T5X's Trainer for the models of `jaxcurate.t5x.models`."""

  def __init__(
    self,
    model: Weighted,
    train_state: Any,
    partitioner: Any,
    eval_names: Sequence[str],
    summary_dir: str | None,
    train_state_axes: Any,
    rng: Any,
    learning_rate_fn: Callable,
    num_microbatches: int | None,
    weight_metrics_computer: Any = None,
    anchor_dataset_cfg: utils.DatasetConfig | None = None,
    num_anchors: int | None = None,
    reference_cfg: utils.RestoreCheckpointConfig | None = None,
    reference_module: nn.Module | None = None,
  ):
    """A trainer, called by `t5x.train.train`.

    Args:
      model: the model, with its weighting.
      train_state: T5X's, as are the arguments not listed.
      partitioner: see T5X.
      eval_names: see T5X.
      summary_dir: see T5X.
      train_state_axes: see T5X.
      rng: see T5X.
      learning_rate_fn: see T5X.
      num_microbatches: see T5X; weights and loss are those of the whole batch.
      weight_metrics_computer: see T5X.
      anchor_dataset_cfg: the anchors, for weightings that look at some; its
        batch_size is the number of rows that run at a time.
      num_anchors: the first so many examples of it; None: all, once.
      reference_cfg: checkpoint of a frozen second model, for weightings that
        compare with one.
      reference_module: its network; None: that of the model in training.

    Raises:
      ValueError: there are anchors or a reference and the weighting takes
        none, or it does and there are none.
    """
    self._anchors = anchors_lib.load(
      model.weighting,
      anchor_dataset_cfg,
      num_anchors,
      model.FEATURE_CONVERTER_CLS,
    )
    self._reference = reference_lib.load(
      model, reference_cfg, reference_module, partitioner
    )
    self._weighted = model
    super().__init__(
      model,
      train_state,
      partitioner,
      eval_names,
      summary_dir,
      train_state_axes,
      rng,
      learning_rate_fn,
      num_microbatches,
      weight_metrics_computer,
    )

  def train(
    self, batch_iter: Any, num_steps: int, start_step: int | None = None
  ) -> Any:
    """T5X's steps, and a summary of what the weighting tallied in them.

    Args:
      batch_iter: see T5X.
      num_steps: see T5X.
      start_step: see T5X.
    """
    tally = self._weighted.weighting.tally
    if tally is None:
      return super().train(batch_iter, num_steps, start_step)

    def sums() -> Any:
      kept = self.train_state.flax_mutables[state.COLLECTION]
      return jax.device_get(tally.read(state.nested(kept)))

    before = sums()
    summary = super().train(batch_iter, num_steps, start_step)
    found = tally.between(before, sums(), self._weighted.domains)
    self.train_metrics_manager.write_scalars(
      int(self.train_state.step),
      {f'interval/{name}': value for name, value in found.items()},
    )
    return summary

  @cached_property.cached_property
  def _partitioned_train_step(self) -> Any:  # pyright: ignore
    reference = self._reference
    step = self._partitioner.partition(
      self._weighted_step,
      in_axis_resources=(
        self._train_state_axes,
        self._partitioner.data_partition_spec,
        *((reference.axes,) if reference else ()),
      ),
      out_axis_resources=(self._train_state_axes, None),
      donate_argnums=(0,),
    )
    return reference_lib.Bound(step, reference.params) if reference else step

  def _weighted_step(
    self, train_state: Any, batch: Any, reference_params: Params = None
  ) -> Any:
    """One step, as T5X's `train_with_lr`."""
    model = self._weighted
    if self._reference is not None:
      batch = dict(batch)
      batch[REFERENCE] = reference_lib.log_prob(
        self._reference,
        reference_params,
        batch,
        self._num_microbatches or 1,
        self._partitioner.data_partition_spec,
      )
    dropout_rng = self._get_step_rng(train_state.step)
    kept = train_state.flax_mutables[state.COLLECTION]
    like = jax.eval_shape(model.initial_rule, train_state.params, batch)
    rule, refreshes = self._refreshed(
      train_state, state.unpack(kept, like), kept['refreshes']
    )
    made = self._accumulated(train_state, batch, rule, dropout_rng)
    rows = batches.as_batch(batch, model.max_segments)
    mask_E = made.signals.mask_E
    nonfinite = jnp.sum(weighed_lib.without_loss(mask_E, rows), dtype=jnp.int32)
    log = {
      **weighed_lib.weight_metrics(made.weighed, mask_E, rows),
      'weights/nonfinite': nonfinite,
      'weights/merged': batches.merged_examples(batch, model.max_segments),
    }
    metrics = dict(made.metrics)
    metrics.update(
      {
        name: metrics_lib.AveragePerStep.from_model_output(value)
        for name, value in log.items()
      }
    )
    kept = state.pack(
      made.weighed.weighting_state, refreshes, kept['nonfinite'] + nonfinite
    )
    return trainer.apply_grads(
      train_state,
      made.gradients,
      metrics,
      self._learning_rate_fn(train_state.step),
      self._weight_metrics_computer,
      {'flax_mutables': flax_core.freeze({state.COLLECTION: kept})},
    )

  def _accumulated(
    self, train_state: Any, batch: Any, rule: State, dropout_rng: Any
  ) -> Accumulated:
    """Gradients and metrics of T5X's accumulation, and the weights."""
    model = self._weighted
    spec = self._partitioner.data_partition_spec
    parts = self._num_microbatches or 1
    if 'gradients' in model.weighting.needs:
      rate = self._learning_rate_fn(train_state.step)
      return factored.accumulate(
        model, train_state, batch, rule, dropout_rng, rate, parts
      )
    rows = batches.as_batch(batch, model.max_segments)
    weigh = functools.partial(
      weighed_lib.weigh,
      model.weighting,
      state=rule,
      batch=rows,
      offered={'batch': rows, 'params': train_state.params},
    )
    carried = state.Carried(
      step=train_state.step + 1,
      rule=rule,
      divisor=model.divisor(batch),
      row=jnp.int32(0),
    )
    weighed, given = None, dict(batch)
    if parts > 1:
      look = functools.partial(
        parts_lib.look,
        model,
        train_state.params,
        batch,
        parts=parts,
        step=train_state.step + 1,
        needs=model.weighting.needs,
        # T5X's accumulation draws this one key anew for every part.
        dropout_rng=jax.random.split(dropout_rng)[1],
        spec=spec,
      )
      carried = dataclasses.replace(carried, signals=parts_lib.zeros_like(look))
      if model.weighting.batch_coupled:
        weighed = weigh(look())
        given[WEIGHTS] = parts_lib.by_row(weighed.weights, rows)
    gradients, metrics, carried = trainer.accumulate_grads_microbatched(
      model,
      train_state.replace_flax_mutables(carried),
      given,
      dropout_rng,
      self._num_microbatches,
      spec,
    )
    # Row-local weights are those of the parts, but the next state and the log
    # must see the whole batch.
    assert carried is not None
    signals = Signals(**carried.signals)
    weighed = weighed or carried.weighed or weigh(signals)
    return Accumulated(gradients, metrics, weighed, signals)

  def _refreshed(
    self, train_state: Any, rule: State, refreshes: jax.Array
  ) -> tuple[State, jax.Array]:
    """The weighting's state after a refresh, if one is due."""
    model, anchors = self._weighted, self._anchors
    weighting = model.weighting
    if anchors is None or weighting.refresh is None:
      return rule, refreshes
    refresh_fn, needs = weighting.refresh, weighting.anchor_needs

    def refresh() -> State:
      if forwards.ANCHORS & needs:
        return factored.refresh(model, train_state, anchors, rule)
      signals = parts_lib.look(
        model,
        train_state.params,
        anchors.batch,
        parts=anchors.parts,
        step=train_state.step + 1,
        needs=needs,
        dropout_rng=None,
        spec=self._partitioner.data_partition_spec,
        loss=bool(forwards.LOSSES & needs),
      )
      if 'params' in needs:
        signals = dataclasses.replace(signals, params=train_state.params)
      return refresh_fn(signals, rule)

    # A warm start has not looked yet, whatever its step.
    due = (refreshes == 0) | (
      train_state.step % weighting.refresh_interval == 0
    )
    return jax.lax.cond(due, refresh, lambda: rule), refreshes + due
