"""Runs a program that a model wrote, within limits of time and memory.

A fence against accidents, not a jail: the program runs as the same user, sees
the same files and may, where the system does not let a process give up the
network, use it. Run evaluations of code in a container of their own.
"""

import os
import pathlib
import secrets
import signal
import subprocess
import sys
import tempfile

# Runs in the child before the program does: limits that it cannot raise again,
# a network namespace without devices where the kernel grants one, and a word
# at the end that only a program that ran to its end lets through.
_FENCE = """
import os, resource, sys
path, word, seconds, memory = sys.argv[1:]
for name, limit in (
    ('RLIMIT_CPU', int(seconds)), ('RLIMIT_AS', int(memory)),
    ('RLIMIT_FSIZE', 2**20), ('RLIMIT_CORE', 0), ('RLIMIT_NOFILE', 64)):
  resource.setrlimit(getattr(resource, name), (limit, limit))
try:
  import ctypes
  ctypes.CDLL(None).unshare(0x10000000 | 0x40000000)  # user and network
except (AttributeError, OSError):
  pass
text, out = open(path).read(), os.dup(1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
del path, seconds, memory, sys.argv[1:]
exec(compile(text, 'program', 'exec'), {'__name__': '__main__'})
os.write(out, word.encode())
"""


def run(program: str, *, seconds: int = 10, memory_bytes: int = 2**30) -> bool:
  """Whether a Python program ends by itself, without an exception.

  It reads nothing, its output is thrown away, and it starts in an empty folder
  that is removed afterwards. `sys.exit` and `os._exit` do not count as an end.

  Args:
    program: source text.
    seconds: of processor time, and of wall time plus one.
    memory_bytes: of address space.
  """
  word = secrets.token_hex(16)
  with tempfile.TemporaryDirectory() as folder:
    file = pathlib.Path(folder, 'program.py')
    file.write_text(program, encoding='utf-8', errors='replace')
    command = [sys.executable, '-I', '-S', '-c', _FENCE]
    process = subprocess.Popen(
      [*command, str(file), word, str(seconds), str(memory_bytes)],
      cwd=folder,
      env={'PATH': os.defpath},
      stdin=subprocess.DEVNULL,
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
      start_new_session=True,  # what it starts dies with it
    )
    try:
      output, _ = process.communicate(timeout=seconds + 1)
    except subprocess.TimeoutExpired:
      output = b''
    finally:
      _kill_group(process)
  return output == word.encode()


def _kill_group(process: subprocess.Popen) -> None:
  try:
    os.killpg(process.pid, signal.SIGKILL)
  except ProcessLookupError:
    pass
  process.wait()
  if process.stdout is not None:
    process.stdout.close()
