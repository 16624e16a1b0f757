"""Corpora, models and prompt files as commands open them."""

import io
import time

import jax
import pytest

from jaxcurate.cli import inputs
from jaxcurate.data import readers
from jaxcurate.io.errors import UserError
from jaxcurate.models import mesh as mesh_lib

FIELDS = {
  'split': 'train',
  'text_field': 'text',
  'id_field': 'id',
  'domain_field': 'domain',
  'on_bad_row': 'stop',
}


def test_corpus_of_files(corpus, documents):
  for given in ([str(corpus)], str(corpus)):  # --gin.INPUT may be one string
    opened = inputs.open_documents(inputs=given, task=None, **FIELDS)
    assert [row.id for row in opened.rows()] == [d['id'] for d in documents]


@pytest.mark.parametrize('given', [([], None), (['x'], 'task')])
def test_either_input_or_task(given):
  with pytest.raises(UserError, match='either --input or --task'):
    inputs.open_documents(inputs=given[0], task=given[1], **FIELDS)


def test_format_of_files_without_extension(tmp_path, corpus):
  (tmp_path / 'docs').write_bytes(corpus.read_bytes())
  path = [str(tmp_path / 'docs')]
  with pytest.raises(UserError, match='--format'):
    inputs.open_documents(inputs=path, task=None, **FIELDS)
  opened = inputs.open_documents(
    inputs=path, task=None, format='jsonl', **FIELDS
  )
  assert sum(1 for _ in opened.rows()) == 30


def test_parameters_lie_on_the_mesh(tiny_model):
  mesh = mesh_lib.make_mesh('data=4,model=2')
  loaded = inputs.load_model(str(tiny_model), mesh)
  leaves = jax.tree.leaves(loaded.params)
  assert all(leaf.sharding.mesh == mesh for leaf in leaves)
  assert any(not leaf.sharding.is_fully_replicated for leaf in leaves)
  assert loaded.num_params == sum(leaf.size for leaf in leaves)
  assert loaded.vocabulary.size == 800


def test_another_vocabulary(tiny_model):
  mesh = mesh_lib.make_mesh(None)
  loaded = inputs.load_model(str(tiny_model), mesh, vocabulary='bytes')
  assert loaded.vocabulary.encode_batch(['a']) == [[100]]


def test_templates(tmp_path):
  path = tmp_path / 'a=b.txt'
  path.write_text('{text}')
  plain = tmp_path / 'plain.txt'
  plain.write_text('### {text}')
  assert inputs.read_templates([]) == {}
  assert inputs.read_templates([str(plain)]) == {'': '### {text}'}
  assert inputs.read_templates([f'x={plain}', f'y={plain}']) == dict.fromkeys(
    'xy', '### {text}'
  )
  with pytest.raises(UserError, match='need names'):
    inputs.read_templates([str(plain), str(plain)])
  (tmp_path / 'latin').write_bytes(b'\xe9')
  with pytest.raises(UserError, match='latin: cannot be read'):
    inputs.read_templates([str(tmp_path / 'latin')])


def test_rows_are_counted_while_work_goes_on(corpus, monkeypatch):
  monkeypatch.setattr('sys.stderr', io.StringIO())
  opened = readers.open_corpus([str(corpus)])
  bar, stop = inputs.progress_bar(opened, 4, 'score')
  for _ in range(500):
    if bar.total:
      break
    time.sleep(0.01)
  assert abs(bar.total - 30) <= 4
  stop()
  bar.close()
