"""`jaxcurate evaluate`: a model's loss on every document of a corpus.

With --tasks it is `evaluate_tasks` instead.
"""

import argparse
from collections.abc import Sequence
import time

from etils import epath
import jax

from jaxcurate.cli import evaluate_tasks, gin_files
from jaxcurate.cli import flags as flags_lib
from jaxcurate.cli import inputs as inputs_lib
from jaxcurate.data import row_shape, spoken_rows, token_cache
from jaxcurate.evaluate import held_out
from jaxcurate.io import manifest as manifests
from jaxcurate.io.errors import UserError
from jaxcurate.models import mesh as mesh_lib
from jaxcurate.train import evaluation, text


def main(
  flags: argparse.Namespace, bindings: Sequence[str], command: Sequence[str]
) -> None:
  """Parses the run and evaluates."""
  flags_lib.parse_run(flags, 'evaluate', bindings)
  gin_files.call(run, command=command)


def run(
  *,
  inputs: Sequence[str],
  output: str,
  model: str | None,
  vocabulary: str | None = None,
  rows_per_batch: int = 32,
  encoder_length: int = 512,
  max_segments: int = 8,
  format: str | None = None,
  tasks: Sequence[str] = (),
  task: str | None = None,
  task_module: str | None = None,
  split: str = 'validation',
  text_field: str = 'text',
  id_field: str = 'id',
  domain_field: str = 'domain',
  on_bad_row: str = 'stop',
  turns: bool = False,
  mesh: str | None = None,
  dtype: str | None = None,
  command: Sequence[str] = (),
) -> None:
  """Held-out loss per document; spans are hidden under masks fixed by id.

  Args:
    inputs: globs, files, folders or URLs; or `task` and `split`.
    tasks: downstream tasks instead: `evaluate_tasks.run` is called.
    format, task_module: see `inputs.open_documents`.
    output: folder for eval.parquet and manifest.json.
    model: checkpoint folder, 'judge' or 'hf:owner/name'.
    vocabulary: spiece.model or 'bytes'; None for the model's own.
    rows_per_batch, encoder_length, max_segments: of the batches.
    text_field, id_field, domain_field, on_bad_row: of the corpus.
    turns: of instructions and conversations, the loss of their answers.
    mesh: e.g. 'data=4,model=2'.
    dtype: of activations; None chooses by device.
    command: argv, for the manifest.

  Raises:
    UserError: whatever a user can put right.
  """
  if tasks:
    if inputs or task:
      raise UserError('give either --tasks, or a corpus (--input or --task)')
    gin_files.call(evaluate_tasks.run, command=command)
    return
  if model is None:
    raise UserError('give --model: a checkpoint folder, e.g. OUTPUT/model')
  started = time.monotonic()
  devices = mesh_lib.make_mesh(mesh)
  loaded = inputs_lib.load_model(
    model, devices, vocabulary=vocabulary, dtype=dtype
  )
  corpus = inputs_lib.open_documents(
    inputs=inputs,
    format=format,
    task=task,
    task_module=task_module,
    split=split,
    text_field=text_field,
    id_field=id_field,
    domain_field=domain_field,
    on_bad_row=on_bad_row,
    turns=turns,
  )
  files = [source.name for source in corpus.sources]
  rows = row_shape.settings_for(
    loaded.network,
    length=encoder_length,
    max_segments=max_segments,
    spoken=turns,
  )
  spell = None
  if turns:
    spell = spoken_rows.make_spell(
      loaded.vocabulary,
      causal=loaded.network.encode is None,
      skip_refused=on_bad_row == 'skip',
    )
  settings = {
    'model': model,
    'files': files,
    'fields': list(corpus.fields),
    'rows': list(rows),
    'rows_per_batch': rows_per_batch,
  }
  if manifests.begin(output, 'evaluation', settings):
    print(f'{output}: already evaluated')
    return
  cache = token_cache.build(
    f'{output}/cache',
    corpus.rows(),
    loaded.vocabulary,
    settings={'files': files, 'fields': list(corpus.fields)},
    holdout_share=0.0,
    spell=spell,
  )
  sharding = jax.sharding.NamedSharding(
    devices, jax.sharding.PartitionSpec('data')
  )
  [result] = evaluation.evaluate(
    evaluation.make_eval_step(loaded.network, max_segments=max_segments),
    loaded.params,
    text.held_out_batches(
      cache.train, cache.domains, loaded.vocabulary, rows, rows_per_batch
    ),
    lambda batch: jax.device_put(dict(batch), sharding),
  )
  evaluation.write_eval(epath.Path(output) / 'eval.parquet', result)
  summary = evaluation.summarise(result)
  manifests.write_manifest(
    output,
    {
      'kind': 'evaluation',
      'command': list(command),
      'settings': settings,
      'inputs': files,
      'num_rows': len(result.id),
      'skipped': dict(cache.skipped),
      'cost': {
        'seconds': time.monotonic() - started,
        'device': f'{jax.devices()[0].device_kind} x{devices.size}',
      },
      'diagnostics': summary,
    },
  )
  print(f'{"domain":<30} {"documents":>9} {"loss":>8} {"perplexity":>10}')
  for row in held_out.perplexity_table(
    result.domain, result.loss, result.tokens
  ):
    print(
      f'{row.name:<30} {row.num_documents:>9} {row.loss:>8.4f}'
      f' {row.perplexity:>10.2f}'
    )
