"""TyDiQA (arXiv:2003.05002): an answer within a passage, by token F1.

Only the primary task's samples are at hand (`tydiqa_tiny_dev.tar.xz`). Their
questions that have a short answer become gold-passage questions: the passage
an annotator chose, the question, the short answers in that passage. These are
six, in five languages: enough to see that it works, not to compare models.
Prompt and normalisation are those of lm-evaluation-harness (tydiqa_goldp), the
prompt's words in English for all languages.
"""

import collections
from collections.abc import Sequence
import pathlib
import re
import string
from typing import Any
import unicodedata

from jaxcurate.evaluate import benchmark_files
from jaxcurate.evaluate.task import Example, Generation, Task

_FILE = 'tydiqa_tiny_dev.tar.xz'
_MEMBERS = ('tiny_dev.jsonl.gz', 'small_gold_annotation.jsonl')
_STOPS = ('\n',)
_MAX_TOKENS = 256  # the harness's default
_ARTICLES = {'english': r'\b(a|an|the)\b', 'arabic': r'(?:^|\s)ال'}


def read(folder: pathlib.Path) -> list[Example]:
  """Questions with a short answer; a group is a language.

  Args:
    folder: holds tydiqa_tiny_dev.tar.xz.
  """
  rows = [
    row
    for member in _MEMBERS
    for row in benchmark_files.json_lines(folder, _FILE, member)
  ]
  found = (_example(str(i), row) for i, row in enumerate(rows))
  return [example for example in found if example is not None]


def _example(id: str, row: dict[str, Any]) -> Example | None:
  """The question over its first annotated passage, None without an answer."""
  document = row['document_plaintext'].encode()

  def text(span: dict[str, int]) -> str:
    start, end = span['plaintext_start_byte'], span['plaintext_end_byte']
    return document[start:end].decode() if start >= 0 else ''

  answers = collections.defaultdict(list)
  for annotation in row['annotations']:
    short = text(annotation['minimal_answer'])
    if short:
      answers[annotation['passage_answer']['candidate_index']].append(short)
  if not answers:
    return None
  index = next(iter(answers))
  passage = text(row['passage_answer_candidates'][index])
  prompt = f'Context: {passage}\n\nQuestion: {row["question_text"]}\n\nAnswer:'
  request = Generation(prompt, _STOPS, _MAX_TOKENS)
  return Example(id, (request,), answers[index], row['language'])


def normalised(text: str, language: str) -> list[str]:
  """Words in lower case, without punctuation and articles.

  >>> normalised('The River Nile.', 'english')
  ['river', 'nile']
  """
  letters = ''.join(
    letter
    for letter in text.lower()
    if letter not in string.punctuation
    and not unicodedata.category(letter).startswith('P')
  )
  return re.sub(_ARTICLES.get(language, '(?!)'), ' ', letters).split()


def f1(answer: Sequence[str], target: Sequence[str]) -> float:
  """Harmonic mean of precision and recall of words, with their counts.

  >>> f1(['nile'], ['river', 'nile'])
  0.6666666666666666
  """
  shared = (collections.Counter(answer) & collections.Counter(target)).total()
  if not shared:
    return 0.0
  return 2 * shared / (len(answer) + len(target))


def score(example: Example, answers: Sequence[str]) -> dict[str, float]:
  """Best F1 and exact match over the annotators' answers."""
  answer = normalised(answers[0], example.group)
  targets = [normalised(target, example.group) for target in example.target]
  return {
    'f1': max(f1(answer, target) for target in targets),
    'exact_match': float(answer in targets),
  }


TASKS = {'tydiqa': Task(read, score)}
