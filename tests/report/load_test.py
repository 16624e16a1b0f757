import json

import pytest

from jaxcurate.io.errors import UserError
from jaxcurate.report import load


def test_a_study_is_classified_and_named(whole_study):
  study = load.load([str(whole_study)])
  assert len(study.scores) == 1
  assert sorted(kept.method for kept in study.selections) == [
    'ask_llm',
    'density',
    'random',
  ]
  methods = study.methods()
  assert next(iter(methods)) == 'uniform'
  assert set(methods) == {'uniform', 'random', 'ask_llm', 'density', 'adapt'}
  assert [run.seed for run in methods['adapt']] == ['0', '1', '2']
  assert study.baseline == 'uniform'
  run = methods['adapt'][0]
  assert run.train['step'][0] == 1
  assert run.evals['step'][-1] == 200
  assert len(run.documents.id) == 60
  assert study.table is study.scores[0].table


def test_single_folders_are_named_after_themselves(artefacts, tmp_path):
  artefacts.run(tmp_path / 'plain', seed=7)
  artefacts.run(tmp_path / 'weighted', settings={})
  artefacts.selection(tmp_path / 'kept', ['a'])
  study = load.load([str(tmp_path / 'plain'), f'{tmp_path}/weighted/'])
  assert [(r.method, r.seed) for r in study.runs] == [
    ('plain', '7'),
    ('weighted', '0'),
  ]
  assert study.baseline is None
  study = load.load([str(tmp_path)], baseline='plain')
  assert study.baseline == 'plain'
  assert study.selections[0].method == 'kept'


def test_globs_and_repeats_count_each_folder_once(artefacts, tmp_path):
  for seed in range(2):
    artefacts.run(tmp_path / 'adapt' / f'seed{seed}', seed=seed)
  pattern = str(tmp_path / 'adapt' / '*')
  study = load.load([pattern, str(tmp_path), str(tmp_path / 'adapt' / 'seed0')])
  assert len(study.runs) == 2


def test_selections_per_seed_stay_apart(artefacts, tmp_path):
  for seed in range(2):
    artefacts.selection(tmp_path / 'random' / f'seed{seed}', ['a'])
  study = load.load([str(tmp_path)])
  assert [kept.method for kept in study.selections] == [
    'random/seed0',
    'random/seed1',
  ]


def test_checkpoints_and_old_reports_are_not_searched(artefacts, tmp_path):
  artefacts.run(tmp_path / 'runs' / 'uniform')
  (tmp_path / 'report').mkdir()
  (tmp_path / 'report' / 'metrics.jsonl').write_text('junk')
  assert len(load.load([str(tmp_path)]).runs) == 1


@pytest.mark.parametrize('name', ['metrics.jsonl', 'part-0.parquet'])
def test_results_without_manifest_are_named(tmp_path, name):
  (tmp_path / 'half').mkdir()
  (tmp_path / 'half' / name).write_text('')
  with pytest.raises(UserError, match=r'half/manifest\.json.*not finished'):
    load.load([str(tmp_path)])


@pytest.mark.parametrize('where', ['empty', 'absent', 'absent*'])
def test_nothing_to_report_is_said(tmp_path, where):
  (tmp_path / 'empty').mkdir()
  with pytest.raises(UserError, match=r'no artefact there; give'):
    load.load([str(tmp_path / where)])


@pytest.mark.parametrize('content', ['{', '[]', '{"kind": "other"}', '\xff'])
def test_a_corrupt_manifest_is_named(tmp_path, content):
  path = tmp_path / 'scores' / 'manifest.json'
  path.parent.mkdir()
  path.write_bytes(content.encode('latin-1'))
  with pytest.raises(UserError, match=r'scores.manifest\.json'):
    load.load([str(tmp_path)])


def test_a_manifest_without_columns_is_named(artefacts, tmp_path):
  artefacts.manifest(tmp_path / 'scores', 'scores', columns=None)
  with pytest.raises(UserError, match=r'manifest\.json: has no "columns"'):
    load.load([str(tmp_path)])


def test_a_corrupt_table_is_named(artefacts, tmp_path):
  artefacts.run(tmp_path / 'uniform')
  (tmp_path / 'uniform' / 'eval.parquet').write_bytes(b'PAR1 no')
  with pytest.raises(UserError, match=r'eval\.parquet'):
    load.load([str(tmp_path)])


def test_two_folders_for_one_row_are_refused(artefacts, tmp_path):
  artefacts.run(tmp_path / 'a' / 'model')
  artefacts.run(tmp_path / 'b' / 'model')
  with pytest.raises(UserError, match=r'are both run .model. seed 0; rename'):
    load.load([str(tmp_path)])


def test_an_unknown_baseline_lists_the_runs(artefacts, tmp_path):
  artefacts.run(tmp_path / 'plain')
  with pytest.raises(UserError, match=r"'full' is not among the runs.*plain"):
    load.load([str(tmp_path)], baseline='full')


def test_runs_without_metrics_or_held_out_documents(artefacts, tmp_path):
  artefacts.run(tmp_path / 'uniform', documents=0)
  (tmp_path / 'uniform' / 'metrics.jsonl').unlink()
  (run,) = load.load([str(tmp_path)]).runs
  assert run.train == {}
  assert run.documents is None
  manifest = json.loads((tmp_path / 'uniform' / 'manifest.json').read_text())
  assert run.manifest == manifest


def test_an_evaluation_is_a_run_without_training(artefacts, tmp_path):
  artefacts.run(tmp_path / 'uniform')
  artefacts.run(tmp_path / 'other')
  (tmp_path / 'other' / 'metrics.jsonl').unlink()
  artefacts.manifest(tmp_path / 'other', 'evaluation')
  study = load.load([str(tmp_path)])
  (other,) = study.methods()['other']
  assert other.train == {}
  assert len(other.documents.id) == 60


@pytest.mark.parametrize('where', ['cache', 'parts'])
def test_folders_inside_an_artefact_are_its_own(artefacts, tmp_path, where):
  artefacts.run(tmp_path / 'uniform')
  inner = tmp_path / 'uniform' / where
  inner.mkdir()
  (inner / 'part.parquet').write_text('')
  assert len(load.load([str(tmp_path)]).runs) == 1
