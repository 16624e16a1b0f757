"""Peak memory of `jaxcurate score` at 1 and at 10 times the corpus.

  python tools/measure_memory.py [--documents=2000] [--method=ask_llm ...]

All other flags are those of `jaxcurate score`.

Writes corpora of made-up text, scores each in a process of its own and prints
its peak resident memory. The engine streams, so the two should differ by
little: the ids of the corpus (20 bytes of hash each while duplicates are
looked for) and what the allocator keeps.
"""

import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
from typing import NamedTuple

WORDS = (
  'the of and to in is that for it as was with be by on not he his but at are '
  'this have from or had an they which one you were all her she there would '
  'their we him been has when who will no more if out so up said what its '
  'about than into them can only other time new some could these two may first'
).split()


class Peak(NamedTuple):
  """One run: how many documents, and its peak resident memory in MiB."""

  documents: int
  mebibytes: float


def write_corpus(path: pathlib.Path, documents: int, words: int = 200) -> None:
  """JSON Lines of random words, lengths from 1 to twice `words`."""
  draw = random.Random(0)
  with path.open('w') as file:
    for _ in range(documents):
      text = ' '.join(draw.choices(WORDS, k=draw.randint(1, 2 * words)))
      file.write(json.dumps({'text': text}) + '\n')


def measure(documents: int, flags: list[str], words: int = 200) -> Peak:
  """Scores a corpus in a subprocess.

  Args:
    documents: size of the corpus.
    flags: of `jaxcurate score`, without --input and --output.
    words: mean length of a document.
  """
  with tempfile.TemporaryDirectory() as folder:
    corpus = pathlib.Path(folder) / 'docs.jsonl'
    write_corpus(corpus, documents, words)
    argv = [sys.executable, '-m', 'jaxcurate', 'score', *flags]
    argv += [f'--input={corpus}', f'--output={folder}/scores']
    with (pathlib.Path(folder) / 'log').open('w+b') as log:
      process = subprocess.Popen(argv, stdout=log, stderr=log)
      _, status, usage = os.wait4(process.pid, 0)  # of this child alone
      process.returncode = os.waitstatus_to_exitcode(status)
      if process.returncode:
        log.seek(0)
        raise RuntimeError(log.read().decode())
  # Linux counts ru_maxrss in KiB, macOS in bytes.
  unit = 2**20 if sys.platform == 'darwin' else 2**10
  return Peak(documents, usage.ru_maxrss / unit)


def main() -> None:
  """Prints the peak at both sizes; further flags are those of the command."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--documents', type=int, default=2000)
  known, flags = parser.parse_known_args()
  flags = flags or ['--method=ask_llm']
  peaks = [measure(known.documents * k, flags) for k in (1, 10)]
  for peak in peaks:
    print(f'{peak.documents:>9,} documents: peak {peak.mebibytes:,.0f} MiB')
  print(f'ratio {peaks[1].mebibytes / peaks[0].mebibytes:.3f}')


if __name__ == '__main__':
  main()
