"""A downstream task: examples, what is asked of the model, how it is scored."""

from collections.abc import Callable, Mapping, Sequence
import pathlib
from typing import Any, NamedTuple

from jaxcurate.evaluate.continuations import LogLikelihood


class Continuation(NamedTuple):
  """Asks for the log-likelihood of `text` after `context`."""

  context: str
  text: str


class Generation(NamedTuple):
  """Asks what the model writes after `context`, greedily.

  Attributes:
    context: the prompt.
    stops: the answer ends before the first of these, or with EOS.
    max_tokens: or after so many tokens.
  """

  context: str
  stops: tuple[str, ...]
  max_tokens: int


class Example(NamedTuple):
  """One question of a task.

  Attributes:
    id: unique in its task.
    requests: all continuations, or all generations.
    target: what is right, in the form that the task's `score` reads.
    group: subject or part of the task, '' where it has none.
  """

  id: str
  requests: tuple[Continuation, ...] | tuple[Generation, ...]
  target: Any
  group: str = ''


class Task(NamedTuple):
  """A named task on files of a benchmarks folder.

  Attributes:
    read: benchmarks folder -> examples; UserError where a file is missing.
    score: (example, its answers: a `LogLikelihood` per continuation, a str per
      generation) -> metric -> value; the result is the mean over examples.
    runs_code: whether `score` runs programs that the model wrote.
  """

  read: Callable[[pathlib.Path], Sequence[Example]]
  score: Callable[[Example, Sequence[Any]], Mapping[str, float]]
  runs_code: bool = False


def choices(
  id: str, context: str, options: Sequence[str], target: int, group: str = ''
) -> Example:
  """Which of several answers follows a context, after one space.

  Args:
    id: of the example.
    context: ends without a space.
    options: the answers.
    target: index of the right one.
    group: of the example.
  """
  requests = tuple(Continuation(context, f' {option}') for option in options)
  return Example(id, requests, target, group)


def score_choices(
  example: Example, answers: Sequence[LogLikelihood]
) -> dict[str, float]:
  """Whether the right answer is the likeliest, as it is and per character.

  acc: argmax_c log p_c = target; acc_norm: argmax_c (log p_c / characters_c),
  the space before an answer not counted (lm-evaluation-harness). Of equal ones
  the first counts.

  Args:
    example: of `choices`.
    answers: one per option.

  >>> example = choices('0', 'Two and two', ['are four', 'is'], 0)
  >>> answers = [LogLikelihood(-4.0, False), LogLikelihood(-2.0, False)]
  >>> score_choices(example, answers)
  {'acc': 0.0, 'acc_norm': 1.0}
  """
  log_probs = [answer.log_prob for answer in answers]
  options = [
    request.text.removeprefix(' ')
    for request in example.requests
    if isinstance(request, Continuation)
  ]
  per_character = [
    log_prob / max(len(option), 1)
    for log_prob, option in zip(log_probs, options, strict=True)
  ]
  return {
    'acc': float(log_probs.index(max(log_probs)) == example.target),
    'acc_norm': float(
      per_character.index(max(per_character)) == example.target
    ),
  }
