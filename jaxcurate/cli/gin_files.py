"""Finds, composes and parses Gin files; the only reader of Gin's state.

A run is `runs/<command>.gin`, then the user's files, then the files of the
named methods, then plain flags (which bind macros), then `--gin.NAME=value`;
later bindings win. Library code never sees Gin: a parsed run is one call of a
keyword-only `run` function.
"""

from collections.abc import Callable, Sequence
import importlib
import importlib.resources
import logging
import pathlib
import re
import tokenize
from typing import Any

import gin
from gin import config as gin_config

from jaxcurate.io.errors import UserError

_REQUIRED = re.compile(r'(\S+?)(/macro\.value)? set to `%gin\.REQUIRED`')


def configs_folder() -> pathlib.Path:
  """Where the shipped Gin files lie: in the package, or in the checkout."""
  package = pathlib.Path(str(importlib.resources.files('jaxcurate')))
  for folder in (package / 'gin_configs', package.parent / 'gin_configs'):
    if (folder / 'runs').is_dir():
      return folder
  raise UserError(
    f'{package / "gin_configs"}: missing; install jaxcurate again'
  )


def known_methods(kind: str) -> list[str]:
  """Names of the methods in one folder of the package."""
  package = importlib.import_module(f'jaxcurate.{kind}')
  entry = _entry(kind)
  return sorted(
    path.stem
    for path in pathlib.Path(package.__path__[0]).glob('[a-z]*.py')
    if f'\ndef {entry}(' in path.read_text()
  )


def _entry(kind: str) -> str:
  """Name of the function that a method's file is known by."""
  return {'samplers': 'sample', 'mixtures': 'mix'}.get(kind, 'make')


def method_binding(kind: str, names: Sequence[str]) -> tuple[list[str], str]:
  """Gin files of methods, and the text that refers to their functions.

  Args:
    kind: 'scorers', 'samplers', 'mixtures' or 'weightings'.
    names: methods, by module name.

  Returns:
    Files that exist, and Gin lines ending in `METHODS = [@name.make, ...]`.

  Raises:
    UserError: an unknown method; lists the known ones.
  """
  known = known_methods(kind)
  for name in names:
    if name not in known:
      raise UserError(
        f'unknown method {name!r}; the {kind} are {", ".join(known)}'
      )
  entry = _entry(kind)
  lines = ['from __gin__ import dynamic_registration']
  lines += [f'from jaxcurate.{kind} import {name}' for name in names]
  found = ', '.join(f'@{name}.{entry}' for name in names)
  lines.append(f'METHODS = [{found}]')
  files = [f'methods/{name}.gin' for name in names]
  exists = [f for f in files if (configs_folder() / f).exists()]
  return exists, '\n'.join(lines) + '\n'


def parse(
  *,
  files: Sequence[str],
  search_paths: Sequence[str] = (),
  text: str = '',
  bindings: Sequence[str] = (),
) -> None:
  """Parses a whole run; the shipped files are the last search path.

  Args:
    files: Gin files in order.
    search_paths: folders to look in before the shipped ones.
    text: further Gin lines.
    bindings: 'NAME = value' lines, which win.

  Raises:
    UserError: a file that is not found, a name that nothing has, a syntax
      error.
  """
  gin.clear_config()
  before = list(gin_config._LOCATION_PREFIXES)  # Gin itself only ever appends
  for folder in (*search_paths, str(configs_folder())):
    gin.add_config_file_search_path(folder)
  logging.disable(logging.ERROR)  # Gin logs each search path that it tries
  try:
    gin.parse_config_files_and_bindings(
      list(files), [], finalize_config=False, print_includes_and_imports=False
    )
    gin.parse_config(text)
    for binding in bindings:
      gin.parse_config(binding)
    gin.finalize()
  except (ValueError, OSError, SyntaxError, tokenize.TokenError) as error:
    raise UserError(_explain(error)) from error
  except (ImportError, AttributeError, RuntimeError) as error:
    raise UserError(f'gin: {_first_line(error)}') from error
  finally:
    logging.disable(logging.NOTSET)
    gin_config._LOCATION_PREFIXES[:] = before


def _first_line(error: BaseException) -> str:
  """Gin's message and where it happened, on one line."""
  return '; '.join(
    line.strip() for line in str(error).splitlines() if line.strip()
  )


def _explain(error: BaseException) -> str:
  """What a Gin error means for the user."""
  message = _first_line(error)
  if isinstance(error, OSError):
    shipped = sorted(
      str(path.relative_to(configs_folder()))
      for path in configs_folder().glob('*/*.gin')
    )
    return f'gin: {message}; shipped files are {", ".join(shipped)}'
  if required := _REQUIRED.search(message):
    name, is_macro = required.groups()
    flag = f'--{name.lower()}=... or --gin.{name}=...' if is_macro else ''
    return f'{name} has no value; give {flag or f"--gin.{name}=..."}'
  if 'No configurable matching' in message:
    return (
      f'gin: {message}; bind a function of a file in use, e.g.'
      ' --gin.ask_llm.make.max_length=256'
    )
  return f'gin: {message}'


def call(run: Callable[..., Any], **arguments: Any) -> Any:
  """Calls the run function with everything that was bound, and `arguments`."""
  return gin.get_configurable(run)(**arguments)


def resolved() -> str:
  """The whole parsed configuration, as it is written next to an output."""
  return gin.config_str(max_line_length=80)


def settings(modules: Sequence[str]) -> dict[str, str]:
  """Bindings of functions in the named modules, e.g. 'ask_llm.make.x' -> '1'.

  Args:
    modules: last names of modules, e.g. 'ask_llm'.
  """
  lines = str(gin.config_str(max_line_length=10**6)).splitlines()
  bound: dict[str, str] = {}
  for line in lines:
    name, equals, value = line.partition(' = ')
    if equals:
      bound[name] = value
  found = {}
  for name, value in bound.items():
    if '.' in name and name.split('.')[0] in modules:
      found[name] = bound.get(value.removeprefix('%'), value)
  return found
