"""`jaxcurate train --mixture`: shares change, and the documents do not."""

import json

import numpy as np
import pytest

from jaxcurate.cli import train_mixture
from jaxcurate.io import manifest as manifests
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


def test_other_shares_go_on_where_every_domain_was(
  run, base, mixtures, tmp_path
):
  output, whole = tmp_path / 'resumed', tmp_path / 'whole'
  first = run(
    *base, f'--mixture={mixtures}/a', '--steps=6', f'--output={output}'
  )
  assert first.code == 0, first.err
  assert 'shares of tokens at step 1: a 80.0%, b 20.0%' in first.out
  again = run(
    *base, f'--mixture={mixtures}/b', '--steps=12', f'--output={output}'
  )
  assert again.code == 0, again.err
  jump = {6: f'{mixtures}/a', 7: f'{mixtures}/b'}
  result = run(
    *base, f'--mixture={mixtures}/a', '--steps=12', f'--output={whole}',
    f'--gin.train_mixture.MixtureSettings.schedule={jump}',
  )  # fmt: skip
  assert result.code == 0, result.err
  assert log(output) == log(whole)
  lines = log(whole)
  assert abs(lines[6]['mixture/a'] - 0.8) < 0.1
  assert abs(lines[12]['mixture/b'] - 0.9) < 0.1
  history = manifests.read_manifest(output)['diagnostics']['mixture']
  assert history['shares'] == [
    [1, {'1': {'a': 0.8, 'b': 0.2}}],
    [7, {'1': {'a': 0.1, 'b': 0.9}}],
  ]
  straight = manifests.read_manifest(whole)['diagnostics']['mixture']
  assert history['read'] == straight['read']
  assert [*straight['shares'][0][1]] == ['1', '6', '7']
  tokens = [own['tokens'] for own in history['read'].values()]
  assert sum(tokens) > 12 * 8 * 20
  plain = run(*base, '--steps=13', f'--output={output}')
  assert plain.code == 1 and "mixture: 'shares' there" in plain.last


def test_a_domain_without_a_share_is_counted(run, base, mixtures, tmp_path):
  result = run(
    *base, f'--mixture={mixtures}/only', '--steps=1',
    f'--output={tmp_path / "model"}',
  )  # fmt: skip
  assert result.code == 0, result.err
  assert 'a 100.0%; 13 in domain b, without a share' in result.out
  skipped = manifests.read_manifest(tmp_path / 'model')['skipped']
  assert skipped['in domain b, without a share'] == 13


@pytest.mark.parametrize(
  'name, more, words',
  [
    ('zz', [], ['domain zz of the mixture', 'names a, zz', 'in a, b']),
    ('shaped', [], ['chooses documents', 'run `jaxcurate sample --mixture=',
                    'give --selection=kept']),
    ('none', [], ['none: not there', 'jaxcurate mix']),
    ('a', ['--gin.train_mixture.MixtureSettings.schedule={0: "x"}'],
     ['x: not']),
  ],
)  # fmt: skip
def test_mistakes_are_one_clear_line(
  run, base, mixtures, tmp_path, fails_clearly, name, more, words
):
  result = run(
    *base, f'--mixture={mixtures}/{name}', *more, '--steps=1',
    f'--output={tmp_path / "model"}',
  )  # fmt: skip
  assert fails_clearly(result, *words)


def test_schedules_are_read_from_files(mixtures):
  def read(path, schedule, selection=None):
    settings = train_mixture.MixtureSettings(path, schedule)
    return train_mixture.read(settings, selection)

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
