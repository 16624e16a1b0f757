import math

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jaxcurate.report import load, results


def _write_documents(folder, loss, tokens=None, ids=None, domain=None):
  num = len(loss)
  table = pa.table(
    {
      'id': pa.array(ids or [f'h{i}' for i in range(num)]),
      'domain': pa.array(domain or ['d'] * num),
      'loss': pa.array(np.asarray(loss, np.float32)),
      'tokens': pa.array(np.asarray(tokens or [10] * num, np.int32)),
    }
  )
  pq.write_table(table, folder / 'eval.parquet')


def _write_curve(folder, points):
  lines = [
    f'{{"step": {step}, "flops": {step}e9, "eval/loss": {loss}}}'
    for step, loss in points
  ]
  (folder / 'metrics.jsonl').write_text('\n'.join(lines))


@pytest.fixture
def two_runs(artefacts, tmp_path):
  """uniform ends at 3.0 after 100 steps, fast is there after 75."""
  for method, points in {
    'uniform': [(50, 4.0), (100, 3.0)],
    'fast': [(50, 3.5), (100, 2.5)],
  }.items():
    folder = tmp_path / method
    artefacts.run(folder, documents=0)
    _write_curve(folder, points)
    _write_documents(folder, [points[-1][1], points[-1][1] + 1])
  return tmp_path


def _by_method(folder, **settings):
  study = load.load([str(folder)], **settings)
  return {result.method: result for result in results.compare(study)}


def test_numbers_by_hand(two_runs):
  found = _by_method(two_runs)
  fast, uniform = found['fast'], found['uniform']
  assert uniform.loss == pytest.approx(3.5)
  assert uniform.comparison is None
  assert uniform.faster_flops is None
  assert fast.comparison.difference == pytest.approx(-0.5)
  assert fast.comparison.verdict == 'better'
  assert fast.reach_steps == pytest.approx(75)
  assert fast.reach_flops == pytest.approx(75e9)
  assert fast.faster_steps.ratio == pytest.approx(100 / 75)
  assert fast.faster_flops.ratio == pytest.approx(100 / 75)
  assert fast.scoring_flops == 0
  assert fast.total_flops == pytest.approx(100e9)
  assert fast.break_even == 1
  assert fast.seconds == 90.0


def test_scoring_is_charged_and_breaks_even(artefacts, two_runs):
  artefacts.scores(two_runs / 'scores', {'a': np.ones(2)}, flops=60e9)
  artefacts.selection(two_runs / 'selections' / 'fast', ['doc-0'], by='a')
  fast = _by_method(two_runs)['fast']
  assert fast.total_flops == pytest.approx(160e9)
  assert fast.faster_flops.ratio == pytest.approx(100 / (75 + 60))
  assert fast.faster_steps.ratio == pytest.approx(100 / 75)
  assert fast.break_even == 3  # 60 + 3 * 75 <= 3 * 100


def test_unknown_scoring_leaves_the_totals_open(artefacts, two_runs):
  artefacts.selection(two_runs / 'selections' / 'fast', ['doc-0'], by='a')
  fast = _by_method(two_runs)['fast']
  assert fast.scoring_flops is None
  assert fast.total_flops is None
  assert fast.faster_flops is None
  assert fast.faster_steps.ratio == pytest.approx(100 / 75)


def test_the_other_run_may_be_the_baseline(two_runs):
  found = _by_method(two_runs, baseline='fast')
  uniform = found['uniform']
  assert uniform.comparison.verdict == 'worse'
  assert uniform.faster_flops.ratio is None
  assert uniform.faster_flops.num_reached == 0
  assert uniform.reach_steps is None
  assert uniform.break_even is None


def test_the_whole_study(whole_study):
  study = load.load([str(whole_study)])
  found = results.compare(study)
  assert found[0].method == 'uniform'
  losses = [result.loss for result in found[1:]]
  assert losses == sorted(losses)
  by_method = {result.method: result for result in found}
  assert by_method['ask_llm'].comparison.verdict == 'better'
  assert by_method['random'].comparison.verdict == 'worse'
  assert by_method['random'].faster_flops.ratio is None
  for result in found[1:]:
    assert result.comparison.num_documents == 60
    assert result.comparison.num_seeds == 3
    assert result.loss_std > 0
  assert by_method['ask_llm'].faster_flops.low > 1
  # Equal total FLOPs: fewer steps pay for the scores.
  assert by_method['ask_llm'].total_flops == by_method['adapt'].total_flops


