"""`jaxcurate report`: artefacts to one self-contained page."""

import argparse
from collections.abc import Sequence

from jaxcurate.cli import flags as flags_lib
from jaxcurate.cli import gin_files
from jaxcurate.io.errors import UserError
from jaxcurate.report import run as reporting


def main(
  flags: argparse.Namespace, bindings: Sequence[str], command: Sequence[str]
) -> None:
  """Parses the run and writes the page."""
  del command  # the page names the commands of its inputs
  flags_lib.parse_run(flags, 'report', bindings)
  gin_files.call(run)


def run(
  *,
  inputs: Sequence[str],
  output: str,
  title: str | None = None,
  baseline: str | None = None,
) -> None:
  """Writes report.html, and every figure as PNG and JSON.

  Args:
    inputs: score, selection and training folders, or folders of them.
    output: folder of the page.
    title: its heading.
    baseline: run that the others are compared with; None is 'uniform'.

  Raises:
    UserError: nothing to report on.
  """
  if not inputs:
    raise UserError('give --input=FOLDER, written by score, sample or train')
  page = reporting.run(
    inputs=list(inputs), output=output, title=title, baseline=baseline
  )
  print(f'{page}: open it in a browser')
