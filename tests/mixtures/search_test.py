"""The loop of a search: on losses with a known answer, and at its edges."""

import numpy as np
import pytest

from jaxcurate.mixtures import regmix, regressors, search
from jaxcurate.types import ScoreTable

BEST = np.array([0.5, 0.3, 0.15, 0.05])


def table(sizes=(40, 30, 20, 10)):
  domain = np.repeat([f'd{i}' for i in range(len(sizes))], sizes).astype(object)
  ids = np.array([f'doc{i}' for i in range(len(domain))], object)
  return ScoreTable(ids, domain, np.full(len(ids), 7, np.int32), {}, {})


def bowl(space, rows):
  """A loss whose lowest point is known."""
  return 3.0 + ((rows - BEST) ** 2).sum(axis=1)


def run(proxies=bowl, **kwargs):
  given = {'rounds': (60,), 'num_proposals': 2000, 'num_best': 20, 'seed': 0}
  return search.search(
    regmix.share_space(table()),
    proxies,
    regressors.fit_lightgbm,
    **{**given, **kwargs},
  )


def test_the_choice_is_near_the_best():
  mixture, found = run()
  assert mixture.domains == ('d0', 'd1', 'd2', 'd3')
  natural = bowl(None, np.array([[0.4, 0.3, 0.2, 0.1]]))[0]
  assert np.abs(mixture.share_M - BEST).sum() < 0.25
  assert found['loss/realised'] < min(natural + 0.01, found['loss/best_proxy'])
  assert found['proxies'] == 60 and found['diverged'] == 0
  assert found['regressor'][-1]['runs'] == 52
  assert found['regressor'][-1]['spearman'] > 0.8


def test_rounds_draw_among_what_looks_best():
  asked = []

  def proxies(space, rows):
    asked.append(bowl(space, rows))
    return asked[-1]

  mixture, _ = run(proxies, rounds=(40, 10, 10))
  assert [len(losses) for losses in asked] == [40, 10, 10, 1]
  assert np.median(asked[1]) < np.median(asked[0])
  assert np.median(asked[2]) < np.median(asked[0])
  assert mixture.share_M.sum() == pytest.approx(1.0)


def test_the_same_seed_asks_for_the_same_proxies():
  def asked(seed):
    rows = []
    run(lambda space, r: rows.append(r) or bowl(space, r), seed=seed)
    return rows

  first, again, other = asked(3), asked(3), asked(4)
  for one, two in zip(first, again, strict=True):
    np.testing.assert_array_equal(one, two)
  assert not np.array_equal(first[0], other[0])


def test_diverged_proxies_are_left_out_and_counted():
  def proxies(space, rows):
    loss = bowl(space, rows)
    loss[::7] = np.nan
    return loss

  mixture, found = run(proxies)
  assert found['diverged'] == 9 and found['loss/realised'] is None
  assert np.isfinite(mixture.share_M).all()


def test_a_search_of_diverged_proxies_ends():
  with pytest.raises(ValueError, match='60 of 60 proxies diverged'):
    run(lambda space, rows: np.full(len(rows), np.nan))


def test_the_regressor_is_judged_on_runs_it_has_not_seen():
  rng = np.random.default_rng(0)
  rows, loss = rng.dirichlet(np.ones(3), size=90), rng.normal(size=90)
  seen = []

  def regressor(x, y):
    seen.append(len(x))
    known = {row.tobytes(): value for row, value in zip(x, y, strict=True)}
    return lambda others: np.array(
      [known.get(row.tobytes(), 9.0) for row in others]
    )

  lines = search.learning_curve(rows, loss, regressor, 0)
  # 90 runs: 8 are held out, 82 learnt from; a table of them knows nothing.
  assert seen == [10, 20, 41, 82] == [line['runs'] for line in lines]
  assert all(line['spearman'] is None for line in lines)
  assert all(line['mae'] > 5 for line in lines)


def test_too_few_proxies_name_the_number_needed():
  with pytest.raises(ValueError, match=r'at least 20 .* there are 12'):
    run(rounds=(12,))


@pytest.mark.parametrize(
  ('wrong', 'message'),
  [
    ({'rounds': ()}, 'rounds are'),
    ({'rounds': (0,)}, 'at least 1'),
    ({'num_best': 3000}, 'num_best is 3000 of 2000'),
    ({'rounds': (30, 3000)}, 'too few for a round of 3000'),
  ],
)
def test_settings_out_of_range(wrong, message):
  with pytest.raises(ValueError, match=message):
    run(**wrong)
