"""Files that are either whole or absent, on local disks and object stores.

A local file is written beside its name, flushed to disk and renamed; on an
object store one PUT is atomic by itself. A full disk is reported with what to
do, and never leaves a half-written file under the final name.
"""

from collections.abc import Callable
import contextlib
import errno
import os
import pathlib
import tempfile

from etils import epath

from jaxcurate.io.errors import UserError


def write_bytes(path: epath.PathLike, data: bytes) -> None:
  """Writes `data` to `path` atomically; creates the folder if needed.

  Args:
    path: local path or URL (gs://, s3://).
    data: the whole content.

  Raises:
    UserError: the disk is full or the folder cannot be written.
  """
  write_with(path, lambda temporary: temporary.write_bytes(data))


def write_text(path: epath.PathLike, text: str) -> None:
  """Writes UTF-8 text atomically, as `write_bytes`."""
  write_bytes(path, text.encode('utf-8'))


def write_with(
  path: epath.PathLike, write: Callable[[pathlib.Path], object]
) -> None:
  """Calls `write(temporary local path)`, then moves the file to `path`.

  Args:
    path: local path or URL (gs://, s3://).
    write: writes the whole content to the local path it is given.

  Raises:
    UserError: the disk is full or the folder cannot be written.
  """
  target = epath.Path(path)
  remote = '://' in str(path)
  try:
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = None if remote else os.fspath(target.parent)
    handle, name = tempfile.mkstemp(prefix='.writing-', dir=folder)
    os.close(handle)
    temporary = pathlib.Path(name)
    try:
      write(temporary)
      if remote:
        target.write_bytes(temporary.read_bytes())
      else:
        _flush(temporary)
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
        _flush(pathlib.Path(target.parent))
    finally:
      temporary.unlink(missing_ok=True)
  except OSError as error:
    raise _explain(error, str(path)) from error


def _flush(path: pathlib.Path) -> None:
  """Forces a file's content or a folder's entries to disk."""
  descriptor = os.open(path, os.O_RDONLY)
  try:
    os.fsync(descriptor)
  finally:
    os.close(descriptor)


def _explain(error: OSError, path: str) -> UserError:
  """The one line for a failed write."""
  if error.errno in (errno.ENOSPC, errno.EDQUOT):
    return UserError(
      f'{path}: the disk is full; free some space and run the same command'
      ' again, finished work is kept'
    )
  reason = error.strerror or str(error)
  return UserError(
    f'{path}: cannot write ({reason}); check the folder and its permissions'
  )


def remove_stale(folder: epath.PathLike) -> None:
  """Removes temporary files that a killed run left in `folder`."""
  for path in epath.Path(folder).glob('.writing-*'):
    with contextlib.suppress(FileNotFoundError):
      path.unlink()
