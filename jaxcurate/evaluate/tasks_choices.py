"""Zero-shot multiple choice, and LAMBADA: prompts of lm-evaluation-harness.

Eleven of the fifteen tasks of ADAPT's pretraining table, and BoolQ; files of
MultiRC, QQP, RACE and the standard LAMBADA are not there. Test sets come from
mosaicml/llm-foundry's local data, validation sets from the requests of
allenai/OLMo's in-loop evaluation, of which the original fields are read, not
the prompts. HellaSwag has 1,000 of its 10,042 validation examples.
"""

from collections.abc import Callable, Sequence
import functools
import pathlib
import re
from typing import Any

from jaxcurate.evaluate import benchmark_files
from jaxcurate.evaluate.continuations import LogLikelihood
from jaxcurate.evaluate.task import (
  Continuation,
  Example,
  Task,
  choices,
  score_choices,
)

_FOUNDRY = 'llm_foundry_local_data.tar.xz'
_OLMO = 'olmo_oe_eval_requests.tar.xz'
# Ids from here on are requests without a context, for another metric.
_OLMO_UNCONDITIONAL = 1_000_000
_LOGIQA = re.compile(
  r'Context: (.*?)\nQuestion: (.*?)\nChoices:\s*'
  r'A\. (.*?)\nB\. (.*?)\nC\. (.*?)\nD\. (.*?)\n?',
  re.DOTALL,
)

MakeExample = Callable[[str, dict[str, Any]], Example]


def _foundry(
  folder: pathlib.Path, *, member: str, make: MakeExample
) -> list[Example]:
  rows = benchmark_files.json_lines(folder, _FOUNDRY, member)
  return [make(str(i), row) for i, row in enumerate(rows)]


def _olmo(
  folder: pathlib.Path, *, member: str, make: MakeExample
) -> list[Example]:
  rows = benchmark_files.json_lines(folder, _OLMO, f'{member}/requests.jsonl')
  return [
    make(str(row['doc_id']), row['doc'])
    for row in rows
    if row['idx'] == 0 and row['doc_id'] < _OLMO_UNCONDITIONAL
  ]


def _arc(id: str, row: dict[str, Any]) -> Example:
  return choices(id, f'{row["query"]}\nAnswer:', row['choices'], row['gold'])


def _as_it_is(id: str, row: dict[str, Any]) -> Example:
  return choices(id, row['query'], row['choices'], row['gold'])


def _logiqa(id: str, row: dict[str, Any]) -> Example:
  match = _LOGIQA.fullmatch(row['query'])
  if match is None:
    raise ValueError(f'LogiQA row {id} is not laid out as expected')
  passage, question, *options = match.groups()
  listed = ''.join(
    f'{letter}. {option}\n'
    for letter, option in zip('ABCD', options, strict=True)
  )
  prompt = (
    f'Passage: {passage}\nQuestion: {question}\nChoices:\n{listed}Answer:'
  )
  return choices(id, prompt, options, row['gold'])


def _piqa(id: str, row: dict[str, Any]) -> Example:
  prompt = f'Question: {row["goal"]}\nAnswer:'
  return choices(id, prompt, [row['sol1'], row['sol2']], row['label'])


def _sciq(id: str, row: dict[str, Any]) -> Example:
  prompt = f'{row["support"].lstrip()}\nQuestion: {row["question"]}\nAnswer:'
  wrong = [row[f'distractor{i}'] for i in (1, 2, 3)]
  return choices(id, prompt, [*wrong, row['correct_answer']], 3)


def _social_iqa(id: str, row: dict[str, Any]) -> Example:
  prompt = f'Q: {row["context"]} {row["question"]}\nA:'
  options = [row[f'answer{letter}'] for letter in 'ABC']
  return choices(id, prompt, options, int(row['label']) - 1)


def _winogrande(id: str, row: dict[str, Any]) -> Example:
  """The rest of a sentence after either word in the gap."""
  before, after = row['sentence'].split('_', 1)
  requests = tuple(
    Continuation(before + row[option], f' {after.strip()}')
    for option in ('option1', 'option2')
  )
  return Example(id, requests, int(row['answer']) - 1)


def _score_ends(
  example: Example, answers: Sequence[LogLikelihood]
) -> dict[str, float]:
  """Accuracy alone: the ends are the same."""
  return {'acc': score_choices(example, answers)['acc']}


def _lambada(id: str, row: dict[str, Any]) -> Example:
  request = Continuation(row['context'], f' {row["continuation"]}')
  return Example(id, (request,), row['continuation'])


def score_last_word(
  example: Example, answers: Sequence[LogLikelihood]
) -> dict[str, float]:
  """Whether greedy decoding writes the last word, and its log-probability.

  The perplexity that the harness reports is exp(-log_prob) of the mean.
  """
  del example
  [(log_prob, greedy)] = answers
  return {'acc': float(greedy), 'log_prob': log_prob}


def _task(
  read: Callable[..., list[Example]],
  member: str,
  make: MakeExample,
  score: Callable[..., dict[str, float]] = score_choices,
) -> Task:
  return Task(functools.partial(read, member=member, make=make), score)


TASKS = {
  'arc_challenge': _task(_foundry, 'world_knowledge/arc_challenge.jsonl', _arc),
  'arc_easy': _task(_foundry, 'world_knowledge/arc_easy.jsonl', _arc),
  'boolq': _task(_olmo, 'boolq/rc_0shot', _as_it_is),
  'copa': _task(_olmo, 'copa/rc_0shot', _as_it_is),
  'hellaswag': _task(_olmo, 'hellaswag/rc_5shot', _as_it_is),
  'lambada_openai': _task(
    _foundry,
    'language_understanding/lambada_openai.jsonl',
    _lambada,
    score_last_word,
  ),
  'logiqa': _task(_foundry, 'symbolic_problem_solving/logi_qa.jsonl', _logiqa),
  'openbookqa': _task(
    _foundry, 'commonsense_reasoning/openbook_qa.jsonl', _as_it_is
  ),
  'piqa': _task(_olmo, 'piqa/rc_0shot', _piqa),
  'sciq': _task(_olmo, 'sciq/rc_0shot', _sciq),
  'social_iqa': _task(_olmo, 'socialiqa/rc_0shot', _social_iqa),
  'winogrande': _task(_olmo, 'winogrande/rc_0shot', _winogrande, _score_ends),
}
