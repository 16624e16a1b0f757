"""TyDiQA: passages by byte offsets, and F1 over normalised words."""

import collections

import numpy as np
import pytest

from jaxcurate.evaluate import tasks_tydiqa
from jaxcurate.evaluate.task import Generation

TEXT = 'Zürich lies low.\nThe Üetliberg, 871 m, is a hill.\n'


def span(part, text=TEXT):
  start = len(text[: text.index(part)].encode())
  return {
    'plaintext_start_byte': start,
    'plaintext_end_byte': start + len(part.encode()),
  }


NONE = {'plaintext_start_byte': -1, 'plaintext_end_byte': -1}


def annotation(passage, answer):
  return {
    'passage_answer': {'candidate_index': passage},
    'minimal_answer': answer,
  }


def row(*annotations):
  return {
    'document_plaintext': TEXT,
    'question_text': 'How high?',
    'language': 'english',
    'passage_answer_candidates': [span(line) for line in TEXT.splitlines()],
    'annotations': annotations,
  }


def read(pack, json_lines, *rows):
  files = {
    'tiny_dev.jsonl.gz': json_lines(*rows),
    'small_gold_annotation.jsonl': '',
  }
  return tasks_tydiqa.read(pack('tydiqa_tiny_dev.tar.xz', files))


def test_prompt_by_hand(pack, json_lines):
  first = row(
    annotation(-1, NONE),
    annotation(1, span('871 m')),
    annotation(1, span('Üetliberg, 871')),
    annotation(0, span('low')),
  )
  [example] = read(pack, json_lines, row(annotation(1, NONE)), first)
  assert example.id == '1' and example.group == 'english'
  assert example.target == ['871 m', 'Üetliberg, 871']
  context = (
    'Context: The Üetliberg, 871 m, is a hill.\n\n'
    'Question: How high?\n\nAnswer:'
  )
  assert example.requests == (Generation(context, ('\n',), 256),)


def test_score_is_the_best_over_annotators(pack, json_lines):
  [example] = read(pack, json_lines, row(annotation(1, span('The Üetliberg'))))
  example = example._replace(target=['871 m', 'a b c d'])
  for answer, f1, exact in (
    (' 871 M.', 1, 1),
    ('871', 2 / 3, 0),
    ('b c x', 4 / 6, 0),  # 'a' is an article
    ('', 0, 0),
  ):
    found = tasks_tydiqa.score(example, [answer])
    assert found == {'f1': pytest.approx(f1), 'exact_match': exact}


@pytest.mark.parametrize(
  'text, language, expected',
  [
    ('The  end, of «a» day!', 'english', ['end', 'of', 'day']),
    ('the end', 'finnish', ['the', 'end']),
    ('القاهرة، مصر', 'arabic', ['قاهرة', 'مصر']),
    ('...', 'english', []),
  ],
)
def test_normalised(text, language, expected):
  assert tasks_tydiqa.normalised(text, language) == expected


@pytest.mark.parametrize('seed', range(4))
def test_f1_against_precision_and_recall(seed):
  rng = np.random.default_rng(seed)
  one, two = (rng.choice(list('abcd'), n).tolist() for n in (5, 3))
  shared = sum(
    min(one.count(word), two.count(word)) for word in collections.Counter(one)
  )
  precision, recall = shared / 5, shared / 3
  expected = 2 * precision * recall / (precision + recall) if shared else 0
  assert tasks_tydiqa.f1(one, two) == pytest.approx(expected)
  assert tasks_tydiqa.f1(one, one) == 1.0
  assert tasks_tydiqa.f1(one, []) == 0.0
