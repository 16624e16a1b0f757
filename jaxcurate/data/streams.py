"""Bytes and lines of a plain or compressed file, in bounded memory.

A compressed file that ends early or does not decode raises `DamagedFile` after
everything before the damage was yielded, so that the rows before it count.
"""

import bz2
from collections.abc import Iterable, Iterator
import contextlib
import gzip
import lzma
import posixpath
from typing import Any
import zlib

import zstandard

from jaxcurate.data import files
from jaxcurate.io.errors import UserError

_CHUNK = 1 << 20
_ZSTD_CHUNK = 1 << 17  # zstd may expand a chunk a thousandfold
_OPENERS = {'.gz': gzip.open, '.xz': lzma.LZMAFile, '.bz2': bz2.BZ2File}
COMPRESSED = (*_OPENERS, '.zst')


class DamagedFile(Exception):
  """The rest of a file cannot be read; holds the reason and the details."""

  def __init__(self, reason: str, detail: str):
    super().__init__(f'{reason}: {detail}')
    self.reason, self.detail = reason, detail


@contextlib.contextmanager
def open_binary(path: str) -> Iterator[Any]:
  """Opens a local or remote file for reading.

  Raises:
    UserError: the file is missing or may not be read.
  """
  fs, inner = files.filesystem(path)
  try:
    handle = fs.open(inner, 'rb')
  except FileNotFoundError as error:
    raise UserError(f'{path} does not exist (any more)') from error
  except PermissionError as error:
    raise UserError(
      f'{path} cannot be read: permission denied; check its mode or your '
      'credentials'
    ) from error
  with handle:
    yield handle


def chunks(path: str) -> Iterator[bytes]:
  """The decompressed content, about a megabyte at a time.

  Raises:
    DamagedFile: the compressed data ends early or is not valid.
    UserError: see `open_binary`.
  """
  suffix = posixpath.splitext(path)[1]
  with open_binary(path) as file:
    if suffix == '.zst':
      yield from _zstd_chunks(file)
    elif suffix in _OPENERS:
      yield from _decompressed(_OPENERS[suffix](file))
    else:
      while chunk := file.read(_CHUNK):
        yield chunk


def lines(content: Iterable[bytes]) -> Iterator[bytes]:
  r"""Lines of chunked bytes, without their newline.

  >>> list(lines([b'a\nb', b'', b'c\n\nd']))
  [b'a', b'bc', b'', b'd']
  """
  pieces: list[bytes] = []  # joined once, so a line of any length is linear
  for chunk in content:
    first, *rest = chunk.split(b'\n')
    pieces.append(first)
    if rest:
      yield b''.join(pieces)
      pieces = [rest.pop()]
      yield from rest
  if last := b''.join(pieces):
    yield last


def _decompressed(stream: Any) -> Iterator[bytes]:
  # read1 decodes once per call, so damage hides as little as possible of what
  # came before it.
  try:
    while chunk := stream.read1(_CHUNK):
      yield chunk
  except EOFError as error:
    raise DamagedFile('truncated', 'the compressed file ends early') from error
  except (gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
    raise DamagedFile('corrupt', str(error)) from error
  except OSError as error:
    if error.errno is not None:  # bz2 reports bad data as a bare OSError
      raise
    raise DamagedFile('corrupt', str(error)) from error


def _zstd_chunks(file: Any) -> Iterator[bytes]:
  # `stream_reader` ends quietly in the middle of a frame; this does not.
  decompressor = zstandard.ZstdDecompressor(max_window_size=2**31)
  frame = None
  while chunk := file.read(_ZSTD_CHUNK):
    while chunk:
      frame = frame or decompressor.decompressobj()
      try:
        content = frame.decompress(chunk)
      except zstandard.ZstdError as error:
        raise DamagedFile('corrupt', str(error)) from error
      if content:
        yield content
      chunk = b''
      if frame.eof:
        chunk, frame = frame.unused_data, None
  if frame is not None:
    raise DamagedFile('truncated', 'the compressed file ends early')
