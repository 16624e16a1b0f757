import itertools

import numpy as np
import pytest

from jaxcurate.data import planned_rows, row_shape, token_cache, token_part
from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.ops import span_corruption
from jaxcurate.types import Document

VOCABULARY = ByteVocabulary()
SETTINGS = row_shape.row_settings(encoder_length=24, max_segments=4)


@pytest.fixture(scope='module')
def part(tmp_path_factory):
  rng = np.random.default_rng(0)
  rows = [
    Document(
      f'id{i}',
      bytes(rng.integers(97, 123, size).astype(np.uint8)).decode(),
      ['news', None][i % 2],
    )
    for i, size in enumerate([1, 2, 5, 80, *rng.integers(1, 60, 20)])
  ]
  folder = tmp_path_factory.mktemp('data') / 'cache'
  return token_cache.build(
    folder, rows, VOCABULARY, settings={}, holdout_share=0.0
  ).train


def _plan(part, *key, document=None, copy=None, settings=SETTINGS):
  if document is None:
    document = np.arange(token_part.num_documents(part))
  copy = np.zeros_like(document) if copy is None else copy
  return planned_rows.plan_documents(part, document, copy, settings, *key)


def _fill(block, part, settings=SETTINGS, columns=None):
  picks = [(block, row) for row in range(block.num_rows)]
  return planned_rows.fill_rows(
    picks, part, settings, VOCABULARY, columns or {}
  )


def _segments(batch, row, segment):
  """(inputs, targets) of one segment as lists."""
  return tuple(
    batch[tokens][row][batch[ids][row] == segment].tolist()
    for tokens, ids in (
      ('encoder_input_tokens', 'encoder_segment_ids'),
      ('decoder_target_tokens', 'decoder_segment_ids'),
    )
  )


def _restored(inputs, targets):
  """The raw tokens that were corrupted, put together by sentinels."""
  spans, sentinel = {}, None
  for token in targets[:-1]:
    if token >= 259:
      sentinel = token
      spans[sentinel] = []
    else:
      spans[sentinel].append(token)
  raw = []
  for token in inputs[:-1]:
    raw += spans[token] if token >= 259 else [token]
  return raw


def test_t5s_lengths():
  settings = row_shape.row_settings(max_segments=1)
  assert (settings.raw_length, settings.encoder_length) == (568, 512)
  assert settings.decoder_length == 114
  assert row_shape.row_settings(max_segments=8).decoder_length == 128


def test_every_token_of_every_document_is_in_its_segments(part):
  batch, document = _fill(_plan(part, 1), part)
  found = {}
  for row, segment in zip(*np.nonzero(document >= 0), strict=True):
    inputs, targets = _segments(batch, row, segment + 1)
    assert inputs[-1] == targets[-1] == 1
    piece = _restored(inputs, targets)
    found.setdefault(int(document[row, segment]), []).append(piece)
  for index in range(token_part.num_documents(part)):
    tokens = token_part.document_tokens(part, index).tolist()
    # Windows come in any order: compare the letters.
    assert sorted(itertools.chain(*found[index])) == sorted(tokens)
    if len(found[index]) == 1:
      assert found[index][0] == tokens
  real = batch['decoder_segment_ids'] > 0
  np.testing.assert_array_equal(batch['decoder_loss_weights'], real)


def test_decoder_inputs_are_targets_shifted_within_segments(part):
  batch, _ = _fill(_plan(part, 1), part)
  first = batch['decoder_positions'] == 0
  shifted = np.roll(batch['decoder_target_tokens'], 1, axis=1)
  real = batch['decoder_segment_ids'] > 0
  np.testing.assert_array_equal(
    batch['decoder_input_tokens'][real], np.where(first, 0, shifted)[real]
  )


