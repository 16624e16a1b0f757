"""Chat templates: what a tokenizer's own Jinja source makes of a conversation.

A template comes from whoever made the checkpoint, so it runs in Jinja's
sandbox and sees strings alone. Environment and globals are those of
transformers 5 (`utils/chat_template_utils.py`), which templates are written
against; only the date is given, so that scores do not depend on the day.
"""

from collections.abc import Callable, Sequence
import datetime
import functools
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
  import jinja2  # imported late: only chats need it

Turns = Sequence[tuple[str, str]]  # (role, content)

# What Llama 3's template falls back on where it cannot ask for the date.
DATE = datetime.datetime(2024, 7, 26)
# What an expression of a template can raise besides Jinja's own errors.
_FAILURES = (TypeError, ValueError, ArithmeticError, LookupError)
# Stands for a text while a template is rendered: one word, no case, no space.
_MARKER = '\ue000\ue001\ue000'


def render(
  template: str,
  turns: Turns,
  *,
  add_generation_prompt: bool,
  bos_token: str | None,
  eos_token: str | None,
  date: datetime.datetime = DATE,
) -> str:
  """The conversation as one string with special tokens in it.

  Args:
    template: Jinja source.
    turns: (role, content) of each; roles are those of the template, usually
      'system', 'user' and 'assistant'.
    add_generation_prompt: whether the assistant's next turn is begun.
    bos_token, eos_token: their strings; None leaves them undefined.
    date: what `strftime_now` formats.

  Raises:
    ValueError: the template is broken or refuses these turns.

  >>> render(
  ...   '{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}',
  ...   [('user', 'Hi'), ('assistant', 'Ho')],
  ...   add_generation_prompt=False, bos_token=None, eos_token=None,
  ... )
  '<user>Hi<assistant>Ho'
  """
  import jinja2

  given = {'bos_token': bos_token, 'eos_token': eos_token}
  try:
    return _compiled(template).render(
      messages=[{'role': role, 'content': text} for role, text in turns],
      tools=None,
      documents=None,
      add_generation_prompt=add_generation_prompt,
      strftime_now=date.strftime,
      **{name: token for name, token in given.items() if token is not None},
    )
  except (jinja2.TemplateError, *_FAILURES) as error:
    roles = ', '.join(role for role, _ in turns) or 'none'
    raise ValueError(
      f'the chat template fails on turns of roles {roles}: {error}'
    ) from error


def frame(
  template: str,
  user_text: str,
  *,
  bos_token: str | None,
  eos_token: str | None,
) -> tuple[str, str]:
  """What stands before and after a text about which a user asks something.

  Args:
    template: Jinja source.
    user_text: all that the user says, with '{text}' once, for the text.
    bos_token, eos_token: as for `render`.

  Returns:
    Two strings; the second ends where the assistant's answer begins.

  Raises:
    ValueError: '{text}' is not there exactly once, or the template changes,
      repeats or drops what the user says.

  >>> template = '{% for m in messages %}[{{ m.content | trim }}]{% endfor %}'
  >>> frame(template, 'Is {text} good?', bos_token=None, eos_token=None)
  ('[Is ', ' good?]')
  """
  if user_text.count('{text}') != 1:
    raise ValueError(
      f'the prompt has {{text}} {user_text.count("{text}")} times, expected 1'
    )
  said = user_text.replace('{text}', _MARKER)
  rendered = render(
    template,
    [('user', said)],
    add_generation_prompt=True,
    bos_token=bos_token,
    eos_token=eos_token,
  )
  if rendered.count(_MARKER) != 1 or said.strip() not in rendered:
    raise ValueError(
      'the chat template changes, repeats or drops what the user says: of'
      f' {user_text[:40]!r} it makes'
      f' {rendered.replace(_MARKER, "{text}")[:80]!r}'
    )
  before, after = rendered.split(_MARKER)
  return before, after


@functools.lru_cache(maxsize=16)
def _compiled(template: str) -> 'jinja2.Template':
  import jinja2
  from jinja2 import ext, nodes, sandbox

  class Generation(ext.Extension):
    """{% generation %} marks what the assistant says; here it adds nothing."""

    tags = {'generation'}  # noqa: RUF012, Jinja's own protocol

    def parse(self, parser: Any) -> nodes.Node:
      line = next(parser.stream).lineno
      body = parser.parse_statements(('name:endgeneration',), drop_needle=True)
      return nodes.Scope(body).set_lineno(line)

  environment = sandbox.ImmutableSandboxedEnvironment(
    trim_blocks=True,
    lstrip_blocks=True,
    extensions=[Generation, ext.loopcontrols],
  )
  environment.filters['tojson'] = _to_json
  environment.globals['raise_exception'] = _raiser(jinja2.TemplateError)
  return environment.from_string(template)


def _raiser(kind: type[Exception]) -> Callable[[str], None]:
  def raise_exception(message: str) -> None:
    raise kind(message)

  return raise_exception


def _to_json(
  value: Any,
  ensure_ascii: bool = False,
  indent: int | None = None,
  separators: tuple[str, str] | None = None,
  sort_keys: bool = False,
) -> str:
  # Jinja's own filter escapes HTML.
  return json.dumps(
    value,
    ensure_ascii=ensure_ascii,
    indent=indent,
    separators=separators,
    sort_keys=sort_keys,
  )
