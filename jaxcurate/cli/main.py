"""`jaxcurate COMMAND`: parses flags, runs one command, ends in one clear line.

Exit codes: 0 done; 1 failed, the last line on stderr says what and what to
do; 2 bad usage; 75 interrupted by SIGTERM with everything committed.
"""

from collections.abc import Iterator, Sequence
import contextlib
import importlib
import os
import pathlib
import signal
import sys
import threading
import traceback

import jaxcurate
from jaxcurate.cli import flags as flags_lib
from jaxcurate.io.errors import Interrupted, UserError

_COMMANDS = {
  'score': 'score every document of a corpus',
  'sample': 'choose documents by score, within a budget',
  'mix': 'say how much of each domain to train on',
  'train': 'train a model, weighting every example',
  'evaluate': 'measure a trained model on held-out text',
  'report': 'one page of figures from scores, selections and runs',
  'demo': 'the whole path on text already on this machine',
}
_ON_ALL_HOSTS = ('score', 'train')
_EXIT_FAILED, _EXIT_USAGE, EXIT_INTERRUPTED = 1, 2, 75


def console() -> None:
  """Entry point of the `jaxcurate` script."""
  code = main(sys.argv[1:], join=True)
  if code == EXIT_INTERRUPTED:
    # All is committed; a thread that waits for the network must not hold up
    # the end until the scheduler loses patience.
    sys.stdout.flush()
    os._exit(code)
  sys.exit(code)


def main(argv: Sequence[str], *, join: bool = False) -> int:
  """Runs one command.

  Args:
    argv: arguments after the program's name.
    join: first join the run's other hosts (`hosts.join`), once in a process.

  Returns:
    The exit code.
  """
  # Compiled programs are kept between runs; a set variable wins.
  cache = pathlib.Path('~/.cache/jaxcurate/compiled').expanduser()
  os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(cache))
  os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.5')
  # Warnings of libraries would stand between the user and our one line.
  os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '3')
  if not argv or argv[0] not in _COMMANDS:
    return _overview(argv)
  name = argv[0]
  arguments, bindings = _split_bindings(argv[1:])
  try:
    flags = flags_lib.parser(name).parse_args(arguments)
  except SystemExit as stop:  # argparse has printed help or usage
    return int(stop.code or 0)
  try:
    with _sigterm():
      if join and name in _ON_ALL_HOSTS:
        importlib.import_module('jaxcurate.io.hosts').join()
      command = importlib.import_module(f'jaxcurate.cli.{name}')
      command.main(flags, bindings, ['jaxcurate', *argv])
    return 0
  except Interrupted as stop:
    return _fail(stop, flags.debug, EXIT_INTERRUPTED)
  except KeyboardInterrupt as stop:
    return _fail(stop, flags.debug, 130)
  except Exception as error:  # the last line must say what happened
    return _fail(error, flags.debug, _EXIT_FAILED)


@contextlib.contextmanager
def _sigterm() -> Iterator[None]:
  """SIGTERM raises `Interrupted` here; only a main thread can have signals."""
  if threading.current_thread() is not threading.main_thread():
    yield
    return
  before = signal.signal(signal.SIGTERM, _terminate)
  try:
    yield
  finally:
    signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: object) -> None:
  """SIGTERM: stop where Python stands; commands commit on their way out."""
  del frame
  signal.signal(number, signal.SIG_IGN)  # a second one must not stop a commit
  raise Interrupted(
    'interrupted; everything finished is kept, run the same command to continue'
  )


def _fail(error: BaseException, debug: bool, code: int) -> int:
  """Prints the one line, after the traceback where that was asked for."""
  if debug:
    traceback.print_exception(error)
  # Gin adds the chain of configurables to messages that pass through it.
  message = str(error).partition('\n  In call to configurable')[0]
  message = ' '.join(message.split())
  if isinstance(error, KeyboardInterrupt):
    message = 'interrupted; run the same command to continue'
  elif not isinstance(error, UserError | Interrupted):
    message = (
      f'{type(error).__name__}: {message[:500]}'
      ' (run again with --debug for the traceback)'
    )
  print(f'jaxcurate: {message}', file=sys.stderr, flush=True)
  return code


def _overview(argv: Sequence[str]) -> int:
  """Lists the commands; an error unless that was asked for."""
  listing = '\n'.join(f'  {n:<10}{text}' for n, text in _COMMANDS.items())
  text = (
    'usage: jaxcurate COMMAND [flags]\n\ncommands:\n'
    f'{listing}\n\n`jaxcurate COMMAND --help` explains one.'
  )
  if argv and argv[0] in ('-h', '--help', '--version'):
    print(jaxcurate.__version__ if argv[0] == '--version' else text)
    return 0
  unknown = f'jaxcurate: unknown command {argv[0]!r}' if argv else ''
  print('\n'.join(filter(None, (text, unknown))), file=sys.stderr)
  return _EXIT_USAGE


def _split_bindings(argv: Sequence[str]) -> tuple[list[str], list[str]]:
  """Takes `--gin.NAME=value` out of the arguments, as T5X does."""
  arguments, bindings = [], []
  for argument in argv:
    if argument.startswith('--gin.'):
      bindings.append(argument.removeprefix('--gin.').replace('=', ' = ', 1))
    else:
      arguments.append(argument)
  return arguments, bindings
