"""`jaxcurate mix` to a Mixture, and `jaxcurate sample --mixture` from it."""

import dataclasses
import json

import numpy as np
import pytest

from jaxcurate.cli import sample_mixture
from jaxcurate.io import manifest as manifests
from jaxcurate.io import mixtures, tables
from jaxcurate.ops import ids as ids_lib
from jaxcurate.samplers.budget import Budget
from jaxcurate.types import Candidates, Mixture, QualityShape, ScoreTable

NUM = 60


def pool(num=NUM, num_domains=3, seed=0):
  rng = np.random.default_rng(seed)
  return ScoreTable(
    id=np.array([f'doc{i}' for i in range(num)], object),
    domain=np.array([f'd{i % num_domains}' for i in range(num)], object),
    num_tokens=rng.lognormal(3, 1, num).astype(np.int32) + 1,
    scores={'quality': rng.normal(size=num).astype(np.float32)},
    units={'quality': 'log P(yes)'},
  )


def write(folder, table):
  columns = {'id': table.id, 'domain': table.domain,
             'num_tokens': table.num_tokens, **table.scores}  # fmt: skip
  tables.write_table(folder / 'part-0.parquet', columns)
  content = {'kind': 'scores', 'columns': dict(table.units), 'settings': {}}
  manifests.write_manifest(folder, {**content, 'num_rows': len(table.id)})
  return folder


@pytest.fixture
def scores(tmp_path):
  return write(tmp_path / 'scores', pool())


def tokens_of(selection, table):
  length = dict(zip(table.id, table.num_tokens.tolist(), strict=True))
  return sum(
    length[i] * c
    for i, c in zip(selection.id, selection.count.tolist(), strict=True)
  )


def test_mix_then_sample(run, scores, tmp_path):
  output = tmp_path / 'mix'
  argv = ('mix', '--method=score_mixture', f'--input={scores}')
  argv += (f'--output={output}', '--gin.score_mixture.mix.temperature=0.5')
  result = run(*argv)
  assert result.code == 0, result.err
  assert 'd0' in result.out and 'of the corpus' in result.out
  mixture = mixtures.read_mixture(output)
  assert mixture.domains == ('d0', 'd1', 'd2')
  assert f'sample --mixture={output} --input={scores}' in result.out
  assert 'already mixed' in run(*argv).out
  kept = tmp_path / 'kept'
  result = run(
    'sample', f'--mixture={output}', f'--input={scores}', '--budget=600t',
    f'--output={kept}',
  )  # fmt: skip
  assert result.code == 0, result.err
  table, selection = pool(), tables.read_selection(kept)
  assert abs(tokens_of(selection, table) - 600) <= table.num_tokens.max()
  domain = dict(zip(table.id, table.domain, strict=True))
  for name, share in zip(mixture.domains, mixture.share_M, strict=True):
    own = np.array([domain[i] == name for i in selection.id])
    part = tables.read_selection(kept)
    length = np.array([table.num_tokens[int(i[3:])] for i in part.id])
    assert abs((part.count * length)[own].sum() - 600 * share) <= max(length)
  manifest = manifests.read_manifest(kept, 'selection')
  assert manifest['settings']['max_copies'] == 4.0


def test_domains_from_a_file(run, scores, tmp_path):
  labels = tmp_path / 'labels.jsonl'
  rows = [{'id': f'doc{i}', 'topic': 'xy'[i % 2]} for i in range(40)]
  rows.append({'id': 'elsewhere', 'topic': 'x'})
  labels.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  result = run(
    'mix', '--method=proportional', f'--input={scores}',
    f'--domains={labels}', '--domain_field=topic',
    f'--output={tmp_path / "mix"}',
  )  # fmt: skip
  assert result.code == 0, result.err
  assert '1 ids are not in the tables' in result.out
  assert '20 documents have no domain' in result.out
  mixture = mixtures.read_mixture(tmp_path / 'mix')
  tokens = pool().num_tokens[:40]
  share = tokens[::2].sum() / tokens.sum()
  assert mixture.domains == ('x', 'y')
  assert mixture.share_M[0] == pytest.approx(share)


