"""The manifest beside every artefact: what it is, how it was made, its cost.

`manifest.json` holds kind, version, command, settings, inputs, num_rows,
columns (name -> unit), skipped (reason -> count), cost (flops, seconds,
device), diagnostics and created. Running a command again resumes only when
the settings are the same; otherwise the difference is shown.
"""

from collections.abc import Mapping
import datetime
import json
from typing import Any

from etils import epath

import jaxcurate
from jaxcurate.io import atomic
from jaxcurate.io.errors import UserError

NAME = 'manifest.json'
_BEGUN = 'settings.json'  # of work in progress, until the manifest is there
# Kind -> the command that writes it.
_COMMANDS = {
  'scores': 'score',
  'selection': 'sample',
  'mixture': 'mix',
  'training': 'train',
  'evaluation': 'evaluate',
  'judge': 'train',
}
KINDS = tuple(_COMMANDS)


def write_manifest(folder: epath.PathLike, content: Mapping[str, Any]) -> None:
  """Writes `folder/manifest.json` atomically, adding version and time.

  Args:
    folder: the artefact's folder.
    content: JSON-able fields; `kind` is one of `KINDS`.
  """
  if content.get('kind') not in KINDS:
    raise ValueError(f'kind {content.get("kind")!r} is not one of {KINDS}')
  created = datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds')
  whole = {'version': jaxcurate.__version__, 'created': created, **content}
  text = json.dumps(whole, indent=2, ensure_ascii=False, allow_nan=False)
  atomic.write_text(epath.Path(folder) / NAME, text + '\n')
  (epath.Path(folder) / _BEGUN).unlink(missing_ok=True)


def read_manifest(
  folder: epath.PathLike, kind: str | None = None
) -> dict[str, Any]:
  """The manifest of an artefact's folder.

  Args:
    folder: the artefact's folder.
    kind: the kind the caller needs, or None for any.

  Raises:
    UserError: no manifest, broken JSON, or another kind.
  """
  path = epath.Path(folder) / NAME
  if not path.exists():
    raise UserError(
      f'{folder}: no {NAME} there; give the folder that'
      f' `jaxcurate {_command_of(kind)}` wrote, after it finished'
    )
  try:
    content = json.loads(path.read_text())
  except (json.JSONDecodeError, UnicodeDecodeError) as error:
    raise UserError(
      f'{path}: broken JSON ({error}); run the command that wrote it again'
    ) from error
  if not isinstance(content, dict) or content.get('kind') not in KINDS:
    raise UserError(f'{path}: "kind" must be one of {", ".join(KINDS)}')
  if kind is not None and content['kind'] != kind:
    raise UserError(
      f'{folder}: holds {content["kind"]}, but {kind} are needed; give a'
      f' folder written by `jaxcurate {_command_of(kind)}`'
    )
  return content


def _command_of(kind: str | None) -> str:
  """The command that writes a kind."""
  return _COMMANDS.get(kind or '') or '|'.join(
    dict.fromkeys(_COMMANDS.values())
  )


def refuse_other_settings(
  folder: epath.PathLike,
  old: Mapping[str, Any],
  new: Mapping[str, Any],
) -> None:
  """Raises when settings changed since the folder's work began.

  Args:
    folder: the artefact's folder, named in the message.
    old: settings recorded there.
    new: settings of this run.

  Raises:
    UserError: names every differing setting with both values.
  """
  new = json.loads(json.dumps(new))  # as they would read back: tuples, ints
  differing = [
    f'{name}: {old.get(name)!r} there, {new.get(name)!r} now'
    for name in sorted({*old, *new})
    if old.get(name) != new.get(name)
  ]
  if differing:
    raise UserError(
      f'{folder}: begun with other settings ({"; ".join(differing)}); use the'
      ' same settings to continue, or another --output'
    )


def begin(
  folder: epath.PathLike, kind: str, settings: Mapping[str, Any]
) -> bool:
  """Records what a folder is for, before any work is committed to it.

  Args:
    folder: the output folder, created if needed.
    kind: of the artefact.
    settings: all that decides its content, JSON-able.

  Returns:
    Whether the folder is already finished with these settings.

  Raises:
    UserError: it holds work with other settings, or something else.
  """
  folder = epath.Path(folder)
  if (folder / NAME).exists():
    old = read_manifest(folder, kind)['settings']
  elif (folder / _BEGUN).exists():
    old = json.loads((folder / _BEGUN).read_text())
  else:
    if folder.exists() and not folder.is_dir():
      raise UserError(f'{folder}: is a file; give a folder as --output')
    if folder.exists() and any(folder.glob('*.parquet')):
      raise UserError(
        f'{folder}: holds Parquet files of something else; give another'
        ' --output'
      )
    atomic.write_text(folder / _BEGUN, json.dumps(dict(settings)))
    return False
  refuse_other_settings(folder, old, settings)
  return (folder / NAME).exists()
