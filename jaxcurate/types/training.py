"""What a training step offers a weighting, and what it gets back."""

from collections.abc import Callable
import dataclasses
from typing import Any, NamedTuple

import flax.struct
import jax

from jaxcurate.types.networks import Batch, Params, State


@dataclasses.dataclass(frozen=True)
class AnchorSet:
  """A small trusted set of text, ready to run through the network.

  Attributes:
    name: what the manifest calls it.
    batches: padded batches of one shape.
  """

  name: str
  batches: tuple[Batch, ...]


@flax.struct.dataclass
class Signals:
  """What one train step offers a weighting; what it did not ask for is None.

  Attributes:
    mask_E: [E] bool, True for real examples. Always present.
    loss_E: [E] float32, mean natural-log loss per target token ('loss').
    encoder_pooled_ExD: [E, D] float32 plain mean of the encoder's last states
      (they are bidirectional), not normalised ('encoder_pooled').
    decoder_pooled_ExD: [E, D] float32 position-weighted mean of the decoder's
      last states (they are causal), not normalised ('decoder_pooled').
    batch: the batch itself ('batch').
    params: ('params').
    opt_state: optimizer state before the update ('opt_state').
    step: [] int32. Always present.
  """

  mask_E: jax.Array
  step: jax.Array
  loss_E: jax.Array | None = None
  encoder_pooled_ExD: jax.Array | None = None
  decoder_pooled_ExD: jax.Array | None = None
  batch: Batch | None = None
  params: Params | None = None
  opt_state: Any = None


class Weighting(NamedTuple):
  """A rule that weights every example of a training batch, on device.

  Attributes:
    init: width D -> state.
    update: (signals, state) -> (weights_E, state, info). Weights are finite,
      >= 0 and exactly 0 where the mask is False; no gradient flows through
      them. `info` is a dict of scalars for the log.
    refresh: (anchor signals, state) -> state, its own jitted program, or None.
      Signals hold all anchor examples of one AnchorSet.
    refresh_interval: steps between refreshes; the first is before step 1.
    needs: names of the signals `update` reads.
    anchor_needs: names of the signals `refresh` reads.
    batch_coupled: True when a weight depends on other rows of the batch.
    absolute: True when the scale of the weights is meant (ADAPT's sigmoid):
      the loss is then divided by the unweighted target count.
  """

  init: Callable[[int], State]
  update: Callable[[Signals, State], tuple[jax.Array, State, dict]]
  refresh: Callable[[Signals, State], State] | None = None
  refresh_interval: int = 1
  needs: frozenset[str] = frozenset()
  anchor_needs: frozenset[str] = frozenset()
  batch_coupled: bool = False
  absolute: bool = True
