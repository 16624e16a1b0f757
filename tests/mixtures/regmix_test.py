"""RegMix's draws keep the paper's rules; its space means what it says."""

import numpy as np
import pytest

from jaxcurate.mixtures import regmix
from jaxcurate.types import ScoreTable


def test_draws_keep_the_rules():
  natural = np.array([0.6, 0.3, 0.08, 0.02, 0.0])
  drawn = regmix.draw_shares(natural, 0, 300)
  np.testing.assert_allclose(drawn.sum(axis=1), 1.0)
  assert (drawn <= np.minimum(15 * natural, 1) + 1e-3).all()
  assert ((drawn == 0) | (drawn > 1.9e-4)).all()
  assert (drawn[:, 4] == 0).all()  # without tokens
  assert len({tuple(row) for row in np.round(drawn, 5)}) == 300
  # Tempered: the small ones are drawn more than they are there.
  assert drawn[:, 3].mean() > 0.025
  assert drawn[:, 0].mean() < 0.6


def test_longer_draws_begin_as_shorter_ones():
  natural = np.full(6, 1 / 6)
  np.testing.assert_array_equal(
    regmix.draw_shares(natural, 5, 300)[:20], regmix.draw_shares(natural, 5, 20)
  )


def test_rules_that_nothing_can_keep():
  natural = np.append(1 - 1e-9 * 40, np.full(40, 1e-9))
  with pytest.raises(ValueError, match='merge the smallest domains'):
    regmix.draw_shares(natural, 0, 50)


def test_a_candidate_samples_domains_by_its_shares():
  table = ScoreTable(
    np.array(['1', '2', '3'], object),
    np.array(['a', 'b', 'a'], object),
    np.array([10, 5, 30], np.int32), {}, {},
  )  # fmt: skip
  space = regmix.share_space(table)
  assert space.names == ('a', 'b')
  value = space.values(np.array([0.8, 0.2]))
  tokens = value * table.num_tokens
  np.testing.assert_allclose(tokens, [0.2, 0.2, 0.6])
  mixture = space.mixture(np.array([0.8, 0.2]))
  assert mixture.domains == ('a', 'b') and mixture.shape is None
  np.testing.assert_allclose(mixture.share_M, [0.8, 0.2])
  proposals = space.propose(0, 500)
  np.testing.assert_allclose(proposals.sum(axis=1), 1.0)
  # Dirichlet of the natural shares: their mean is the natural shares.
  np.testing.assert_allclose(proposals.mean(axis=0), [8 / 9, 1 / 9], atol=0.05)


def test_one_domain_has_no_shares():
  table = ScoreTable(
    np.array(['1'], object), np.array(['a'], object), np.ones(1, int), {}, {}
  )
  with pytest.raises(ValueError, match='need at least two'):
    regmix.share_space(table)
