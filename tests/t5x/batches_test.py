"""T5X's batches in this project's terms."""

import jax.numpy as jnp
import numpy as np

from jaxcurate.t5x import batches


def test_padded_rows_get_segment_ids():
  made = batches.as_batch(
    {
      'encoder_input_tokens': np.array([[4, 5, 0], [0, 0, 0]]),
      'decoder_input_tokens': np.array([[0, 7, 0], [0, 0, 0]]),
      'decoder_target_tokens': np.array([[7, 1, 0], [0, 0, 0]]),
    },
    3,
  )
  # The first decoder input is 0 and real.
  np.testing.assert_array_equal(
    made['decoder_segment_ids'], [[1, 1, 0], [0, 0, 0]]
  )
  np.testing.assert_array_equal(
    made['encoder_segment_ids'], [[1, 1, 0], [0, 0, 0]]
  )


def test_decoders_have_no_encoder_side():
  made = batches.as_batch({'decoder_target_tokens': np.array([[7, 1]])}, 3)
  assert set(made) == {'decoder_target_tokens', 'decoder_segment_ids'}


def test_packed_rows_keep_theirs_up_to_the_last():
  ids = np.array([[1, 1, 2, 3, 3, 0], [1, 2, 2, 2, 0, 0]])
  packed = {'decoder_target_tokens': ids, 'decoder_segment_ids': ids}
  made = batches.as_batch(packed, 2)['decoder_segment_ids']
  np.testing.assert_array_equal(made, [[1, 1, 2, 2, 2, 0], [1, 2, 2, 2, 0, 0]])
  assert int(batches.merged_examples(packed, 2)) == 1
  assert int(batches.merged_examples(packed, 1)) == 3
  assert int(batches.merged_examples(packed, 3)) == 0
  assert int(batches.merged_examples({'decoder_target_tokens': ids}, 1)) == 0


def test_log_probabilities_against_float64():
  rng = np.random.default_rng(0)
  logits, targets = rng.normal(size=(2, 3, 5)) * 30, rng.integers(0, 5, (2, 3))
  total = np.log(np.exp(logits - logits.max()).sum(-1)) + logits.max()
  expected = np.take_along_axis(logits, targets[..., None], -1)[..., 0] - total
  actual = batches.target_log_prob(
    jnp.asarray(logits, jnp.float32), jnp.asarray(targets)
  )
  np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
