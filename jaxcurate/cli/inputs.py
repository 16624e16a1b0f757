"""What several commands open alike: corpora, models, prompt files."""

from collections.abc import Callable, Sequence
import pathlib
import threading
import time
from typing import Any, NamedTuple

import jax
import tqdm

from jaxcurate.data import readers
from jaxcurate.data import vocabulary as vocabularies
from jaxcurate.io.errors import UserError
from jaxcurate.models import load, partitioning
from jaxcurate.types import Network, Vocabulary

_COUNT_SECONDS = 60.0  # a corpus that takes longer to count has no total


class Loaded(NamedTuple):
  """A model whose parameters lie on the mesh."""

  name: str
  network: Network
  params: Any
  vocabulary: Vocabulary
  num_params: int


def open_documents(
  *,
  inputs: Sequence[str],
  task: str | None,
  split: str,
  text_field: str,
  id_field: str,
  domain_field: str,
  on_bad_row: str,
  vector_field: str | None = None,
  turns: bool = False,
  format: str | None = None,
  task_module: str | None = None,
) -> readers.Corpus:
  """The corpus of --input, or of --task.

  Args:
    inputs: globs, files, folders or URLs.
    task: a seqio Task or Mixture instead.
    split: of the task.
    text_field, id_field, domain_field, vector_field: columns.
    on_bad_row: 'stop' or 'skip'.
    turns: read conversations and instructions of files as turns.
    format: of the inputs; None goes by the extension of each file.
    task_module: Python module that registers the task.

  Raises:
    UserError: neither or both are given, or nothing is found.
  """
  if bool(inputs) == bool(task):
    raise UserError('give either --input or --task')
  if task:
    from jaxcurate.data import seqio_tasks  # seqio takes seconds to import

    return seqio_tasks.open_task(
      task,
      split=split,
      module=task_module,
      text_field=text_field,
      id_field=id_field,
      domain_field=domain_field,
      vector_field=vector_field,
      on_bad_row=on_bad_row,
    )
  return readers.open_corpus(
    [inputs] if isinstance(inputs, str) else list(inputs),
    text_field=text_field,
    id_field=id_field,
    domain_field=domain_field,
    vector_field=vector_field,
    on_bad_row=on_bad_row,
    turns=turns,
    format=format,
  )


def load_model(
  path: str,
  mesh: jax.sharding.Mesh,
  *,
  vocabulary: str | None = None,
  dtype: str | None = None,
) -> Loaded:
  """Loads weights and vocabulary, and puts the weights on the mesh.

  Args:
    path: checkpoint folder, 'judge' or 'hf:owner/name'.
    mesh: where the parameters go.
    vocabulary: tokenizer.json, spiece.model, tokenizer.model, a folder with
      one of these, or 'bytes'; None for the checkpoint's own.
    dtype: of activations; None is float32 on CPU, bfloat16 elsewhere.

  Raises:
    UserError: no weights there, or no vocabulary, or not the model's.
  """
  if dtype is None:
    dtype = 'float32' if jax.default_backend() == 'cpu' else 'bfloat16'
  if path.endswith('.gin'):
    raise UserError(
      f'--model={path} has a shape but no weights; give a checkpoint folder,'
      ' hf:owner/name or "judge"'
    )
  model = load.load(path, dtype=dtype)
  words = vocabulary or model.vocabulary
  if words is None:
    raise UserError(
      f'{path}: has no vocabulary; give --vocabulary=spiece.model or "bytes"'
    )
  loaded_words = vocabularies.load_vocabulary(words)
  vocabularies.check_fits(loaded_words, model.network.vocab_size)
  shardings = partitioning.param_shardings(
    mesh, model.network.logical_axes, model.params
  )
  return Loaded(
    name=path,
    network=load.for_scoring(model),
    params=jax.device_put(model.params, shardings),
    vocabulary=loaded_words,
    num_params=sum(leaf.size for leaf in jax.tree.leaves(model.params)),
  )


def read_templates(paths: Sequence[str]) -> dict[str, str]:
  """Prompt files by criterion; '' names the one of a plain path.

  Args:
    paths: 'FILE' once, or 'NAME=FILE' once or more.

  Raises:
    UserError: a file is missing, or plain and named ones are mixed.
  """
  templates = {}
  for path in paths:
    name, _, file = path.rpartition('=')
    try:
      templates[name] = pathlib.Path(file).read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
      raise UserError(f'--template={path}: cannot be read ({error})') from error
  if '' in templates and len(paths) > 1:
    raise UserError('several --template need names: --template=NAME=FILE')
  return templates


def progress_bar(
  corpus: readers.Corpus, block_rows: int, description: str
) -> tuple[tqdm.tqdm, Callable[[], None]]:
  """A bar in documents whose total is counted while work goes on.

  Args:
    corpus: to count.
    block_rows: any; rows are counted in such blocks.
    description: shown at the left.

  Returns:
    The bar, and a function that stops counting.
  """
  bar = tqdm.tqdm(desc=description, unit='doc', smoothing=0.1)
  stop = threading.Event()

  def count():
    starts: dict[str, int] = {}

    def passed(file: str, start: int) -> bool:
      if stop.is_set() or time.monotonic() > deadline:
        raise InterruptedError
      starts[file] = start
      return True

    try:
      for _ in corpus.blocks(block_rows=block_rows, done=passed):
        pass
    except (UserError, InterruptedError):
      return  # whoever reads the documents reports what is wrong with them
    bar.total = sum(starts.values()) + block_rows * len(starts) // 2
    bar.refresh()

  deadline = time.monotonic() + _COUNT_SECONDS
  threading.Thread(target=count, daemon=True).start()
  return bar, stop.set
