"""`jaxcurate mix` with proxies: from text to a Mixture, resumed, refused."""

import json

import pytest

from jaxcurate.io import mixtures
from jaxcurate.train import proxies, run_log

SMALL = (
  '--steps=8',
  '--gin.decoder.DecoderConfig.vocab_size=384',
  '--gin.decoder.DecoderConfig.embed_dim=8',
  '--gin.decoder.DecoderConfig.num_heads=1',
  '--gin.decoder.DecoderConfig.num_kv_heads=1',
  '--gin.decoder.DecoderConfig.head_dim=8',
  '--gin.decoder.DecoderConfig.mlp_dim=8',
  '--gin.decoder.DecoderConfig.num_layers=1',
  '--gin.mix_proxies.prepare.length=32',
  '--gin.mix_proxies.prepare.rows_per_batch=2',
  '--gin.mix_proxies.prepare.members=14',
  '--gin.optimizers.make_optimizer.learning_rate=0.1',
  '--gin.optimizers.make_optimizer.warmup_steps=1',
  '--gin.regmix.mix.rounds=(14,)',
  '--gin.regmix.mix.num_proposals=50',
  '--gin.regmix.mix.num_best=5',
  '--gin.regmix.mix.regressor=@regressors.fit_linear',
)


@pytest.fixture(scope='module')
def target(documents, tmp_path_factory):
  path = tmp_path_factory.mktemp('target') / 'target.jsonl'
  rows = [{'id': f't{i}', 'text': documents[i]['text'][:40]} for i in (0, 2)]
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  return path


@pytest.fixture
def command(scores, target, corpus, tmp_path):
  def call(*more):
    flags = {'input': scores, 'corpus': corpus, 'anchors': target}
    given = [f'--{name}={value}' for name, value in flags.items()]
    output = f'--output={tmp_path / "mix"}'
    return ('mix', '--method=regmix', *given, output, *SMALL, *more)

  return call


def test_from_text_to_a_mixture(run, command, scores, corpus, tmp_path):
  output = tmp_path / 'mix'
  # Settings that are refused at once do not claim the folder.
  wrong = command('--gin.regmix.mix.num_best=51')
  assert 'num_best is 51 of 50' in run(*wrong).last
  assert not output.exists()
  result = run(*command())
  assert result.code == 0, result.err
  assert 'proxies of' in result.out and 'realised' in result.out
  assert set(mixtures.read_mixture(output).domains) == {'a', 'b'}
  manifest = json.loads((output / 'manifest.json').read_text())
  assert manifest['diagnostics']['proxies'] == 14
  assert manifest['settings']['proxies']['vocabulary'] == 'bytes+0'
  assert manifest['settings']['proxies']['corpus'] == [corpus.name]
  each = run_log.read_log(output / 'proxies' / proxies.LOG).values()
  assert manifest['cost']['flops'] == pytest.approx(
    15 * min(line['flops'] for line in each)
  )
  assert 'already mixed' in run(*command()).out
  # A search that was cut off before its end asks for what is missing only.
  log = output / 'proxies' / proxies.LOG
  lines = log.read_text().splitlines()
  assert len(lines) == 15  # and the choice itself
  (output / 'manifest.json').rename(output / 'settings.json')
  settings = json.dumps(manifest['settings'])
  (output / 'settings.json').write_text(settings)
  marked = {**json.loads(lines[-1]), 'loss': 1.25}
  log.write_text('\n'.join([*lines[:-1], json.dumps(marked)]) + '\n')
  again = run(*command())
  assert again.code == 0 and '1.2500 realised' in again.out
  other = run(*command('--steps=9'))
  assert other.code == 1 and '--output' in other.last


def test_what_a_search_needs(run, command, scores, corpus, tmp_path):
  output = tmp_path / 'mix'
  bare = ('mix', '--method=regmix', f'--input={scores}', f'--output={output}')
  assert '--anchors=FILES' in run(*bare, *SMALL).last
  assert '--corpus=FILES' in run(*bare, '--anchors=x.jsonl', *SMALL).last
  half = tmp_path / 'half.jsonl'
  half.write_text(''.join(corpus.read_text().splitlines(True)[:9]))
  lacking = [x for x in command() if not x.startswith('--corpus')]
  lacking.append(f'--corpus={half}')
  assert '21 of 30 documents' in run(*lacking).last


def test_rounds_of_a_proxy_that_learns_shares(run, command, tmp_path):
  argv = [
    x.replace('regmix', 'doremi_rounds')
    for x in command('--gin.doremi_rounds.mix.max_rounds=1')
    if 'regmix.mix' not in x and not x.startswith('--anchors')
  ]
  result = run(*argv)
  assert result.code == 0, result.err
  assert 'round 1 moved the shares by' in result.out
  mixture = mixtures.read_mixture(tmp_path / 'mix')
  assert mixture.domains == ('a', 'b')
  manifest = json.loads((tmp_path / 'mix' / 'manifest.json').read_text())
  [line] = manifest['diagnostics']['rounds']
  learnt = list(line['shares'].values())
  assert mixture.share_M.tolist() == pytest.approx(learnt, rel=1e-5)
