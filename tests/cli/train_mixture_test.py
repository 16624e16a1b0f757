"""`jaxcurate train --mixture`: shares change, and the documents do not."""

import json

import numpy as np
import pytest

from jaxcurate.cli import train_mixture
from jaxcurate.io import manifest as manifests
from jaxcurate.io import mixtures as mixtures_io
from jaxcurate.io.errors import UserError
from jaxcurate.train.metrics import TIMING

CHEAP = (
  '--mesh=data=8',
  '--weighting=uniform',
  '--gin.train.run.rows_per_batch=8',
  '--gin.train.run.encoder_length=32',
  '--gin.train.run.max_segments=2',
  '--gin.train.run.log_every=3',
  '--gin.train.run.holdout_share=0.1',
)


@pytest.fixture(scope='session')
def mixtures(tmp_path_factory):
  """Files: mostly domain a, mostly b, one with a domain that nobody has."""
  folder = tmp_path_factory.mktemp('mixtures')
  shares = {
    'a': {'a': 0.8, 'b': 0.2},
    'b': {'a': 0.1, 'b': 0.9},
    'only': {'a': 1.0},
    'zz': {'a': 0.5, 'zz': 0.5},
  }
  for name, own in shares.items():
    domains = {domain: {'share': share} for domain, share in own.items()}
    (folder / name).write_text(json.dumps({'domains': domains}))
  shape = {
    'share': 1.0, 'steepness': 9.0, 'keep_fraction': 0.5, 'repetition': 1.0,
    'floor': 0.0, 'criteria': {'ask_llm': 1.0},
  }  # fmt: skip
  (folder / 'shaped').write_text(json.dumps({'domains': {'a': shape}}))
  (folder / 'other.jsonl').write_text('{"id": "none", "domain": "x"}')
  return folder


@pytest.fixture(scope='session')
def base(tiny_decoder, corpus):
  return 'train', *CHEAP, f'--model={tiny_decoder}', f'--input={corpus}'


def log(output):
  """Training lines without what tells time, by step."""
  lines = map(json.loads, (output / 'metrics.jsonl').read_text().splitlines())
  return {
    line['step']: {k: v for k, v in line.items() if k not in TIMING}
    for line in lines
    if 'loss' in line
  }


def test_shares_may_be_others_and_a_rule_may_take_over(
  run, base, mixtures, tmp_path
):
  output = tmp_path / 'model'

  def go(steps, *more):
    result = run(*base, *more, f'--steps={steps}', f'--output={output}')
    assert result.code == 0, result.err
    return result.out

  out = go(6, f'--mixture={mixtures}/only')
  assert 'step 1: a 100.0%; 13 in domain b, without a share' in out
  skipped = manifests.read_manifest(output)['skipped']
  assert skipped['in domain b, without a share'] == 13
  out = go(
    15, f'--mixture={mixtures}/b', '--gin_file=runs/odm.gin',
    '--gin.odm.make.warmup_steps=9', '--gin.odm.make.reward_scale=15.0',
  )  # fmt: skip
  assert 'a 10.0%, b 90.0%; then by odm' in out
  lines = log(output)
  assert [lines[step]['mixture/a'] for step in (1, 3, 6)] == [1.0] * 3
  assert abs(lines[9]['mixture/b'] - 0.9) < 0.1
  assert 0 < lines[15]['mixture/b'] < 1
  found = manifests.read_manifest(output)['diagnostics']['mixture']
  (_, first), (begin, second) = found['shares']
  assert first == {'1': {'a': 1.0}}
  assert begin == 7 and second['start'] == {'a': 0.1, 'b': 0.9}
  assert second['odm']['warmup_steps'] == 9
  assert sum(own['tokens'] for own in found['read'].values()) > 15 * 8 * 20
  mean = mixtures_io.read_mixture(output / 'mixture')
  last = manifests.read_manifest(output / 'mixture')['diagnostics']['last']
  assert mean.domains == ('a', 'b') and set(last) == {'a', 'b'}
  plain = run(*base, '--steps=16', f'--output={output}')
  assert plain.code == 1 and "mixture: 'shares' there" in plain.last


