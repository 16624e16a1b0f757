"""MMLU (arXiv:2009.03300): 57 subjects, 5-shot, the prompt of the harness.

The five examples are the subject's dev set in its order; the answers are the
letters. The result is the mean over all questions, as in the paper.
"""

from collections.abc import Sequence
import pathlib

from jaxcurate.evaluate import benchmark_files
from jaxcurate.evaluate.task import Example, Task, choices, score_choices

_FILE = 'mmlu.zip'
_LETTERS = 'ABCD'
_SHOTS = 5


def read(folder: pathlib.Path) -> list[Example]:
  """The test set; a group is a subject.

  Args:
    folder: holds mmlu.zip, the authors' data/{dev,test}/SUBJECT_*.csv.
  """
  shots = {
    _subject(name): benchmark_files.csv_rows(text)[:_SHOTS]
    for name, text in benchmark_files.members(folder, _FILE, 'dev/*.csv')
  }
  examples = []
  for name, text in benchmark_files.members(folder, _FILE, 'test/*.csv'):
    subject = _subject(name)
    before = _description(subject) + ''.join(
      f'{prompt(row)} {row[5]}\n\n' for row in shots[subject]
    )
    for i, row in enumerate(benchmark_files.csv_rows(text)):
      target = _LETTERS.index(row[5])
      examples.append(
        choices(
          f'{subject}/{i}', before + prompt(row), _LETTERS, target, subject
        )
      )
  return examples


def prompt(row: Sequence[str]) -> str:
  """A question with its four options, up to the answer.

  >>> print(prompt(['1 + 1 =', '1', '2', '3', '4', 'B']))
  1 + 1 =
  A. 1
  B. 2
  C. 3
  D. 4
  Answer:
  """
  options = ''.join(
    f'{letter}. {option}\n'
    for letter, option in zip(_LETTERS, row[1:5], strict=True)
  )
  return f'{row[0].strip()}\n{options}Answer:'


def _subject(name: str) -> str:
  """'data/test/college_biology_test.csv' -> 'college_biology'."""
  return pathlib.PurePosixPath(name).stem.rpartition('_')[0]


def _description(subject: str) -> str:
  words = subject.replace('_', ' ')
  return (
    'The following are multiple choice questions (with answers) about'
    f' {words}.\n\n'
  )


TASKS = {'mmlu': Task(read, score_choices)}
