"""Counts the operations of training steps and of Ask-LLM scoring.

  python tools/count_flops.py --model=models/t5_small.gin
  python tools/count_flops.py --model=models/t5_xl.gin --rows=64 --segments=4

Everything is traced on shapes: no parameter is allocated, so any size counts
in seconds on a laptop. Rules of counting: jaxcurate/ops/flops.py.
"""

import argparse
from collections.abc import Sequence
import functools
from typing import Any

import jax
import jax.numpy as jnp
import workloads

from jaxcurate.models.t5 import make_network
from jaxcurate.ops.flops import count_flops, count_matmul_flops
from jaxcurate.scorers import ask_llm
from jaxcurate.train import anchors, optimizers, state, step
from jaxcurate.types import Network, Weighting
from jaxcurate.weightings import adapt, uniform


def train_step_flops(
  network: Network,
  weighting: Weighting,
  batch: Any,
  *,
  segments: int,
  optimizer: optimizers.Optimizer | None = None,
) -> tuple[int, int]:
  """Operations of one training step: all, and those of matrix products.

  Args:
    network: the network.
    weighting: how examples are weighted.
    batch: arrays or shapes.
    segments: examples per row.
    optimizer: None for Adafactor as T5 has it.
  """
  optimizer = optimizer or optimizers.make_optimizer()
  call = (
    step.make_train_step(network, optimizer, weighting, max_segments=segments),
    abstract_state(network, optimizer, weighting),
    workloads.shapes(batch),
  )
  return count_flops(*call), count_matmul_flops(*call)


def abstract_state(
  network: Network, optimizer: optimizers.Optimizer, weighting: Weighting
) -> state.TrainState:
  """Shapes of the state before step 1."""
  return jax.eval_shape(lambda: state.init_state(network, optimizer, weighting))


def refresh_flops(
  network: Network, weighting: Weighting, batch: Any, *, segments: int
) -> int:
  """Operations of one refresh of the anchors, given as one batch.

  Args:
    network: the network.
    weighting: one with anchors.
    batch: the anchors.
    segments: examples per row.
  """
  stacked = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), dict(batch)
  )
  return count_flops(
    anchors.make_refresh_step(network, weighting, max_segments=segments),
    abstract_state(network, optimizers.make_optimizer(), weighting),
    stacked,
  )


def scoring_flops(
  network: Network, rows: int, length: int, segments: int
) -> tuple[int, int]:
  """Operations of Ask-LLM on packed rows: all, and matrix products alone.

  Args:
    network: the judge.
    rows: packed rows.
    length: encoder tokens per row.
    segments: documents per row; each decodes one position.
  """
  scorer = ask_llm.make(
    network=network,
    vocabulary=workloads.WordVocabulary(),
    max_length=length,
  )
  batch = {
    'encoder_input_tokens': (rows, length),
    'encoder_segment_ids': (rows, length),
    'encoder_is_text': (rows, length),
    'decoder_input_tokens': (rows, segments),
    'decoder_segment_ids': (rows, segments),
  }
  call = (
    functools.partial(scorer.features.apply, num_segments=segments),
    jax.eval_shape(network.init, jax.random.key(0)),
    {k: jax.ShapeDtypeStruct(v, jnp.int32) for k, v in batch.items()},
  )
  return count_flops(*call), count_matmul_flops(*call)


def report(flags: argparse.Namespace) -> list[str]:
  """The lines to print."""
  config = workloads.read_config(flags.model, remat=flags.remat)
  network = make_network(config)
  params = jax.eval_shape(network.init, jax.random.key(0))
  num_params = sum(leaf.size for leaf in jax.tree.leaves(params))
  batch = workloads.full_batch(
    flags.rows,
    flags.encoder_length,
    flags.decoder_length,
    segments=flags.segments,
  )
  weighted = adapt.make()
  plain, plain_matmul = train_step_flops(
    network, uniform.make(), batch, segments=flags.segments
  )
  with_adapt, _ = train_step_flops(
    network, weighted, batch, segments=flags.segments
  )
  refresh = refresh_flops(network, weighted, batch, segments=flags.segments)
  share = refresh / weighted.refresh_interval / plain
  score, score_matmul = scoring_flops(
    network, flags.rows, flags.encoder_length, flags.segments
  )
  tokens = flags.rows * (flags.encoder_length + flags.decoder_length)
  scored = flags.rows * flags.encoder_length
  return [
    f'{flags.model}: {num_params / 1e6:.1f} M parameters; {flags.rows}'
    f' rows of {flags.encoder_length} + {flags.decoder_length} tokens,'
    f' {flags.segments} examples each',
    _line('uniform training step', plain, tokens, plain_matmul),
    _line('ADAPT training step', with_adapt, tokens),
    f'  ADAPT over uniform: +{with_adapt / plain - 1:.6%}',
    _line('ADAPT refresh, as many anchors', refresh, tokens),
    f'  every {weighted.refresh_interval} steps: +{share:.2%} of a step',
    _line('Ask-LLM scoring', score, scored, score_matmul),
  ]


def _line(name: str, flops: int, tokens: int, matmul: int | None = None) -> str:
  text = f'{name:32}{flops:>24,}  {flops / tokens / 1e6:>10.2f} M per token'
  if matmul is not None:
    text += f'  {matmul / flops:.1%} in matrix products'
  return text


def main(argv: Sequence[str] | None = None) -> None:
  """Parses the flags and prints the report."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  parser.add_argument('--model', default=workloads.SMALL, help='gin file')
  parser.add_argument('--rows', type=int, default=8, help='rows per batch')
  parser.add_argument('--encoder_length', type=int, default=512)
  parser.add_argument('--decoder_length', type=int, default=114)
  parser.add_argument('--segments', type=int, default=1, help='per row')
  parser.add_argument('--remat', action='store_true', help='recompute layers')
  print('\n'.join(report(parser.parse_args(argv))))


if __name__ == '__main__':
  main()
