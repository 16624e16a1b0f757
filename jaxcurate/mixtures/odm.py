"""ODM: domains that are still hard come more often, as a bandit finds them.

Exp3 over domains whose reward is the loss of the model in training. Efficient
Online Data Mixing For Language Model Pre-Training (arXiv 2312.02406, Algorithm
1), with the least exploration and the scale of the reward that DataFlex adds
(OpenDCAI/DataFlex, `odm_mixer`); both are off by default.

Ours, where a step holds many domains and the loader is deterministic:
* The paper adds up the losses of a step's draws of a domain. Here that sum is
  divided by the number of draws, so that the batch size does not scale it: the
  reward is the domain's mean loss times its part of the step's targets.
* A clamp at 1 / M keeps the shares above 0 where the least exploration is set
  too high for the number of domains.
* During the warm-up the rewards are learnt and the shares stay as they start;
  the step t counts from the first of the run.
"""

import math

import numpy as np

from jaxcurate.types.online import OnlineShares, Shares


def make(
  *,
  smoothing: float = 0.9,
  warmup_steps: int = 1000,
  min_exploration: float = 0.0,
  reward_scale: float = 1.0,
) -> OnlineShares:
  """share_d = (1 - M e_t) softmax(e_{t-1} R)_d + e_t.

  e_t = max(min_exploration, min(1 / M, sqrt(ln M / (M t)))), at most 1 / M
  R_d <- smoothing R_d + (1 - smoothing) reward_scale part_d loss_d / share_d

  The second line is for the domains of the step only.

  Args:
    smoothing: alpha in [0, 1).
    warmup_steps: >= 0 steps with the shares it starts from.
    min_exploration: >= 0, DataFlex: 0.03.
    reward_scale: > 0, DataFlex: 15.

  Raises:
    ValueError: a setting is out of its range.
  """
  if not 0 <= smoothing < 1:
    raise ValueError(f'smoothing is {smoothing}, expected [0, 1)')
  for name, value, right in (
    ('warmup_steps', warmup_steps, warmup_steps >= 0),
    ('min_exploration', min_exploration, min_exploration >= 0),
    ('reward_scale', reward_scale, reward_scale > 0),
  ):
    if not right:
      raise ValueError(f'{name} is {value}, which is too small')

  def init(start_M: Shares) -> dict[str, list[float]]:
    return {'start': start_M.tolist(), 'reward': [0.0] * len(start_M)}

  def share(state: dict[str, list[float]], step: int) -> Shares:
    if step <= warmup_steps:
      return np.array(state['start'])
    num_domains = len(state['reward'])
    now = exploration(step, num_domains, min_exploration)
    before = exploration(step - 1, num_domains, min_exploration)
    scaled_M = before * np.array(state['reward'])
    weight_M = np.exp(scaled_M - scaled_M.max())
    share_M = (1 - num_domains * now) * weight_M / weight_M.sum() + now
    return share_M / share_M.sum()  # but for rounding it is 1

  def update(
    state: dict[str, list[float]],
    share_M: Shares,
    loss_M: Shares,
    part_M: Shares,
  ) -> dict[str, list[float]]:
    old_M = np.array(state['reward'])
    known_M = (part_M > 0) & (share_M > 0) & np.isfinite(loss_M)
    new_M = np.zeros_like(old_M)
    np.divide(reward_scale * part_M * loss_M, share_M, out=new_M, where=known_M)
    new_M = smoothing * old_M + (1 - smoothing) * new_M
    return {**state, 'reward': np.where(known_M, new_M, old_M).tolist()}

  settings = {
    'smoothing': smoothing,
    'warmup_steps': warmup_steps,
    'min_exploration': min_exploration,
    'reward_scale': reward_scale,
  }
  return OnlineShares('odm', settings, init, share, update)


def exploration(
  step: int, num_domains: int, min_exploration: float = 0.0
) -> float:
  """e_t of step t; 1 / M before the first.

  >>> round(exploration(50, 4), 6)
  0.083255
  """
  if step < 1:
    return 1 / num_domains
  rate = math.sqrt(math.log(num_domains) / (num_domains * step))
  return min(max(min_exploration, rate), 1 / num_domains)
