import numpy as np
import pytest

from jaxcurate.report import figures_runs, load, results


def test_differences_hold_the_numbers_of_the_table(whole_study):
  study = load.load([str(whole_study)])
  compared = results.compare(study)
  figure = figures_runs.differences(study, compared)
  data = figure.data['methods']
  assert set(data) == {'ask_llm', 'adapt', 'density', 'random'}
  for result in compared[1:]:
    assert data[result.method] == result.comparison._asdict()
  assert figure.commands == [
    f'jaxcurate training --output=seed{seed}' for seed in range(3)
  ]
  assert 'ask_llm' in figure.svg


def test_no_comparison_no_figure(artefacts, tmp_path):
  artefacts.run(tmp_path / 'mine')
  study = load.load([str(tmp_path)])
  assert figures_runs.differences(study, results.compare(study)) is None


def test_curve_is_mean_and_range_over_the_common_steps(artefacts, tmp_path):
  logged = {
    0: [(10, 3.0), (20, 2.0), (30, 1.0)],
    1: [(10, 5.0), (20, None), (40, 1.0)],
  }
  for seed, points in logged.items():
    folder = tmp_path / 'adapt' / f'seed{seed}'
    artefacts.run(folder, seed=seed, documents=0)
    (folder / 'metrics.jsonl').write_text(
      '\n'.join(
        f'{{"step": {step}, "flops": {step}, "eval/loss": {loss or "NaN"}}}'
        for step, loss in points
      )
    )
  runs = load.load([str(tmp_path)]).runs
  line = figures_runs.curve(runs, 'eval/loss')
  np.testing.assert_array_equal(line['step'], [10])  # 20 is NaN in one seed
  np.testing.assert_array_equal(line['flops'], [10])
  np.testing.assert_array_equal(line['mean'], [4])
  np.testing.assert_array_equal(line['low'], [3])
  np.testing.assert_array_equal(line['high'], [5])
  assert figures_runs.curve(runs, 'weights/mean') is None
  assert figures_runs.curve([], 'eval/loss') is None


def test_loss_curves_start_at_what_the_scores_cost(whole_study):
  study = load.load([str(whole_study)])
  figure = figures_runs.loss_curves(study)
  data = figure.data
  assert data['metric'] == 'held-out loss'
  assert data['scoring_flops']['ask_llm'] == 2e12
  assert data['scoring_flops']['adapt'] == 0
  line = data['curves']['ask_llm']
  np.testing.assert_allclose(line['total_flops'], line['flops'] + 2e12)
  assert data['baseline_final'] == data['curves']['uniform']['mean'][-1]


def test_training_loss_stands_in_for_missing_evaluations(artefacts, tmp_path):
  artefacts.run(tmp_path / 'mine', documents=0)
  path = tmp_path / 'mine' / 'metrics.jsonl'
  lines = [x for x in path.read_text().splitlines() if 'eval/' not in x]
  path.write_text('\n'.join(lines))
  figure = figures_runs.loss_curves(load.load([str(tmp_path)]))
  assert figure.title.startswith('Training loss')
  assert figure.data['baseline_final'] is None
  path.write_text('')
  assert figures_runs.loss_curves(load.load([str(tmp_path)])) is None


@pytest.mark.parametrize('count', [1, 2])
def test_curves_of_very_few_points(artefacts, tmp_path, count):
  artefacts.run(tmp_path / 'uniform', documents=0)
  (tmp_path / 'uniform' / 'metrics.jsonl').write_text(
    '\n'.join(f'{{"step": {i}, "eval/loss": 3.0}}' for i in range(count))
  )
  figure = figures_runs.loss_curves(load.load([str(tmp_path)]))
  assert len(figure.data['curves']['uniform']['step']) == count


def test_weights_show_methods_that_weigh(whole_study, artefacts, tmp_path):
  figure = figures_runs.weights(load.load([str(whole_study)]))
  assert list(figure.data['methods']) == ['adapt']
  line = figure.data['methods']['adapt']
  np.testing.assert_allclose(line['mean'], 0.6 + 0.0005 * line['step'])
  np.testing.assert_allclose(line['std'], 0.1)
  assert (line['min'] < line['mean']).all()
  artefacts.run(tmp_path / 'uniform', documents=0)
  assert figures_runs.weights(load.load([str(tmp_path)])) is None


def test_names_that_begin_with_an_underscore_are_in_the_legend(
  artefacts, tmp_path
):
  artefacts.run(tmp_path / '_mine', documents=0)
  figure = figures_runs.loss_curves(load.load([str(tmp_path)]))
  assert '_mine' in figure.svg
