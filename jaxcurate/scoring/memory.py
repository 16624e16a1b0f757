"""What a pass will take, said before it runs: room on disk and on a device."""

from collections.abc import Callable, Mapping, Sequence
import functools

import jax

from jaxcurate.models import forward
from jaxcurate.types import Scorer


def announce(
  scorers: Sequence[Scorer],
  runs: Mapping[str, forward.Forward],
  prepared: Mapping[str, forward.Prepared],
  say: Callable[[str], object] | None = None,
) -> None:
  """Says what the passes take whose long vectors wait on disk (LESS, TRAK).

  Args:
    scorers: of the run.
    runs, prepared: name of a pass -> how it runs, and rows of its first block.
    say: where the line of each goes; None prints it at once.
  """
  say = say or functools.partial(print, flush=True)
  for scorer in scorers:
    name = scorer.features.name
    if scorer.summary is None or scorer.fit is None:
      continue
    if len(prepared[name].row):
      column = next(iter(scorer.columns))
      say(sentence(column, *plan(runs[name], prepared[name])))


def plan(run: forward.Forward, prepared: forward.Prepared) -> tuple[int, int]:
  """Bytes of a document's stored vector, and of a device while a block runs.

  Args:
    run: of a pass whose vectors wait for the whole corpus to be read.
    prepared: rows of a first block, at least one.

  Returns:
    (bytes of an 'embedding', bytes of parameters and running batches as XLA
    plans them).
  """
  device, shapes = run.memory(prepared)
  embedding: jax.ShapeDtypeStruct = shapes['embedding']
  *_, width = embedding.shape
  return width * embedding.dtype.itemsize, device


def sentence(name: str, stored: int, device: int) -> str:
  """One line for the user.

  >>> sentence('less', 65_536, 3 << 30)
  'less: 64.0 KiB per document on disk until scored (6.1 GiB for 100,000); \
about 3.0 GiB of each device while the corpus is read'
  """
  return (
    f'{name}: {stored / 2**10:.1f} KiB per document on disk until scored'
    f' ({100_000 * stored / 2**30:.1f} GiB for 100,000); about'
    f' {device / 2**30:.1f} GiB of each device while the corpus is read'
  )
