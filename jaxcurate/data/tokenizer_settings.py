"""What the small JSON files beside a tokenizer say about its texts.

Hugging Face spreads it over tokenizer_config.json, special_tokens_map.json,
generation_config.json, config.json, chat_template.jinja and (of multimodal
models) chat_template.json; all are optional.
"""

from collections.abc import Mapping
import json
import pathlib
from typing import Any, NamedTuple

from jaxcurate.io.errors import UserError


class Settings(NamedTuple):
  """Said, or None where nothing is said.

  Attributes:
    bos_token: what a chat template means by `bos_token`.
    eos_token: likewise.
    eos_id: of generation_config.json or config.json, the first of several.
    add_bos: whether texts begin with `bos_token`.
    legacy: whether a SentencePiece model puts its dummy space after every
      special token, and not only where the text begins.
    chat_template: Jinja source; of several named ones the one called default.
    added_tokens: id -> string of tokens beyond the model file's own.
    special_tokens: strings of those that text must not become.
  """

  bos_token: str | None = None
  eos_token: str | None = None
  eos_id: int | None = None
  add_bos: bool | None = None
  legacy: bool | None = None
  chat_template: str | None = None
  added_tokens: Mapping[int, str] = {}
  special_tokens: frozenset[str] = frozenset()


def read(folder: pathlib.Path) -> Settings:
  """Settings of a checkpoint's folder.

  Raises:
    UserError: a file is there but is no JSON object.
  """
  config = _json(folder / 'tokenizer_config.json')
  special = _json(folder / 'special_tokens_map.json')
  added = config.get('added_tokens_decoder') or {}
  return Settings(
    bos_token=_token(config, special, 'bos_token'),
    eos_token=_token(config, special, 'eos_token'),
    eos_id=_eos_id(folder),
    add_bos=config.get('add_bos_token'),
    legacy=config.get('legacy'),
    chat_template=_chat_template(folder, config),
    added_tokens={int(i): token['content'] for i, token in added.items()},
    special_tokens=frozenset(
      token['content'] for token in added.values() if token.get('special')
    ),
  )


def _json(path: pathlib.Path) -> dict[str, Any]:
  try:
    value = json.loads(path.read_text(encoding='utf-8'))
  except FileNotFoundError:
    return {}
  except (OSError, ValueError) as error:
    raise UserError(f'{path}: cannot be read as JSON ({error})') from error
  if not isinstance(value, dict):
    raise UserError(
      f'{path}: is a JSON {type(value).__name__}, expected an object'
    )
  return value


def _token(
  config: Mapping[str, Any], special: Mapping[str, Any], name: str
) -> str | None:
  """A token's string; tokenizer_config.json wins, with a null too."""
  value = config.get(name, special.get(name))
  return value['content'] if isinstance(value, dict) else value


def _eos_id(folder: pathlib.Path) -> int | None:
  for name in ('generation_config.json', 'config.json'):
    value = _json(folder / name).get('eos_token_id')
    if isinstance(value, list):
      value = value[0] if value else None
    if value is not None:
      return int(value)
  return None


def _chat_template(
  folder: pathlib.Path, config: Mapping[str, Any]
) -> str | None:
  # The order of precedence is that of transformers 5.
  own_file = folder / 'chat_template.jinja'
  if own_file.is_file():
    return own_file.read_text(encoding='utf-8')
  template = config.get('chat_template')
  if template is None:
    template = _json(folder / 'chat_template.json').get('chat_template')
  if isinstance(template, list):
    named = {entry['name']: entry['template'] for entry in template}
    if 'default' not in named:
      raise UserError(
        f'{folder}: has chat templates {", ".join(sorted(named))} but none'
        ' called default; put the one you want into chat_template.jinja'
      )
    template = named['default']
  return template