def test_domains_may_come_from_a_file(run, base, mixtures, documents, tmp_path):
  labels = tmp_path / 'labels.jsonl'
  label = {row['id']: 'xy'[i % 2] for i, row in enumerate(documents[:-9])}
  lines = [{'id': id_, 'domain': name} for id_, name in label.items()]
  labels.write_text('\n'.join(map(json.dumps, lines)))
  (tmp_path / 'x').write_text('{"domains": {"x": {"share": 1}}}')
  result = run(
    *base, f'--domains={labels}', f'--mixture={tmp_path / "x"}', '--steps=1',
    f'--output={tmp_path / "model"}',
  )  # fmt: skip
  assert result.code == 0, result.err
  total = len(documents)
  assert f'9 of {total} documents have no domain' in result.out
  skipped = manifests.read_manifest(tmp_path / 'model')['skipped']
  assert 0 < skipped['without a domain'] <= 9
  assert 0 < skipped['in domain y, without a share'] <= (total - 9) // 2


def test_a_wrong_file_of_domains_leaves_the_output_free(
  run, base, corpus, tmp_path, fails_clearly
):
  words = *base, '--steps=1', f'--output={tmp_path / "model"}'
  missing, broken = tmp_path / 'missing.jsonl', tmp_path / 'broken.jsonl'
  broken.write_text('{"id": "doc0", "domain": "x"}\n{oh\n')
  assert fails_clearly(run(*words, f'--domains={missing}'), 'missing.jsonl')
  assert fails_clearly(
    run(*words, f'--domains={broken}'), 'broken.jsonl', 'JSON'
  )
  assert not (tmp_path / 'model').exists()
  result = run(*words, f'--domains={corpus}')
  assert result.code == 0, result.err
  corpus_of = manifests.read_manifest(tmp_path / 'model')['settings']
  assert corpus_of['domains'] is not None


@pytest.mark.parametrize(
  'name, more, words',
  [
    ('zz', [], ['domain zz of the mixture', 'names a, zz', 'in a, b']),
    ('shaped', [], ['chooses documents', 'run `jaxcurate sample --mixture=',
                    'give --selection=kept']),
    ('none', [], ['none: not there', 'jaxcurate mix']),
    ('a', ['--domains={mixtures}/other.jsonl'],
     ['none of 30 documents', 'the 1 ids of --domains']),
    ('a', ['--gin.train_mixture.MixtureSettings.schedule={0: "x"}'],
     ['x: not']),
    ('a', ['--gin_file=runs/odm.gin', '--gin.train.run.windowing="concat"'],
     ["drop windowing 'concat'"]),
    ('a', ['--gin_file=runs/odm.gin', '--gin.odm.make.smoothing=2.0'],
     ['MixtureSettings.online: smoothing is 2.0']),
    ('a', ['--gin_file=runs/odm.gin',
           '--gin.train_mixture.MixtureSettings.schedule={9: "x"}'],
     ['odm moves the shares', 'drop a schedule']),
  ],
)  # fmt: skip
def test_mistakes_are_one_clear_line(
  run, base, mixtures, tmp_path, fails_clearly, name, more, words
):
  more = [word.replace('{mixtures}', str(mixtures)) for word in more]
  result = run(
    *base, f'--mixture={mixtures}/{name}', *more, '--steps=1',
    f'--output={tmp_path / "model"}',
  )  # fmt: skip
  assert fails_clearly(result, *words)


def test_schedules_are_read_from_files(mixtures):
  def read(path, schedule, selection=None):
    settings = train_mixture.MixtureSettings(path, schedule)
    found = train_mixture.read(settings, selection, 'document')
    return found and found.schedule

  assert read(None, None) is None
  found = read(str(mixtures / 'a'), {9: str(mixtures / 'b')})
  assert found is not None
  assert found.steps == (1, 9)
  np.testing.assert_allclose(found.share_PxM, [[0.8, 0.2], [0.1, 0.9]])
  shaped = read(str(mixtures / 'shaped'), None, 'kept')
  assert shaped is not None and shaped.domains == ('a',)
  with pytest.raises(UserError, match='give --mixture=FOLDER'):
    read(None, {9: str(mixtures / 'b')})
  with pytest.raises(UserError, match=r'schedule: .*\[0, 1\], expected some'):
    read(str(mixtures / 'a'), {0: str(mixtures / 'b')})
