import json

import pytest

from jaxcurate.data import tokenizer_settings
from jaxcurate.data.tokenizer_settings import Settings
from jaxcurate.io.errors import UserError


def _write(folder, **files):
  for name, value in files.items():
    (folder / f'{name}.json').write_text(json.dumps(value))


def test_all_of_it_by_hand(tmp_path):
  _write(
    tmp_path,
    tokenizer_config={
      'add_bos_token': True,
      'bos_token': {'content': '<s>', 'lstrip': False},
      'eos_token': '</s>',
      'legacy': False,
      'chat_template': 'T',
      'added_tokens_decoder': {
        '7': {'content': '<x>', 'special': True},
        '8': {'content': '<y>', 'special': False},
      },
    },
    generation_config={'eos_token_id': [5, 6]},
  )
  assert tokenizer_settings.read(tmp_path) == Settings(
    bos_token='<s>',
    eos_token='</s>',
    eos_id=5,
    add_bos=True,
    legacy=False,
    chat_template='T',
    added_tokens={7: '<x>', 8: '<y>'},
    special_tokens=frozenset({'<x>'}),
  )


def test_nothing_is_said_in_an_empty_folder(tmp_path):
  assert tokenizer_settings.read(tmp_path) == Settings()


def test_which_file_wins(tmp_path):
  _write(
    tmp_path,
    tokenizer_config={'bos_token': None},
    special_tokens_map={'bos_token': '<s>', 'eos_token': {'content': '</s>'}},
    config={'eos_token_id': 2},
  )
  found = tokenizer_settings.read(tmp_path)
  assert (found.bos_token, found.eos_token, found.eos_id) == (None, '</s>', 2)
  _write(tmp_path, generation_config={'eos_token_id': 3})
  assert tokenizer_settings.read(tmp_path).eos_id == 3


def test_chat_templates_by_precedence(tmp_path):
  def found():
    return tokenizer_settings.read(tmp_path).chat_template

  _write(tmp_path, chat_template={'chat_template': 'of a multimodal model'})
  assert found() == 'of a multimodal model'
  named = [
    {'name': 'tool_use', 'template': 'tools'},
    {'name': 'default', 'template': 'plain'},
  ]
  _write(tmp_path, tokenizer_config={'chat_template': named})
  assert found() == 'plain'
  (tmp_path / 'chat_template.jinja').write_text('file')
  assert found() == 'file'


def test_errors_name_the_file(tmp_path):
  named = [{'name': 'tool_use', 'template': 'tools'}]
  _write(tmp_path, tokenizer_config={'chat_template': named})
  with pytest.raises(UserError, match=r'templates tool_use but none .*default'):
    tokenizer_settings.read(tmp_path)
  for content, message in (('{', 'as JSON'), ('[1]', 'a JSON list')):
    (tmp_path / 'tokenizer_config.json').write_text(content)
    with pytest.raises(UserError, match=rf'tokenizer_config\.json.*{message}'):
      tokenizer_settings.read(tmp_path)