@pytest.mark.parametrize('num_domains', [1, 26])
def test_tokens_are_within_one_percent_of_a_large_budget(num_domains):
  table = pool(4_000, num_domains)
  rng = np.random.default_rng(1)
  shape = QualityShape(
    ('quality',),
    np.ones((num_domains, 1)),
    *(np.full(num_domains, value) for value in (20.0, 0.5, 1.0, 0.1)),
  )
  mixture = Mixture(
    tuple(f'd{i}' for i in range(num_domains)),
    rng.dirichlet(np.full(num_domains, 5.0)),
    shape,
  )
  candidates = Candidates(
    table.id, ids_lib.hash_ids(table.id), table.scores['quality'],
    table.num_tokens, table.domain,
  )  # fmt: skip
  budget = int(1_000 * table.num_tokens.mean())

  def draw(seed, amount):
    return sample_mixture.sample(
      seed, mixture, table, candidates, Budget(amount, 'tokens'),
      max_copies=8.0,
    )[0]  # fmt: skip

  for seed in range(8):
    total = tokens_of(draw(seed, budget), table)
    assert abs(total - budget) <= 0.01 * budget
    total = tokens_of(draw(seed, budget // 50), table)
    assert abs(total - budget // 50) <= table.num_tokens.max()
  # A common seed draws the same documents; the mean over seeds is as expected.
  first, again = draw(3, budget), draw(3, budget)
  assert first.id.tolist() == again.id.tolist()
  weights = [np.sum(s.count / s.expected_count * [table.num_tokens[int(i[3:])]
             for i in s.id])
             for s in (draw(seed, budget) for seed in range(30))]  # fmt: skip
  error = np.std(weights) / np.sqrt(len(weights))
  assert abs(np.mean(weights) - table.num_tokens.sum()) <= 4 * error


def test_domains_are_drawn_by_probability():
  """Counts of draws are multinomial: their mean, their spread, the budget."""
  table, wanted = pool(120), np.array([0.6, 0.3, 0.1])
  mixture = Mixture(('d0', 'd1', 'd2'), wanted)
  candidates = Candidates(
    table.id, ids_lib.hash_ids(table.id), table.scores['quality'],
    table.num_tokens, table.domain,
  )  # fmt: skip
  budget, trials = int(30 * table.num_tokens.mean()), 200
  code = {i: int(d[1:]) for i, d in zip(table.id, table.domain, strict=True)}
  length = dict(zip(table.id, table.num_tokens.tolist(), strict=True))
  shares, totals = np.zeros((trials, 3)), np.zeros(trials)
  for seed in range(trials):
    drawn, _ = sample_mixture.sample(
      seed, mixture, table, candidates, Budget(budget, 'tokens'),
      max_copies=4.0, allocation='probability',
    )  # fmt: skip
    tokens = [c * length[i] for i, c in zip(drawn.id, drawn.count.tolist())]
    assert abs(sum(tokens) - budget) <= max(length.values())
    np.add.at(shares[seed], [code[i] for i in drawn.id], tokens)
    totals[seed] = np.sum(drawn.count / drawn.expected_count)
  shares /= budget
  draws = 30  # as many as the budget has documents of mean length, about
  deviation = np.sqrt(wanted * (1 - wanted) / draws)
  np.testing.assert_allclose(
    shares.mean(axis=0), wanted, atol=4 * 1.3 * deviation.max() / trials**0.5
  )
  np.testing.assert_allclose(shares.std(axis=0), deviation, rtol=0.3)
  error = totals.std() / np.sqrt(trials)
  assert abs(totals.mean() - len(table.id)) <= 4 * error


def test_a_refused_setting_leaves_the_folder_free(run, scores, tmp_path):
  argv = ('mix', '--method=proportional', f'--input={scores}')
  argv += (f'--output={tmp_path / "mix"}',)
  result = run(*argv, '--gin.proportional.mix.temperature=0.5')
  assert result.code == 1 and 'expected at least 1' in result.err
  result = run(*argv, '--gin.proportional.mix.temperature=2.0')
  assert result.code == 0, result.err
  result = run(*argv, '--gin.proportional.mix.temperature=3.0')
  assert result.code == 1 and "'2.0' there, '3.0' now" in result.err


def test_what_a_user_can_put_right(run, scores, tmp_path, fails_clearly):
  out = f'--output={tmp_path / "o"}'
  given = f'--input={scores}'
  assert fails_clearly(run('mix', given, out), '--method=NAME', 'proportional')
  assert fails_clearly(run('mix', '--method=proportional', out), '--input')
  own = tmp_path / 'own.json'
  own.write_text('{"domains": {"d0": {"share": 0.5}, "zz": {"share": 0.5}}}')
  argv = ('sample', f'--mixture={own}', given, out)
  assert fails_clearly(run(*argv), 'mixture needs a --budget')
  assert fails_clearly(run(*argv, '--budget=9'), "domain 'zz'", 'd0, d1, d2')
  gin = """--gin.sample.run.allocation='fate'"""
  assert fails_clearly(run(*argv[:-2], given, out, '--budget=9', gin),
                       "allocation is 'fate'")  # fmt: skip
  result = run(*argv, '--budget=9', '--method=uniform')
  assert fails_clearly(result, '--mixture=FOLDER')
  assert fails_clearly(run(*argv, '--budget=9', '--by=quality'), 'drop --by')
  own.write_text('{"domains": {"d0": {"share": 1.0}}}')
  result = run(*argv, '--budget=9000000t')
  assert fails_clearly(result, 'at most 4 are allowed', 'largest budget is')
  labels = tmp_path / 'labels.jsonl'
  labels.write_text('{"id": "doc1", "domain": "x"}\n' * 2)
  result = run(
    'mix', '--method=proportional', given, f'--domains={labels}', out
  )
  assert fails_clearly(result, "id 'doc1' has a domain already")
  labels.write_text('{"id": "doc1"}\n')
  result = run(
    'mix', '--method=proportional', given, f'--domains={labels}', out
  )
  assert fails_clearly(result, "has no 'domain'", 'labels.jsonl')


def test_what_is_odd_about_a_pool_is_said(run, tmp_path, fails_clearly):
  table = pool(9)
  table.domain[4] = 'alone'
  quality = table.scores['quality']
  quality[2] = np.nan
  extra = {'flat': np.full(9, 2.0, np.float32), 'some': quality.copy()}
  extra['some'][:3] = np.nan
  write(tmp_path / 'a', dataclasses.replace(table, scores={'quality': quality}))
  more = dataclasses.replace(
    table, scores=extra, units=dict.fromkeys(extra, 'x')
  )
  write(tmp_path / 'b', more)
  shape = {'criteria': {'quality': 0.5, 'flat': 0.25, 'some': 0.25},
           'steepness': 1, 'keep_fraction': 0.5, 'repetition': 1,
           'floor': 0.1}  # fmt: skip
  domains = {name: {'share': 0.25, **shape} for name in ('d0', 'd2', 'alone')}
  own = tmp_path / 'own.json'
  own.write_text(json.dumps({'domains': {**domains, 'd1': domains['d0']}}))
  argv = ['sample', f'--mixture={own}', '--budget=3']
  argv += [f'--input={tmp_path / folder}' for folder in 'ab']
  result = run(*argv, f'--output={tmp_path / "kept"}')
  assert result.code == 0, result.err
  for line in (
    "1 documents have no score in 'quality'",
    "3 documents have no score in 'some'",
    '3 documents have no score and were left out',
    "'flat' is 2 for all 6 documents and tells none from another",
    '2 domains have a single document: alone, d1',
  ):
    assert line in result.out, result.out
  skipped = manifests.read_manifest(tmp_path / 'kept', 'selection')['skipped']
  assert skipped['no score in some'] == 3
  # The same documents under other names of domains.
  other = np.array([f'D{name[1:]}' for name in table.domain], object)
  other[:2] = table.domain[:2]
  write(tmp_path / 'b', dataclasses.replace(more, domain=other))
  argv.append(f'--output={tmp_path / "other"}')
  assert fails_clearly(
    run(*argv),
    f'{tmp_path / "a"} has 4 domains and {tmp_path / "b"} 6, 2 of them in'
    ' common, and 7 of 9 documents',
    '--domains=FOLDER',
  )
  result = run(*argv, f'--domains={tmp_path / "b"}')
  assert fails_clearly(result, 'the mixture has 4 domains and the pool')
