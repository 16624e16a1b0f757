"""Rounds of DoReMi: they end when the shares stand still."""

import numpy as np
import pytest

from jaxcurate.mixtures import doge_proxy, doremi_rounds
from jaxcurate.types import ScoreTable


def table(num_tokens=(10, 30, 60)):
  return ScoreTable(
    np.array(['1', '2', '3'], object), np.array(['b', 'a', 'c'], object),
    np.array(num_tokens, np.int32), {}, {},
  )  # fmt: skip


def halfway(share):
  """Half the way to (0.5, 0.5, 0)."""
  return (share + np.array([0.5, 0.5, 0.0])) / 2


def test_rounds_by_hand():
  mixture, found = doremi_rounds.mix(table(), halfway, max_rounds=2)
  assert mixture.domains == ('a', 'b', 'c')
  # 0.3, 0.1, 0.6 -> 0.4, 0.3, 0.3 -> 0.45, 0.4, 0.15
  np.testing.assert_allclose(mixture.share_M, [0.45, 0.4, 0.15])
  assert [line['moved'] for line in found['rounds']] == pytest.approx(
    [0.6, 0.3]
  )
  assert found['rounds'][0]['shares']['b'] == pytest.approx(0.3)
  assert not found['standing_still']


def test_rounds_end_when_shares_stand_still():
  _, found = doremi_rounds.mix(table(), halfway, max_rounds=99, tolerance=0.1)
  # 0.6, 0.3, 0.15, 0.075
  assert len(found['rounds']) == 4 and found['standing_still']


def test_doge_is_one_round():
  mixture, found = doge_proxy.mix(table(), halfway)
  np.testing.assert_allclose(mixture.share_M, [0.4, 0.3, 0.3])
  assert len(found['rounds']) == 1


@pytest.mark.parametrize(
  'wrong', [{'max_rounds': 0}, {'tolerance': -1.0}, {'tolerance': np.nan}]
)
def test_settings_out_of_range(wrong):
  with pytest.raises(ValueError, match='expected at least 1 and 0'):
    doremi_rounds.mix(table(), halfway, **wrong)


def test_no_tokens():
  with pytest.raises(ValueError, match='no tokens'):
    doremi_rounds.mix(table((0, 0, 0)), halfway)
