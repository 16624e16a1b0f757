"""The demo on a handful of documents, up to where its budget ends."""

import contextlib
import io
import json
import pathlib

import pytest

from jaxcurate.cli import main as cli

SMALL = [
  'num_documents=60', 'num_held_out=12', 'num_anchors=4', 'steps=2',
  'damaged_share=0.5', 'rows_per_batch=2', 'encoder_length=64',
  'max_segments=2', 'seeds=(0, 1)', 'packages=False',
]  # fmt: skip


@pytest.fixture(scope='module')
def demo(tmp_path_factory):
  """Folder, exit code, stdout and stderr of one small demo."""
  folder = tmp_path_factory.mktemp('demo')
  out, err = io.StringIO(), io.StringIO()
  arguments = [
    'demo',
    f'--output={folder}',
    *(f'--gin.demo.run.{setting}' for setting in SMALL),
    '--gin.t5.T5Config.embed_dim=32',
    '--gin.t5.T5Config.num_encoder_layers=1',
    '--gin.t5.T5Config.num_decoder_layers=1',
  ]
  with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
    code = cli.main(arguments)
  return folder, code, out.getvalue(), err.getvalue()


def rows_of(path: pathlib.Path):
  return [json.loads(line) for line in path.read_text().splitlines()]


def test_text_is_split_by_module_and_half_damaged(demo):
  text = demo[0] / 'text'
  corpus, held_out, anchors = (
    rows_of(text / f'{name}.jsonl')
    for name in ('corpus', 'held_out', 'anchors')
  )
  assert [len(rows) for rows in (corpus, held_out, anchors)] == [60, 12, 4]
  assert {row['split'] for row in corpus} == {'demo'}
  assert {row['split'] for row in held_out} == {'held_out'}
  assert {row['split'] for row in anchors} == {'judge'}
  assert 15 <= sum(row['label'] != 'sound' for row in corpus) <= 45
  modules = [
    {row['id'].split(':')[0] for row in rows} for rows in (corpus, held_out)
  ]
  assert not modules[0] & modules[1]


def test_scoring_dearer_than_the_training_is_refused(demo):
  folder, code, out, err = demo
  assert code == 1
  assert 'uniform: 2 seeds, 2 steps each' in out
  assert 'random_subset: 2 seeds, 2 steps each' in out
  [line] = [x for x in err.splitlines() if x.startswith('jaxcurate: ')]
  assert 'ask_llm_subset: scoring costs' in line
  assert 'raise --gin.demo.run.steps' in line
  last = rows_of(folder / 'runs' / 'uniform' / 'seed1' / 'metrics.jsonl')[-1]
  assert last['step'] == 2
  assert 'eval/loss' in last


def test_every_sampler_has_its_selection(demo):
  names = {path.name for path in (demo[0] / 'selections').iterdir()}
  assert names == {
    'random_subset',
    'ask_llm_subset',
    'density_subset',
    'perplexity_subset',
  }


def test_other_settings_are_refused(demo, capsys):
  arguments = ['demo', f'--output={demo[0]}', '--gin.demo.run.steps=3']
  assert cli.main(arguments) == 1
  assert 'holds the demo with other settings' in capsys.readouterr().err
