import numpy as np
import pytest

from jaxcurate.data import (
  evaluation,
  row_shape,
  token_cache,
  token_part,
)
from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.io.errors import UserError
from jaxcurate.types import Document

VOCABULARY = ByteVocabulary()
SETTINGS = row_shape.row_settings(encoder_length=24, max_segments=3)


def _part(folder, rows):
  return token_cache.build(
    folder,
    [Document('train', 'text', None)],
    VOCABULARY,
    settings={},
    eval_rows=rows,
  ).eval


def _rows(count=25):
  rng = np.random.default_rng(0)
  return [
    Document(f'id{i}', chr(97 + i) * int(size), None)
    for i, size in enumerate(rng.integers(1, 70, count))
  ]


@pytest.fixture(scope='module')
def part(tmp_path_factory):
  return _part(tmp_path_factory.mktemp('data') / 'cache', _rows())


def _batches(part, **kwargs):
  kwargs = {'rows_per_batch': 4, 'block_documents': 8, **kwargs}
  return evaluation.eval_batches(part, VOCABULARY, SETTINGS, **kwargs)


def _examples(batches):
  """(document, inputs, targets) of every segment, sorted."""
  examples = []
  for batch, document in batches:
    for row, segment in zip(*np.nonzero(document >= 0), strict=True):
      sides = [
        tuple(batch[name][row][batch[ids][row] == segment + 1].tolist())
        for name, ids in (
          ('encoder_input_tokens', 'encoder_segment_ids'),
          ('decoder_target_tokens', 'decoder_segment_ids'),
        )
      ]
      examples.append((int(document[row, segment]), *sides))
  return sorted(examples)


def test_every_token_of_every_document_once(part):
  examples = _examples(_batches(part))
  letters = {}
  for index, inputs, targets in examples:
    text = [t for t in (*inputs, *targets) if 3 <= t < 259]
    letters[index] = letters.get(index, 0) + len(text)
  assert letters == dict(enumerate(np.diff(part.offsets).tolist()))


def test_masks_are_fixed_by_id(part, tmp_path):
  examples = _examples(_batches(part))
  assert _examples(_batches(part)) == examples
  assert _examples(_batches(part, rows_per_batch=1)) == examples
  assert _examples(_batches(part, block_documents=1024)) == examples
  # Among other documents, in another order, a document is asked the same.
  other = _part(tmp_path / 'c', _rows()[::-2])
  ids = [token_part.document_id(other, i) for i in range(13)]
  renamed = sorted(
    (int(ids[index][2:]), inputs, targets)
    for index, inputs, targets in _examples(_batches(other))
  )
  kept = {int(id_[2:]) for id_ in ids}
  assert renamed == [example for example in examples if example[0] in kept]


def test_all_batches_have_one_shape_and_the_last_is_padded(part):
  batches = list(_batches(part, rows_per_batch=8))
  assert {b.batch['encoder_input_tokens'].shape for b in batches} == {(8, 24)}
  rows = [b.batch['encoder_segment_ids'].any(axis=1) for b in batches]
  assert all(real.all() for real in rows[:-1])
  assert np.all(np.diff(rows[-1].astype(int)) <= 0)
  for batch, document in batches:
    empty = ~batch['encoder_segment_ids'].any(axis=1)
    assert (document[empty] == -1).all()
    assert not batch['decoder_loss_weights'][empty].any()


def test_losses_of_windows_add_up_to_their_documents(part):
  # With a loss of 1 per target a document's sum is its number of targets.
  total = np.zeros(token_part.num_documents(part))
  for batch, document in _batches(part):
    for row, segment in zip(*np.nonzero(document >= 0), strict=True):
      mine = batch['decoder_segment_ids'][row] == segment + 1
      total[document[row, segment]] += batch['decoder_loss_weights'][row][
        mine
      ].sum()
  expected = np.zeros_like(total)
  for index, _, targets in _examples(_batches(part)):
    expected[index] += len(targets)
  np.testing.assert_array_equal(total, expected)
  assert (total >= 2).all()


def test_shards_are_parts_of_the_whole_batch(part):
  whole = list(_batches(part))
  shards = [list(_batches(part, shard=s, num_shards=2)) for s in range(2)]
  assert [len(shard) for shard in shards] == [len(whole)] * 2
  for index, batch in enumerate(whole):
    np.testing.assert_array_equal(
      np.concatenate([shard[index].document for shard in shards]),
      batch.document,
    )
    for name, values in batch.batch.items():
      joined = np.concatenate([shard[index].batch[name] for shard in shards])
      np.testing.assert_array_equal(joined, values, err_msg=name)


def test_errors_come_before_the_first_batch(part, tmp_path):
  with pytest.raises(UserError, match='is held out; raise holdout_share'):
    _batches(_part(tmp_path / 'c', []))
  with pytest.raises(UserError, match='4 rows per batch cannot be split'):
    _batches(part, num_shards=3)


def test_one_document_of_one_token(tmp_path):
  part = _part(tmp_path / 'c', [Document('a', 'x', None)])
  ((batch, document),) = _batches(part)
  assert document.tolist() == [[0, -1, -1], *[[-1] * 3] * 3]
  assert batch['encoder_input_tokens'][0, :3].tolist() == [123, 1, 0]
