"""Domains of a corpus that has none, from `score` to `sample`."""

import json

import numpy as np

from jaxcurate.io import manifest as manifests
from jaxcurate.io import mixtures, tables

TOPICS = [
  'ship wave sail storm anchor harbour deck mast'.split(),
  'loop file bug byte class code print stack'.split(),
]


def write(path, num, seed=0):
  rng = np.random.default_rng(seed)
  rows = [
    {'id': f'd{i}', 'text': ' '.join(rng.choice(TOPICS[i % 3 > 0], 6))}
    for i in range(num)
  ]
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  return path


def test_clusters_then_mix_then_sample(
  run, tiny_model, tmp_path, fails_clearly
):
  pool = write(tmp_path / 'pool.jsonl', 60)
  scores = tmp_path / 'scores'
  argv = ('score', '--method=clusters', f'--model={tiny_model}')
  argv += ('--gin.clusters.make.num_clusters=2', '--gin.clusters.make.width=4')
  result = run(*argv, f'--input={pool}', f'--output={scores}')
  assert result.code == 0, result.err
  manifest = manifests.read_manifest(scores, 'scores')
  report = manifest['diagnostics']['fitted']['clusters']
  code, ship = report['names']
  assert report['documents'] == [40, 20]
  assert f'\n  {code}\n  {ship}\n' in result.out
  assert code.startswith('0 ') and set(code.split()[1:]) <= set(TOPICS[1])
  assert f'jaxcurate mix --method=... --domains={scores}' in result.out

  # Another sample would make other clusters.
  sample = '--gin.score.run.sample_documents=50'
  result = run(*argv, f'--input={pool}', f'--output={scores}', sample)
  assert fails_clearly(result, 'sample_documents', 'another --output')

  mixed = tmp_path / 'mix'
  result = run(
    'mix', '--method=proportional', '--gin.proportional.mix.temperature=1e9',
    f'--input={scores}', f'--domains={scores}', f'--output={mixed}',
  )  # fmt: skip
  assert result.code == 0, result.err
  mixture = mixtures.read_mixture(mixed)
  assert mixture.domains == (code, ship)
  np.testing.assert_allclose(mixture.share_M, 0.5)
  kept = tmp_path / 'kept'
  result = run(
    'sample', f'--mixture={mixed}', f'--input={scores}', '--budget=300t',
    f'--domains={scores}', f'--output={kept}',
  )  # fmt: skip
  assert result.code == 0, result.err
  selection = tables.read_selection(kept)
  table, _ = tables.read_score_table([str(scores)])
  length = dict(zip(table.id, table.num_tokens.tolist(), strict=True))
  tokens = selection.count * [length[id_] for id_ in selection.id]
  number = np.array([int(id_[1:]) for id_ in selection.id])
  assert abs(tokens.sum() - 300) <= table.num_tokens.max()
  ships = tokens[number % 3 == 0].sum()
  assert abs(ships - 150) <= table.num_tokens.max()

  # The same domains for another corpus.
  more, other = write(tmp_path / 'more.jsonl', 9, 1), tmp_path / 'other'
  result = run(
    *argv, f'--input={more}', f'--output={other}', f'--fitted={scores}'
  )
  assert result.code == 0, result.err
  table, _ = tables.read_score_table([str(other)], ['clusters/index'])
  number = np.array([int(id_[1:]) for id_ in table.id])
  assert (table.scores['clusters/index'] == (number % 3 == 0)).all()
  manifest = manifests.read_manifest(other, 'scores')
  assert manifest['diagnostics']['fitted']['clusters'] == report
