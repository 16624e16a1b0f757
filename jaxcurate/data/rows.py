"""One document of a corpus, and the named reasons why a raw row is not one.

Readers yield raw rows (a dict of columns, or `Bad` where the file itself could
not be parsed); `to_row` checks one and makes the
`Document` that everything else sees.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxcurate.data import cells, conversations
from jaxcurate.data.cells import Bad
from jaxcurate.types import Document


class Fields(NamedTuple):
  """Which columns a document is made of.

  Attributes:
    text, id, domain: names of columns.
    vector: likewise, of precomputed vectors; None when not needed.
    turns: whether rows that are conversations or instructions are read as such
      (see `conversations`); their text is then what all turns say.
  """

  text: str = 'text'
  id: str = 'id'
  domain: str = 'domain'
  vector: str | None = None
  turns: bool = False


Raw = dict[str, Any] | Bad
# row -> (is it wanted, the row until which that answer holds). Readers skip
# what is not wanted without decoding it; they call this only for rows that
# exist.
Plan = Callable[[int], tuple[bool, int]]


def everything(row: int) -> tuple[bool, int]:
  """The plan that wants every row."""
  return True, row + 2**62


def to_row(
  raw: Mapping[str, Any],
  fields: Fields,
  default_id: str,
  vector_width: int | None = None,
) -> Document | Bad:
  """Checks one parsed row.

  Args:
    raw: column -> value; text may be str or UTF-8 bytes.
    fields: which columns to read.
    default_id: used where the id column is missing, null or empty.
    vector_width: expected length of the vector, None when not known.

  Returns:
    The document, or why it is none.

  >>> to_row({'text': 'a b', 'id': 7}, Fields(), 'x.jsonl:0')
  Document(id='7', text='a b', domain=None, vector=None, turns=None, label=None)
  >>> to_row({'body': 'a b'}, Fields(), 'x.jsonl:0').reason
  'missing text field'
  """
  turns = conversations.to_turns(raw) if fields.turns else None
  if isinstance(turns, Bad):
    return turns
  text = _text(raw, fields) if turns is None else conversations.text_of(turns)
  if isinstance(text, Bad):
    return text
  row_id = cells.string(raw.get(fields.id))
  domain = cells.string(raw.get(fields.domain))
  for name, value in ((fields.id, row_id), (fields.domain, domain)):
    if isinstance(value, Bad):
      return Bad(f'bad {name}', f'{name!r}: {value.reason}, {value.detail}')
  vector = None
  if fields.vector is not None:
    vector = to_vector(raw.get(fields.vector), vector_width)
    if isinstance(vector, Bad):
      return vector
  return Document(
    default_id if row_id in (None, '') else str(row_id),
    text,
    None if domain is None else str(domain),
    vector,
    turns,
  )


def to_vector(value: Any, width: int | None) -> np.ndarray | Bad:
  """[D] finite float32 of a list or array of numbers, or why not."""
  try:
    vector = np.asarray(value, dtype=np.float32)
  except (TypeError, ValueError):
    return Bad('bad vector', f'not a list of numbers: {str(value)[:60]}')
  if vector.ndim != 1 or vector.size == 0:
    return Bad('bad vector', f'has shape {vector.shape}, expected (D,)')
  if width is not None and len(vector) != width:
    return Bad(
      'bad vector', f'has {len(vector)} numbers, the first row has {width}'
    )
  if not np.isfinite(vector).all():
    return Bad('bad vector', 'holds NaN or infinity')
  return vector


def _text(raw: Mapping[str, Any], fields: Fields) -> str | Bad:
  if fields.text not in raw:
    present = ', '.join(sorted(map(str, raw))) or 'none'
    detail = f'no {fields.text!r}'
    if fields.turns:
      detail += ' and no conversation'
    elif not isinstance(conversations.to_turns(raw), Bad | None):
      present += ' (a conversation: --turns reads it)'
    return Bad('missing text field', f'{detail}; fields present: {present}')
  text = cells.string(raw[fields.text])
  if isinstance(text, Bad):
    return text
  if text is None or isinstance(text, int):
    found = 'null' if text is None else 'int'
    return Bad('text not a string', f'{fields.text!r} is {found}')
  if not text or text.isspace():
    return Bad('empty', 'the text is empty or whitespace only')
  return text
