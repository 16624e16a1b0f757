"""Single values of a raw row, and why one is none."""

from typing import Any, NamedTuple

import numpy as np


class Bad(NamedTuple):
  """A raw row that is not a document.

  Attributes:
    reason: short and fixed; skipped rows are counted by it.
    detail: what is wrong with this one.
  """

  reason: str
  detail: str = ''


def string(value: Any) -> str | int | Bad | None:
  """A clean string, an integer or None; bytes are decoded as UTF-8.

  >>> string(b'caf\\xc3\\xa9'), string(7), string(0.5).reason
  ('café', 7, 'text not a string')
  """
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
