"""Labelled damage: what goes wrong with web text, done to sound text here.

A document whose fault is known is what a quality scorer can be trained on and
measured with. Every kind is a pure function of a text and a random generator
and always changes the text.
"""

from collections.abc import Callable, Iterable
import html
import re
from typing import NamedTuple

import numpy as np

from jaxcurate.data import boilerplate
from jaxcurate.data.machine_text import Document
from jaxcurate.ops.ids import hash_ids

SOUND = 'sound'
# Share of a text that is damaged, drawn uniformly where none is given.
_SHARES = (0.3, 1.0)
_SHUFFLE_WORDS = (6, 40)  # shortest and longest shuffled run of words
_REPEATS = (1, 4)
_TYPOGRAPHIC = {"'": '’', '"': '”', '-': '–', '`': '‘', '...': '…', '*': '•'}
_ACCENTED = str.maketrans('aceinouyACEINOU', 'áçéíñóúýÁÇÉÍÑÓÚ')


class LabelledDocument(NamedTuple):
  """A document that is known to be sound or damaged.

  Attributes:
    id: as in Document; a damaged document keeps the id of its original.
    text: the text, damaged or not.
    domain: as in Document, 'damaged-<kind>' for damaged text.
    split: as in Document.
    label: SOUND or one of KINDS.
  """

  id: str
  text: str
  domain: str
  split: str
  label: str


def with_damage(
  documents: Iterable[Document], share: float, seed: int
) -> list[LabelledDocument]:
  """Damages a share of the documents and labels all of them.

  Which document is damaged, and how, depends on (seed, id) alone, not on the
  order of the documents.

  Args:
    documents: sound documents.
    share: probability in [0, 1] that a document is damaged.
    seed: >= 0.

  Returns:
    One labelled document per document, in the same order.
  """
  if not 0 <= share <= 1:
    raise ValueError(f'share is {share}, expected a number from 0 to 1')
  documents = list(documents)
  if not documents:
    return []
  hashes = hash_ids(np.array([d.id for d in documents], object), seed)
  labelled = []
  for document, key in zip(documents, hashes, strict=True):
    rng = np.random.default_rng(int(key))
    label = SOUND
    if rng.random() < share:
      label = KINDS[rng.integers(len(KINDS))]
      document = document._replace(
        text=damage(document.text, label, rng), domain=f'damaged-{label}'
      )
    labelled.append(LabelledDocument(*document, label))
  return labelled


def damage(
  text: str, kind: str, rng: np.random.Generator, *, share: float | None = None
) -> str:
  """Damages about a share of a text.

  Args:
    text: at least two different words.
    kind: one of KINDS.
    rng: source of all choices.
    share: part of the text in (0, 1] that suffers, by default drawn from
      0.3 to 1.

  Returns:
    A text that differs from the given one.

  >>> damage('one two three', 'shuffled_words', np.random.default_rng(0))
  'three two one'
  """
  if kind not in _FUNCTIONS:
    raise ValueError(f'unknown damage {kind!r}, expected one of {KINDS}')
  if len(set(text.split())) < 2:
    raise ValueError(f'text {text!r} has fewer than two different words')
  if share is None:
    share = float(rng.uniform(*_SHARES))
  while True:
    damaged = _FUNCTIONS[kind](text, rng, share)
    if damaged != text:
      return damaged
    share = min(1.0, share + 0.1)  # chance hit nothing: a short text


def _shuffled_words(text: str, rng: np.random.Generator, share: float) -> str:
  """Shuffles runs of words; the layout (spaces, line breaks) stays."""
  parts = re.split(r'(\s+)', text)
  words = np.array(parts[::2], object)
  run = int(rng.integers(_SHUFFLE_WORDS[0], _SHUFFLE_WORDS[1] + 1))
  if rng.random() < 0.3:
    run = len(words)  # the whole document
    share = 1.0
  for start in range(0, len(words), run):
    if rng.random() < share:
      words[start : start + run] = rng.permutation(words[start : start + run])
  parts[::2] = words.tolist()
  return ''.join(parts)


