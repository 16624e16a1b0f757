"""Shares by domain size and by domain score."""

import numpy as np
import pytest

from jaxcurate.mixtures import proportional, score_mixture
from jaxcurate.types import ScoreTable


def table(score=(1.0, 3.0, 2.0), tokens=(10, 30, 40), domain='aab'):
  return ScoreTable(
    np.array([str(i) for i in range(len(domain))], object),
    np.array(list(domain), object),
    np.array(tokens, np.int32),
    {'s': np.array(score, np.float32)},
    {'s': ''},
  )


def test_exponential_of_the_mean_score_by_hand():
  mixture = score_mixture.mix(table(), temperature=0.5)
  mean = np.array([(1 * 10 + 3 * 30) / 40, 2.0])  # by tokens: 2.5 and 2
  by_hand = np.exp(mean / 0.5)
  assert mixture.domains == ('a', 'b')
  np.testing.assert_allclose(mixture.share_M, by_hand / by_hand.sum())


def test_better_domains_get_more_and_none_is_forgotten():
  for temperature in (0.1, 1.0, 100.0):
    share = score_mixture.mix(table(), temperature=temperature).share_M
    assert share[0] > share[1] > 0
  np.testing.assert_allclose(share, 0.5, atol=2e-3)  # hot: nearly equal


def test_a_common_offset_of_scores_changes_nothing():
  far = score_mixture.mix(table(score=(1001.0, 1003.0, 1002.0)))
  np.testing.assert_allclose(far.share_M, score_mixture.mix(table()).share_M)


def test_domains_without_tokens_get_nothing():
  empty = table(tokens=(10, 30, 0))
  for mixture in (
    score_mixture.mix(empty), proportional.mix(empty),
    proportional.mix(empty, temperature=np.inf),
  ):  # fmt: skip
    assert mixture.share_M.tolist() == [1.0, 0.0]


def test_proportional_by_hand():
  assert proportional.mix(table()).share_M.tolist() == [0.5, 0.5]
  skewed = table(tokens=(5, 5, 40))
  np.testing.assert_allclose(
    proportional.mix(skewed, temperature=2.0).share_M, [1 / 3, 2 / 3]
  )
  equal = proportional.mix(skewed, temperature=np.inf)
  assert equal.share_M.tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
  ('call', 'why'),
  [
    (lambda: score_mixture.mix(table(), temperature=0.0), 'above 0'),
    (
      lambda: score_mixture.mix(table(score=(1, np.nan, 2))),
      "'1' has no score",
    ),
    (lambda: proportional.mix(table(), temperature=0.5), 'at least 1'),
    (lambda: proportional.mix(table(tokens=(0, 0, 0))), 'no tokens'),
  ],
)
def test_settings_out_of_range(call, why):
  with pytest.raises(ValueError, match=why):
    call()
