"""HumanEval (arXiv:2107.03374) and MBPP (arXiv:2108.07732), pass@1.

One greedy program per problem, run against the problem's tests
(`evaluate.sandbox`). Prompts and stops are lm-evaluation-harness's (humaneval,
mbpp): MBPP is 3-shot with problems 2, 3 and 4, its test set problems 11-510.
"""

from collections.abc import Sequence
import pathlib
from typing import Any

from jaxcurate.evaluate import benchmark_files, sandbox
from jaxcurate.evaluate.task import Example, Generation, Task

_HUMANEVAL_STOPS = ('\nclass', '\ndef', '\n#', '\nif', '\nprint')
_HUMANEVAL_TOKENS = 1024
_MBPP_STOPS = ('[DONE]',)
_MBPP_TOKENS = 256  # the harness's default
_MBPP_SHOTS = (2, 3, 4)
_MBPP_TEST = range(11, 511)


def read_humaneval(folder: pathlib.Path) -> list[Example]:
  """164 functions to be completed.

  Args:
    folder: holds HumanEval.jsonl.gz.
  """
  return [
    Example(
      id=row['task_id'],
      requests=(
        Generation(row['prompt'], _HUMANEVAL_STOPS, _HUMANEVAL_TOKENS),
      ),
      target=f'{row["test"]}\ncheck({row["entry_point"]})\n',
    )
    for row in benchmark_files.json_lines(folder, 'HumanEval.jsonl.gz')
  ]


def score_humaneval(
  example: Example, answers: Sequence[str]
) -> dict[str, float]:
  """pass@1: prompt and completion together pass the tests."""
  program = f'{example.requests[0].context}{answers[0]}\n{example.target}'
  return {'pass@1': float(sandbox.run(program))}


def read_mbpp(folder: pathlib.Path) -> list[Example]:
  """500 short problems with three tests each.

  Args:
    folder: holds mbpp.jsonl.xz.
  """
  rows = {
    row['task_id']: row
    for row in benchmark_files.json_lines(folder, 'mbpp.jsonl.xz')
  }
  before = ''.join(
    f'{_mbpp_prompt(rows[i])}{rows[i]["code"]}\n[DONE]\n\n' for i in _MBPP_SHOTS
  )
  return [
    Example(
      id=str(i),
      requests=(
        Generation(before + _mbpp_prompt(rows[i]), _MBPP_STOPS, _MBPP_TOKENS),
      ),
      target='\n'.join([rows[i]['test_setup_code'], *rows[i]['test_list']]),
    )
    for i in _MBPP_TEST
    if i in rows
  ]


def _mbpp_prompt(row: dict[str, Any]) -> str:
  tests = '\n'.join(row['test_list'][:3])
  return (
    'You are an expert Python programmer, and here is your task:'
    f' {row["text"]} Your code should pass these tests:\n\n{tests}\n[BEGIN]\n'
  )


def score_mbpp(example: Example, answers: Sequence[str]) -> dict[str, float]:
  """pass@1: the program passes the tests."""
  return {'pass@1': float(sandbox.run(f'{answers[0]}\n{example.target}\n'))}


TASKS = {
  'humaneval': Task(read_humaneval, score_humaneval, runs_code=True),
  'mbpp': Task(read_mbpp, score_mbpp, runs_code=True),
}
