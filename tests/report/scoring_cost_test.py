import json

import numpy as np
import pytest

from jaxcurate.report import load, scoring_cost


@pytest.fixture
def study(artefacts, tmp_path):
  """Builds a study with one selection by column `by` and one run."""

  def build(by='density', run_settings=None, score_fields=None, scores=True):
    if scores:
      artefacts.scores(
        tmp_path / 'scores', {'density': np.arange(4.0)}, flops=5e12
      )
      if score_fields:
        path = tmp_path / 'scores' / 'manifest.json'
        path.write_text(json.dumps(json.loads(path.read_text()) | score_fields))
    artefacts.selection(tmp_path / 'selections' / 'rare', ['doc-1'], by=by)
    artefacts.run(
      tmp_path / 'runs' / 'rare', documents=0, settings=run_settings or {}
    )
    return load.load([str(tmp_path)])

  return build


def _charged(study):
  return scoring_cost.scoring_of_run(study, study.runs[0])


def test_a_run_pays_for_the_scores_of_its_selection(study):
  assert _charged(study()) == 5e12


def test_a_cost_per_column_comes_before_the_whole(study):
  costs = {'flops': 5e12, 'columns': {'density': 2e12}}
  assert _charged(study(score_fields={'cost': costs})) == 2e12


def test_a_random_subset_pays_nothing(study):
  assert _charged(study(by=None)) == 0


def test_a_cost_that_is_not_recorded_is_unknown(study):
  assert _charged(study(score_fields={'cost': {}})) is None


def test_scores_that_are_not_given_are_unknown(study):
  assert _charged(study(scores=False)) is None


def test_a_selection_that_is_not_given_is_unknown(study):
  found = study(run_settings={'selection': '/elsewhere/other'})
  assert scoring_cost.selection_of(found, found.runs[0]) is None
  assert _charged(found) is None


def test_a_moved_selection_is_found_by_its_folder(study):
  found = study(run_settings={'train.selection': '/moved/rare/'})
  assert scoring_cost.selection_of(found, found.runs[0]) is found.selections[0]


def test_the_path_comes_before_the_name(artefacts, tmp_path):
  artefacts.selection(tmp_path / 'selections' / 'model', ['a'])
  artefacts.selection(tmp_path / 'kept', ['a'])
  artefacts.run(
    tmp_path / 'model',
    documents=0,
    settings={'selection': str(tmp_path / 'kept')},
  )
  found = load.load([str(tmp_path)])
  assert scoring_cost.selection_of(found, found.runs[0]).method == 'kept'


def test_a_seed_finds_its_own_selection(artefacts, tmp_path):
  for seed in range(2):
    artefacts.selection(tmp_path / 'sel' / 'random' / f'seed{seed}', ['a'])
    artefacts.run(
      tmp_path / 'runs' / 'random' / f'seed{seed}', seed=seed, documents=0
    )
  found = load.load([str(tmp_path)])
  kept = [scoring_cost.selection_of(found, run).method for run in found.runs]
  assert kept == ['random/seed0', 'random/seed1']


def test_the_folder_a_selection_names_is_charged(artefacts, tmp_path):
  for name, flops in (('other', 9e12), ('scores', 4e12)):
    artefacts.scores(tmp_path / name, {'a': np.ones(2)}, flops=flops)
  artefacts.selection(tmp_path / 'kept', ['doc-0'], by='a')
  found = load.load([str(tmp_path)])
  assert scoring_cost.scoring_flops(found, found.selections[0]) == 4e12


def test_the_flag_in_the_command_names_the_selection(artefacts, tmp_path):
  artefacts.scores(tmp_path / 'scores', {'a': np.ones(2)}, flops=4e12)
  artefacts.selection(tmp_path / 'kept', ['doc-0'], by='a')
  artefacts.run(
    tmp_path / 'model',
    documents=0,
    command=['jaxcurate', 'train', '--selection=/moved/kept'],
  )
  assert _charged(load.load([str(tmp_path)])) == 4e12
