"""GSM8K (arXiv:2110.14168): grade-school mathematics, 5-shot, exact match.

Prompt, stops and both ways to read a number are lm-evaluation-harness's
(gsm8k); the five examples are the first of the training set, where the harness
draws them anew for every question.
"""

from collections.abc import Sequence
import pathlib
import re

from jaxcurate.evaluate import benchmark_files
from jaxcurate.evaluate.task import Example, Generation, Task

_SHOTS = 5
_STOPS = ('Question:', '</s>', '<|im_end|>')
_MAX_TOKENS = 256  # the harness's default
_STRICT = re.compile(r'#### (\-?[0-9\.\,]+)')
_FLEXIBLE = re.compile(r'(-?[$0-9.,]{2,})|(-?[0-9]+)')
_IGNORED = (',', r'\$', r'(?s).*#### ', r'\.$')  # one after the other


def read(folder: pathlib.Path) -> list[Example]:
  """The test set.

  Args:
    folder: holds gsm8k_train.jsonl.xz and gsm8k_test.jsonl.xz.
  """
  train = benchmark_files.json_lines(folder, 'gsm8k_train.jsonl.xz')
  before = ''.join(
    f'{_prompt(row)} {row["answer"]}\n\n' for row in train[:_SHOTS]
  )
  return [
    Example(
      id=str(i),
      requests=(Generation(before + _prompt(row), _STOPS, _MAX_TOKENS),),
      target=row['answer'],
    )
    for i, row in enumerate(
      benchmark_files.json_lines(folder, 'gsm8k_test.jsonl.xz')
    )
  ]


def _prompt(row: dict[str, str]) -> str:
  return f'Question: {row["question"]}\nAnswer:'


def strict_number(text: str) -> str | None:
  """The number after the first '#### ', or None."""
  match = _STRICT.search(text)
  return match[1].strip() if match else None


def flexible_number(text: str) -> str | None:
  """The last thing in the text that looks like a number, or None."""
  found = [match[0].strip() for match in _FLEXIBLE.finditer(text)]
  return found[-1] if found else None


def normalised(text: str) -> str:
  """Without the reasoning, commas, dollars and a full stop at the end.

  >>> normalised('5 * 250 = 1250\\n#### 1,250.')
  '1250'
  """
  for pattern in _IGNORED:
    text = re.sub(pattern, '', text)
  return text.lower()


def score(example: Example, answers: Sequence[str]) -> dict[str, float]:
  """Exact match of the number after '####', and of the last number."""
  target = normalised(example.target)

  def is_right(number: str | None) -> float:
    return float(number is not None and normalised(number) == target)

  return {
    'exact_match': is_right(strict_number(answers[0])),
    'exact_match_flexible': is_right(flexible_number(answers[0])),
  }


TASKS = {'gsm8k': Task(read, score)}
