"""One document of a corpus, and the named reasons why a raw row is not one.

Readers yield raw rows (a dict of columns, or `Bad` where the file itself could
not be parsed); `to_row` checks one and makes the
`Document` that everything else sees.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxcurate.types import Document


class Bad(NamedTuple):
  """A raw row that is not a document.

  Attributes:
    reason: short and fixed; skipped rows are counted by it.
    detail: what is wrong with this one.
  """

  reason: str
  detail: str = ''


class Fields(NamedTuple):
  """Names of the columns that a document is made of."""

  text: str = 'text'
  id: str = 'id'
  domain: str = 'domain'
  vector: str | None = None


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
  Document(id='7', text='a b', domain=None, vector=None, turns=None)
  >>> to_row({'body': 'a b'}, Fields(), 'x.jsonl:0').reason
  'missing text field'
  """
  if fields.text not in raw:
    present = ', '.join(sorted(map(str, raw))) or 'none'
    return Bad(
      'missing text field', f'no {fields.text!r}; fields present: {present}'
    )
  text = _string(raw[fields.text])
  if isinstance(text, Bad):
    return text
  if text is None or isinstance(text, int):
    found = 'null' if text is None else 'int'
    return Bad('text not a string', f'{fields.text!r} is {found}')
  if not text or text.isspace():
    return Bad('empty', 'the text is empty or whitespace only')
  row_id = _string(raw.get(fields.id))
  domain = _string(raw.get(fields.domain))
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


def _string(value: Any) -> str | int | Bad | None:
  """A clean string, an integer or None; bytes are decoded as UTF-8."""
  if isinstance(value, bytes):
    try:
      value = value.decode('utf-8')
    except UnicodeDecodeError as error:
      return invalid_utf8(error)
  if isinstance(value, str):
    if '\0' in value:
      return Bad('NUL byte', f'at character {value.index(chr(0))}')
    if not value.isascii():  # a flag of the string, so this is free
      try:
        value.encode('utf-8')
      except UnicodeEncodeError as error:
        found = f'lone surrogate U+{ord(value[error.start]):04X}'
        return Bad('invalid unicode', f'{found} at character {error.start}')
    return value
  if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
    return int(value)
  if value is None:
    return None
  return Bad('text not a string', f'it is {type(value).__name__}')


def invalid_utf8(error: UnicodeDecodeError) -> Bad:
  """The reason for bytes that are not UTF-8."""
  byte = error.object[error.start]
  return Bad('invalid UTF-8', f'byte 0x{byte:02x} at byte {error.start}')
