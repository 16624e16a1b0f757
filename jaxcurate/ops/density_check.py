"""How well a cheap density agrees with the exact one, measured on a sample.

A sample of documents accumulates its exact Gaussian kernel sums while the
corpus goes by: C kernel values per document, against the thousands of hashes
or references of the estimate itself (C = 128 and D = 384: 0.1 million
multiply-adds per document).
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, UInt32
import numpy as np

from jaxcurate.ops import kernel_density, log_density, ranks

NUM_CHECKS = 128  # standard error of a Spearman correlation of 0.9: 0.02


class Check(NamedTuple):
  """Exact kernel sums of a sample, a pytree.

  Attributes:
    embedding: [C, D] float32 sampled documents.
    id_hash: [C, 2] uint32, theirs.
    mask: [C] bool.
    bandwidth: [] float32 > 0 of the Gaussian kernel.
    total: [C] float32 kernel sums over the documents seen so far.
    num_documents: [] uint32, how many were seen.
  """

  embedding: Float[Array, 'C D']
  id_hash: UInt32[Array, 'C 2']
  mask: Bool[Array, ' C']
  bandwidth: Float[Array, '']
  total: Float[Array, ' C']
  num_documents: UInt32[Array, '']


def start(sample: log_density.Sample, bandwidth: Float[Array, '']) -> Check:
  """A check that has seen nothing yet, of the last usable documents.

  Args:
    sample: in the order of id hashes; up to `NUM_CHECKS` are taken from its
      end.
    bandwidth: > 0.

  Returns:
    The check.
  """
  size = min(NUM_CHECKS, len(sample.usable))
  first = jnp.maximum(jnp.sum(sample.usable) - size, 0)
  embedding, id_hash, mask = (
    jax.lax.dynamic_slice_in_dim(array, first, size) for array in sample
  )
  return Check(
    embedding=embedding,
    id_hash=id_hash,
    mask=mask,
    bandwidth=bandwidth,
    total=jnp.zeros(size, jnp.float32),
    num_documents=jnp.zeros((), jnp.uint32),
  )


def update(
  check: Check, points_BxD: Float[Array, 'B D'], mask_B: Bool[Array, ' B']
) -> Check:
  """Adds a batch of documents to every sum."""
  more = kernel_density.gaussian_sums(
    check.embedding, points_BxD, mask_B, check.bandwidth
  )
  return check._replace(
    total=check.total + more,
    num_documents=check.num_documents + jnp.sum(mask_B, dtype=jnp.uint32),
  )


def merge(first: Check, second: Check) -> Check:
  """The check of both corpora; both began from one `start`."""
  return first._replace(
    total=first.total + second.total,
    num_documents=first.num_documents + second.num_documents,
  )


def agreement(
  check: Check, log_density_C: Float[Array, ' C']
) -> dict[str, Any]:
  """Compares estimates for the sampled documents with their exact density.

  Args:
    check: after the whole corpus.
    log_density_C: [C] float32 estimates, any monotone transform.

  Returns:
    'checked_documents', 'spearman_exact' and 'mean_kernel', the exact
    density's mean over the sample; the latter two only where a sample exists.
  """
  mask = np.asarray(check.mask)
  report: dict[str, Any] = {'checked_documents': int(mask.sum())}
  if mask.any():
    exact = np.asarray(check.total, np.float64)[mask]
    estimate = np.asarray(log_density_C, np.float64)[mask]
    report['spearman_exact'] = ranks.spearman(exact, estimate)
    report['mean_kernel'] = float(exact.mean() / int(check.num_documents))
  return report
