"""Causal rows: every token a target once, EOS where a document ends."""

import numpy as np
import pytest

from jaxcurate.data import (
  causal_rows,
  evaluation,
  planned_rows,
  row_shape,
  token_cache,
  token_part,
  training,
)
from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.types import Document

VOCABULARY = ByteVocabulary()
WITH_BOS = ByteVocabulary()
WITH_BOS.bos_id = 2
SETTINGS = row_shape.causal_settings(length=12, max_segments=3)


@pytest.fixture(scope='module')
def part(tmp_path_factory):
  sizes = [1, 2, 3, 25, 11, 12, 40, 7, 7]
  rows = [
    Document(f'id{i}', 'abcdefghijklmnopqrstuvwxyz'[:1] * size, 'web')
    for i, size in enumerate(sizes)
  ]
  return token_cache.build(
    tmp_path_factory.mktemp('data') / 'cache',
    rows,
    VOCABULARY,
    settings={},
    holdout_share=0.0,
  ).train


def test_examples_by_hand():
  tokens = np.array([7, 8, 9], np.int32)
  made = causal_rows.causal_example(tokens, WITH_BOS, ends=True)
  assert made['decoder_inputs'].tolist() == [2, 7, 8, 9]
  assert made['decoder_targets'].tolist() == [7, 8, 9, 1]
  made = causal_rows.causal_example(tokens, WITH_BOS, ends=False)
  assert made['decoder_targets'].tolist() == [7, 8, 9]
  made = causal_rows.causal_example(tokens, VOCABULARY, ends=False)
  assert made['decoder_inputs'].tolist() == [7, 8]
  assert made['decoder_targets'].tolist() == [8, 9]


@pytest.mark.parametrize(
  ('vocabulary', 'ends', 'expected'),
  [
    (WITH_BOS, True, [5, 5, 6, 6]),
    (WITH_BOS, False, [5, 5, 6]),
    (VOCABULARY, False, [5, 6]),
  ],
)
def test_sources_are_those_of_the_targets(vocabulary, ends, expected):
  made = causal_rows.causal_example(
    np.array([7, 8, 9]), vocabulary, ends=ends, source=np.array([5, 5, 6])
  )
  assert made['decoder_source_ids'].tolist() == expected
  assert len(made['decoder_targets']) == len(expected)


def test_every_token_but_a_windows_first_is_a_target_once(part):
  document = np.arange(token_part.num_documents(part))
  block = planned_rows.plan_documents(
    part, document, np.zeros_like(document), SETTINGS, 0
  )
  picks = [(block, row) for row in range(block.num_rows)]
  batch, places = planned_rows.fill_rows(picks, part, SETTINGS, VOCABULARY, {})
  assert not [name for name in batch if name.startswith('encoder')]
  assert batch['decoder_input_tokens'].shape == (block.num_rows, 12)
  windows = len(block.start)
  targets = batch['decoder_segment_ids'] > 0
  ends = batch['decoder_target_tokens'][targets] == VOCABULARY.eos_id
  assert ends.sum() == len(document)
  assert targets.sum() == len(part.tokens) - windows + len(document)
  np.testing.assert_array_equal(batch['decoder_loss_weights'], targets)
  assert sorted(set(places[places >= 0])) == document.tolist()


def test_every_token_is_a_target_where_texts_begin_with_bos(part):
  document = np.arange(token_part.num_documents(part))
  block = planned_rows.plan_documents(
    part, document, np.zeros_like(document), SETTINGS, 0
  )
  picks = [(block, row) for row in range(block.num_rows)]
  batch, _ = planned_rows.fill_rows(picks, part, SETTINGS, WITH_BOS, {})
  targets = batch['decoder_target_tokens'][batch['decoder_segment_ids'] > 0]
  text = targets[targets != WITH_BOS.eos_id]
  assert sorted(text.tolist()) == sorted(part.tokens.tolist())
  starts = batch['decoder_input_tokens'][batch['decoder_segment_ids'] > 0]
  assert (starts == WITH_BOS.bos_id).sum() == len(block.start)


def test_windows_may_cross_documents(part):
  batches = training.TrainingBatches(
    part,
    WITH_BOS,
    row_shape.causal_settings(length=12, max_segments=1),
    rows_per_batch=4,
    seed=0,
    windowing='concat',
    prefetch=0,
  )
  batch = next(batches)
  ids, targets = batch['decoder_source_ids'], batch['decoder_target_tokens']
  assert (ids > 0).sum() == (batch['decoder_segment_ids'] > 0).sum()
  assert (targets == WITH_BOS.eos_id).any()


def test_held_out_documents_are_read_once(part):
  batches = list(
    evaluation.eval_batches(part, WITH_BOS, SETTINGS, rows_per_batch=4)
  )
  counted = sum(b.batch['decoder_loss_weights'].sum() for b in batches)
  assert counted == len(part.tokens) + token_part.num_documents(part)


def test_too_short_a_row_is_refused():
  with pytest.raises(ValueError, match='2 tokens, expected at least 3'):
    row_shape.causal_settings(length=2)
