#!/usr/bin/env python3
"""Trains the SentencePiece vocabulary that the shipped judge reads with.

From the machine's own documentation (split 'judge') and JSON Lines files
given by --input, which must be open for redistribution. Command of the
shipped one, with the open files of the project's data folder:

  J=jaxcurate/models/judge
  python tools/train_vocabulary.py --output=$J/spiece.model \\
    --input=python_peps.jsonl.gz --input=classic_books.jsonl.gz ...
"""

import argparse
from collections.abc import Iterator
import gzip
import json
import pathlib
import random

import numpy as np
import sentencepiece

from jaxcurate.data import damage, machine_text
from jaxcurate.scorers.ask_llm import TEMPLATE

# With T5's 100 sentinels 8,192 ids, a multiple of every device's tile.
NUM_PIECES = 8_092
MAX_PER_PACKAGE = 1_000  # documents of one module or package
_MAX_CHARACTERS_PER_FILE = 4_000_000
_PART_CHARACTERS = 2_000  # sentencepiece leaves out lines over 4,192 bytes
_DAMAGED_SHARE = 0.1  # so that broken characters and page furniture are known
_TEMPLATE_COPIES = 2_000  # makes every word of the question one piece


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--output', required=True, help='path of spiece.model')
  parser.add_argument('--input', action='append', default=[])
  args = parser.parse_args()
  texts = [d.text for d in judge_documents()]
  print(f'machine documentation: {sum(map(len, texts)):,} characters')
  for path in args.input:
    parts = list(_limited(read_texts(path), _MAX_CHARACTERS_PER_FILE))
    print(f'{path}: {sum(map(len, parts)):,} characters')
    texts += parts
  train(texts, args.output)


def train(texts: list[str], output: str) -> None:
  """Writes a unigram model in T5's layout: pad 0, eos 1, unk 2."""
  rng = np.random.default_rng(0)
  parts = [part for text in texts for part in _parts(text)]
  random.Random(0).shuffle(parts)
  damaged = [
    damage.damage(part, damage.KINDS[i % len(damage.KINDS)], rng)
    for i, part in enumerate(parts[: int(_DAMAGED_SHARE * len(parts))])
    if len(set(part.split())) > 1
  ]
  question = TEMPLATE.replace('{text}', '')
  lines = [
    line
    for text in [*parts, *damaged, *[question] * _TEMPLATE_COPIES]
    for line in [' '.join(text.split())]
    if line
  ]
  sentencepiece.SentencePieceTrainer.train(  # pyright: ignore
    sentence_iterator=iter(lines),
    model_prefix=output.removesuffix('.model'),
    vocab_size=NUM_PIECES,
    model_type='unigram',
    character_coverage=0.9995,
    pad_id=0,
    eos_id=1,
    unk_id=2,
    bos_id=-1,
    normalization_rule_name='nmt_nfkc',
    num_threads=2,
    max_sentence_length=8_000,
    train_extremely_large_corpus=False,
    minloglevel=1,
  )
  pathlib.Path(output.removesuffix('.model') + '.vocab').unlink()
  model = sentencepiece.SentencePieceProcessor(model_file=output)  # pyright: ignore
  for word in ('yes', 'no'):
    if len(model.encode(word)) != 1:
      raise SystemExit(f'{word!r} is not one piece: {model.encode(word)}')
  frame = len(model.encode(question))
  print(f'{output}: {len(model)} pieces, the question takes {frame} tokens')


def judge_documents() -> list[machine_text.Document]:
  """The machine's documentation that the judge may learn from."""
  documents = machine_text.gather(max_per_package=MAX_PER_PACKAGE)
  print(machine_text.summary(documents))
  return [d for d in documents if d.split == 'judge']


def read_texts(path: str) -> Iterator[str]:
  """The field `text` of each row of a JSON Lines file, plain or .gz."""
  opener = gzip.open if path.endswith('.gz') else open
  with opener(path, 'rt', encoding='utf-8') as file:
    for line in file:
      yield json.loads(line)['text']


def _limited(texts: Iterator[str], limit: int) -> Iterator[str]:
  """A random half and more of long files, up to `limit` characters."""
  shuffled = list(texts)
  random.Random(0).shuffle(shuffled)
  for text in shuffled:
    if limit <= 0:
      return
    yield text[:limit]
    limit -= len(text)


def _parts(text: str) -> Iterator[str]:
  for start in range(0, len(text), _PART_CHARACTERS):
    yield text[start : start + _PART_CHARACTERS]


if __name__ == '__main__':
  main()
