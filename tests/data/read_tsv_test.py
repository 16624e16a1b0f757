import gzip

import pytest

from jaxcurate.data.cells import Bad
from jaxcurate.data.read_tsv import read_tsv
from jaxcurate.data.readers import open_corpus
from jaxcurate.data.rows import Fields, everything


def _read(path, content, plan=everything, **fields):
  path.write_bytes(content if isinstance(content, bytes) else content.encode())
  return list(read_tsv(str(path), Fields(**fields), plan))


def test_flan_by_hand(tmp_path):
  found = _read(tmp_path / 'a.tsv', 'Is it\\n"so"?\tyes\tBecause.\n\nQ\tA\tR\n')
  assert found == [
    (0, {'question': 'Is it\n"so"?', 'answer': 'yes', 'rationale': 'Because.'}),
    (2, {'question': 'Q', 'answer': 'A', 'rationale': 'R'}),
  ]


@pytest.mark.parametrize(
  ('header', 'fields'),
  [
    ('label\ttext', {}),
    ('label\tSMS', {'text': 'SMS'}),
    ('id\tdomain', {}),
    ('prompt\tcompletion', {}),
    ('\ufefflabel\ttext\r', {}),
  ],
)
def test_headers(tmp_path, header, fields):
  names = header.strip('\ufeff\r').split('\t')
  found = _read(tmp_path / 'a.tsv', f'{header}\na\tb\r\n', **fields)
  assert found == [(1, dict(zip(names, 'ab', strict=True)))]


def test_only_wanted_rows_but_always_the_header(tmp_path):
  content = 'id\ttext\n' + ''.join(f'{i}\tt{i}\n' for i in range(1, 9))
  found = _read(tmp_path / 'a.tsv', content, lambda row: (row == 5, row + 1))
  assert found == [(5, {'id': '5', 'text': 't5'})]


def test_bad_rows_are_counted_by_reason(tmp_path):
  content = b'Q\tA\tR\nQ\tA\n\xff\tA\tR\nQ\tA\tR\tX\nQ\tA\tR'
  found = [raw for _, raw in _read(tmp_path / 'a.tsv', content)]
  wrong = 'expected 3: question, answer, rationale'
  assert found[1] == Bad('wrong number of columns', f'has 2, {wrong}')
  assert found[2] == Bad('invalid UTF-8', 'byte 0xff at byte 0')
  assert found[3] == Bad('wrong number of columns', f'has 4, {wrong}')
  assert found[0] == found[4]


def test_an_empty_file_and_a_header_alone(tmp_path):
  assert _read(tmp_path / 'a.tsv', '') == []
  assert _read(tmp_path / 'a.tsv', 'id\ttext\n') == []


def test_a_truncated_file(tmp_path):
  packed = gzip.compress(b'Q\tA\tR\n' * 1000)
  found = _read(tmp_path / 'a.tsv.gz', packed[:-8])
  assert found[-1] == (1000, Bad('truncated', 'the compressed file ends early'))


def test_a_real_file_with_a_header(shared_data):
  path = shared_data / 'quality' / 'sms_spam_collection.tsv.gz'
  corpus = open_corpus([str(path)], text_field='SMS', domain_field='Label')
  domains = [document.domain for document in corpus.rows()]
  # The numbers of the data's README.
  assert (domains.count('ham'), domains.count('spam')) == (4827, 747)
