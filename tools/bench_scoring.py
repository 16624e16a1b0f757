"""Ask-LLM scoring: the project against transformers with SDPA, in turn.

  python tools/bench_scoring.py                      # about six minutes
  python tools/bench_scoring.py --input=docs.jsonl.gz --vocabulary=spiece.model

Two comparisons, each in rounds with jnp.dot 4096x512x1024: full rows of
--max_length tokens, and documents of real lengths, which the peer sorts and
pads to each batch's longest and the project packs. The network has random
weights, the same in both, and both scores are compared. Timed: everything from
token ids to scores on the host; not timed: tokenising and compiling.

On a GPU or TPU the batches are large, the arithmetic is bfloat16, and the
share of the device's peak is printed.
"""

import argparse
from collections.abc import Callable, Sequence
import json
import pathlib
from typing import Any

import benchmarking
import jax
import numpy as np
import peers
import workloads

from jaxcurate.data import readers
from jaxcurate.data.vocabulary import load_vocabulary
from jaxcurate.models import forward
from jaxcurate.models import mesh as mesh_lib
from jaxcurate.models.t5 import T5Config, for_scoring, make_network
from jaxcurate.ops.flops import count_flops, count_matmul_flops
from jaxcurate.scorers import answers, ask_llm
from jaxcurate.types import Document, Scorer

ON_CPU = jax.default_backend() == 'cpu'


class Project:
  """The engine's own path from examples to scores.

  A class because scorer, parameters and compiled pass outlive a call.
  """

  def __init__(self, flags: argparse.Namespace, vocabulary: Any):
    self.config: T5Config = workloads.read_config(
      flags.model, dtype='float32' if ON_CPU else 'bfloat16'
    )
    network = make_network(for_scoring(self.config))
    self.params = jax.jit(network.init)(jax.random.key(0))
    self.scorer: Scorer = ask_llm.make(
      network=network, vocabulary=vocabulary, max_length=flags.max_length
    )
    [self.yes_id] = answers.word_ids(('yes',), vocabulary)
    self.forward = forward.Forward(
      self.scorer.features,
      jax.device_put(self.params),
      mesh_lib.make_mesh(),
      rows=flags.rows,
    )

  def prompts(self, documents: list[list[int]]) -> list[dict]:
    """One example per document."""
    rows = [Document(str(i), '', None) for i in range(len(documents))]
    made = self.scorer.features.examples(rows, documents)
    return [example for examples in made for example in examples]

  def call(self, examples: list[dict]) -> Callable[[], np.ndarray]:
    """Packs and scores all examples."""

    def run() -> np.ndarray:
      prepared = forward.prepare(self.scorer.features, examples)
      return self.forward(prepared)['log_yes']

    return run

  def executed(self, examples: list[dict]) -> tuple[int, int, float]:
    """Operations of one call: all and matrix products; share of padding."""
    prepared = forward.prepare(self.scorer.features, examples)
    batches = {}  # by length: how many, and one of them
    for start in self.forward.starts(prepared):
      batch = workloads.shapes(self.forward.batch(prepared, start))
      length = batch['encoder_input_tokens'].shape[1]
      batches[length] = (batches.get(length, (0,))[0] + 1, batch)
    flops = matmul = 0
    for count, batch in batches.values():
      call = (self._one_batch, workloads.shapes(self.params), batch)
      flops += count * count_flops(*call)
      matmul += count * count_matmul_flops(*call)
    return flops, matmul, 1 - prepared.tokens / prepared.slots

  def memory(self, examples: list[dict]) -> dict[str, int]:
    """Bytes of one compiled batch."""
    prepared = forward.prepare(self.scorer.features, examples)
    batch = workloads.shapes(self.forward.batch(prepared, 0))
    compiled = jax.jit(self._one_batch)
    return benchmarking.compiled_memory(compiled, self.params, batch)

  def _one_batch(self, params: Any, batch: Any) -> Any:
    """One device batch, as the engine runs it."""
    features = self.scorer.features
    return features.apply(params, batch, features.max_segments)


