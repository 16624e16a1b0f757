"""Reference sets: the few documents that a method is to find more of.

A set is split by domain, made into examples and checked here, so that every
method that learns from one refuses the same mistakes in the same words.
"""

from collections.abc import Mapping, Sequence
import hashlib

import numpy as np

from jaxcurate.scorers import likelihood
from jaxcurate.types import Document, Vocabulary

# One list of windows per document.
Windows = list[list[dict[str, np.ndarray]]]


def examples_by_domain(
  anchors: Sequence[Document],
  text: likelihood.Likelihood,
  vocabulary: Vocabulary,
  *,
  by_domain: bool,
  reserved: Sequence[str] = (),
) -> dict[str | None, Windows]:
  """The windows of every reference document that has any, by domain.

  Args:
    anchors: the reference documents.
    text: makes the examples.
    vocabulary: of the network.
    by_domain: split them where they name several domains.
    reserved: names that no domain may have.

  Returns:
    Domain -> windows, domains in alphabetical order; None -> all windows
    where they are not split.

  Raises:
    ValueError: fewer than two documents of a domain have text, some name no
      domain and others do, or a domain has a reserved name.
  """
  return {
    name: _windows(documents, text, vocabulary, name)
    for name, documents in documents_by_domain(
      anchors, by_domain, reserved
    ).items()
  }


def documents_by_domain(
  anchors: Sequence[Document], by_domain: bool, reserved: Sequence[str] = ()
) -> dict[str | None, list[Document]]:
  """The reference documents by domain.

  Args:
    anchors: the reference documents.
    by_domain: split them where they name several domains.
    reserved: names that no domain may have.

  Returns:
    Domain -> documents, domains in alphabetical order; None -> all of them
    where they are not split.

  Raises:
    ValueError: some documents name a domain and some none, or a domain has
      the name of another column.
  """
  names = {document.domain for document in anchors}
  if not by_domain or len(names) < 2:
    return {None: list(anchors)}
  if None in names:
    missing = sum(document.domain is None for document in anchors)
    raise ValueError(
      f'{missing} of {len(anchors)} reference documents name no domain; give'
      ' each one, or set by_domain to False'
    )
  if taken := names & set(reserved):
    raise ValueError(
      f'the reference domain {taken.pop()!r} has the name of a column;'
      ' rename it'
    )
  return {
    name: [document for document in anchors if document.domain == name]
    for name in sorted(name for name in names if name is not None)
  }


def split(
  windows: Windows, share: float, seed: int
) -> tuple[list[dict[str, np.ndarray]], list[dict[str, np.ndarray]]]:
  """Windows of the documents to learn from, and of those held out.

  Args:
    windows: of at least two documents.
    share: of the documents to hold out, in [0, 1); at least one where it is
      above 0, never all.
    seed: of the choice.
  """
  order = np.random.default_rng(seed).permutation(len(windows))
  held = int(np.clip(round(share * len(order)), share > 0, len(order) - 1))
  rest, held_out = (
    [window for index in part for window in windows[index]]
    for part in (order[held:], order[:held])
  )
  return rest, held_out


def digest(references: Mapping[str | None, Windows]) -> str:
  """A short name of the reference sets: equal tokens, equal name."""
  made = hashlib.blake2b(digest_size=8)
  for name, reference in references.items():
    made.update(repr((name, len(reference))).encode())
    for windows in reference:
      for window in windows:
        made.update(window['decoder_targets'].tobytes())
  return made.hexdigest()


def _windows(
  documents: Sequence[Document],
  text: likelihood.Likelihood,
  vocabulary: Vocabulary,
  domain: str | None,
) -> Windows:
  """The windows of every reference document that has any.

  Raises:
    ValueError: fewer than two documents have a token to predict.
  """
  tokens = vocabulary.encode_batch([document.text for document in documents])
  found = [own for own in text.examples(documents, tokens) if own]
  if len(found) < 2:
    of = '' if domain is None else f' of domain {domain!r}'
    raise ValueError(
      f'the reference set{of} has {len(documents)} document(s), {len(found)}'
      ' with text to learn from; give at least 2 (the paper has hundreds)'
    )
  return found
