"""Plain flags bind macros; those that are not given bind nothing."""

import gin
import pytest

from jaxcurate.cli import commands, gin_files
from jaxcurate.cli import flags as flags_lib


@pytest.fixture(autouse=True)
def clean_gin():
  yield
  gin.clear_config()


def parse(command, *argv):
  return flags_lib.parser(command).parse_args(argv)


def test_given_flags_become_macros():
  flags = parse(
    'score', '--input=a', '--input=b c', '--seed=3', "--text_field=it's"
  )
  assert flags_lib.macro_lines(flags, 'score') == (
    "INPUT = ['a', 'b c']\nTEXT_FIELD = \"it's\"\nSEED = 3\n"
  )


def test_nothing_given_binds_nothing():
  for command in commands.COMMANDS:
    assert flags_lib.macro_lines(parse(command), command) == ''


def test_every_flag_has_a_macro_in_its_run_file():
  folder = gin_files.configs_folder() / 'runs'
  for command, (_, names) in commands.COMMANDS.items():
    files = [command] + ['train_judge'] * (command == 'train')
    text = '\n'.join((folder / f'{file}.gin').read_text() for file in files)
    macros = {line.partition(' = ')[0] for line in text.splitlines()}
    if command == 'train':
      names = [name for name in names if name != 'model'] + ['network']
    assert {name.upper() for name in names} <= macros, command


def test_abbreviations_are_refused(capsys):
  with pytest.raises(SystemExit):
    parse('score', '--out=x')
  assert '--out=x' in capsys.readouterr().err


def run_of(command, *argv, kind=None, methods=(), bindings=()):
  flags = parse(command, '--output=out', *argv)
  flags_lib.parse_run(flags, command, bindings, kind=kind, methods=methods)


def macro(name):
  return gin.query_parameter(f'%{name}')


def test_order_of_precedence(tmp_path):
  mine = tmp_path / 'mine.gin'
  mine.write_text("MODEL = 'file'\nDTYPE = 'file'\nMESH = 'file'\n")
  run_of(
    'score',
    f'--gin_file={mine}',
    '--dtype=flag',
    '--mesh=flag',
    bindings=["MESH = 'binding'"],
  )
  assert [macro(n) for n in ('MODEL', 'DTYPE', 'MESH')] == [
    'file',
    'flag',
    'binding',
  ]


def test_gin_files_are_searched_in_the_given_folders(tmp_path):
  (tmp_path / 'mine.gin').write_text("MODEL = 'mine'\n")
  run_of('score', '--gin_file=mine.gin', f'--gin_search_paths=x,{tmp_path}')
  assert macro('MODEL') == 'mine'


def test_methods_of_a_file_and_of_the_flag(tmp_path):
  run_of('score', kind='scorers', methods=['ask_llm', 'perplexity'])
  names = [method.selector for method in macro('METHODS')]
  assert [name.split('.')[-2] for name in names] == ['ask_llm', 'perplexity']
  assert gin.query_parameter('ask_llm.make.max_length') == 512


def test_a_gin_file_is_a_network_for_training_only():
  run_of('train', '--model=models/tiny.gin', '--steps=1')
  assert macro('MODEL') is None
  assert gin.query_parameter('t5.T5Config.embed_dim') == 128
  run_of('score', '--model=models/tiny.gin')
  assert macro('MODEL') == 'models/tiny.gin'  # refused later, by name


def test_a_folder_that_is_called_like_a_gin_file(tmp_path):
  folder = tmp_path / 'model.gin'
  folder.mkdir()
  run_of('train', f'--model={folder}', '--steps=1')
  assert macro('MODEL') == str(folder)
