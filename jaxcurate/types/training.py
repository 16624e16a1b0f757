"""What a training step offers a weighting, and what it gets back."""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any, NamedTuple, Protocol, runtime_checkable

import flax.struct
import jax

from jaxcurate.types.networks import Batch, Params, State


@dataclasses.dataclass(frozen=True)
class AnchorSet:
  """A small trusted set of text, ready to run through the network.

  Attributes:
    name: what the manifest calls it.
    batches: padded batches of one shape.
    domains: names behind the batches' 'document_domain' codes: the tasks.
  """

  name: str
  batches: tuple[Batch, ...]
  domains: tuple[str, ...] = ()


class TrainingShapes(NamedTuple):
  """What the state of a weighting is shaped by.

  Attributes:
    width: D of the last states.
    params: shapes of the parameters in training, a pytree; None where no
      weighting asked for gradients.
    domains: names of the corpus's domain codes.
    anchor_domains: names of the anchors' domain codes.
  """

  width: int
  params: Params = None
  domains: tuple[str, ...] = ()
  anchor_domains: tuple[str, ...] = ()


class Preconditioner(NamedTuple):
  """The optimizer's next update as a function of the gradient, its state held.

  update = -learning_rate * (momentum_decay * momentum
                             + (1 - momentum_decay) * scale * gradient)

  element by element: `scale` is the P of Filter-then-Weight. Decoupled weight
  decay and clipping do not depend on the gradient's direction and are left out.

  Attributes:
    scale: params-shaped pytree of float32 >= 0: Adam's 1 / (sqrt(v) + eps), v
      bias-corrected, times 1 / (1 - beta1^(updates + 1)), the correction of
      the coming first moment; Adafactor's 1 / sqrt(v) times the parameter's
      RMS. 0 where no gradient has been seen.
    momentum: params-shaped pytree, scale * m with m the first moment as it is
      stored, or None without momentum.
    momentum_decay: [] float32, beta1; 0 without momentum.
    learning_rate: [] float32 of the coming update.
    updates: [] int32, updates made so far; moments of a young state mislead.
  """

  scale: Params
  momentum: Params | None
  momentum_decay: jax.Array
  learning_rate: jax.Array
  updates: jax.Array


@runtime_checkable
class ExampleGradients(Protocol):
  """Gradients of a batch's E examples, as products: never needed one by one.

  g_e is scaled such that the step's gradient under unit weights is the mean
  of g_e over real examples; masked examples are 0.
  """

  def dot(self, direction: Params) -> jax.Array:
    """[E] float32, <g_e, direction>."""
    ...

  def gram(self, scale: Params | None = None) -> jax.Array:
    """[E, E] float32, <g_i, scale * g_j>; None: all ones."""
    ...

  def products(
    self, directions: Sequence[Params], scale: Params | None = None
  ) -> tuple[jax.Array, jax.Array]:
    """(gram(scale); [K, E], dot of each direction), cheaper than apart."""
    ...


@runtime_checkable
class TokenGradients(Protocol):
  """Gradients of a batch's targets, as products: never formed."""

  def dot(self, direction: Params) -> jax.Array:
    """[B, T] float32, <gradient of target t's loss in nats, direction>.

    Padding may hold anything.
    """
    ...


@flax.struct.dataclass
class Signals:
  """What one train step offers a weighting; what it did not ask for is None.

  Attributes:
    mask_E: [E] bool, True for real examples of finite loss. Always present.
    step: [] int32, 1 for the first. Always present.
    loss_E: [E] float32, mean natural-log loss per target token ('loss').
    token_loss_BxT: [B, T] float32 natural-log loss per target, and
    target_mask_BxT: [B, T] bool, which targets count ('token_loss').
    reference_loss_E, reference_token_loss_BxT: the same of a frozen second
      model ('reference_loss', 'reference_token_loss').
    encoder_pooled_ExD: [E, D] float32 plain mean of the encoder's last states
      (they are bidirectional), not normalised ('encoder_pooled').
    decoder_pooled_ExD: [E, D] float32 position-weighted mean of the decoder's
      last states (they are causal), not normalised ('decoder_pooled').
    domain_E: [E] int32 code of the example's domain, -1 for none ('domain').
    score_E: [E] float32, a column of a ScoreTable ('score').
    gradients: per-example gradients ('gradients').
    token_gradients: per-target gradients ('token_gradients').
    mean_gradient: params-shaped mean over examples of their gradients
      ('mean_gradient', for anchors only).
    mean_loss: [] float32 mean loss in nats that this is the gradient of
      ('mean_loss', for anchors only).
    preconditioner: of the optimizer before the update ('preconditioner').
    batch: the batch itself ('batch').
    params: ('params').
    opt_state: optimizer state before the update ('opt_state').
  """

  mask_E: jax.Array
  step: jax.Array
  loss_E: jax.Array | None = None
  token_loss_BxT: jax.Array | None = None
  target_mask_BxT: jax.Array | None = None
  reference_loss_E: jax.Array | None = None
  reference_token_loss_BxT: jax.Array | None = None
  encoder_pooled_ExD: jax.Array | None = None
  decoder_pooled_ExD: jax.Array | None = None
  domain_E: jax.Array | None = None
  score_E: jax.Array | None = None
  gradients: Any = None
  token_gradients: Any = None
  mean_gradient: Params | None = None
  mean_loss: jax.Array | None = None
  preconditioner: Preconditioner | None = None
  batch: Batch | None = None
  params: Params | None = None
  opt_state: Any = None


class Tally(NamedTuple):
  """What a weighting adds up over the steps, to be logged by epoch.

  Attributes:
    read: state -> the sums since step 1: small arrays of the state, by name.
    between: (sums at the start of an epoch, sums at its end, names of the
      corpus's domain codes) -> finite numbers by name, as NumPy on the host.
  """

  read: Callable[[State], Mapping[str, Any]]
  between: Callable[
    [Mapping[str, Any], Mapping[str, Any], Sequence[str]], dict[str, float]
  ]


class Weighting(NamedTuple):
  """A rule that weights every example of a training batch, on device.

  Attributes:
    init: TrainingShapes -> state.
    update: (signals, state) -> (weights, state, info). Weights are [E], or
      [B, T] for a rule that weights tokens; finite, >= 0 and exactly 0 where
      the mask is False; no gradient flows through them. `info` is a dict of
      scalars for the log.
    refresh: (anchor signals, state) -> state, its own jitted program, or None.
      Signals hold all anchor examples of one AnchorSet.
    refresh_interval: steps between refreshes; the first is before step 1.
    needs: names of the signals `update` reads.
    anchor_needs: names of the signals `refresh` reads.
    batch_coupled: True when a weight depends on other rows of the batch.
    most_kept: number of examples E -> most of them that usually have a weight
      above 0: the step is then fast, and right for more of them too. None: E.
    tally: what is logged of an epoch besides the steps' `info`, or None.
  """

  init: Callable[[TrainingShapes], State]
  update: Callable[[Signals, State], tuple[jax.Array, State, dict]]
  refresh: Callable[[Signals, State], State] | None = None
  refresh_interval: int = 1
  needs: frozenset[str] = frozenset()
  anchor_needs: frozenset[str] = frozenset()
  batch_coupled: bool = False
  most_kept: Callable[[int], int] | None = None
  tally: Tally | None = None
