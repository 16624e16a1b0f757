"""A short LoRA training on the corpus, whose checkpoints LESS and TRAK read.

LESS (arXiv 2402.04333, section 4.1 and appendix): a random 5 % of the data, 4
epochs, LoRA on queries, keys, values and outputs with rank 128, alpha 512 and
dropout 0.1, Adam at 2e-5 falling linearly after 3 % of warm-up, batches of
128. Every epoch leaves the adapters and Adam's two moments.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array
import numpy as np
import optax

from jaxcurate.ops import lora
from jaxcurate.scorers import likelihood
from jaxcurate.types import (
  Batch,
  Document,
  FitTools,
  Network,
  Params,
  Vocabulary,
)


class WarmUp(NamedTuple):
  """Settings of the training; LESS's own by default.

  Attributes:
    rank: r of LoRA.
    alpha: the adapters' scale is alpha / r.
    dropout_rate: of the adapters' inputs.
    targets: which matrices, see `ops.lora.init`.
    learning_rate: at its peak.
    warm_up_share: of the steps, in which it rises.
    epochs: over the sample; one checkpoint each.
    batch_size: examples per step.
  """

  rank: int = 128
  alpha: float = 512.0
  dropout_rate: float = 0.1
  targets: Sequence[str] = lora.TARGETS
  learning_rate: float = 2e-5
  warm_up_share: float = 0.03
  epochs: int = 4
  batch_size: int = 128


def check(settings: WarmUp) -> None:
  """Raises ValueError for a setting out of its range."""
  for name in ('rank', 'epochs', 'batch_size'):
    if getattr(settings, name) < 1:
      raise ValueError(
        f'{name} is {getattr(settings, name)}, expected at least 1'
      )
  for name in ('dropout_rate', 'warm_up_share'):
    if not 0 <= getattr(settings, name) < 1:
      raise ValueError(
        f'{name} is {getattr(settings, name)}, expected in [0, 1)'
      )
  if settings.alpha <= 0 or settings.learning_rate <= 0:
    raise ValueError(
      f'alpha is {settings.alpha} and learning_rate {settings.learning_rate},'
      ' expected above 0'
    )


def examples_of(
  text: likelihood.Likelihood,
  vocabulary: Vocabulary,
  sample: Sequence[Document],
) -> list[dict[str, np.ndarray]]:
  """What the training reads.

  Args:
    text: makes the examples.
    vocabulary: of the network.
    sample: random documents of the corpus.

  Raises:
    ValueError: no document of the sample has anything to learn from.
  """
  tokens = vocabulary.encode_batch([document.text for document in sample])
  examples = [own for made in text.examples(sample, tokens) for own in made]
  if not examples:
    raise ValueError(
      f'none of the {len(sample)} documents drawn for the warm-up has a token'
      ' to learn from; draw more, or check that conversations have answers'
    )
  return examples


def train(
  network: Network,
  params: Params,
  tools: FitTools,
  text: likelihood.Likelihood,
  examples: Sequence[dict[str, np.ndarray]],
  settings: WarmUp,
  seed: int,
) -> dict[str, Any]:
  """Trains on the examples and keeps every epoch.

  Args:
    network: the network.
    params: its parameters, frozen.
    tools: of the command.
    text: made the examples.
    examples: of `examples_of`.
    settings: of the training.
    seed: of the dropout; the adapters' and the order's is the tools'.

  Returns:
    'adapters', 'first_moment', 'second_moment': trees of [C, ...] arrays, C
    epochs; 'rates' [C] float32, the epochs' mean learning rates over their
    sum.
  """
  steps = -(-len(examples) // settings.batch_size)
  schedule = _schedule(settings, steps * settings.epochs)
  kept: list[dict[str, Any]] = []

  def on_epoch(epoch: int, adapters: Any, opt_state: Any) -> None:
    del epoch
    kept.append(
      {
        'adapters': adapters,
        'first_moment': optax.tree_utils.tree_get(opt_state, 'mu'),
        'second_moment': optax.tree_utils.tree_get(opt_state, 'nu'),
      }
    )

  tools.train(
    init=lambda key: lora.init(
      key, params, rank=settings.rank, targets=settings.targets
    ),
    loss=_make_loss(network, settings, seed),
    params=params,
    examples=examples,
    encoder_length=text.encoder_length,
    decoder_length=text.decoder_length,
    optimizer=optax.adam(schedule),
    epochs=settings.epochs,
    batch_size=settings.batch_size,
    on_epoch=on_epoch,
  )
  rate_CxT = np.asarray(schedule(jnp.arange(settings.epochs * steps))).reshape(
    settings.epochs, steps
  )
  stacked: dict[str, Any] = jax.tree.map(lambda *x: np.stack(x), *kept)
  return {**stacked, 'rates': rate_CxT.sum(axis=1) / rate_CxT.sum()}


def _schedule(settings: WarmUp, num_steps: int) -> optax.Schedule:
  """Rises over the first share of the steps, falls linearly to 0."""
  rising = round(settings.warm_up_share * num_steps)
  return optax.join_schedules(
    [
      optax.linear_schedule(0.0, settings.learning_rate, rising),
      optax.linear_schedule(
        settings.learning_rate, 0.0, max(num_steps - rising, 1)
      ),
    ],
    [rising],
  )


def _make_loss(network: Network, settings: WarmUp, seed: int) -> Any:
  """Mean loss per target token of a batch, adapters dropped out."""

  def loss(adapters: Params, params: Params, batch: Mapping) -> Array:
    attached = lora.attach(
      params,
      adapters,
      alpha=settings.alpha,
      dropout_rate=settings.dropout_rate,
      dropout_key=_batch_key(batch, seed),
    )
    sums = likelihood.sums(network, attached, batch, 1)
    targets = jnp.maximum(jnp.sum(sums['targets']), 1.0)
    return -jnp.sum(sums['log_prob']) / targets

  return loss


def _batch_key(batch: Batch, seed: int) -> Array:
  """A key from the batch's tokens: another batch, another mask."""
  tokens = batch['decoder_target_tokens'].astype(jnp.uint32)
  place = jnp.arange(1, tokens.size + 1, dtype=jnp.uint32).reshape(tokens.shape)
  return jax.random.fold_in(jax.random.key(seed), jnp.sum(tokens * place))