def _boilerplate(text: str, rng: np.random.Generator, share: float) -> str:
  """Replaces all but a part of the text by the furniture of a web page."""
  lines = [line for line in text.splitlines() if line.strip()]
  budget = max(80, int(share * len(text)))
  page = []
  while budget > 0:
    page.append(boilerplate.line(rng))
    budget -= len(page[-1])
  # What is left of the text, in order, scattered among the furniture.
  rest = lines[: int(np.ceil((1 - share) * len(lines)))]
  places = np.sort(rng.integers(0, len(page) + 1, len(rest)))
  for line, place in reversed(list(zip(rest, places, strict=True))):
    page.insert(place, line)
  return '\n'.join(page)


def _encoding(text: str, rng: np.random.Generator, share: float) -> str:
  """Breaks characters the way wrong decoders do, in one to three ways."""
  ways = rng.permutation(len(_ENCODING_WAYS))[: rng.integers(1, 4)]
  words = re.split(r'(\s+)', text)
  hit = rng.random(len(words)) < share
  for way in ways:
    words = [
      _ENCODING_WAYS[way](word, rng) if hit[i] and word.strip() else word
      for i, word in enumerate(words)
    ]
  return ''.join(words)


def _mojibake(word: str, rng: np.random.Generator) -> str:
  """UTF-8 bytes read as Windows-1252, after some typography and accents."""
  for plain, typographic in _TYPOGRAPHIC.items():
    word = word.replace(plain, typographic)
  if word.isascii() and rng.random() < 0.4:
    at = int(rng.integers(len(word)))
    word = word[:at] + word[at:].translate(_ACCENTED)
  return word.encode('utf-8').decode('cp1252', errors='replace')


def _replacement(word: str, rng: np.random.Generator) -> str:
  """Characters that no decoder could read, as U+FFFD or '?'."""
  sign = '\ufffd' if rng.random() < 0.7 else '?'
  return ''.join(sign if rng.random() < 0.2 else c for c in word)


def _dropped(word: str, rng: np.random.Generator) -> str:
  """Characters that were lost without a trace."""
  return ''.join(c for c in word if rng.random() >= 0.25)


def _escaped(word: str, rng: np.random.Generator) -> str:
  """Twice-escaped HTML or quoted-printable left in the text."""
  if rng.random() < 0.3:
    return html.escape(html.escape(word)) + '&amp;nbsp;'
  if rng.random() < 0.3:
    return word.replace("'", '=E2=80=99').replace(',', '=2C') + '=20'
  return html.escape(html.escape(word))


def _repetition(text: str, rng: np.random.Generator, share: float) -> str:
  """Repeats sentences or lines right where they are."""
  by_line = '\n' in text and rng.random() < 0.5
  units = re.split(r'(?<=\n)' if by_line else r'(?<=[.!?;:,]\s)', text)
  if len(units) < 3:  # hardly any punctuation: every word is a unit
    units = re.split(r'(?<=\s)', text)
  repeated = []
  for unit in units:
    if unit.strip() and rng.random() < share:
      again = unit if unit[-1].isspace() else unit + ' '
      repeated += [again] * int(rng.integers(_REPEATS[0], _REPEATS[1] + 1))
    repeated.append(unit)
  return ''.join(repeated)


_ENCODING_WAYS: tuple[Callable[[str, np.random.Generator], str], ...] = (
  _mojibake,
  _replacement,
  _dropped,
  _escaped,
)
_FUNCTIONS: dict[str, Callable[[str, np.random.Generator, float], str]] = {
  'shuffled_words': _shuffled_words,
  'boilerplate': _boilerplate,
  'encoding': _encoding,
  'repetition': _repetition,
}
KINDS = tuple(_FUNCTIONS)
