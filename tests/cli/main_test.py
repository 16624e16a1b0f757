"""What every command has in common: help, exit codes, one line of error."""

import os
import signal
import subprocess
import sys
import threading

import pytest

import jaxcurate
from jaxcurate.cli import commands, sample
from jaxcurate.cli import main as cli

COMMANDS = ['score', 'sample', 'mix', 'train', 'evaluate', 'report', 'demo']


@pytest.mark.parametrize('name', COMMANDS)
def test_help_names_every_flag_an_example_and_the_exit_codes(run, name):
  result = run(name, '--help')
  assert result.code == 0
  assert result.err == ''
  for flag in commands.COMMANDS[name][1]:
    assert f'--{flag}' in result.out
  assert f'example:\n  jaxcurate {name}' in result.out
  assert '75' in result.out
  assert max(map(len, result.out.splitlines())) <= 80


def test_help_lists_the_methods(run):
  scorers = _flat(run('score', '--help').out)
  assert 'ask_llm, bm25, clusters, color_filter, deita, density' in scorers
  assert 'adapt, adapt_bm25, ' in _flat(run('train', '--help').out)
  assert 'inverse_propensity' in _flat(run('sample', '--help').out)


def _flat(text):
  return ' '.join(text.split())


@pytest.mark.parametrize('argument', ['-h', '--help'])
def test_overview_lists_the_commands(run, argument):
  result = run(argument)
  assert result.code == 0
  for name in COMMANDS:
    assert f'\n  {name}' in result.out


def test_version(run):
  assert run('--version').out == jaxcurate.__version__ + '\n'


@pytest.mark.parametrize(
  'argv, message',
  [
    ([], 'jaxcurate COMMAND --help'),
    (['sore'], "unknown command 'sore'"),
    (['score', '--inptu=x'], '--inptu=x'),
    (['sample', '--seed=one'], "--seed: invalid int value: 'one'"),
    (['train', '--model'], '--model: expected one argument'),
  ],
)
def test_bad_usage_ends_with_2_and_the_reason(run, argv, message):
  result = run(*argv)
  assert result.code == 2
  assert message in result.last
  assert result.out == ''


def test_missing_required_values_are_named(run, tmp_path):
  result = run('sample', '--method=top_k', '--input=x', '--budget=1')
  assert result.code == 1
  assert result.last.startswith(
    'jaxcurate: OUTPUT has no value; give --output=...'
  )
  result = run('sample', '--input=x', '--budget=1', f'--output={tmp_path}')
  assert 'give one --method=NAME, of ' in result.last
  assert 'importance, inverse_propensity, ' in result.last


def test_debug_prints_the_traceback_before_the_line(run, tmp_path):
  argv = ['sample', '--method=top_k', '--input=none', '--budget=1']
  argv += [f'--output={tmp_path}']
  plain, debug = run(*argv), run(*argv, '--debug')
  assert plain.err.count('\n') == 1
  assert 'Traceback' in debug.err
  assert debug.last == plain.last


def test_unexpected_error_is_one_line_with_its_type(run, monkeypatch):
  def broken(flags, bindings, command):
    raise ZeroDivisionError('two\nlines')

  monkeypatch.setattr(sample, 'main', broken)
  result = run('sample')
  assert result.code == 1
  assert result.err == (
    'jaxcurate: ZeroDivisionError: two lines (run again with --debug for the'
    ' traceback)\n'
  )


def test_keyboard_interrupt_ends_with_130(run, monkeypatch):
  def interrupted(flags, bindings, command):
    raise KeyboardInterrupt

  monkeypatch.setattr(sample, 'main', interrupted)
  result = run('sample')
  assert result.code == 130
  assert result.last.startswith('jaxcurate: interrupted; run the same command')


def test_sigterm_ends_with_75_and_leaves_the_handler_as_it_was(
  run, monkeypatch
):
  def terminated(flags, bindings, command):
    os.kill(os.getpid(), signal.SIGTERM)
    try:
      threading.Event().wait(10)
    except Exception:  # what a library may do; it must not stop SIGTERM
      pytest.fail('swallowed')

  monkeypatch.setattr(sample, 'main', terminated)
  before = signal.getsignal(signal.SIGTERM)
  result = run('sample')
  assert result.code == 75
  assert result.last.startswith('jaxcurate: interrupted; everything finished')
  assert signal.getsignal(signal.SIGTERM) is before


def test_commands_run_in_any_thread(capsys):
  codes = []
  thread = threading.Thread(
    target=lambda: codes.append(cli.main(['sample', '--output=x']))
  )
  thread.start()
  thread.join()
  assert codes == [1]
  assert 'signal' not in capsys.readouterr().err


def test_python_m_jaxcurate_is_the_command():
  done = subprocess.run(
    [sys.executable, '-m', 'jaxcurate', 'nothing'],
    capture_output=True,
    text=True,
  )
  assert done.returncode == 2
  assert done.stderr.splitlines()[-1] == "jaxcurate: unknown command 'nothing'"