def test_masks_depend_on_key_id_copy_and_window_only(part):
  # Long rows: a window of fewer than 30 tokens has one span, always its end.
  settings = row_shape.row_settings(encoder_length=64, max_segments=4)

  def texts(*key, **documents):
    block = _plan(part, *key, settings=settings, **documents)
    batch, document = _fill(block, part, settings)
    return {
      (int(document[row, segment]), *map(tuple, _segments(batch, row, s)))
      for row, segment in zip(*np.nonzero(document >= 0), strict=True)
      for s in [segment + 1]
    }

  everything = texts(1, 2)
  some = np.array([20, 3, 7])
  expected = {text for text in everything if text[0] in some}
  assert texts(1, 2, document=some) == expected
  assert texts(1, 3, document=some) != expected
  assert texts(1, 2, document=some, copy=some) != expected


def test_what_is_known_of_documents_is_carried_per_segment(part):
  score = np.random.default_rng(0).random(len(part.id_hash)).astype(np.float32)
  batch, document = _fill(_plan(part, 1), part, columns={'score': score})
  real = document >= 0
  high, low = np.moveaxis(batch['document_id_hash'].astype(np.uint64), -1, 0)
  id_hash = high << np.uint64(32) | low
  np.testing.assert_array_equal(id_hash[real], part.id_hash[document[real]])
  np.testing.assert_array_equal(
    batch['document_score'][real], score[document[real]]
  )
  domain = batch['document_domain']
  np.testing.assert_array_equal(domain[real], part.domain[document[real]])
  assert (domain[~real] == -1).all()
  assert not batch['document_score'][~real].any()
  assert not id_hash[~real].any()
  assert {str(batch[f'document_{name}'].dtype) for name in ('score',)} == {
    'float32'
  }
  # A segment exists exactly where a document does.
  for row in range(len(document)):
    segments = set(batch['encoder_segment_ids'][row].tolist()) - {0}
    assert segments == set((np.flatnonzero(real[row]) + 1).tolist())


def test_concat_knows_the_document_of_every_token(part):
  document = np.array([3, 1, 0, 9])
  block = planned_rows.plan_concat(part, document, SETTINGS, 1, 5)
  batch, index = _fill(block, part)
  assert (index == -1).all()
  assert 'document_domain' not in batch
  pieces = []
  for row in range(block.num_rows):
    for segment in range(1, batch['encoder_segment_ids'][row].max() + 1):
      piece = _restored(*_segments(batch, row, segment))
      pieces.append(piece)
  letters = [
    t for i in document for t in part.tokens[slice(*part.offsets[i : i + 2])]
  ]
  separators = [1] * (len(document) - 1)
  assert sorted(itertools.chain(*pieces)) == sorted([*letters, *separators])
  for side in ('encoder', 'decoder'):
    source = batch[f'{side}_source_ids']
    real = batch[f'{side}_segment_ids'] > 0
    assert set(source[real].tolist()) <= set((document + 1).tolist())
    assert not source[~real].any()
  tokens, source = batch['encoder_input_tokens'], batch['encoder_source_ids']
  for i in document:
    mine = tokens[(source == i + 1) & (tokens > 2) & (tokens < 259)]
    assert set(mine.tolist()) <= set(
      token_part.document_tokens(part, i).tolist()
    )


def test_one_example_per_row(part):
  settings = row_shape.row_settings(encoder_length=24, max_segments=1)
  block = _plan(part, 1, settings=settings)
  batch, document = _fill(block, part, settings)
  assert document.shape == (block.num_rows, 1)
  assert (document >= 0).all()
  assert batch['encoder_segment_ids'].max() == 1


def test_a_full_window_is_as_long_as_the_row(part):
  longest = int(np.diff(part.offsets).argmax())
  batch, _ = _fill(_plan(part, 1, document=np.array([longest])), part)
  assert (batch['encoder_segment_ids'] > 0).sum(axis=1).max() == 24
  raw, _ = span_corruption.raw_length(24)
  assert SETTINGS.raw_length == raw


def test_no_documents_and_no_rows(part):
  block = _plan(part, 1, document=np.zeros(0, np.int64))
  assert block.num_rows == 0
  batch, document = planned_rows.fill_rows(
    [(block, 0)], part, SETTINGS, VOCABULARY, {}
  )
  assert not batch['encoder_segment_ids'].any()
  assert document.tolist() == [[-1] * 4]
