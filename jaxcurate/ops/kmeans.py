"""Spherical k-means: groups of unit vectors by the cosine to their centroids.

Centroids are the unit vectors along the sums of their members (Dhillon and
Modha, Machine Learning 42, 2001), seeded by greedy k-means++ (Arthur and
Vassilvitskii, SODA 2007, section 5 for greedy) and moved by full Lloyd
iterations on the device. Sums over members are matrix products, not scatters,
so that they do not depend on the order in which an accelerator adds.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int
import numpy as np

_BLOCK = 1024  # points compared with all centroids at a time
# A point this near its centroid is it: no cluster of its own is made of it.
_SAME = 1e-6
_HIGHEST = jax.lax.Precision.HIGHEST  # else operands are rounded to bfloat16


class Clusters(NamedTuple):
  """Groups of points, the largest first, ties by centroid.

  Attributes:
    centroid: [K, D] float32 unit vectors.
    cluster: [N] int32, that of each point; -1 of a zero vector.
    objective: mean cosine of points to their centroids, in [-1, 1].
    iterations: Lloyd steps taken.
  """

  centroid: np.ndarray
  cluster: np.ndarray
  objective: float
  iterations: int


def fit(
  points_NxD: Float[np.ndarray, 'N D'],
  num_clusters: int,
  *,
  seed: int = 0,
  max_iterations: int = 100,
) -> Clusters:
  """argmax over centroids c of sum_n max_k <x_n, c_k>, a local one.

  Args:
    points_NxD: [N, D] finite; brought to unit norm. Their order matters by
      what the seed draws: sort them for a result that does not depend on it.
    num_clusters: >= 1, at most; fewer where there are fewer distinct points.
    seed: of the seeding.
    max_iterations: Lloyd steps, at most (100: SemDeDup's code).

  Returns:
    The clusters, none of them empty.

  Raises:
    ValueError: a setting out of range, or no vector that is not zero.
  """
  if num_clusters < 1 or max_iterations < 1:
    raise ValueError(
      f'num_clusters is {num_clusters} and max_iterations {max_iterations},'
      ' expected at least 1 of each'
    )
  norm_N = np.linalg.norm(points_NxD, axis=1)
  known = np.flatnonzero(norm_N > 0)
  if not len(known):
    raise ValueError(
      f'there are {len(points_NxD)} points, 0 of them with a direction'
    )
  size = -(-len(known) // _BLOCK) * _BLOCK  # padded by zero vectors
  unit_PxD = np.zeros((size, points_NxD.shape[1]), np.float32)
  unit_PxD[: len(known)] = points_NxD[known] / norm_N[known, None]
  points, mask = jnp.asarray(unit_PxD), jnp.arange(size) < len(known)
  num_clusters = min(num_clusters, len(known))
  seeds = seed_centroids(points, mask, jax.random.key(seed), num_clusters)
  centroid, assigned, cosine, steps = _lloyd(
    points, mask, seeds, max_iterations
  )
  assigned = np.asarray(assigned)[: len(known)]
  count = np.bincount(assigned, minlength=num_clusters)
  order = np.argsort(-count, kind='stable')[: np.count_nonzero(count)]
  rank = np.full(num_clusters, -1, np.int32)
  rank[order] = np.arange(len(order))
  index = np.full(len(points_NxD), -1, np.int32)
  index[known] = rank[assigned]
  return Clusters(
    centroid=np.asarray(centroid)[order],
    cluster=index,
    objective=float(np.asarray(cosine, np.float64)[: len(known)].mean()),
    iterations=int(steps),
  )


@functools.partial(jax.jit, static_argnames='num_clusters')
def seed_centroids(
  points_NxD: Float[Array, 'N D'],
  mask_N: Bool[Array, ' N'],
  key: Array,
  num_clusters: int,
) -> Float[Array, 'K D']:
  """Greedy k-means++: of 2 + ln K draws by 1 - cosine the one that helps most.

  Args:
    points_NxD: [N, D] float32 unit vectors.
    mask_N: [N] bool; others are never drawn.
    key: of the draws.
    num_clusters: K >= 1.

  Returns:
    [K, D] float32; points may repeat where fewer than K differ.
  """
  trials = 2 + int(math.log(num_clusters))

  def draw(key, weight_N):
    total_N = jnp.cumsum(weight_N)
    place_T = jax.random.uniform(key, (trials,)) * total_N[-1]
    found_T = jnp.searchsorted(total_N, place_T, side='right')
    return points_NxD[jnp.minimum(found_T, len(weight_N) - 1)]

  def add(k, state):
    centroid_KxD, far_N, key = state
    key, key_draw = jax.random.split(key)
    tried_TxD = draw(key_draw, far_N)
    cosine_TxN = jnp.matmul(tried_TxD, points_NxD.T, precision=_HIGHEST)
    far_TxN = jnp.minimum(far_N, jnp.maximum(1 - cosine_TxN, 0.0))
    best = jnp.argmin(far_TxN.sum(axis=1))
    return centroid_KxD.at[k].set(tried_TxD[best]), far_TxN[best], key

  empty = jnp.zeros((num_clusters, points_NxD.shape[1]), points_NxD.dtype)
  # 2 is farther than any: the first is drawn evenly.
  state = empty, jnp.where(mask_N, 2.0, 0.0), key
  return jax.lax.fori_loop(0, num_clusters, add, state)[0]


@jax.jit
def step(
  points_NxD: Float[Array, 'N D'],
  mask_N: Bool[Array, ' N'],
  centroid_KxD: Float[Array, 'K D'],
) -> tuple[Float[Array, 'K D'], Int[Array, ' N'], Float[Array, ' N']]:
  """One Lloyd step: assign, then move every centroid to its members.

  The sum of cosines never falls from one step to the next. Empty clusters are
  moved to the points that lie farthest from their centroids, which cannot
  lower it; where all points lie on centroids they stay empty.

  Args:
    points_NxD: [N, D] float32 unit vectors, N a multiple of 1,024 or less.
    mask_N: [N] bool, False of padding.
    centroid_KxD: [K, D] float32 unit vectors, K <= N.

  Returns:
    New centroids; the nearest old one of each point, [N] int32; the cosine to
    it, [N] float32.
  """
  num_clusters, block = len(centroid_KxD), min(_BLOCK, len(points_NxD))

  def assign(sums, now):
    own_BxD, real_B = now
    cosine_BxK = jnp.matmul(own_BxD, centroid_KxD.T, precision=_HIGHEST)
    index_B = jnp.argmax(cosine_BxK, axis=1)
    member_BxK = jax.nn.one_hot(index_B, num_clusters) * real_B[:, None]
    total_KxD = jnp.matmul(member_BxK.T, own_BxD, precision=_HIGHEST)
    more = total_KxD, member_BxK.sum(axis=0)
    return jax.tree.map(jnp.add, sums, more), (index_B, cosine_BxK.max(axis=1))

  sums = jnp.zeros_like(centroid_KxD), jnp.zeros(num_clusters)
  blocks = (
    points_NxD.reshape(-1, block, points_NxD.shape[1]),
    mask_N.reshape(-1, block),
  )
  (total_KxD, count_K), found = jax.lax.scan(assign, sums, blocks)
  index_N, cosine_N = (each.reshape(-1) for each in found)
  norm_K = jnp.linalg.norm(total_KxD, axis=1)
  # Members that cancel point nowhere: any direction serves them alike.
  moves_K = norm_K > _SAME
  moved_KxD = total_KxD / jnp.where(moves_K, norm_K, 1.0)[:, None]
  new_KxD = jnp.where(moves_K[:, None], moved_KxD, centroid_KxD)
  gain_K, far_K = jax.lax.top_k(
    jnp.where(mask_N, 1 - cosine_N, -jnp.inf), num_clusters
  )
  empty_K = count_K == 0
  rank_K = jnp.cumsum(empty_K) - 1  # of a cluster among the empty ones
  taken_K = empty_K & (gain_K[rank_K] > _SAME)
  new_KxD = jnp.where(taken_K[:, None], points_NxD[far_K[rank_K]], new_KxD)
  return new_KxD, index_N.astype(jnp.int32), cosine_N


@functools.partial(jax.jit, static_argnames='max_iterations')
def _lloyd(
  points_NxD: Array, mask_N: Array, centroid_KxD: Array, max_iterations: int
) -> tuple[Array, Array, Array, Array]:
  """Steps until no point changes its cluster: centroids, index, cosine, steps.

  Index and cosine belong to the centroids that are returned.
  """

  def goes_on(state):
    _, _, _, _, changed, steps = state
    return changed & (steps < max_iterations)

  def go(state):
    _, next_KxD, index_N, _, _, steps = state
    after_KxD, found_N, cosine_N = step(points_NxD, mask_N, next_KxD)
    changed = ((found_N != index_N) & mask_N).any()
    return next_KxD, after_KxD, found_N, cosine_N, changed, steps + 1

  index_N = jnp.full(len(points_NxD), -1, jnp.int32)
  state = (
    centroid_KxD,
    centroid_KxD,
    index_N,
    jnp.zeros(len(points_NxD)),
    jnp.bool_(True),
    jnp.int32(0),
  )
  found = jax.lax.while_loop(goes_on, go, state)
  return found[0], found[2], found[3], found[5]
