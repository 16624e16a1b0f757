"""The tasks by name, and which of them a list of names means."""

from collections.abc import Sequence

from jaxcurate.evaluate import (
  tasks_bbh,
  tasks_choices,
  tasks_code,
  tasks_gsm8k,
  tasks_mmlu,
  tasks_tydiqa,
)
from jaxcurate.evaluate.task import Task
from jaxcurate.io.errors import UserError

KNOWN: dict[str, Task] = {
  **tasks_choices.TASKS,
  **tasks_mmlu.TASKS,
  **tasks_bbh.TASKS,
  **tasks_gsm8k.TASKS,
  **tasks_tydiqa.TASKS,
  **tasks_code.TASKS,
}
# Short names for several tasks; 'choices' are read alone, nothing is written.
GROUPS: dict[str, tuple[str, ...]] = {'choices': tuple(tasks_choices.TASKS)}


def chosen(names: Sequence[str], *, run_code: bool) -> dict[str, Task]:
  """Tasks by name, each once.

  Args:
    names: of tasks or groups.
    run_code: whether tasks may run programs that the model wrote.

  Raises:
    UserError: an unknown name, none at all, or code that must not be run.
  """
  found: dict[str, Task] = {}
  for name in names:
    for each in GROUPS.get(name, (name,)):
      if each not in KNOWN:
        known = ', '.join([*sorted(KNOWN), *(f'{g} (all)' for g in GROUPS)])
        raise UserError(f'--tasks: no task {each!r}; known: {known}')
      found[each] = KNOWN[each]
  if not found:
    raise UserError(f'--tasks names none; known: {", ".join(sorted(KNOWN))}')
  code = [name for name, task in found.items() if task.runs_code]
  if code and not run_code:
    raise UserError(
      f'{", ".join(code)}: runs programs that the model writes, on this'
      ' machine; allow it with --run_code, best in a container'
    )
  return found
