import numpy as np
import pytest

from jaxcurate.data import row_shape, row_stream, token_cache
from jaxcurate.data.row_stream import Place
from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.types import Document, Selection

VOCABULARY = ByteVocabulary()
SETTINGS = row_shape.row_settings(encoder_length=24, max_segments=3)
MINE = np.arange(0, 20, 2)  # of domain a; every fifth of all comes twice


@pytest.fixture(scope='module')
def part(tmp_path_factory):
  rows = [Document(f'id{i}', 'x' * (5 + 3 * i), 'ab'[i % 2]) for i in range(20)]
  selection = Selection(
    id=np.array([row.id for row in rows], object),
    count=np.array([1 + (i % 5 == 0) for i in range(20)], np.int32),
    expected_count=np.ones(20),
  )
  return token_cache.build(
    tmp_path_factory.mktemp('data') / 'cache',
    rows,
    VOCABULARY,
    settings={},
    selection=selection,
    holdout_share=0.0,
  ).train


def make(part, **options):
  options = {'seed': 3, 'block_documents': 4, **options}
  return row_stream.RowStream(
    part, SETTINGS, eos_id=VOCABULARY.eos_id, **options
  )


def test_counts_of_some_documents_by_hand(part):
  stream = make(part, documents=MINE)
  assert stream.num_copies == 10 + 2  # 0 and 10 come twice
  assert stream.num_tokens == sum(5 + 3 * i for i in MINE)
  assert make(part).num_copies == 24
  assert make(part, documents=MINE[:0]).num_copies == 0


def test_rows_in_one_go_or_one_by_one(part):
  stream, place, singly = make(part, documents=MINE), Place(), []
  for _ in range(60):
    [pick], place = stream.take(place, 1)
    singly.append(pick)
  picks, after = make(part, documents=MINE).take(Place(), 60)
  assert after == place and place.epoch >= 2
  assert [row for _, row in picks] == [row for _, row in singly]
  assert Place.from_state(place._asdict()) == place


def test_an_epoch_has_the_documents_and_no_others(part):
  stream, place = make(part, documents=MINE), Place()
  tokens, documents = 0, set()
  while place.epoch == 0:
    [(block, row)], place = stream.take(place, 1)
    tokens += row_stream.tokens_of((block, row))
    documents |= set(block.document[block.row == row].tolist())
  assert documents == set(MINE.tolist())
  copies = np.diff(part.copies_end, prepend=0)
  assert tokens == (copies * np.diff(part.offsets))[MINE].sum()


def test_all_documents_named_are_all_documents(part):
  whole, named = make(part), make(part, documents=np.arange(20))
  assert whole.fingerprint() == named.fingerprint()
  for stream in (whole, named):
    picks, place = stream.take(Place(), 9)
    assert [row for _, row in picks] == [
      row for _, row in make(part).take(Place(), 9)[0]
    ]
    assert place == make(part).take(Place(), 9)[1]


def test_the_fingerprint_tells_documents_seeds_and_settings_apart(part):
  options = (
    {},
    {'documents': MINE},
    {'documents': MINE + 1},
    {'seed': 4},
    {'windowing': 'concat'},
    {'block_documents': 5},
  )
  prints = {make(part, **option).fingerprint() for option in options}
  assert len(prints) == len(options)
