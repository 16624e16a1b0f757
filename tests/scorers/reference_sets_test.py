"""Reference sets: split by domain, checked, held out in part."""

import numpy as np
import pytest

from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.scorers import likelihood, reference_sets
from jaxcurate.types import Document

VOCABULARY = ByteVocabulary()


def examples(documents, tokens):
  """Windows of three tokens."""
  del documents
  return [
    [
      {'decoder_targets': np.array(own[i : i + 3], np.int32)}
      for i in range(0, len(own), 3)
    ]
    for own in tokens
  ]


TEXT = likelihood.Likelihood('toy', examples, 0, 3, likelihood.sums)


def documents(**texts):
  """One document for every letter of every keyword's value."""
  return [
    Document(f'{domain}{i}', text, None if domain == 'none' else domain)
    for domain, own in texts.items()
    for i, text in enumerate(own)
  ]


def by_domain(anchors, **settings):
  return reference_sets.examples_by_domain(
    anchors, TEXT, VOCABULARY, **{'by_domain': True, **settings}
  )


def test_windows_by_domain_in_alphabetical_order():
  found = by_domain(documents(tea=['abcd', 'e'], art=['f', '', 'g']))
  assert list(found) == ['art', 'tea']
  assert [len(windows) for windows in found['tea']] == [2, 1]
  assert len(found['art']) == 2  # the empty text has no window


def test_one_domain_or_none_is_one_set():
  for anchors in (documents(tea=['a', 'b']), documents(none=['a', 'b'])):
    assert list(by_domain(anchors)) == [None]
  mixed = documents(tea=['a'], art=['b'])
  assert len(by_domain(mixed, by_domain=False)[None]) == 2


def test_held_out_documents_are_not_trained_on():
  [windows] = by_domain(documents(none=['abcd', 'efgh', 'i', 'j'])).values()
  texts = {tuple(w['decoder_targets']) for own in windows for w in own}
  for share, held in [(0.0, 0), (0.01, 1), (0.5, 2), (0.99, 3)]:
    rest, held_out = reference_sets.split(windows, share, seed=1)
    parts = [{tuple(w['decoder_targets']) for w in p} for p in (rest, held_out)]
    assert parts[0] | parts[1] == texts
    assert not parts[0] & parts[1]
    # Of the four documents two have two windows.
    assert held <= len(held_out) <= 2 * held
    assert rest
  first, again = (reference_sets.split(windows, 0.5, 1) for _ in range(2))
  np.testing.assert_equal(first, again)


def test_digest_is_of_the_tokens_and_their_domains():
  sets = [
    by_domain(documents(art=['ab', 'c'], tea=['d', 'e'])),
    by_domain(documents(art=['ab', 'c'], tea=['d', 'f'])),
    by_domain(documents(art=['ab', 'c'], tee=['d', 'e'])),
    by_domain(documents(none=['ab', 'c', 'd', 'e'])),
  ]
  assert len({reference_sets.digest(own) for own in sets}) == 4
  again = by_domain(documents(art=['ab', 'c'], tea=['d', 'e']))
  assert reference_sets.digest(again) == reference_sets.digest(sets[0])


@pytest.mark.parametrize(
  'anchors, message',
  [
    ([], r'0 document\(s\), 0 with text'),
    (documents(none=['a']), r'1 document\(s\), 1 with text'),
    (documents(none=['', '', '']), r'3 document\(s\), 0 with text'),
    (documents(art=['a', 'b'], tea=['c']), "set of domain 'tea' has 1"),
    (documents(art=['a', 'b'], none=['c']), '1 of 3 reference documents name'),
    (documents(art=['a', 'b'], count=['c', 'd']), "'count' has the name"),
  ],
)
def test_what_cannot_be_learnt_from_is_refused(anchors, message):
  with pytest.raises(ValueError, match=message):
    by_domain(anchors, reserved=('count',))
