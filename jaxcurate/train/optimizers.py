"""Optimizers and learning rate schedules by name, with T5's as the default.

T5 (arXiv 1910.10683, section 3.1.2): Adafactor with decay 0.8, updates scaled
by the parameters' own size and clipped at RMS 1, no momentum, and the inverse
square root schedule 1 / sqrt(max(step, 10^4)). As in T5X, a schedule is read
at the number of updates already made, so the first reads step 0.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax

from jaxcurate.io.errors import UserError
from jaxcurate.train import preconditioners
from jaxcurate.types import Preconditioner

Schedule = Callable[[Any], Any]


class Optimizer(NamedTuple):
  """An optax optimizer that can say its learning rate.

  Attributes:
    init: params -> state.
    update: (gradients, state, params) -> (updates, state).
    learning_rate: number of updates already made -> learning rate.
    preconditioner: (state, params) -> what the next update makes of a
      gradient, or None where that is unknown.
  """

  init: Callable[[Any], Any]
  update: Callable[..., tuple[Any, Any]]
  learning_rate: Schedule
  preconditioner: Callable[[Any, Any], Preconditioner] | None = None


def make_optimizer(
  name: Literal['adafactor', 'adamw'] = 'adafactor',
  *,
  schedule: Literal['rsqrt', 'constant', 'linear', 'cosine'] = 'rsqrt',
  learning_rate: float = 1.0,
  warmup_steps: int = 10_000,
  schedule_steps: int | None = None,
  final_fraction: float = 0.0,
  clip_norm: float | None = None,
  weight_decay: float = 0.0,
  beta1: float = 0.9,
  beta2: float = 0.999,
) -> Optimizer:
  """Adafactor or AdamW with a schedule and optional clipping.

  Args:
    name: 'adafactor' with T5's settings, or 'adamw'.
    schedule: see `make_schedule`, as for the next four.
    learning_rate: peak rate; for 'rsqrt' the factor before it (T5: 1).
    warmup_steps: see `make_schedule`.
    schedule_steps: see `make_schedule`.
    final_fraction: see `make_schedule`.
    clip_norm: largest global norm of the gradients, or None.
    weight_decay: decoupled, times the learning rate; AdamW only.
    beta1: decay of AdamW's first moment.
    beta2: decay of AdamW's second moment.

  Raises:
    UserError: a name is unknown or settings do not go together.
  """
  rate = make_schedule(
    schedule,
    learning_rate=learning_rate,
    warmup_steps=warmup_steps,
    schedule_steps=schedule_steps,
    final_fraction=final_fraction,
  )
  if name == 'adafactor':
    if weight_decay:
      raise UserError(
        f'weight_decay is {weight_decay}, but adafactor has none; set it to 0'
        " or use the optimizer 'adamw'"
      )
    transform = optax.adafactor(  # T5X's values, which are also the paper's
      rate,
      decay_rate=0.8,
      multiply_by_parameter_scale=True,
      clipping_threshold=1.0,
      momentum=None,
    )
    preconditioner = preconditioners.adafactor(rate)
  elif name == 'adamw':
    transform = optax.adamw(rate, b1=beta1, b2=beta2, weight_decay=weight_decay)
    preconditioner = preconditioners.adam(rate, beta1=beta1, beta2=beta2)
  else:
    raise UserError(f"optimizer is {name!r}, known: 'adafactor', 'adamw'")
  if clip_norm is not None:
    transform = optax.chain(optax.clip_by_global_norm(clip_norm), transform)
  return Optimizer(transform.init, transform.update, rate, preconditioner)


def make_schedule(
  name: Literal['rsqrt', 'constant', 'linear', 'cosine'],
  *,
  learning_rate: float,
  warmup_steps: int,
  schedule_steps: int | None = None,
  final_fraction: float = 0.0,
) -> Schedule:
  """Learning rate as a function of the updates already made, t = 0, 1, ...

  rsqrt: learning_rate / sqrt(max(t, warmup_steps)).
  The others rise linearly over `warmup_steps`; then 'constant' stays, and
  'linear' and 'cosine' fall to final_fraction * learning_rate at
  `schedule_steps` and stay there.

  Args:
    name: the schedule.
    learning_rate: > 0, the peak; for 'rsqrt' the factor.
    warmup_steps: >= 0.
    schedule_steps: step at which the fall ends, warm-up included; explicit,
      so that more training steps do not change those already made.
    final_fraction: in [0, 1].

  Raises:
    UserError: a name is unknown or settings do not go together.

  >>> rate = make_schedule('rsqrt', learning_rate=1.0, warmup_steps=10_000)
  >>> [round(float(rate(t)), 6) for t in (0, 10_000, 40_000)]
  [0.01, 0.01, 0.005]
  """
  if learning_rate <= 0 or warmup_steps < 0:
    raise UserError(
      f'learning_rate is {learning_rate} and warmup_steps {warmup_steps};'
      ' expected > 0 and >= 0'
    )
  if name == 'rsqrt':
    if not warmup_steps:
      raise UserError('warmup_steps is 0; schedule rsqrt needs at least 1')
    return lambda t: (
      learning_rate
      * jax.lax.rsqrt(
        jnp.maximum(jnp.asarray(t, jnp.float32), float(warmup_steps))
      )
    )
  if name == 'constant':
    after = optax.constant_schedule(learning_rate)
  elif name in ('linear', 'cosine'):
    if schedule_steps is None or schedule_steps <= warmup_steps:
      raise UserError(
        f'schedule_steps is {schedule_steps}; schedule {name!r} needs more'
        f' than its {warmup_steps} warm-up steps; give --schedule_steps'
      )
    num_steps = schedule_steps - warmup_steps
    if name == 'linear':
      after = optax.linear_schedule(
        learning_rate, final_fraction * learning_rate, num_steps
      )
    else:
      after = optax.cosine_decay_schedule(
        learning_rate, num_steps, alpha=final_fraction
      )
  else:
    raise UserError(
      f"schedule is {name!r}, known: 'rsqrt', 'constant', 'linear', 'cosine'"
    )
  if not warmup_steps:
    return after
  warmup = optax.linear_schedule(0.0, learning_rate, warmup_steps)
  return optax.join_schedules([warmup, after], [warmup_steps])
