import numpy as np
import pytest

from jaxcurate.data import packing


def _pack(examples, encoder_length=8, decoder_length=6, max_segments=4):
  return packing.pack(
    examples,
    encoder_length=encoder_length,
    decoder_length=decoder_length,
    max_segments=max_segments,
  )


def _example(encoder, targets=None, **others):
  example = {'encoder': np.array(encoder, np.int32)}
  if targets is not None:
    example['decoder_targets'] = np.array(targets, np.int32)
    example['decoder_inputs'] = np.array([0, *targets[:-1]], np.int32)
  return {**example, **{key: np.array(v) for key, v in others.items()}}


def test_every_key_by_hand():
  packed = _pack([_example([5, 6, 1], [9, 1]), _example([7, 7, 7, 1], [8, 1])])
  assert packed.row.tolist() == [0, 0]
  assert packed.segment.tolist() == [2, 1]  # the longer one comes first
  assert {key: value.tolist() for key, value in packed.batch.items()} == {
    'encoder_input_tokens': [[7, 7, 7, 1, 5, 6, 1, 0]],
    'encoder_segment_ids': [[1, 1, 1, 1, 2, 2, 2, 0]],
    'encoder_positions': [[0, 1, 2, 3, 0, 1, 2, 0]],
    'decoder_input_tokens': [[0, 8, 0, 9, 0, 0]],
    'decoder_target_tokens': [[8, 1, 9, 1, 0, 0]],
    'decoder_segment_ids': [[1, 1, 2, 2, 0, 0]],
    'decoder_positions': [[0, 1, 0, 1, 0, 0]],
    'decoder_loss_weights': [[1, 1, 1, 1, 0, 0]],
  }
  for key, value in packed.batch.items():
    kind = np.float32 if key == 'decoder_loss_weights' else np.int32
    assert value.dtype == kind, key


def test_weights_and_other_values_of_tokens_are_carried():
  examples = [
    _example([5, 1], [9, 1], decoder_weights=[0.5, 0.0], encoder_source=[3, 4]),
    _example([1], [1], decoder_weights=[2.0], encoder_source=[8]),
  ]
  batch = _pack(examples).batch
  assert batch['decoder_loss_weights'].tolist() == [[0.5, 0, 2, 0, 0, 0]]
  assert batch['decoder_loss_weights'].dtype == np.float32
  assert batch['encoder_source'].tolist() == [[3, 4, 8, 0, 0, 0, 0, 0]]


def test_encoder_only_examples_have_no_decoder_keys():
  batch = _pack([_example([5, 1])]).batch
  assert sorted(batch) == [
    'encoder_input_tokens',
    'encoder_positions',
    'encoder_segment_ids',
  ]


def test_every_example_is_found_whole_where_it_is_said_to_be():
  rng = np.random.default_rng(0)
  examples = [
    _example(rng.integers(1, 99, size), rng.integers(1, 99, 1 + size // 5))
    for size in rng.integers(1, 64, 300)
  ]
  packed = _pack(examples, 64, 16, max_segments=6)
  batch = packed.batch
  total = 0
  for index, example in enumerate(examples):
    row, segment = packed.row[index], packed.segment[index]
    for side, keys in (
      ('encoder', {'encoder': 'encoder_input_tokens'}),
      (
        'decoder',
        {
          'decoder_inputs': 'decoder_input_tokens',
          'decoder_targets': 'decoder_target_tokens',
        },
      ),
    ):
      mine = batch[f'{side}_segment_ids'][row] == segment
      for key, name in keys.items():
        np.testing.assert_array_equal(batch[name][row][mine], example[key])
      positions = batch[f'{side}_positions'][row][mine]
      np.testing.assert_array_equal(positions, np.arange(mine.sum()))
      total += mine.sum()
  real = [batch[f'{side}_segment_ids'] > 0 for side in ('encoder', 'decoder')]
  assert sum(int(side.sum()) for side in real) == total
  assert not batch['encoder_input_tokens'][~real[0]].any()
  np.testing.assert_array_equal(batch['decoder_loss_weights'], real[1])


def test_unpacked_rows_keep_the_order():
  packed = _pack([_example([1]), _example([2, 2]), _example([3])], 3, 0, 1)
  assert packed.batch['encoder_input_tokens'].tolist() == [
    [1, 0, 0],
    [2, 2, 0],
    [3, 0, 0],
  ]
  assert packed.segment.tolist() == [1, 1, 1]


def test_fill_leaves_rows_without_examples_empty():
  batch = packing.fill(
    [_example([4, 4]), _example([5])],
    np.array([2, 0], np.int32),
    np.array([1, 1], np.int32),
    num_rows=4,
    encoder_length=2,
    decoder_length=0,
  )
  assert batch['encoder_input_tokens'].tolist() == [
    [5, 0],
    [0, 0],
    [4, 4],
    [0, 0],
  ]


def test_no_examples():
  packed = _pack([])
  assert len(packed.row) == len(packed.segment) == 0
  assert packed.batch['encoder_input_tokens'].shape == (0, 8)
  assert packed.batch['decoder_target_tokens'].shape == (0, 6)
  assert 'decoder_segment_ids' not in _pack([], decoder_length=0).batch


def test_rows_are_padded_up_to_a_multiple():
  batch = _pack([_example([1] * 8)] * 3).batch
  padded = packing.pad_rows(batch, 4)
  assert padded['encoder_segment_ids'].shape == (4, 8)
  assert not padded['encoder_segment_ids'][3].any()
  np.testing.assert_array_equal(
    padded['encoder_input_tokens'][:3], batch['encoder_input_tokens']
  )
  again = packing.pad_rows(padded, 2)
  assert {key: value.shape for key, value in again.items()} == {
    key: value.shape for key, value in padded.items()
  }


def test_errors_name_the_example():
  with pytest.raises(ValueError, match='example 1 has 9 encoder tokens'):
    _pack([_example([1]), _example([1] * 9)])
  with pytest.raises(ValueError, match='example 0 has 7 decoder tokens'):
    _pack([_example([1], [1] * 7)])
  with pytest.raises(ValueError, match='example 0 has 0 encoder tokens'):
    _pack([_example([])])
  with pytest.raises(ValueError, match=r"example 1 has \['encoder'\]"):
    _pack([_example([1, 1], [1]), _example([1])])
  broken = {**_example([1], [1, 1]), 'decoder_inputs': np.zeros(3, np.int32)}
  with pytest.raises(ValueError, match='3 values for 2 decoder tokens'):
    _pack([broken])
