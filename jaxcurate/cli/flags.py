"""The plain flags of every command, and the Gin macros they bind.

A flag that is not given binds nothing: its value is the one in the Gin files,
where it can also be set as `--gin.MACRO=value`.
"""

import argparse
from collections.abc import Callable, Sequence
import pathlib
from typing import Any, NamedTuple

from jaxcurate.cli import commands, gin_files


class Flag(NamedTuple):
  """One plain flag; its macro is its name in capitals; bool takes no value."""

  help: str
  convert: Callable[[str], Any] = str
  repeat: bool = False


FLAGS = {
  'input': Flag(
    'files, globs, folders or URLs (gs://, s3://, hf://)', str, True
  ),
  'output': Flag('folder to write; running again continues it'),
  'task': Flag('a registered seqio Task or Mixture instead of --input'),
  'task_module': Flag('importable Python module that registers the task'),
  'split': Flag('split of the task'),
  'format': Flag(
    'json, jsonl, parquet, text, tfrecord or tsv (default: by the extension of'
    ' each file)'
  ),
  'text_field': Flag('column of the text (default "text")'),
  'id_field': Flag('column of the id (default "id"; made up when missing)'),
  'domain_field': Flag('column of the domain (default "domain")'),
  'on_bad_row': Flag('"stop" (default) or "skip": bad rows are counted'),
  'model': Flag(
    'checkpoint folder (Hugging Face or T5X), hf:owner/name, "judge" for the'
    ' shipped one, or a Gin file of models/ for training from scratch'
  ),
  'vocabulary': Flag(
    'tokenizer.json, tokenizer.model or spiece.model, a folder with one, or'
    ' "bytes" (default: the model\'s own)'
  ),
  'template': Flag(
    'prompt file with {text} for ask_llm; NAME=FILE for named criteria',
    str,
    True,
  ),
  'mesh': Flag('devices, e.g. "data=4,model=2" (default: all on data)'),
  'dtype': Flag('activations: "float32" or "bfloat16" (default: by device)'),
  'seed': Flag('seed of everything random', int),
  'by': Flag('score column; several of a judge\'s targets as "a,b"'),
  'columns': Flag(
    'score folder, or JSON Lines or Parquet with ids and numbers: more columns'
    ' for --by',
    str,
    True,
  ),
  'scores': Flag(
    'score folder whose column --by weighs examples, for weightings that read'
    ' a score',
    str,
    True,
  ),
  'budget': Flag(
    '0.2 = share of documents, 1000 = documents, 5000000t = tokens, 0.2t ='
    ' share of tokens'
  ),
  'threshold': Flag(
    'lowest score that --method=threshold keeps, or where --method=uncertainty'
    ' looks; of lamdas the ratio (default 1)',
    float,
  ),
  'corpus': Flag(
    'text of the tables, for methods that train small models on it', str, True
  ),
  'mixture': Flag(
    'what `mix` wrote: followed instead of --method, or the shares of domains'
    ' to train on'
  ),
  'domains': Flag('file or score folder of domains by id (default: --input)'),
  'exclude': Flag(
    'leave out ids of a folder that `jaxcurate sample` wrote, or of labelled'
    ' JSON Lines, Parquet or TSV files',
    str,
    True,
  ),
  'targets': Flag(
    'learn a judge, or a method that reads labels of --anchors, from these: a'
    ' score folder, or JSON Lines or Parquet with ids and labels (column --by)'
  ),
  'pairs': Flag(
    'learn a judge from these: JSON Lines or Parquet with id_a, id_b and the'
    ' probability that a is better'
  ),
  'selection': Flag('folder that `jaxcurate sample` wrote'),
  'anchors': Flag(
    'a small trusted corpus, for methods that learn from one', str, True
  ),
  'reference': Flag('a second model, for methods that compare two'),
  'turns': Flag(
    'read instructions and conversations as turns: for methods that need them,'
    ' and to train or evaluate on their answers',
    bool,
  ),
  'exclude_anchors': Flag(
    'leave documents out that are also in --anchors', bool
  ),
  'fitted': Flag('score folder whose anchors and fits are used again'),
  'cascade': Flag(
    'score folder of a smaller judge: read only the documents in its --band'
  ),
  'band': Flag(
    'LOW,HIGH: 0.7,0.9 is what lies between the 0.7 and 0.9 quantiles of the'
    " smaller judge's score (column --by)"
  ),
  'steps': Flag('optimizer steps in all', int),
  'schedule_steps': Flag('steps of a decaying learning-rate schedule', int),
  'eval_input': Flag('held-out corpus (default: 1 %% of the input)', str, True),
  'tasks': Flag(
    'downstream tasks instead of --input, e.g. arc_easy,mmlu; "choices" for all'
    ' of multiple choice',
    lambda names: names.split(','),
  ),
  'benchmarks': Flag('folder of the files of --tasks'),
  'run_code': Flag(
    'run programs that the model writes, on this machine, within limits of time'
    ' and memory: for the tasks humaneval and mbpp',
    bool,
  ),
  'title': Flag('title of the page'),
  'baseline': Flag('run to compare with (default "uniform")'),
}