def compare(
  title: str,
  project: Project,
  documents: list[list[int]],
  flags: argparse.Namespace,
) -> dict[str, Any]:
  """Runs one comparison and prints its table.

  Args:
    title: of the table.
    project: ours.
    documents: token ids of the texts.
    flags: the command line.

  Returns:
    Seconds and ratios, for JSON.
  """
  examples = project.prompts(documents)
  flops, matmul, padding = project.executed(examples)
  ours = benchmarking.Row(
    f'project, {project.forward.rows} rows at a time',
    project.call(examples),
    len(documents),
    matmul,
  )
  rows, absent = [], peers.why_not(jax.default_backend())
  if absent:
    print(absent)
  else:
    model = peers.make_peer(project.config, project.params)
    prompts = [np.asarray(example['encoder'], np.int64) for example in examples]
    for size in flags.peer_batch:
      call = peers.log_yes_of_prompts(model, prompts, project.yes_id, size)
      name = f'transformers sdpa, batch {size}'
      rows.append(benchmarking.Row(name, call, len(documents)))
    difference = np.max(np.abs(rows[0].call() - ours.call()))
    print(f'largest difference of log P(yes): {difference:.2e}')
  dot = benchmarking.dot_row()
  benchmarking.run_rounds([*rows, ours, dot], rounds=flags.rounds)
  # The peer's best batch size is the base of all ratios.
  rows.sort(key=lambda row: np.median(row.wall))
  print(benchmarking.table(title, [*rows, ours], 'documents'))
  rate = benchmarking.rate_ratios(dot, ours)
  print(
    f'  executed: {flops / 1e9:.1f} GFLOP, {matmul / 1e9:.1f} in matrix'
    f' products; padding {padding:.1%} of tokens'
  )
  if ON_CPU:
    print(
      f'  rate of multiply-adds over {dot.name}:'
      f' {benchmarking.format_range(rate)}'
    )
  else:
    print(f'  {benchmarking.share_of_peak(ours)}')
  return {
    **benchmarking.as_dict([*rows, ours]),
    'over_dot': rate,
    'padding': padding,
  }


def real_documents(
  flags: argparse.Namespace, vocabulary: Any, longest: int
) -> list[list[int]]:
  """Token ids of documents of real lengths, cut to what fits."""
  if not flags.input:
    lengths = workloads.lognormal_lengths(
      flags.documents, longest=longest, seed=flags.seed
    )
    return workloads.random_documents(lengths, seed=flags.seed)
  texts = []
  corpus = readers.open_corpus(flags.input)
  for block in corpus.blocks(block_rows=1024):
    texts.extend(row.text for row in block.rows)
    if len(texts) > 50 * flags.documents:
      break
  chosen = np.random.default_rng(flags.seed).permutation(len(texts))
  tokens = vocabulary.encode_batch(
    [texts[i] for i in chosen[: flags.documents]]
  )
  return [ids[:longest] for ids in tokens if ids]


def main(argv: Sequence[str] | None = None) -> None:
  """Parses the flags and runs both comparisons."""
  parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
  add = parser.add_argument
  add('--model', default=workloads.SMALL, help='gin file')
  add('--max_length', type=int, default=512)
  add('--full', type=int, default=8 if ON_CPU else 1024, help='full documents')
  add('--documents', type=int, default=64 if ON_CPU else 8192)
  add('--rows', type=int, help="the project's rows at a time (its default)")
  add('--peer_batch', type=int, nargs='+', default=[8, 2] if ON_CPU else [64])
  add('--rounds', type=int, default=7)
  add('--input', action='append', help='corpus of real lengths; repeats')
  add('--vocabulary', help="spiece.model or 'bytes', with --input")
  add('--seed', type=int, default=0)
  add('--output', type=pathlib.Path, help='all seconds as JSON')
  flags = parser.parse_args(argv)
  if bool(flags.input) != bool(flags.vocabulary):
    parser.error('--input and --vocabulary go together')
  vocabulary = workloads.WordVocabulary()
  if flags.vocabulary:
    vocabulary = load_vocabulary(flags.vocabulary)
  print(benchmarking.device_line())
  project = Project(flags, vocabulary)
  before, after = answers.frame_tokens(ask_llm.TEMPLATE, vocabulary)
  room = flags.max_length - len(before) - len(after)
  full = workloads.random_documents([room] * flags.full, seed=flags.seed)
  real = real_documents(flags, vocabulary, room)
  memory = project.memory(project.prompts(full))
  print(
    f'Ask-LLM, {flags.model}; one compiled batch needs'
    f' {memory["temporaries"] / 1e6:.1f} MB of temporaries'
  )
  lengths = [len(ids) + flags.max_length - room for ids in real]
  found = {
    'full': compare(
      f'Full rows of {flags.max_length} tokens', project, full, flags
    ),
    'real': compare(
      f'Prompts of {min(lengths)} to {max(lengths)} tokens, mean'
      f' {np.mean(lengths):.0f}',
      project,
      real,
      flags,
    ),
    'memory': memory,
    'device': benchmarking.device_line(),
  }
  if flags.output:
    flags.output.write_text(json.dumps(found, indent=1))


if __name__ == '__main__':
  main()
