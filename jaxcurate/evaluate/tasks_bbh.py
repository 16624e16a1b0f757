"""BIG-Bench Hard (arXiv:2210.09261): 27 tasks, 3-shot, chain of thought.

Prompts are the authors' cot-prompts; stops, pattern and exact match are those
of lm-evaluation-harness (bbh_cot_fewshot). The mean is over all questions.
"""

from collections.abc import Sequence
import json
import pathlib
import re

from jaxcurate.evaluate import benchmark_files
from jaxcurate.evaluate.task import Example, Generation, Task

_FILE = 'bbh.tar.xz'
_CANARY_END = '-----\n'  # the prompts begin with a canary string
_STOPS = ('</s>', 'Q', '\n\n')
_MAX_TOKENS = 1024
# The last character, a full stop, is not part of the answer.
_ANSWER = re.compile('(?<=the answer is )(.*)(?=.)')


def read(folder: pathlib.Path) -> list[Example]:
  """All tasks; a group is a task.

  Args:
    folder: holds bbh.tar.xz, the authors' bbh/*.json and cot-prompts/*.txt.
  """
  prompts = {
    pathlib.PurePosixPath(name).stem: text.partition(_CANARY_END)[2].strip()
    for name, text in benchmark_files.members(
      folder, _FILE, 'cot-prompts/*.txt'
    )
  }
  examples = []
  for name, text in benchmark_files.members(folder, _FILE, 'bbh/*.json'):
    group = pathlib.PurePosixPath(name).stem
    for i, row in enumerate(json.loads(text)['examples']):
      context = (
        f"{prompts[group]}\n\nQ: {row['input']}\nA: Let's think step by step.\n"
      )
      request = Generation(context, _STOPS, _MAX_TOKENS)
      examples.append(Example(f'{group}/{i}', (request,), row['target'], group))
  return examples


def answer(text: str) -> str | None:
  """What follows the first 'the answer is ', without its last character.

  >>> answer('2 + 2 is 4. So the answer is 4.')
  '4'
  """
  match = _ANSWER.search(text)
  return match[0].strip() if match else None


def score(example: Example, answers: Sequence[str]) -> dict[str, float]:
  """exact_match: the answer that was written is the target."""
  return {'exact_match': float(answer(answers[0]) == example.target)}


TASKS = {'bbh': Task(read, score)}
