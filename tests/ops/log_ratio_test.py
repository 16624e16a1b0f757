"""The log-likelihood ratio per token and its threshold."""

import numpy as np
import pytest

from jaxcurate.ops import log_ratio


def test_by_hand():
  # 2, 0 and -3 nats over 4, 5 and 6 tokens.
  found = log_ratio.per_token(
    np.array([-8.0, -7.0, -9.0]),
    np.array([-10.0, -7.0, -6.0]),
    np.array([4.0, 5.0, 6.0]),
  )
  assert found.tolist() == [0.5, 0.0, -0.5]


def test_its_exponential_is_a_ratio_of_perplexities():
  rng = np.random.default_rng(0)
  log_p, log_q = -rng.exponential(3, (2, 7))
  ratio = log_ratio.per_token(
    np.array(log_p.sum()), np.array(log_q.sum()), np.array(7.0)
  )
  perplexity = [np.exp(-log.mean()) for log in (log_p, log_q)]
  assert np.exp(ratio) == pytest.approx(perplexity[1] / perplexity[0])


def test_texts_keep_their_order_whatever_is_added_to_both():
  both = np.array([-3.0, -4.0]), np.array([-5.0, -5.0]), np.array([2.0, 2.0])
  shifted = both[0] - 7, both[1] - 7, both[2]
  np.testing.assert_allclose(
    log_ratio.per_token(*both), log_ratio.per_token(*shifted)
  )


def test_thresholds():
  assert log_ratio.from_ratio(1.0) == 0.0
  assert log_ratio.from_ratio(1.2) == pytest.approx(np.log(1.2))
  for bad in (0.0, -1.0, float('nan'), float('inf')):
    with pytest.raises(ValueError, match='above 0'):
      log_ratio.from_ratio(bad)
