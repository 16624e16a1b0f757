"""The same numbers as lm-evaluation-harness's own Hugging Face class.

Goldens are written by tools/make_harness_goldens.py, which says when anew.
"""

import json
import pathlib
import sys

import numpy as np
import pytest
from safetensors import safe_open

from jaxcurate.evaluate import harness, language_model
from jaxcurate.evaluate.task import Continuation, Generation
from jaxcurate.io.errors import UserError

GOLDENS = pathlib.Path(__file__).parent / 'goldens'
MAX_LENGTH = 64  # of the models there


@pytest.fixture(scope='module', params=['llama', 't5'])
def golden(request, tmp_path_factory):
  """Folder of a model, and requests with the harness's answers."""
  folder = tmp_path_factory.mktemp(request.param)
  path = GOLDENS / f'harness_{request.param}.safetensors'
  with safe_open(path, 'numpy') as file:
    for name in file.keys():
      (folder / name).write_bytes(file.get_tensor(name).tobytes())
    return folder, json.loads(file.metadata()['answers'])


@pytest.fixture(scope='module')
def model(golden, small_mesh):
  return language_model.open_model(
    str(golden[0]), small_mesh, max_length=MAX_LENGTH, special_tokens=True
  )


def asked(golden, kind):
  """Arguments and answers of one kind of request."""
  rows = golden[1][kind]
  return [row['request'] for row in rows], [row['answer'] for row in rows]


def assert_written(found, expected):
  """Texts are equal, up to as many tokens as were asked for.

  To a T5 the harness allows as many more as its padded prompt has.
  """
  for ours, theirs in zip(found, expected, strict=True):
    assert theirs.startswith(ours)
    assert ours == theirs or len(theirs) > 2 * 24 >= len(ours)
  assert sum(a == b for a, b in zip(found, expected, strict=True)) >= 5


def test_log_likelihoods(golden, model):
  requests, expected = asked(golden, 'loglikelihood')
  found = model.log_likelihoods([Continuation(*pair) for pair in requests])
  assert {greedy for _, greedy in expected} == {False, True}
  assert [one.greedy for one in found] == [greedy for _, greedy in expected]
  np.testing.assert_allclose(
    [one.log_prob for one in found], [one[0] for one in expected], rtol=1e-5
  )


def test_rolling_log_likelihoods(golden, model):
  requests, expected = asked(golden, 'loglikelihood_rolling')
  found = model.rolling([text for [text] in requests])
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_generation(golden, model):
  requests, expected = asked(golden, 'generate_until')
  found = model.generate([harness.generation(*one) for one in requests])
  assert_written(found, expected)


def test_the_class_inside_the_harness(golden):
  pytest.importorskip('lm_eval', reason='lm_eval is not installed')
  from lm_eval.api.instance import Instance

  made = harness.register()(
    str(golden[0]), mesh='data=8;model=1', max_length=MAX_LENGTH, batch_size=3
  )
  found = {}
  for kind in golden[1]:
    requests, _ = asked(golden, kind)
    found[kind] = getattr(made, kind)(
      [Instance(kind, {}, tuple(one), i) for i, one in enumerate(requests)]
    )
  pairs = asked(golden, 'loglikelihood')[1]
  np.testing.assert_allclose(found['loglikelihood'], pairs, rtol=1e-5)
  expected = asked(golden, 'loglikelihood_rolling')[1]
  np.testing.assert_allclose(
    found['loglikelihood_rolling'], expected, rtol=1e-5
  )
  assert_written(found['generate_until'], asked(golden, 'generate_until')[1])


def test_a_task_of_the_harness_gives_the_same_results(golden, tmp_path):
  pytest.importorskip('accelerate', reason="for the harness's own class")
  lm_eval = pytest.importorskip('lm_eval', reason='lm_eval is not installed')
  harness.register()
  rows = [
    {'question': f'{a} and {b} is', 'options': ['four', 'a stone'], 'gold': 0}
    for a in range(3)
    for b in range(4)
  ]
  (tmp_path / 'rows.jsonl').write_text(
    ''.join(json.dumps(row) + '\n' for row in rows)
  )
  config = {
    'task': 'sums',
    'dataset_path': 'json',
    'dataset_kwargs': {'data_files': {'test': str(tmp_path / 'rows.jsonl')}},
    'test_split': 'test',
    'output_type': 'multiple_choice',
    'doc_to_text': '{{question}}',
    'doc_to_choice': '{{options}}',
    'doc_to_target': '{{gold}}',
    'metric_list': [{'metric': 'acc'}, {'metric': 'acc_norm'}],
  }
  found = [
    lm_eval.simple_evaluate(
      model=name, model_args=arguments, tasks=[config], bootstrap_iters=0
    )
    for name, arguments in (
      ('jaxcurate', f'path={golden[0]},max_length={MAX_LENGTH}'),
      ('hf', f'pretrained={golden[0]},max_length={MAX_LENGTH},device=cpu'),
    )
  ]
  assert found[0]['results']['sums'] == found[1]['results']['sums']
  ours, theirs = (
    [np.array(row['resps'], float).tolist() for row in one['samples']['sums']]
    for one in found
  )
  np.testing.assert_allclose(ours, theirs, rtol=1e-5)


@pytest.mark.parametrize(
  'settings, expected',
  [
    ({'until': ['a', 'b'], 'max_gen_toks': 7}, (('a', 'b'), 7)),
    ({'until': 'a', 'do_sample': False, 'temperature': 0.0}, (('a',), 256)),
    ({'max_new_tokens': 9, 'until': None}, ((), 9)),
    ({}, ((), 256)),
  ],
)
def test_settings_of_a_generation(settings, expected):
  assert harness.generation('x', settings) == Generation('x', *expected)


@pytest.mark.parametrize('settings', [{'do_sample': True}, {'temperature': 1}])
def test_sampling_is_refused(settings):
  with pytest.raises(UserError, match='--gen_kwargs do_sample=False'):
    harness.generation('x', settings)


def test_the_harness_is_asked_for(monkeypatch):
  monkeypatch.setitem(sys.modules, 'lm_eval', None)
  with pytest.raises(UserError, match=r'pip install jaxcurate\[eval\]'):
    harness.register()
