"""A damaged model, a full disk, too large a budget: one clear line."""

import json
import pathlib
import shutil
import subprocess

import numpy as np
import pytest
from safetensors import numpy as safetensors

from jaxcurate.io import manifest as manifests


def test_budget_over_the_corpus(run, scores, tmp_path, fails_clearly):
  result = run(
    'sample', '--method=top_k', f'--input={scores}', '--budget=31',
    f'--output={tmp_path / "kept"}',
  )  # fmt: skip
  assert fails_clearly(result, 'budget 31', 'only 30', 'lower the budget')


def changed_model(model, folder, change):
  """A copy of a checkpoint with other weights."""
  shutil.copytree(model, folder)
  path = folder / 'model.safetensors'
  weights = safetensors.load_file(path)
  change(weights)
  safetensors.save_file(weights, path, metadata={'format': 'pt'})
  return f'--model={folder}'


def test_score_that_is_nan(
  score, tiny_model, tmp_path, fails_clearly, kept_ids
):
  path = tmp_path / 'a.jsonl'
  rows = [{'id': f'good{i}', 'text': f'A good text, {i}.'} for i in range(5)]
  rows.append({'id': 'odd', 'text': 'zebra'})
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))

  def change(weights):  # only one piece of the vocabulary is damaged
    import sentencepiece

    pieces = sentencepiece.SentencePieceProcessor()
    pieces.load(str(tiny_model / 'spiece.model'))
    weights['shared.weight'][pieces.encode('zebra')[-3]] = np.nan

  model = changed_model(tiny_model, tmp_path / 'nan', change)
  result, output = score(path, model)
  assert fails_clearly(
    result, "'odd'", 'ask_llm is nan', '--dtype=float32', '--on_bad_row=skip'
  )
  assert 'good0' in kept_ids(output)
  shutil.rmtree(output)
  result, output = score(path, model, '--on_bad_row=skip')
  assert result.code == 0, result.err
  manifest = manifests.read_manifest(output)
  assert manifest['diagnostics']['without_score'] == {'ask_llm': 1}
  assert manifest['num_rows'] == 6
  assert '1 without ask_llm' in result.out


def test_checkpoint_of_the_wrong_shape(
  score, tiny_model, corpus, tmp_path, fails_clearly
):
  def cut(weights):
    name = 'encoder.block.0.layer.0.SelfAttention.q.weight'
    weights[name] = weights[name][:, :3].copy()

  def drop(weights):
    del weights['encoder.final_layer_norm.weight']

  result, output = score(corpus, changed_model(tiny_model, tmp_path / 'a', cut))
  assert fails_clearly(result, 'SelfAttention.q.weight', '(16, 3)', '(16, 16)')
  result, _ = score(corpus, changed_model(tiny_model, tmp_path / 'b', drop))
  assert fails_clearly(result, 'encoder.final_layer_norm.weight')
  (tmp_path / 'b' / 'config.json').write_text('{')
  result, _ = score(corpus, f'--model={tmp_path / "b"}')
  assert fails_clearly(result, 'config.json')
  (tmp_path / 'a' / 'model.safetensors').write_bytes(b'short')
  result, _ = score(corpus, f'--model={tmp_path / "a"}')
  assert fails_clearly(result, 'model.safetensors')
  assert not output.exists()


@pytest.fixture
def small_disk(tmp_path):
  """A real file system of 64 KiB and a way to enlarge it."""
  folder = tmp_path / 'disk'
  folder.mkdir()

  def mount(options):
    argv = ['mount', '-t', 'tmpfs', '-o', options, 'tmpfs', str(folder)]
    return subprocess.run(argv, capture_output=True).returncode == 0

  if not shutil.which('mount') or not mount('size=64k'):
    pytest.skip('needs the right to mount a small tmpfs')
  yield folder, lambda: mount('remount,size=4m')
  subprocess.run(['umount', '-l', str(folder)], check=True)


def test_full_disk_keeps_what_is_finished(
  run, ask_llm, corpus, scores, small_disk, fails_clearly, kept_ids
):
  folder, enlarge = small_disk
  argv = (*ask_llm, f'--input={corpus}', f'--output={folder / "out"}')
  argv += ('--gin.score.run.block_rows=1', '--gin.score.run.chunk_seconds=0.0')
  result = run(*argv)
  assert fails_clearly(result, folder, 'disk is full', 'same command again')
  kept = kept_ids(folder / 'out')
  assert 5 < len(kept) < 30
  assert not list(pathlib.Path(folder).rglob('.writing-*'))
  assert enlarge()
  assert run(*argv).code == 0
  assert sorted(kept_ids(folder / 'out')) == sorted(kept_ids(scores))