def test_documents_are_joined_by_id_and_broken_losses_left_out(
  artefacts, tmp_path
):
  for method in ('uniform', 'adapt'):
    artefacts.run(tmp_path / method, documents=0)
  _write_documents(
    tmp_path / 'uniform', [1, 2, 3, math.nan], ids=['a', 'b', 'c', 'd']
  )
  _write_documents(tmp_path / 'adapt', [9, 4, 1, 5], ids=['x', 'b', 'a', 'd'])
  found = _by_method(tmp_path)['adapt'].comparison
  assert found.num_documents == 2
  assert found.difference == pytest.approx(1.0)  # a: 1 - 1, b: 4 - 2


def test_one_domain_alone(artefacts, tmp_path):
  for method, shift in (('uniform', 0), ('adapt', 1)):
    artefacts.run(tmp_path / method, documents=0)
    loss = [1, 1 + shift, 1 + shift, 1]
    _write_documents(tmp_path / method, loss, domain=['a', 'b', 'b', None])
  study = load.load([str(tmp_path)])
  methods = study.methods()
  pair = methods['adapt'], methods['uniform']
  assert results.difference(*pair, 'b').difference == 1
  assert results.difference(*pair, '(no domain)').difference == 0
  assert results.difference(*pair, 'absent') is None


def test_seeds_are_paired_whatever_their_order(artefacts, tmp_path):
  # Seed k is off by k in both methods: pairing removes it.
  for method, shift in (('uniform', 0.0), ('adapt', -0.1)):
    for seed in range(3):
      folder = tmp_path / method / f'seed{seed}'
      artefacts.run(folder, seed=seed, documents=0)
      _write_documents(folder, [seed + shift, seed + 1 + shift])
  study = load.load([str(tmp_path)])
  methods = study.methods()
  found = results.difference(methods['adapt'][::-1], methods['uniform'])
  assert found.difference == pytest.approx(-0.1, abs=1e-6)
  assert found.high - found.low < 1e-5
  fewer = results.difference(methods['adapt'][:2], methods['uniform'])
  assert fewer.high - fewer.low > 1
  assert fewer.num_seeds == 2


def test_seeds_without_a_partner_meet_the_mean(artefacts, tmp_path):
  for method, seed, last in (('uniform', 0, 3.0), ('uniform', 1, 2.0)):
    folder = tmp_path / method / f'seed{seed}'
    artefacts.run(folder, seed=seed, documents=0)
    _write_curve(folder, [(50, 4.0), (100, last)])
  artefacts.run(tmp_path / 'adapt' / 'seed5', seed=5, documents=0)
  _write_curve(tmp_path / 'adapt' / 'seed5', [(50, 3.0), (100, 2.0)])
  found = _by_method(tmp_path)['adapt']
  assert found.reach_steps == pytest.approx(75)  # mean target 2.5
  assert found.faster_steps.num_seeds == 1


def test_the_logged_loss_stands_in_for_missing_documents(artefacts, tmp_path):
  artefacts.run(tmp_path / 'uniform', documents=0)
  artefacts.run(tmp_path / 'adapt', documents=0)
  found = _by_method(tmp_path)['adapt']
  assert found.loss == pytest.approx(4.05, abs=0.05)
  assert found.comparison is None


def test_runs_that_logged_nothing(artefacts, tmp_path):
  for method in ('uniform', 'adapt'):
    artefacts.run(tmp_path / method, documents=0)
    (tmp_path / method / 'metrics.jsonl').write_text('')
  for found in _by_method(tmp_path).values():
    assert found.loss is None
    assert found.training_flops is None
    assert found.faster_steps is None
    assert found.break_even is None


def test_no_runs(artefacts, tmp_path):
  artefacts.scores(tmp_path, {'a': np.ones(2)})
  assert _by_method(tmp_path) == {}


def test_the_order_of_inputs_changes_nothing(whole_study):
  runs = sorted((whole_study / 'runs').glob('*/*'))
  others = [whole_study / 'scores', whole_study / 'selections']
  forward = results.compare(load.load([str(p) for p in [*others, *runs]]))
  back = results.compare(load.load([str(p) for p in [*runs[::-1], *others]]))
  assert [r.method for r in forward] == [r.method for r in back]
  for first, second in zip(forward, back, strict=True):
    assert first.loss == pytest.approx(second.loss)
    assert first.reach_flops == second.reach_flops
    assert sorted(first.seeds) == sorted(second.seeds)
    if first.comparison:
      np.testing.assert_allclose(
        first.comparison[:3], second.comparison[:3], rtol=1e-9
      )


def test_last_takes_the_largest_step_of_either_log(artefacts, tmp_path):
  artefacts.run(tmp_path / 'uniform', documents=0, steps=40)
  (run,) = load.load([str(tmp_path)]).runs
  assert results.last(run, 'step') == 40
  assert results.last(run, 'flops') == pytest.approx(40e11)
  assert results.last(run, 'seconds') is None