def parser(command: str) -> argparse.ArgumentParser:
  """The parser of one command."""
  description, names = commands.COMMANDS[command]
  made = argparse.ArgumentParser(
    prog=f'jaxcurate {command}',
    usage=f'jaxcurate {command} [flags] [--gin.NAME=value ...]',
    description=description,
    epilog=f'example:{commands.EXAMPLES[command]}\n\n'
    'Every setting of a method is a Gin binding, e.g.\n'
    '--gin.ask_llm.make.max_length=256; the files under methods/ list them'
    ' with\ntheir sources. Exit codes: 0 done, 1 failed, 2 bad usage, 75'
    ' interrupted with\neverything committed.',
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  kinds = {'score': 'scorers', 'sample': 'samplers', 'mix': 'mixtures'}
  if command in kinds:
    kind = kinds[command]
    known = ', '.join(gin_files.known_methods(kind))
    made.add_argument(
      '--method',
      action='append',
      default=[],
      help=f'repeatable; {known}' if command == 'score' else known,
    )
  if command == 'train':
    known = ', '.join(gin_files.known_methods('weightings'))
    made.add_argument('--weighting', default=None, help=known)
  for name in names:
    flag = FLAGS[name]
    if flag.convert is bool:
      made.add_argument(
        f'--{name}', action='store_const', const=True, help=flag.help
      )
      continue
    made.add_argument(
      f'--{name}',
      type=flag.convert,
      default=None,
      action='append' if flag.repeat else 'store',
      help=('repeatable; ' if flag.repeat else '') + flag.help,
    )
  made.add_argument(
    '--gin_file', action='append', default=[], help='repeatable'
  )
  made.add_argument(
    '--gin_search_paths', default='', help='folders, comma-separated'
  )
  made.add_argument(
    '--debug', action='store_true', help='print the traceback of an error'
  )
  return made


def macro_lines(flags: argparse.Namespace, command: str) -> str:
  """Gin lines that bind the macros of the flags that were given."""
  lines = []
  for name in commands.COMMANDS[command][1]:
    value: Any = getattr(flags, name)
    if value is None or (name == 'model' and _is_network(value, command)):
      continue
    lines.append(f'{name.upper()} = {value!r}')
  return ''.join(line + '\n' for line in lines)


def _is_network(model: str, command: str) -> bool:
  """Whether --model is a Gin file: a network without weights, to train."""
  is_file = model.endswith('.gin') and not pathlib.Path(model).is_dir()
  return is_file and command in ('mix', 'train')


def parse_run(
  flags: argparse.Namespace,
  command: str,
  bindings: Sequence[str],
  *,
  kind: str | None = None,
  methods: Sequence[str] = (),
  run: str | None = None,
) -> None:
  """Composes and parses the whole run of a command.

  Args:
    flags: parsed by `parser(command)`.
    command: 'score', 'sample', ...
    bindings: 'NAME = value' of the --gin. flags.
    kind: folder of the named methods, None when the command has none.
    methods: their names.
    run: file under runs/, where it is not named as the command is.
  """
  files = [f'runs/{run or command}.gin', *flags.gin_file]
  text = macro_lines(flags, command)
  model = getattr(flags, 'model', None)
  if model is not None and _is_network(model, command):
    files.append(model)
  if kind is not None and methods:
    method_files, lines = gin_files.method_binding(kind, methods)
    files += method_files
    text = lines + text
  gin_files.parse(
    files=files,
    search_paths=[p for p in flags.gin_search_paths.split(',') if p],
    text=text,
    bindings=bindings,
  )
