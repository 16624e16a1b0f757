"""The studies of weightings: their text, their commands and their tables."""

import copy
import gzip
import importlib
import json
import lzma
import math
import pathlib
import sys

import gin
import numpy as np
import pytest

from jaxcurate.cli import flags as flags_lib
from jaxcurate.cli import gin_files
from jaxcurate.data import damage

ROOT = pathlib.Path(__file__).parent.parent.parent
STUDIES = (
  'damaged_pool',
  'adapt_pretraining',
  'data_ratio',
  'quadmix_text',
  'domain_shares',
)


def _words(seed):
  """Forty made-up words: enough variety for a vocabulary."""
  rng = np.random.default_rng(seed)
  letters = list('abcdefghijklmnop')
  return ' '.join(
    ''.join(rng.choice(letters, rng.integers(2, 7))) for _ in range(40)
  )


@pytest.fixture(scope='module')
def tools():
  sys.path.insert(0, str(ROOT / 'tools'))
  yield importlib.import_module
  sys.path.remove(str(ROOT / 'tools'))
  for name in (
    'study_weighting', 'study_text', 'study_targets', 'study_curves',
    'small_judges',
  ):  # fmt: skip
    sys.modules.pop(name, None)


def _curve(curves, losses, *, steps=(10, 20), tokens=1.0, flops=1.0):
  steps = np.array(steps, float)
  return curves.Curve(
    steps, tokens * steps, flops * steps, {'all': np.array(losses, float)}
  )


def test_loss_between_two_evaluations_by_hand(tools):
  curves = tools('study_curves')
  curve = _curve(curves, [4.0, 2.0], flops=3.0)
  assert curves.at(curve, 'steps', 15, 'all') == 3.0
  assert curves.at(curve, 'flops', 60, 'all') == 2.0
  assert curves.at(curve, 'steps', 20.01, 'all') == 2.0  # rounding of steps
  assert math.isnan(curves.at(curve, 'steps', 21, 'all'))
  assert math.isnan(curves.at(curve, 'steps', 9, 'all'))


def test_difference_is_paired_over_seeds(tools):
  curves = tools('study_curves')
  found = curves.compare([1.0, 2.0, 3.0], [2.0, 3.0, 4.0])
  assert found == (2.0, -1.0, -1.0, -1.0, 3)  # seeds differ, pairs do not
  found = curves.compare([0.0, 0.0], [1.0, 3.0])
  # t quantile of one degree of freedom 12.706, standard error 1.
  assert found.mean == -2.0 and found.num_seeds == 2
  assert found.high == pytest.approx(-2 + 12.706, abs=1e-3)
  assert math.isnan(curves.compare([1.0], [2.0]).low)


def test_table_charges_what_was_paid(tools):
  curves = tools('study_curves')
  base = _curve(curves, [4.0, 3.0])
  ours = _curve(curves, [3.0, 1.0])
  late = ours._replace(flops=ours.flops + 5)
  everything = {'uniform': [base] * 2, 'ours': [ours] * 2, 'late': [late] * 2}
  rows = curves.table(everything, 'uniform', 'flops').splitlines()
  assert rows[2] == '| uniform | 3.000 | 1.00 |'
  assert rows[3] == '| ours | **1.000, -2.000 [-2.000, -2.000]** | 1.00 |'
  assert rows[4] == '| late | **2.000, -1.000 [-1.000, -1.000]** | 1.00 |'
  far = ours._replace(flops=ours.flops + 11)
  rows = curves.table({'u': [base], 'far': [far]}, 'u', 'flops').splitlines()
  assert rows[3] == '| far | did not come so far | 1.00 |'


def test_curve_reads_what_training_logged(tools, tmp_path):
  lines = [
    {'step': 1, 'tokens': 10, 'flops': 5.0, 'loss': 9.0},
    {'step': 2, 'tokens': 20, 'flops': 10.0, 'loss': 8.0},
    {'step': 2, 'flops': 10.0, 'eval/loss': 7.0, 'eval/domain/a': 6.0,
     'eval/domain/b': 8.0, 'eval/domain/c': 1.0},
  ]  # fmt: skip
  text = ''.join(json.dumps(line) + '\n' for line in lines)
  (tmp_path / 'metrics.jsonl').write_text(text)
  groups = {'both': ('a', 'b'), 'c': ('c',)}
  curve = tools('study_curves').read_curve(tmp_path, groups, 100.0)
  assert curve.steps == [2] and curve.tokens == [20] and curve.flops == [110]
  assert curve.losses['both'] == [7.0] and curve.losses['c'] == [1.0]


