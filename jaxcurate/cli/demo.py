"""`jaxcurate demo`: the whole path on text that is already on this machine.

It gathers Python's own documentation, damages a share of it, scores, samples
and trains small models at equal total floating-point operations, and reports.
The stages are the commands themselves, printed as they run; only the training
of several seeds side by side has no command of its own.
"""

import argparse
from collections.abc import Callable, Sequence
import pathlib
import time

from jaxcurate.cli import demo_text, demo_train, gin_files
from jaxcurate.cli import flags as flags_lib
from jaxcurate.cli import main as main_lib
from jaxcurate.data import readers, row_shape
from jaxcurate.data import vocabulary as vocabularies
from jaxcurate.io import atomic
from jaxcurate.io.errors import Interrupted, UserError
from jaxcurate.models import load, t5
from jaxcurate.report import run as reporting
from jaxcurate.train import optimizers, text
from jaxcurate.train import program as programs
from jaxcurate.types import Weighting

CONTENDERS = (
  demo_train.Contender('uniform'),
  demo_train.Contender('random_subset', 'uniform'),
  demo_train.Contender('ask_llm_subset', 'top_k', 'ask_llm'),
  demo_train.Contender(
    'density_subset', 'inverse_propensity', 'density_references'
  ),
  demo_train.Contender('adapt', weighting='adapt'),
)


def main(
  flags: argparse.Namespace, bindings: Sequence[str], command: Sequence[str]
) -> None:
  """Parses the run and goes through all stages."""
  flags_lib.parse_run(flags, 'demo', bindings)
  gin_files.call(run, command=command)


def run(
  *,
  output: str,
  network: t5.T5Config,
  weightings: dict[str, Callable[[], Weighting]],
  optimizer: Callable[[], optimizers.Optimizer],
  steps: int,
  rows_per_batch: int,
  encoder_length: int,
  max_segments: int,
  num_documents: int,
  num_held_out: int,
  num_anchors: int,
  damaged_share: float,
  packages: bool,
  budget: str,
  seeds: Sequence[int],
  seed: int = 0,
  command: Sequence[str] = (),
) -> None:
  """Runs every stage; what is finished in `output` is not done again.

  Args:
    output: folder of the study.
    network: the model that is trained.
    weightings: name -> `make` of a weighting.
    optimizer: `optimizers.make_optimizer`, bound by Gin.
    steps: of the uniform run; the others get what its operations leave after
      their scoring.
    rows_per_batch, encoder_length, max_segments: of the training batches.
    num_documents, num_held_out, num_anchors: how much text is used.
    damaged_share: share of the corpus that is damaged.
    packages: read the installed packages too, not only Python's own text.
    budget: of every subset, see `jaxcurate sample`.
    seeds: models per contender.
    seed: of damage and samples.
    command: argv, for the manifests.

  Raises:
    UserError: the folder holds another study.
  """
  started = time.monotonic()
  folder = pathlib.Path(output)
  # The commands below parse Gin anew: whatever was bound is made now.
  made = {name: make() for name, make in weightings.items()}
  chosen_optimizer = optimizer()
  atomic.write_text(folder / 'config.gin', gin_files.resolved())
  corpus, held_out, anchors = demo_text.write(
    folder,
    num_documents=num_documents,
    num_held_out=num_held_out,
    num_anchors=num_anchors,
    damaged_share=damaged_share,
    packages=packages,
    seed=seed,
  )
  methods = ('ask_llm', 'perplexity', 'density_references')
  _command(
    'score',
    *(f'--method={method}' for method in methods),
    f'--input={corpus}',
    f'--output={folder}/scores',
    *(f'--gin.{method}.make.max_length=256' for method in methods),
  )
  for contender in (
    *CONTENDERS,
    demo_train.Contender('perplexity_subset', 'top_k', 'perplexity'),
  ):
    if contender.sampler is not None:
      _command(
        'sample', f'--method={contender.sampler}', f'--budget={budget}',
        f'--input={folder}/scores', f'--seed={seed}',
        f'--output={folder}/selections/{contender.name}',
        *([f'--by={contender.by}'] if contender.by else []),
      )  # fmt: skip
  words = vocabularies.load_vocabulary(
    str(load.judge_folder() / 'spiece.model')
  )
  rows = row_shape.row_settings(
    encoder_length=encoder_length, max_segments=max_segments
  )
  study = demo_train.Study(
    folder, str(corpus), str(held_out), words, rows, rows_per_batch,
    t5.make_network(network), chosen_optimizer,
    programs.StepSettings(max_segments=max_segments), tuple(seeds),
  )  # fmt: skip
  anchor_set = text.make_anchors(
    folder / 'cache' / 'anchors', 'anchors',
    readers.open_corpus([str(anchors)]).rows(), words, rows, rows_per_batch,
    {'file': anchors.name, 'num_anchors': num_anchors},
  )  # fmt: skip
  total = None
  for contender in CONTENDERS:
    weighting = made[contender.weighting]
    total = demo_train.train(
      study, contender, weighting, anchor_set, steps, total, list(command)
    )
  page = reporting.run(
    inputs=[output],
    output=f'{output}/report',
    title='jaxcurate on the text of this machine',
  )
  demo_text.print_findings(folder)
  minutes = (time.monotonic() - started) / 60
  print(f'report: {page} ({minutes:.1f} minutes)')


def _command(*arguments: str) -> None:
  """Runs a command as a user would, and prints it."""
  print(f'\n$ jaxcurate {" ".join(arguments)}', flush=True)
  code = main_lib.main(arguments)
  if code == main_lib.EXIT_INTERRUPTED:
    raise Interrupted('interrupted; run the same command to continue')
  if code:
    raise UserError(f'the step above failed with exit code {code}')
