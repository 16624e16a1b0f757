"""Methods that learn from a trusted corpus first, through the command line."""

import json
import re

import numpy as np
import pytest
from safetensors import safe_open

from jaxcurate.io import manifest as manifests
from jaxcurate.io import tables

SMALL = (
  '--gin.lamdas.make.prefix_length=4',
  '--gin.lamdas.make.epochs=2',
  '--gin.lamdas.make.max_length=64',
)


@pytest.fixture(scope='module')
def anchors(documents, tmp_path_factory):
  """A trusted corpus of four texts, apart from the pool."""
  path = tmp_path_factory.mktemp('anchors') / 'good.jsonl'
  rows = [
    {'id': f'good{i}', 'text': f'{row["text"]} indeed.'}
    for i, row in enumerate(documents[:4])
  ]
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  return path


@pytest.fixture
def lamdas(run, tiny_model, corpus, tmp_path):
  """lamdas(flags...) -> (result, output folder)."""

  def call(*flags, name='out', model=tiny_model):
    output = tmp_path / name
    result = run(
      'score', '--method=lamdas', f'--model={model}', f'--input={corpus}',
      f'--output={output}', *SMALL, *flags,
    )  # fmt: skip
    return result, output

  return call


def column(output):
  table, _ = tables.read_score_table([str(output)])
  return table.scores['lamdas'][np.argsort(table.id)]


def reads(result, output):
  """How often the tokens are read, by the line printed before the run."""
  [cost] = re.findall(r'about (\S+) floating-point operations', result.out)
  settings = manifests.read_manifest(output)['settings']
  return round(float(cost) / (2 * settings['num_params']))


def test_the_fit_is_kept_and_used_again(lamdas, anchors):
  result, first = lamdas(f'--anchors={anchors}')
  assert result.code == 0, result.err
  assert 'trusted documents, once: kept in' in result.out
  assert reads(result, first) == 2  # with and without the prefix
  with safe_open(first / 'fitted' / 'lamdas.safetensors', 'numpy') as file:
    assert set(file.metadata()) == {'network', 'pass'}
    assert file.get_tensor('key').shape[2] == 4
  # Neither the anchors nor the tuning are needed again.
  result, second = lamdas(
    f'--fitted={first}', '--gin.lamdas.make.epochs=1000000', name='second'
  )
  assert result.code == 0, result.err
  np.testing.assert_array_equal(column(second), column(first))


def test_other_anchors_are_other_settings(
  lamdas, anchors, tmp_path, fails_clearly
):
  lamdas(f'--anchors={anchors}')
  other = tmp_path / 'other.jsonl'
  other.write_text(anchors.read_text().replace('indeed', 'not at all'))
  result, output = lamdas(f'--anchors={other}')
  assert fails_clearly(result, output, 'anchors', 'another --output')


def test_a_fit_of_another_model_is_refused(
  lamdas, anchors, other_model, fails_clearly
):
  _, first = lamdas(f'--anchors={anchors}')
  result, _ = lamdas(f'--fitted={first}', name='second', model=other_model)
  assert fails_clearly(
    result, 'lamdas.safetensors', 'another model', '--fitted'
  )


@pytest.fixture
def other_model(tiny_model, tmp_path):
  """The same shapes with other weights."""
  import shutil

  from safetensors import numpy as safetensors

  folder = tmp_path / 'other'
  shutil.copytree(tiny_model, folder)
  weights = safetensors.load_file(folder / 'model.safetensors')
  weights = {name: 1.5 * array for name, array in weights.items()}
  safetensors.save_file(
    weights, folder / 'model.safetensors', metadata={'format': 'pt'}
  )
  return folder


@pytest.mark.parametrize(
  ('flags', 'words'),
  [
    (['--method=lamdas'], ['lamdas learns', '--anchors', '--fitted']),
    (['--method=rho'], ['compares two models', '--reference=MODEL']),
    (
      ['--method=perplexity', '--anchors=ANCHORS'],
      ['--anchors', 'not for perplexity but for', 'lamdas'],
    ),
    (
      ['--method=perplexity', '--reference=MODEL'],
      ['--reference', 'not for perplexity but for', 'color_filter'],
    ),
    (['--method=lamdas', '--fitted=none'], ['none', '--fitted a folder']),
    (
      ['--method=lamdas', '--anchors=EMPTY', '--on_bad_row=skip'],
      ['--anchors=', 'empty.jsonl: no document with text'],
    ),
  ],
)
def test_mistakes_are_one_clear_line(
  run, tiny_model, corpus, anchors, tmp_path, fails_clearly, flags, words
):
  empty = tmp_path / 'empty.jsonl'
  empty.write_text('{"text": " "}\n')
  given = {'ANCHORS': anchors, 'MODEL': tiny_model, 'EMPTY': empty}
  for name, path in given.items():
    flags = [flag.replace(name, str(path)) for flag in flags]
  result = run(
    'score', *flags, f'--model={tiny_model}', f'--input={corpus}',
    f'--output={tmp_path / "out"}',
  )  # fmt: skip
  assert fails_clearly(result, *words)


def test_anchors_in_the_corpus_are_said_or_left_out(
  lamdas, documents, tmp_path
):
  path = tmp_path / 'known.jsonl'
  rows = [
    {'id': 'doc2', 'text': documents[2]['text']},
    {'id': 'new', 'text': f' {documents[5]["text"]}\n'},
  ]
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  result, output = lamdas(f'--anchors={path}')
  assert result.code == 0, result.err
  assert (
    '2 document(s) of the corpus are also in --anchors (1 by id, 2 by text)'
    in result.err
  )
  assert '--exclude_anchors' in result.err
  assert len(column(output)) == len(documents)
  result, output = lamdas(f'--anchors={path}', '--exclude_anchors', name='less')
  assert 'are also in' not in result.err
  assert len(column(output)) == len(documents) - 2
  manifest = json.loads((output / 'manifest.json').read_text())
  assert manifest['skipped'] == {'also in the anchors': 2}


def test_two_models_that_read_alike(run, tiny_model, corpus, tmp_path):
  result = run(
    'score', '--method=rho', f'--model={tiny_model}',
    f'--reference={tiny_model}', f'--input={corpus}',
    f'--output={tmp_path / "out"}',
  )  # fmt: skip
  assert result.code == 0, result.err
  table, _ = tables.read_score_table([str(tmp_path / 'out')])
  np.testing.assert_array_equal(table.scores['rho'], 0.0)
  assert reads(result, tmp_path / 'out') == 2  # as large a model as the first
