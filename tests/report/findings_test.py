import numpy as np

from jaxcurate.report import findings, load


def _lines(*folders, **settings):
  return findings.findings(load.load([str(f) for f in folders], **settings))


def test_a_whole_study_says_who_won_and_who_did_not(whole_study):
  lines = _lines(whole_study)
  text = '\n'.join(lines)
  assert lines[0].startswith('uniform: held-out loss 4.3')
  (ask_llm,) = [line for line in lines if line.startswith('ask_llm: held')]
  assert 'vs uniform (95 % interval −0.' in ask_llm
  assert ask_llm.endswith('3 seeds): better')
  (random,) = [line for line in lines if line.startswith('random: held')]
  assert random.endswith(': worse')
  assert "random does not reach uniform's final held-out loss" in lines
  assert 'scoring included (speed-up 1.' in text
  assert 'nothing to score' in text
  assert 'Of 800 documents kept: ask_llm 160 (20.0 %); density 160' in text
  assert '3 score columns, 800 documents' in lines
  assert 'Closest in rank: ask_llm and perplexity (Kendall τ +0.' in text
  assert 'Not an equal race' not in text


def test_equal_methods_show_no_difference(artefacts, tmp_path):
  for method in ('uniform', 'same'):
    for seed in range(3):
      folder = tmp_path / method / f'seed{seed}'
      artefacts.run(folder, seed=seed, noise=0.01)
  (line,) = [x for x in _lines(tmp_path) if x.startswith('same: held')]
  assert line.endswith('no difference shown')


def test_unequal_compute_and_late_pay_off_are_said(artefacts, tmp_path):
  artefacts.run(tmp_path / 'uniform', final=4.2)
  artefacts.run(tmp_path / 'density', final=4.18, speed=1.05)
  artefacts.scores(tmp_path / 'scores', {'density': np.arange(4.0)}, flops=9e12)
  artefacts.selection(tmp_path / 'kept' / 'density', ['doc-0'], by='density')
  text = '\n'.join(_lines(tmp_path))
  assert 'Not an equal race: total FLOPs differ by a factor of 1.45' in text
  assert 'scoring pays from run' in text
  assert 'With one seed an interval says nothing about other seeds' in text


def test_without_baseline_nothing_is_compared(artefacts, tmp_path):
  artefacts.run(tmp_path / 'mine')
  text = '\n'.join(_lines(tmp_path))
  assert 'mine: held-out loss' in text
  assert 'name the baseline run, or its folder uniform' in text
  assert 'vs' not in text


def test_unknown_scoring_cost_is_said(artefacts, tmp_path):
  artefacts.run(tmp_path / 'uniform')
  artefacts.run(tmp_path / 'mine', settings={'selection': '/gone'})
  assert any(
    line.startswith('Scoring cost unknown for mine: give the selection')
    for line in _lines(tmp_path)
  )


def test_some_seeds_reach_and_some_do_not(artefacts, tmp_path):
  for seed, final in enumerate([4.1, 4.4]):
    artefacts.run(tmp_path / 'uniform' / f'seed{seed}', seed=seed, final=4.2)
    artefacts.run(tmp_path / 'half' / f'seed{seed}', seed=seed, final=final)
  assert "half (1 of 2 seeds) reaches uniform's final held-out loss" in _lines(
    tmp_path
  )


def test_scores_alone_with_missing_values(artefacts, tmp_path):
  values = np.array([1.0, np.nan, 3.0])
  artefacts.scores(
    tmp_path / 'scores',
    {'a': values, 'b': np.full(3, np.nan)},
    domain=[None] * 3,
  )
  lines = _lines(tmp_path)
  assert lines[0] == '2 score columns, 3 documents'
  assert '1 documents have no a score' in lines
  assert '3 documents have no b score' in lines
  assert not any('Closest' in line for line in lines)


def test_selection_alone_and_repeats(artefacts, tmp_path):
  artefacts.selection(tmp_path / 'kept', ['a', 'b'])
  assert _lines(tmp_path) == ['Documents kept: kept 2']


def test_one_held_out_document_shows_nothing(artefacts, tmp_path):
  for method in ('uniform', 'adapt'):
    artefacts.run(tmp_path / method, documents=1)
  (line,) = [x for x in _lines(tmp_path) if x.startswith('adapt: held')]
  assert '(one document, 1 seed): no difference shown' in line


def test_a_run_without_held_out_loss(artefacts, tmp_path):
  artefacts.run(tmp_path / 'uniform', documents=0)
  (tmp_path / 'uniform' / 'metrics.jsonl').write_text('')
  assert _lines(tmp_path) == ['uniform: no held-out loss was recorded']


def test_hostile_names_are_written_out(artefacts, tmp_path):
  artefacts.run(tmp_path / 'uniform')
  artefacts.run(tmp_path / 'evil\u202e\x1b[2J')
  text = '\n'.join(_lines(tmp_path))
  assert '\x1b' not in text
  assert '\u202e' not in text
  assert 'evil⟨U+202E⟩' in text
