"""`jaxcurate evaluate --tasks`: results, resuming, mistakes."""

import gzip
import io
import json
import lzma
import tarfile

import pytest

from jaxcurate.cli import main as cli
from jaxcurate.evaluate import tasks_code
from jaxcurate.io import manifest as manifests

ARC, BOOK = (
  'world_knowledge/arc_easy.jsonl',
  'commonsense_reasoning/openbook_qa.jsonl',
)
ROWS = [
  {'query': f'Question: {i}?', 'choices': ['one', 'two'], 'gold': i % 2}
  for i in range(5)
]
PROBLEM = {
  'task_id': 'HumanEval/0',
  'prompt': 'def f():\n  """1"""\n',
  'entry_point': 'f',
  'test': 'def check(f):\n  assert f() == 1\n',
}


def lines(rows):
  return ''.join(json.dumps(row) + '\n' for row in rows).encode()


def archive(members):
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode='w') as tar:
    for name, content in members.items():
      item = tarfile.TarInfo(name)
      item.size = len(content)
      tar.addfile(item, io.BytesIO(content))
  return lzma.compress(buffer.getvalue(), preset=0)


@pytest.fixture(scope='module')
def benchmarks(tmp_path_factory):
  """A folder with files of three tasks, one of which runs code."""
  folder = tmp_path_factory.mktemp('benchmarks')
  (folder / 'llm_foundry_local_data.tar.xz').write_bytes(
    archive({ARC: lines(ROWS), BOOK: lines(ROWS[:1])})
  )
  (folder / 'HumanEval.jsonl.gz').write_bytes(gzip.compress(lines([PROBLEM])))
  return folder


@pytest.fixture(scope='module')
def argv(tiny_model, benchmarks):
  return ('evaluate', f'--model={tiny_model}', f'--benchmarks={benchmarks}')


@pytest.fixture(scope='module')
def evaluated(argv, tmp_path_factory):
  output = tmp_path_factory.mktemp('evaluated') / 'out'
  assert cli.main([*argv, '--tasks=arc_easy', f'--output={output}']) == 0
  return output


def test_answers_results_and_manifest(evaluated):
  text = (evaluated / 'tasks/arc_easy.jsonl').read_text()
  rows = [json.loads(line) for line in text.splitlines()]
  assert [row['id'] for row in rows] == ['0', '1', '2', '3', '4']
  for row, given in zip(rows, ROWS, strict=True):
    (one, _), (two, _) = row['answers']
    assert row['metrics']['acc'] == float((two > one) == given['gold'])
  result = json.loads((evaluated / 'results.json').read_text())['arc_easy']
  mean = sum(row['metrics']['acc'] for row in rows) / 5
  assert result['num_examples'] == 5
  assert result['metrics']['acc']['mean'] == pytest.approx(mean)
  manifest = manifests.read_manifest(evaluated, 'evaluation')
  assert manifest['diagnostics']['arc_easy/acc'] == pytest.approx(mean)
  assert manifest['num_rows'] == 5


def test_tasks_that_are_done_are_not_asked_again(run, argv, evaluated):
  path = evaluated / 'tasks/arc_easy.jsonl'
  before = path.stat().st_mtime_ns
  result = run(*argv, '--tasks=arc_easy,openbookqa', f'--output={evaluated}')
  assert result.code == 0, result.err
  assert path.stat().st_mtime_ns == before
  found = json.loads((evaluated / 'results.json').read_text())
  assert list(found) == ['arc_easy', 'openbookqa']
  assert result.out.startswith('6 examples: 12 continuations to read, 0 ans')
  table = [line.split()[:3] for line in result.out.splitlines()]
  assert ['arc_easy', '5', 'acc'] in table
  assert ['openbookqa', '1', 'acc_norm'] in table
  path.unlink()  # as if it had been interrupted: that one alone again
  other = evaluated / 'tasks/openbookqa.jsonl'
  before = other.stat().st_mtime_ns
  again = run(*argv, '--tasks=arc_easy,openbookqa', f'--output={evaluated}')
  assert path.exists() and other.stat().st_mtime_ns == before
  assert again.out.splitlines()[-4:] == result.out.splitlines()[-4:]


def test_some_examples_evenly_spread(run, argv, tmp_path):
  output = f'--output={tmp_path / "out"}'
  limit = '--gin.evaluate_tasks.run.limit=2'
  given = (*argv, limit, output, '--tasks=openbookqa,arc_easy')
  assert run(*given).code == 0
  text = (tmp_path / 'out/tasks/arc_easy.jsonl').read_text()
  assert [json.loads(line)['id'] for line in text.splitlines()] == ['0', '2']


def test_code_is_run_where_it_is_allowed(run, argv, tmp_path, monkeypatch):
  monkeypatch.setattr(tasks_code, '_HUMANEVAL_TOKENS', 4)
  result = run(
    *argv, '--tasks=humaneval', '--run_code', f'--output={tmp_path / "out"}'
  )
  assert result.code == 0, result.err
  [row] = (tmp_path / 'out/tasks/humaneval.jsonl').read_text().splitlines()
  assert json.loads(row)['metrics'] == {'pass@1': 0.0}


@pytest.mark.parametrize(
  'more, words',
  [
    (['--tasks=arc'], ["no task 'arc'", 'arc_easy', 'choices (all)']),
    (['--tasks=humaneval'], ['humaneval', '--run_code', 'container']),
    (['--tasks=mmlu'], ['mmlu.zip', 'not there', '--benchmarks']),
    (['--tasks=arc_challenge'], ['arc_challenge.jsonl', 'another']),
    (['--tasks=arc_easy', '--benchmarks=none'], ['none', 'not there']),
    (['--tasks=arc_easy', '--input=a.jsonl'], ['--tasks', '--input']),
    (['--tasks=arc_easy', '--model='], ['no checkpoint']),
    (
      ['--tasks=arc_easy', '--gin.evaluate_tasks.run.limit=0'],
      ['limit is 0'],
    ),
  ],
)
def test_mistakes_are_one_clear_line(
  run, argv, tmp_path, fails_clearly, more, words
):
  result = run(*argv, *more, f'--output={tmp_path / "out"}')
  assert fails_clearly(result, *words)
  assert not (tmp_path / 'out').exists()  # it may be put right there


def test_what_is_missing_is_asked_for(run, argv, tmp_path, fails_clearly):
  tasks, output = '--tasks=arc_easy', f'--output={tmp_path / "out"}'
  name, model, folder = argv
  assert fails_clearly(run(name, folder, tasks, output), 'give --model')
  assert fails_clearly(run(name, model, tasks, output), 'give --benchmarks')


def test_other_settings_are_refused(run, argv, evaluated, fails_clearly):
  result = run(
    *argv,
    '--tasks=arc_easy',
    '--gin.evaluate_tasks.run.max_length=64',
    f'--output={evaluated}',
  )
  assert fails_clearly(result, 'max_length: None there, 64 now')


@pytest.mark.parametrize(
  'content, words',
  [
    (b'{"query": ', ['arc_easy.jsonl: line 2', 'fetch']),
    (b'{"query": "only"}', ['arc_easy', 'not as expected', 'choices']),
  ],
)
def test_a_broken_file_is_named(
  run, argv, tmp_path, fails_clearly, content, words
):
  (tmp_path / 'llm_foundry_local_data.tar.xz').write_bytes(
    archive({ARC: lines(ROWS[:1]) + content})
  )
  result = run(
    *argv,
    '--tasks=arc_easy',
    f'--benchmarks={tmp_path}',
    f'--output={tmp_path / "out"}',
  )
  assert fails_clearly(result, *words)
