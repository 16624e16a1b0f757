"""The studies of mixtures: their text, their targets and their tables."""

import importlib
import io
import json
import lzma
import pathlib
import sys
import tarfile

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent


@pytest.fixture(scope='module')
def tools():
  sys.path.insert(0, str(ROOT / 'tools'))
  yield importlib.import_module
  sys.path.remove(str(ROOT / 'tools'))
  for name in ('study_synthetic_mixture', 'study_targets'):
    sys.modules.pop(name, None)


def test_the_synthetic_pool_is_as_asked(tools):
  study = tools('study_synthetic_mixture')
  pool, corpus, target = study.make_text(0, 600, (0.2, 0.2, 0.6), (1, 0, 0))
  assert (pool.domain == 'C').mean() == pytest.approx(0.6, abs=0.07)
  assert [row.id for row in corpus] == pool.id.tolist()
  assert len(target) == 100

  def pairs(texts):
    count = np.zeros((12, 12))
    for text in texts:
      code = [study.LETTERS.index(letter) for letter in text]
      np.add.at(count, (code[:-1], code[1:]), 1)
    return (count / count.sum()).ravel()

  wanted = pairs(row.text for row in target)

  def likeness(chosen):
    own = pairs(row.text for row, keep in zip(corpus, chosen) if keep)
    return np.minimum(own, wanted).sum()

  # The target's domain is like it, and less so where it is damaged.
  domain, damage = pool.domain, pool.scores['damage']
  clean = likeness((domain == 'A') & (damage > -0.2))
  damaged = likeness((domain == 'A') & (damage < -0.6))
  assert clean > 0.8 > damaged > likeness(domain == 'C')


def test_the_table_by_hand(tools):
  study = tools('study_synthetic_mixture')
  results = [
    {
      'equal shares': 3.0 + seed, 'the pool as it is': 3.5 + seed,
      'best of the grid': 2.0 + seed, 'best of the grid, undamaged': 1.0 + seed,
      'RegMix': 2.2 + seed, 'RegMix, Spearman': 0.5,
      'QuaDMix': 1.5 + seed, 'QuaDMix, Spearman': 0.7,
    }
    for seed in (0.0, 1.0, 2.0)
  ]  # fmt: skip
  lines = study.table(results).splitlines()
  row = next(line for line in lines if line.startswith('| RegMix'))
  cells = [cell.strip() for cell in row.strip('|').split('|')]
  assert cells == [
    'RegMix', '3.2000', '-0.800 [-0.800, -0.800]', '-1.300 [-1.300, -1.300]',
    '+0.800 [+0.800, +0.800]', '0.50',
  ]  # fmt: skip
  assert '+0.750 [+0.750, +0.750] | 0.70' in lines[-1]


def test_targets_are_dealt_once(tools, tmp_path):
  targets = tools('study_targets')
  (tmp_path / 'instruction').mkdir()
  (tmp_path / 'benchmarks').mkdir()
  rows = [
    {'instruction': f'ask {i}', 'input': '', 'output': f'answer {i}'}
    for i in range(9)
  ]
  rows.append({'instruction': 'x' * 90, 'input': '', 'output': 'too long'})
  (tmp_path / 'instruction' / 'a.json.xz').write_bytes(
    lzma.compress(json.dumps(rows).encode())
  )
  questions = [{'query': f'why {i}?', 'choices': ['no', 'so'], 'gold': 1}
               for i in range(5)]  # fmt: skip
  questions += [{'context': f'who {i}?', 'answer': 'me'} for i in range(4)]
  text = '\n'.join(map(json.dumps, questions)).encode()
  name = tmp_path / 'benchmarks' / 'llm_foundry_local_data.tar.xz'
  with tarfile.open(name, 'w:xz') as archive:
    member = tarfile.TarInfo('some/task.jsonl')
    member.size = len(text)
    archive.addfile(member, io.BytesIO(text))
  output = tmp_path / 'out'

  def write_pool(folder):
    folder.mkdir()
    (folder / 'held_out.jsonl').write_text('{"id": "p", "text": "pool"}\n')

  def deal(num_search):
    targets.pool_and_targets(
      output if num_search == 5 else tmp_path / 'other',
      write_pool=write_pool, corpora=str(tmp_path), instructions=['a.json.xz'],
      benchmarks=['some/task.jsonl'], num_search=num_search, num_held_out=3,
      characters=80, seed=0,
    )  # fmt: skip

  deal(5)
  read = {
    path.stem: [json.loads(line) for line in path.read_text().splitlines()]
    for path in output.iterdir()
  }
  assert [len(read[n]) for n in ('instructions', 'benchmarks')] == [5, 5]
  assert [row.get('domain') for row in read['held_out']] == (
    [None] + ['instructions'] * 3 + ['benchmarks'] * 3
  )
  texts = [row['text'] for rows in read.values() for row in rows]
  assert len(set(texts)) == len(texts) == 17
  assert any(text.startswith('why') and text.endswith('so') for text in texts)
  assert any(text.startswith('ask') and '\nanswer' in text for text in texts)
  with pytest.raises(ValueError, match='instructions has 9 rows, 11'):
    deal(8)
