import numpy as np
import pytest

from jaxcurate.data import row_shape, row_stream, token_cache
from jaxcurate.data.batch_rows import BatchRows
from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.types import Document

VOCABULARY = ByteVocabulary()
SETTINGS = row_shape.row_settings(encoder_length=24, max_segments=3)


@pytest.fixture(scope='module')
def part(tmp_path_factory):
  rows = [Document(f'id{i}', 'x' * (5 + i), None) for i in range(9)]
  return token_cache.build(
    tmp_path_factory.mktemp('data') / 'cache',
    rows,
    VOCABULARY,
    settings={},
    holdout_share=0.0,
  ).train


def make(part, **options):
  options = {
    'rows_per_batch': 4,
    'windowing': 'document',
    'columns': None,
    'shard': 0,
    'num_shards': 1,
    **options,
  }
  return BatchRows(part, VOCABULARY, SETTINGS, **options)


def test_each_host_fills_its_own_rows(part):
  stream = row_stream.RowStream(
    part, SETTINGS, eos_id=VOCABULARY.eos_id, seed=0
  )
  picks, _ = stream.take(row_stream.Place(), 4)
  whole = make(part).fill(picks)
  halves = [
    make(part, shard=shard, num_shards=2).fill(picks) for shard in (0, 1)
  ]
  for name, rows in whole.items():
    joined = np.concatenate([half[name] for half in halves])
    np.testing.assert_array_equal(rows, joined, err_msg=name)


def test_documents_are_found_by_their_hash(part):
  assert make(part).document_id(int(part.id_hash[4])) == 'id4'
  assert make(part).document_id(12345) is None
