"""What scorers learn before the pass: done once, kept beside the scores.

A scorer with a `fit` learns from its anchors (LAMDAS a prefix, LESS adapters);
the result goes to `OUTPUT/fitted/<column>.safetensors`, from where a resumed
run or another corpus takes it. A file says which network it belongs to.
"""

from collections.abc import Mapping, Sequence
import functools
import hashlib
import json
import pathlib
from typing import Any

from etils import epath
from flax import traverse_util
import jax
import numpy as np
import safetensors
from safetensors import numpy as safetensors_numpy

from jaxcurate.io import atomic
from jaxcurate.io.errors import UserError
from jaxcurate.models import forward
from jaxcurate.train import fit as fit_lib
from jaxcurate.types import Document, Features, FitTools, Params, Scorer

FOLDER = 'fitted'
_ANCHORS = 'anchors.jsonl'
_REPORT = 'report'


def pass_params(
  scorers: Sequence[Scorer],
  params: Params,
  *,
  second: Params | None,
  mesh: jax.sharding.Mesh,
  output: epath.PathLike,
  reuse: epath.PathLike | None = None,
  seed: int = 0,
) -> dict[str, Params]:
  """The parameters of every pass, fitting what is not yet fitted.

  Args:
    scorers: methods; those that share a pass share its parameters.
    params: of the network, on the mesh.
    second: of the second network, on the mesh, or None.
    mesh: axes 'data' and 'model'.
    output: folder of the table; fits are kept under `fitted/`.
    reuse: folder of an earlier table whose fits are taken, or None.
    seed: of everything random in a fit.

  Returns:
    Name of the pass -> its parameters, on the mesh.

  Raises:
    UserError: a kept fit belongs to another network, or fitting fails.
  """
  tools = make_tools(mesh, seed)
  everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
  found: dict[str, Params] = {}
  for scorer in scorers:
    name = scorer.features.name
    if scorer.second:
      found[name] = (params, second)
    elif scorer.fit is None:
      found[name] = params
    else:
      column = next(iter(scorer.columns))
      of = {'network': fingerprint(params), 'pass': name}
      own = _path(output, column)
      fitted = read(own, of)
      if fitted is None and reuse is not None:
        fitted = read(_path(reuse, column), of)
        if fitted is None:
          raise UserError(
            f'{_path(reuse, column)}: does not exist; give as --fitted the'
            f' score folder where {column} was fitted'
          )
      if fitted is None:
        fitted = jax.device_get(scorer.fit(params, tools))
      if jax.process_index() == 0:
        write(own, fitted, of)
      fitted.pop(_REPORT, None)
      found[name] = (params, jax.device_put(fitted, everywhere))
  return found


def reports(
  output: epath.PathLike, scorers: Sequence[Scorer]
) -> dict[str, dict[str, Any]]:
  """First column -> what the method said of its fit, those that said any.

  Args:
    output: folder of the table, after `pass_params`.
    scorers: methods.
  """
  found = {}
  for scorer in scorers:
    if scorer.fit is not None:
      column = next(iter(scorer.columns))
      with safetensors.safe_open(str(_path(output, column)), 'numpy') as file:
        report = json.loads((file.metadata() or {}).get(_REPORT, '{}'))
      found |= {column: report} if report else {}
  return found


def make_tools(mesh: jax.sharding.Mesh, seed: int) -> FitTools:
  """What a scorer's `fit` may use.

  Args:
    mesh: axes 'data' and 'model'.
    seed: of `tools.train`.
  """

  def outputs(
    features: Features, params: Params, examples: Sequence[dict]
  ) -> dict[str, np.ndarray]:
    run = forward.Forward(features, params, mesh)
    return run(forward.prepare(features, examples))

  return FitTools(
    train=functools.partial(fit_lib.fit, mesh=mesh, seed=seed), outputs=outputs
  )


def fingerprint(params: Params) -> str:
  """Hash of the shapes of all parameters and of the first values of each."""
  digest = hashlib.blake2b(digest_size=8)
  leaves, _ = jax.tree_util.tree_flatten_with_path(params)
  for path, leaf in leaves:
    digest.update(f'{jax.tree_util.keystr(path)}{leaf.shape}'.encode())
    first = leaf[(0,) * max(leaf.ndim - 1, 0)]
    digest.update(np.asarray(jax.device_get(first), np.float32).tobytes())
  return digest.hexdigest()


def write(path: epath.Path, fitted: Params, of: Mapping[str, str]) -> None:
  """Writes a pytree of nested dicts as safetensors.

  Args:
    path: file to write.
    fitted: arrays in dicts, and perhaps a report, see `types.Scorer`.
    of: what it belongs to, kept in the file's header.
  """
  arrays = {name: leaf for name, leaf in fitted.items() if name != _REPORT}
  tensors = {
    name: np.array(array, order='C')  # ascontiguousarray would add an axis
    for name, array in traverse_util.flatten_dict(arrays, sep='/').items()
  }
  header = dict(of)
  if _REPORT in fitted:
    header[_REPORT] = json.dumps(fitted[_REPORT])
  atomic.write_with(
    path,
    lambda file: safetensors_numpy.save_file(tensors, file, metadata=header),
  )


def read(path: epath.Path, of: Mapping[str, str]) -> Params | None:
  """What `write` wrote, None when nothing is there.

  Raises:
    UserError: the file is damaged, or belongs to something else.
  """
  if not path.exists():
    return None
  try:
    with safetensors.safe_open(str(path), framework='numpy') as file:
      kept = file.metadata() or {}
      tensors = {name: file.get_tensor(name) for name in file.keys()}
  except (safetensors.SafetensorError, OSError) as error:
    raise UserError(
      f'{path}: cannot be read as safetensors ({error}); delete it to fit again'
    ) from error
  for name, what in (('network', 'another model'), ('pass', 'other settings')):
    if kept.get(name) != of[name]:
      raise UserError(
        f'{path}: was fitted with {what} ({name} {kept.get(name)} there,'
        f' {of[name]} now); use the same, or fit again without --fitted'
      )
  report = json.loads(kept.get(_REPORT, '{}'))
  found = traverse_util.unflatten_dict(tensors, sep='/')
  return {**found, _REPORT: report} if report else found


def write_anchors(output: epath.PathLike, anchors: Sequence[Document]) -> None:
  """Keeps the anchors beside the fits, so that `--fitted` needs no more."""
  lines = [
    json.dumps(
      {
        'id': a.id,
        'text': a.text,
        'domain': a.domain,
        'turns': a.turns,
        'label': a.label,
      }
    )
    for a in anchors
  ]
  path = epath.Path(output) / FOLDER / _ANCHORS
  atomic.write_text(path, ''.join(line + '\n' for line in lines))


def read_anchors(folder: str) -> list[Document]:
  """The anchors that a score folder was fitted with.

  Raises:
    UserError: it has no file of them; one of a method without any is empty.
  """
  path = pathlib.Path(folder) / FOLDER / _ANCHORS
  try:
    rows = [json.loads(line) for line in path.read_text().splitlines()]
  except (OSError, json.JSONDecodeError) as error:
    raise UserError(
      f'{path}: cannot be read ({error}); give as --fitted a folder that'
      ' `jaxcurate score --anchors=...` wrote'
    ) from error
  return [
    Document(
      row['id'],
      row['text'],
      row['domain'],
      turns=row['turns'] and tuple(map(tuple, row['turns'])),
      label=row.get('label'),
    )
    for row in rows
  ]


def _path(folder: epath.PathLike, column: str) -> epath.Path:
  return epath.Path(folder) / FOLDER / f'{column.replace("/", "-")}.safetensors'
