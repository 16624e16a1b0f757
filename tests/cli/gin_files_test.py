"""Gin files are found, composed, explained and written back."""

import gin
import pytest

from jaxcurate.cli import gin_files
from jaxcurate.io.errors import UserError

METHOD = 'from __gin__ import dynamic_registration\n'
METHOD += 'from jaxcurate.scorers import ask_llm\n'


@pytest.fixture(autouse=True)
def clean_gin():
  yield
  gin.clear_config()


def parse(**arguments):
  text = "OUTPUT = 'out'\n" + arguments.pop('text', '')
  gin_files.parse(**{'files': ['runs/score.gin'], 'text': text, **arguments})


def value(name):
  return gin.query_parameter(name)


def test_shipped_files_are_found_and_complete():
  folder = gin_files.configs_folder()
  for name in (
    'score', 'sample', 'mix', 'train', 'evaluate', 'report', 'demo',
  ):  # fmt: skip
    assert (folder / 'runs' / f'{name}.gin').exists()
  assert (folder / 'methods' / 'ask_llm.gin').exists()


@pytest.mark.parametrize(
  'kind, some',
  [
    ('scorers', {'ask_llm', 'density', 'density_references', 'perplexity'}),
    ('samplers', {'inverse_propensity', 'quotas', 'top_k', 'uniform'}),
    ('mixtures', {'proportional', 'score_mixture'}),
    ('weightings', {'adapt', 'uniform'}),
  ],
)
def test_methods_are_the_modules_of_a_folder(kind, some):
  known = gin_files.known_methods(kind)
  assert some <= set(known)
  assert known == sorted(known)
  assert not {'embedding', 'budget'} & set(known)  # helpers are no methods


def test_every_known_method_can_be_bound():
  for kind in ('scorers', 'samplers', 'mixtures', 'weightings'):
    for name in gin_files.known_methods(kind):
      files, text = gin_files.method_binding(kind, [name])
      assert files == [f'methods/{name}.gin']
      parse(files=[], text='SEED = 0\n' + text)
      parse(files=files, text=text, bindings=['SEED = 0'])


def test_unknown_method_lists_the_known():
  with pytest.raises(UserError, match="method 'ask_lm'; the scorers"):
    gin_files.method_binding('scorers', ['ask_lm'])


def test_later_bindings_win(tmp_path):
  (tmp_path / 'mine.gin').write_text("MODEL = 'file'\nDTYPE = 'file'\n")
  parse(
    files=['runs/score.gin', 'mine.gin'],
    search_paths=[str(tmp_path)],
    text="DTYPE = 'flag'\nMESH = 'flag'\n",
    bindings=["MESH = 'binding'"],
  )
  assert [value(f'%{m}') for m in ('MODEL', 'DTYPE', 'MESH', 'SPLIT')] == [
    'file',
    'flag',
    'binding',
    'train',
  ]


def test_own_search_path_wins_over_the_shipped_files(tmp_path):
  (tmp_path / 'runs').mkdir()
  (tmp_path / 'runs' / 'score.gin').write_text("MODEL = 'mine'\n")
  parse(search_paths=[str(tmp_path)])
  assert value('%MODEL') == 'mine'


@pytest.mark.parametrize(
  'arguments, words',
  [
    ({'files': ['none.gin']}, ['none.gin', 'shipped files', 'runs/score.gin']),
    ({'bindings': ['mixing.make.x = 1']}, ['mixing.make', 'file in use']),
    (
      {'text': METHOD, 'bindings': ['ask_llm.make.max_lenght = 1']},
      ['max_lenght'],
    ),
    ({'bindings': ['score.run.no_such = 1']}, ['no_such']),
    ({'text': 'MODEL = \n'}, ['Unable to parse', 'line 2']),
    ({'text': 'MODEL = [1\n'}, ['gin: ']),
    ({'text': 'from jaxcurate import nothing\n'}, ['nothing']),
    ({'bindings': ['MODEL']}, ['gin: ']),
  ],
)
def test_mistakes_are_one_line(arguments, words):
  with pytest.raises(UserError) as error:
    parse(**arguments)
  assert '\n' not in str(error.value)
  for word in words:
    assert word in str(error.value)


def test_required_values_are_asked_for():
  with pytest.raises(UserError, match='OUTPUT has no value; give --output='):
    gin_files.parse(files=['runs/score.gin'])
  text = METHOD + 'ask_llm.make.max_length = %gin.REQUIRED\n'
  with pytest.raises(UserError, match=r'give --gin\.ask_llm\.make\.max_len'):
    parse(text=text)


def test_search_paths_end_with_the_run(tmp_path):
  (tmp_path / 'mine.gin').write_text("MODEL = 'file'\n")
  parse(files=['mine.gin'], search_paths=[str(tmp_path)])
  with pytest.raises(UserError, match=r'mine\.gin'):
    parse(files=['mine.gin'])


def test_settings_are_those_of_the_named_modules():
  parse(
    files=['runs/score.gin', 'methods/ask_llm.gin', 'methods/perplexity.gin'],
    bindings=['ask_llm.make.max_length = 99', 'SEED = 7'],
  )
  assert gin_files.settings(['ask_llm'])['ask_llm.make.max_length'] == '99'
  found = gin_files.settings(['perplexity'])
  assert found['perplexity.make.seed'] == '7'  # through its macro
  assert all(name.startswith('perplexity.') for name in found)


def test_resolved_can_be_parsed_again(tmp_path):
  parse(files=['runs/score.gin', 'methods/ask_llm.gin'], text="MODEL = 'm'\n")
  first = gin_files.resolved()
  path = tmp_path / 'config.gin'
  path.write_text(first)
  parse(files=[str(path)])
  assert gin_files.resolved() == first
  assert value('%MODEL') == 'm'
