"""Domains that come in a file of their own."""

import json

import numpy as np
import pytest

from jaxcurate.data import domain_labels
from jaxcurate.io import manifest as manifests
from jaxcurate.io import tables
from jaxcurate.io.errors import UserError
from jaxcurate.types import Document


def test_files_and_score_folders_say_the_same(tmp_path):
  want = {'1': 'web', '2': 'books'}
  lines = tmp_path / 'l.jsonl'
  rows = [{'id': i, 'topic': d} for i, d in want.items()]
  lines.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  columns = {'id': np.array(['1', '2'], object),
             'domain': np.array(['web', 'books'], object)}  # fmt: skip
  tables.write_table(tmp_path / 'p.parquet', columns)
  folder = tmp_path / 'scores'
  tokens = {'num_tokens': np.ones(2, np.int32)}
  tables.write_table(folder / 'part-0.parquet', columns | tokens)
  manifests.write_manifest(folder, {'kind': 'scores', 'columns': {}})
  assert domain_labels.read_domains(str(lines), 'topic') == want
  assert domain_labels.read_domains(str(tmp_path / 'p.parquet')) == want
  assert domain_labels.read_domains(str(folder)) == want


def test_clusters_are_domains_by_name(tmp_path):
  columns = {
    'id': np.array(['1', '2', '3'], object),
    'domain': np.array(['web', None, 'web'], object),
    'num_tokens': np.ones(3, np.int32),
    'clusters/index': np.array([1, np.nan, 0], np.float32),
  }
  tables.write_table(tmp_path / 'part-0.parquet', columns)
  fitted = {'clusters': {'names': ['0 ship sea', '1 file code']}}
  content = {
    'kind': 'scores',
    'columns': {'clusters/index': 'number'},
    'diagnostics': {'fitted': fitted},
  }
  manifests.write_manifest(tmp_path, content)
  expected = {'1': '1 file code', '3': '0 ship sea'}
  assert domain_labels.read_domains(str(tmp_path)) == expected


@pytest.mark.parametrize(
  ('line', 'why'),
  [
    ('{"id": "1"}', "has no 'domain'"),
    ('{"domain": "a"}', "has no 'id'"),
    ('{"id": "1", "domain": null}', "has no 'domain'"),
    ('{"id": "1", "domain": "a"}\n{"id": "1", "domain": "b"}', 'already'),
    ('{', 'JSON'),
    ('', 'has no row'),
  ],
)
def test_what_is_wrong_is_named(tmp_path, line, why):
  path = tmp_path / 'l.jsonl'
  path.write_text(line + '\n')
  with pytest.raises(UserError, match=why) as error:
    domain_labels.read_domains(str(path))
  assert 'l.jsonl' in str(error.value)


def test_digest_is_of_the_labels_in_any_order():
  one = domain_labels.digest({'1': 'a', '2': 'b'})
  assert one == domain_labels.digest({'2': 'b', '1': 'a'})
  others = ({'1': 'b', '2': 'a'}, {'1': 'a'}, {'1': 'a', '2': 'c'}, {})
  assert one not in map(domain_labels.digest, others)


def test_documents_take_the_domains_of_the_file(capsys):
  rows = [Document('1', 'a', 'web'), Document('2', 'b', None)]
  found = list(domain_labels.relabel(iter(rows), {'2': 'code', '9': 'x'}))
  assert found == [Document('1', 'a', None), Document('2', 'b', 'code')]
  assert '1 of 2 documents have no domain' in capsys.readouterr().out
  assert list(domain_labels.relabel([], {'2': 'code'})) == []
  with pytest.raises(UserError, match='none of 2 documents has one of the 1'):
    list(domain_labels.relabel(rows, {'9': 'x'}))