def test_passages_are_dealt_once_and_damaged_as_asked(tools, tmp_path):
  rows = [
    {
      'id': str(i),
      'text': _words(i),
      'domain': 'ab'[i % 2],
    }
    for i in range(40)
  ]
  with gzip.open(tmp_path / 'both.jsonl.gz', 'wt') as file:
    file.writelines(json.dumps(row) + '\n' for row in rows)
  counts = {
    'one': {'anchors': 2, 'pool': 3, 'damaged': 4},
    'two': {'held_out': 5, 'pool': 1},
  }

  def write(folder, **settings):
    tools('study_text').passages(
      tmp_path / folder,
      **{'corpora': str(tmp_path), 'characters': 60, 'pieces': 300, 'seed': 0,
         'domains': {'one': ('both', 'a'), 'two': ('both', 'b')},
         'counts': counts, **settings}
    )  # fmt: skip
    return {
      path.stem: [json.loads(line) for line in path.read_text().splitlines()]
      for path in (tmp_path / folder).glob('*.jsonl')
    }

  found = write('first')
  assert {name: len(own) for name, own in found.items()} == {
    'anchors': 2, 'pool': 8, 'held_out': 5,
  }  # fmt: skip
  ids = [row['id'] for own in found.values() for row in own]
  assert len(set(ids)) == 15
  assert all(len(row['text']) <= 60 for own in found.values() for row in own)
  harmed = [row for row in found['pool'] if 'label' in row]
  assert len(harmed) == 4
  assert all(
    row['label'] in damage.KINDS and row['domain'] == 'one' for row in harmed
  )
  assert write('again') == found != write('other', seed=1)
  with pytest.raises(ValueError, match='two has 20 documents, 21 are needed'):
    write('short', counts={**counts, 'two': {'pool': 21}})


def test_instructions_keep_questions_apart(tools, tmp_path):
  asked = [
    {'instruction': f'Say {i % 12}', 'input': '', 'output': _words(i)[:60]}
    for i in range(24)
  ]
  (tmp_path / 'instruction').mkdir()
  (tmp_path / 'text').mkdir()
  packed = tmp_path / 'instruction' / 'x.json.xz'
  empty = {'instruction': 'a', 'input': '', 'output': ' '}
  packed.write_bytes(lzma.compress(json.dumps([*asked, empty]).encode()))
  with gzip.open(tmp_path / 'text' / 'y.jsonl.gz', 'wt') as file:
    file.writelines(
      json.dumps({'id': f'{i}', 'text': _words(i)}) + '\n' for i in range(9)
    )
  tools('study_text').instructions(
    tmp_path / 'out',
    corpora=str(tmp_path),
    domains={'x': 'x.json.xz'},
    counts={'x': {'anchors': 4, 'pool': 8}},
    base={'y': 6},
    characters=100,
    pieces=300,
    seed=0,
  )
  found = {
    path.stem: [json.loads(line) for line in path.read_text().splitlines()]
    for path in (tmp_path / 'out').glob('*.jsonl')
  }
  assert {name: len(own) for name, own in found.items()} == {
    'anchors': 4, 'pool': 8, 'base': 6,
  }  # fmt: skip
  questions = [row['instruction'] for name in ('anchors', 'pool')
               for row in found[name]]  # fmt: skip
  assert len(set(questions)) == 12
  assert max(len(row['text']) for row in found['base']) == 100


@pytest.mark.parametrize('study', STUDIES)
def test_every_command_of_a_study_is_one(tools, study, tmp_path):
  tool = tools('study_weighting')
  gin_files.parse(files=[str(ROOT / f'gin_configs/studies/{study}.gin')])
  names = ('prepare', 'common', 'contenders', 'seeds', 'paid', 'baseline')
  bound = {  # the copy has macros in their places
    name: copy.deepcopy(gin.query_parameter(f'study_weighting.run.{name}'))
    for name in names
  }
  first, runs = tool.commands(tmp_path, *(bound[name] for name in names[:4]))
  assert len(runs) == len(bound['contenders']) * len(bound['seeds'])
  assert len(bound['seeds']) >= 5 and bound['baseline'] in bound['contenders']
  folders = [argv[-1] for argv in (*first, *runs.values())]
  assert len(set(folders)) == len(folders)
  for command, *argv in [*first, *runs.values()]:
    plain = [word for word in argv if not word.startswith('--gin.')]
    flags = flags_lib.parser(command).parse_args(plain)
    assert flags.output and '{' not in ' '.join(argv)
