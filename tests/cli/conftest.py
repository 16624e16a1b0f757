"""A small corpus, a tiny model, and a way to run commands in process."""

import json
from typing import NamedTuple

import pyarrow.parquet as pq
import pytest

from jaxcurate.cli import main as cli

NUM_DOCUMENTS = 30


class Result(NamedTuple):
  """What a command left on the terminal."""

  code: int
  out: str
  err: str

  @property
  def last(self) -> str:
    """The last line on stderr."""
    return self.err.rstrip('\n').splitlines()[-1] if self.err else ''


@pytest.fixture(scope='session')
def documents():
  """Rows of natural text with ids and two domains."""
  from pydoc_data import topics

  words = ' '.join(topics.topics.values()).split()
  return [
    {
      'id': f'doc{i}',
      'text': ' '.join(words[60 * i : 60 * i + 25 + i]),
      'domain': 'ab'[i % 2],
    }
    for i in range(NUM_DOCUMENTS)
  ]


@pytest.fixture(scope='session')
def tiny_decoder(small_vocabulary, tmp_path_factory, draw_params):
  """A Hugging Face folder of a random decoder that compiles in a moment."""
  from jaxcurate.models import decoder, load

  config = decoder.DecoderConfig(
    vocab_size=800, embed_dim=16, num_heads=2, num_kv_heads=1, head_dim=8,
    mlp_dim=32, num_layers=1, max_length=128, tied_head=True,
  )  # fmt: skip
  folder = tmp_path_factory.mktemp('decoder') / 'base'
  params = draw_params(decoder.make_network(config))
  load.export_huggingface(folder, params, config, str(small_vocabulary))
  return folder


@pytest.fixture(scope='session')
def corpus(documents, tmp_path_factory):
  """The documents as one JSON Lines file."""
  path = tmp_path_factory.mktemp('corpus') / 'docs.jsonl'
  path.write_text(''.join(json.dumps(row) + '\n' for row in documents))
  return path


@pytest.fixture(scope='session')
def instructions(documents, tmp_path_factory):
  """Rows in Alpaca's layout as one JSON file."""
  rows = [
    {
      'id': f'ask{i}',
      'domain': row['domain'],
      'instruction': ' '.join(row['text'].split()[:4]),
      'input': '' if i % 2 else 'no',
      'output': ' '.join(row['text'].split()[4 : 6 + i % 5]),
    }
    for i, row in enumerate(documents)
  ]
  path = tmp_path_factory.mktemp('instructions') / 'alpaca.json'
  path.write_text(json.dumps(rows))
  return path


@pytest.fixture
def run(capsys):
  """run('score', '--input=...') -> Result."""

  def call(*argv) -> Result:
    capsys.readouterr()
    code = cli.main([str(argument) for argument in argv])
    out, err = capsys.readouterr()
    return Result(code, out, err)

  return call


@pytest.fixture(scope='session')
def ask_llm(tiny_model):
  """Arguments of a cheap `jaxcurate score`, without --input and --output."""
  return (
    'score',
    '--method=ask_llm',
    f'--model={tiny_model}',
    '--gin.ask_llm.make.max_length=200',
  )


@pytest.fixture(scope='session')
def scores(ask_llm, corpus, tmp_path_factory):
  """A finished score table of the corpus."""
  output = tmp_path_factory.mktemp('scores') / 'scores'
  assert cli.main([*ask_llm, f'--input={corpus}', f'--output={output}']) == 0
  return output


def keeps_one_line(result, *words) -> bool:
  """Whether a command failed with one line that holds all the words."""
  assert result.code == 1, result
  assert result.last.startswith('jaxcurate: '), result.err
  for word in words:
    assert str(word) in result.last, result.last
  return 'Traceback' not in result.err


@pytest.fixture(scope='session')
def fails_clearly():
  """(result, *words) -> it failed with one line that holds the words."""
  return keeps_one_line


@pytest.fixture
def score(run, ask_llm, tmp_path):
  """score(path, flags...) -> (result, output folder); blocks of two rows."""

  def call(path, *flags):
    output = tmp_path / 'out'
    result = run(
      *ask_llm,
      '--gin.score.run.block_rows=2',
      f'--input={path}',
      f'--output={output}',
      *flags,
    )
    return result, output

  return call


@pytest.fixture(scope='session')
def kept_ids():
  """Score folder -> ids in its committed chunks."""

  def read(output):
    paths = sorted(output.glob('part-*.parquet'))
    return [i for p in paths for i in pq.read_table(p)['id'].to_pylist()]

  return read
