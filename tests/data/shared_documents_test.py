"""Counting what two corpora share, token for token."""

import pytest

from jaxcurate.data import shared_documents, token_cache
from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.types import Document


@pytest.fixture
def part_of(tmp_path):
  """texts -> a part of these documents."""

  def build(*texts):
    return token_cache.build(
      tmp_path / '-'.join(texts),
      [Document(f'{i}', text, None) for i, text in enumerate(texts)],
      ByteVocabulary(),
      settings={},
      holdout_share=0.0,
    ).train

  return build


@pytest.mark.parametrize(
  'one, other, shared',
  [
    (('ab', 'cd', 'efg'), ('cd', 'xyz'), 1),
    (('ab', 'ab', 'cd'), ('ab',), 2),
    (('ab', 'cd'), ('ab', 'cd'), 2),
    (('ab', 'cd'), ('ba', 'c', 'abcd'), 0),
  ],
)
def test_counts_by_hand(part_of, one, other, shared):
  assert shared_documents.count_shared(part_of(*one), part_of(*other)) == shared


def test_nothing_shares_with_nothing(part_of):
  part = part_of('ab')
  empty = part._replace(id_hash=part.id_hash[:0], offsets=part.offsets[:1])
  assert shared_documents.count_shared(part, empty) == 0
  assert shared_documents.count_shared(empty, part) == 0
