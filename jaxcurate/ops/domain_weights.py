"""Weights of domains that follow a gain per domain, step by step.

What DoReMi (arXiv 2305.10429, Algorithm 1) and DoGE (arXiv 2310.15393,
Algorithm 1) share: an exponentiated-gradient step on the domains' weights
alpha, their mean over steps, and the weights of examples that make a batch
count as if it had been drawn with alpha.

Decisions where the papers are silent:
* A domain without examples in a batch keeps its last gain, 0 before its first.
* The smoothed alpha is what the next step starts from, as in DoReMi's code.
* The share p of a domain is its part of all that was seen so far, this batch
  included: nothing has to be known beforehand.
* Examples without a domain weigh 1 and teach nothing.
"""

from collections.abc import Mapping, Sequence
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from jaxcurate.types import State


def init(domains: tuple[str, ...]) -> State:
  """The state before the first step: equal weights.

  Returns:
    'log_weight_M', the natural log of alpha; 'mean_weight_M', the mean of alpha
    over the steps so far, which is what both methods hand on; 'gain_M', the
    last known gains; 'size_M', mean size of each domain per step; and
    'num_updates'.

  Raises:
    ValueError: there is no domain.
  """
  if not domains:
    raise ValueError(
      'the weighting weighs domains, and the corpus names none; give its rows a'
      " 'domain'"
    )
  num_domains = len(domains)
  return {
    'log_weight_M': jnp.full(num_domains, -math.log(num_domains), jnp.float32),
    'mean_weight_M': jnp.full(num_domains, 1 / num_domains, jnp.float32),
    'gain_M': jnp.zeros(num_domains),
    'size_M': jnp.zeros(num_domains),
    'num_updates': jnp.zeros((), jnp.int32),
  }


def check(step_size: float, smoothing: float) -> None:
  """Raises ValueError where a setting of `update` is out of its range."""
  if step_size < 0:
    raise ValueError(f'step_size is {step_size}, expected at least 0')
  if not 0 <= smoothing <= 1:
    raise ValueError(f'smoothing is {smoothing}, expected 0 to 1')


def membership(
  domain_E: Int[Array, ' E'], mask_E: Bool[Array, ' E'], num_domains: int
) -> Bool[Array, 'E M']:
  """Which example is of which domain; masked ones and code -1 are of none.

  >>> mask = jnp.array([True, True, False])
  >>> membership(jnp.array([1, -1, 0]), mask, 2).tolist()
  [[False, True], [False, False], [False, False]]
  """
  return (domain_E[:, None] == jnp.arange(num_domains)) & mask_E[:, None]


def totals(
  values_E: Float[Array, ' E'], member_ExM: Bool[Array, 'E M']
) -> Float[Array, ' M']:
  """Sum of the values of each domain's examples; others are never read."""
  return jnp.sum(jnp.where(member_ExM, values_E[:, None], 0.0), axis=0)


def update(
  state: State,
  gain_M: Float[Array, ' M'],
  known_M: Bool[Array, ' M'],
  size_M: Float[Array, ' M'],
  *,
  step_size: float,
  smoothing: float,
) -> State:
  """alpha <- (1 - c) softmax(log alpha + step_size * gain) + c / M.

  Args:
    state: of `init`; other keys are kept.
    gain_M: gains in this batch.
    known_M: where they are known; elsewhere the last ones stand in.
    size_M: size of each domain in this batch, e.g. tokens; a batch in which no
      domain has any changes nothing.
    step_size: >= 0.
    smoothing: c in [0, 1], which keeps every weight at c / M or above.
  """
  gain_M = jnp.where(known_M, gain_M, state['gain_M'])
  log_M = jax.nn.log_softmax(state['log_weight_M'] + step_size * gain_M)
  if smoothing:
    floor = math.log(smoothing / len(gain_M))
    log_M = jnp.logaddexp(jnp.log1p(-smoothing) + log_M, floor)
  # Running means do not stall, as float32 sums would after some 10^7 steps.
  count = state['num_updates'] + 1
  mean_M, seen_M = state['mean_weight_M'], state['size_M']
  new = {
    'log_weight_M': log_M,
    # The first step replaces the initial value.
    'mean_weight_M': mean_M + (jnp.exp(log_M) - mean_M) / count,
    'gain_M': gain_M,
    'size_M': seen_M + (size_M - seen_M) / count,
    'num_updates': count,
  }
  some = jnp.any(size_M > 0)
  moved = {name: jnp.where(some, new[name], state[name]) for name in new}
  return {**state, **moved}


def example_weights(
  state: State,
  member_ExM: Bool[Array, 'E M'],
  mask_E: Bool[Array, ' E'],
  size_E: Float[Array, ' E'],
) -> Float[Array, ' E']:
  """w_i = Z alpha_d(i) / p_d(i), of mean 1 over the batch by size.

  Args:
    state: after `update` with this batch.
    member_ExM: which example is of which domain.
    mask_E: real examples; others give 0, those without a domain 1.
    size_E: how much of the batch an example is; its tokens, say.
  """
  size_M = state['size_M']
  share_M = size_M / jnp.maximum(jnp.sum(size_M), jnp.finfo(jnp.float32).tiny)
  log_ratio_M = jnp.where(
    size_M > 0,
    state['log_weight_M'] - jnp.log(jnp.maximum(share_M, 1e-30)),
    0.0,
  )
  log_E = jnp.sum(jnp.where(member_ExM, log_ratio_M, 0.0), axis=1)
  some_E = jnp.any(member_ExM, axis=1)
  # The largest ratio is 1, so that vanishing alphas do not vanish together.
  largest = jnp.max(jnp.where(some_E, log_E, -jnp.inf))
  ratio_E = jnp.where(some_E, jnp.exp(log_E - largest), 0.0)
  sizes = jnp.sum(jnp.where(some_E, size_E, 0.0))
  weighted = jnp.sum(jnp.where(some_E, size_E * ratio_E, 0.0))
  scale = sizes / jnp.where(weighted > 0, weighted, 1.0)
  return jnp.where(some_E, scale * ratio_E, mask_E.astype(jnp.float32))


def info_of(state: State, member_ExM: Bool[Array, 'E M']) -> dict[str, Array]:
  """For the log: alpha's entropy (natural log) and range; domains present."""
  log_M = state['log_weight_M']
  weight_M = jnp.exp(log_M)
  return {
    'domain_entropy': -jnp.sum(jnp.where(weight_M > 0, weight_M * log_M, 0.0)),
    'domain_max': jnp.max(weight_M),
    'domain_min': jnp.min(weight_M),
    'domains_present': jnp.sum(jnp.any(member_ExM, axis=0)),
  }


def read(state: State) -> dict[str, Array]:
  """What `between` compares: the mean weights and the number of updates."""
  return {name: state[name] for name in ('mean_weight_M', 'num_updates')}


def between(
  before: Mapping[str, Any], after: Mapping[str, Any], domains: Sequence[str]
) -> dict[str, float]:
  """The mean weight of every domain since step 1, for a log.

  Args:
    before: as `read`, as NumPy arrays; without updates since then there is
      nothing to log.
    after: of a later step.
    domains: names of the M domains.

  >>> before = {'mean_weight_M': jnp.array([1.0]), 'num_updates': 0}
  >>> between(before, {**before, 'num_updates': 2}, ['web'])
  {'mean_weight/web': 1.0}
  """
  if after['num_updates'] == before['num_updates']:
    return {}
  weights = zip(domains, after['mean_weight_M'].tolist(), strict=True)
  return {f'mean_weight/{name}': weight for name, weight in weights}
