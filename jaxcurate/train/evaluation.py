"""Held-out loss per document and per domain."""

from collections.abc import Callable, Iterable, Mapping, Sequence
import os
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcurate.io import hosts, tables
from jaxcurate.train import forward as forwards
from jaxcurate.types import Batch, Network


class EvalBatch(NamedTuple):
  """A padded batch and whose documents its examples are.

  Attributes:
    batch: see `jaxcurate.types`.
    id: [E] document of each example, None for padding. Examples of one
      document, in this batch or another, are added up.
    domain: [E] domain of each example, or None.
  """

  batch: Batch
  id: Sequence[str | None]
  domain: Sequence[str | None]


class EvalResult(NamedTuple):
  """Loss of every held-out document.

  Attributes:
    id: [N] str (object array), in the order of first appearance; documents
      with targets only.
    domain: [N] str or None (object array).
    loss: [N] float32, mean nats per target token.
    tokens: [N] int32 target tokens, >= 1.
  """

  id: np.ndarray
  domain: np.ndarray
  loss: np.ndarray
  tokens: np.ndarray


def make_eval_step(
  network: Network,
  *,
  max_segments: int,
  chunk_tokens: int | None = 1_024,
) -> Callable[[Any, Batch], tuple[jax.Array, jax.Array]]:
  """The jitted (params, batch) -> (log-probability, target tokens).

  Args:
    network: the network.
    max_segments: S, examples per row.
    chunk_tokens: tokens whose logits are held at a time, None = all.

  Returns:
    The function. Per example it gives the summed natural-log probability of
    its targets, [E] float32, and their number, [E] int32; 0 for padding.
  """

  def step(params: Any, batch: Batch) -> tuple[jax.Array, jax.Array]:
    outputs = forwards.forward(
      network, params, batch, chunk_tokens=chunk_tokens
    )
    assert outputs.log_prob_BxT is not None
    ones_BxT = jnp.ones_like(outputs.log_prob_BxT)
    return (
      forwards.example_sums(outputs.log_prob_BxT, batch, max_segments),
      forwards.example_sums(ones_BxT, batch, max_segments).astype(jnp.int32),
    )

  return jax.jit(step)


def evaluate(
  eval_step: Callable[[Any, Batch], tuple[jax.Array, jax.Array]],
  params: Any,
  batches: Iterable[EvalBatch],
  put: Callable[[Batch], Batch],
  *,
  members: int = 1,
) -> list[EvalResult]:
  """Runs all batches and adds up their examples by document.

  Args:
    eval_step: of `make_eval_step`, or its vmap over a population's params.
    params: of the network, or of a population.
    batches: the held-out text.
    put: places a batch on the devices.
    members: size of the population.

  Returns:
    One result per member.

  Raises:
    ValueError: ids and examples of a batch do not match.
  """
  rows: dict[str, int] = {}  # id -> index of its document
  domains: list[str | None] = []
  parts: list[tuple[int, int, np.ndarray]] = []  # row, tokens, [M] sums
  for batch, ids, batch_domains in batches:
    sums, counts = hosts.fetch(eval_step(params, put(batch)))
    sums_MxE = np.reshape(sums, (members, -1)).astype(np.float64)
    count_E = np.reshape(counts, (members, -1))[0]
    if not len(ids) == len(batch_domains) == len(count_E):
      raise ValueError(
        f'{len(ids)} ids and {len(batch_domains)} domains for a batch of'
        f' {len(count_E)} examples'
      )
    for example in np.flatnonzero(count_E).tolist():
      name = ids[example]
      if name is None:
        raise ValueError(f'example {example} of a batch has targets but no id')
      row = rows.setdefault(name, len(rows))
      if row == len(domains):
        domains.append(batch_domains[example])
      parts.append((row, int(count_E[example]), sums_MxE[:, example]))
  tokens_N = np.zeros(len(rows), np.int32)
  log_prob_MxN = np.zeros((members, len(rows)))
  for row, count, sums_M in parts:
    tokens_N[row] += count
    log_prob_MxN[:, row] += sums_M
  id_N = np.array(list(rows), dtype=object)
  domain_N = np.array(domains, dtype=object)
  loss_MxN = (-log_prob_MxN / tokens_N).astype(np.float32)
  return [EvalResult(id_N, domain_N, loss_N, tokens_N) for loss_N in loss_MxN]


def summarise(result: EvalResult) -> Mapping[str, float]:
  """Mean nats per target token: 'eval/loss' and 'eval/domain/<name>'.

  Args:
    result: the documents' losses; documents without domain count in the
      first only.
  """
  loss_N = result.loss.astype(np.float64)
  summary = {'eval/loss': float(np.average(loss_N, weights=result.tokens))}
  for domain in sorted({name for name in result.domain if name is not None}):
    of_domain = result.domain == domain
    summary[f'eval/domain/{domain}'] = float(
      np.average(loss_N[of_domain], weights=result.tokens[of_domain])
    )
  return summary


def write_eval(path: str | os.PathLike, result: EvalResult) -> None:
  """Writes eval.parquet: id, domain, loss, tokens per held-out document."""
  tables.write_table(path, result._asdict())
