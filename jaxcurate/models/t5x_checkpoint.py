"""T5X checkpoints: a directory of zarr arrays, or one msgpack file.

A directory `checkpoint_<step>` holds the msgpack file `checkpoint`, a tree
whose large leaves are TensorStore specs, and one zarr array per such leaf
(t5x/checkpoints.py). In the older form the whole tree is in one msgpack file.
Neither says which network it is: the config is read off the shapes.
"""

import pathlib
import re
from typing import Any

from etils import epath
from flax import serialization, traverse_util
import jax
import msgpack
import numpy as np

from jaxcurate import types
from jaxcurate.io.errors import UserError
from jaxcurate.models import parameters, t5

_BUCKET = re.compile(r'gs://([^/]*)/(.*)', re.DOTALL)


def read(
  path: epath.PathLike, config: t5.T5Config | None = None
) -> tuple[types.Params, t5.T5Config]:
  """Parameters and config of a T5X checkpoint.

  Args:
    path: directory `checkpoint_<step>` or legacy file, local or gs://.
    config: what the network is; by default `infer_config` of the parameters.

  Returns:
    (params as float32 NumPy arrays, config).

  Raises:
    UserError: names the file or parameter that is missing or wrong.
  """
  folder = epath.Path(path)
  file = folder / 'checkpoint' if folder.is_dir() else folder
  try:
    tree = serialization.msgpack_restore(file.read_bytes())
  except (msgpack.UnpackException, ValueError, OSError) as error:
    raise UserError(f'{file} is no T5X checkpoint: {error}') from error
  target = _target(tree, file)
  flat = traverse_util.flatten_dict(target, is_leaf=lambda _, x: _is_spec(x))
  loaded = {
    name: np.asarray(_array(leaf, file.parent), np.float32)
    for name, leaf in flat.items()
  }
  params = traverse_util.unflatten_dict(loaded)
  if config is None:
    config = infer_config(params, str(file))
  _check(params, config, file)
  return params, config


def infer_config(params: types.Params, source: str) -> t5.T5Config:
  """The T5 whose parameters these are, T5X's defaults for what has no shape.

  Args:
    params: T5X's tree with `layers_0`, `layers_1`, ...
    source: file, for the error.

  Raises:
    UserError: it is no T5.
  """
  try:
    vocab_size, embed_dim = params['token_embedder']['embedding'].shape
    encoder, decoder = params['encoder'], params.get('decoder', {})
    num_heads, num_buckets = encoder['relpos_bias']['rel_embedding'].shape
    layer = encoder['layers_0']
    inner = layer['attention']['query']['kernel'].shape[1]
    gated = 'wi' not in layer['mlp']
    mlp_dim = layer['mlp']['wo']['kernel'].shape[0]
  except KeyError as error:
    raise UserError(
      f'{source} has no parameter {error}: it is no T5 of T5X; it has '
      f'{", ".join(params)}'
    ) from error
  tied = 'logits_dense' not in decoder
  return t5.T5Config(
    vocab_size=vocab_size,
    embed_dim=embed_dim,
    num_heads=num_heads,
    head_dim=inner // num_heads,
    mlp_dim=mlp_dim,
    num_encoder_layers=sum(name.startswith('layers_') for name in encoder),
    num_decoder_layers=sum(name.startswith('layers_') for name in decoder),
    activations=('gelu', 'linear') if gated else ('relu',),
    tied_head=tied,
    scale_decoder_outputs=tied,  # T5X scales exactly the tied head
    relpos_buckets=num_buckets,
  )


def vocabulary(path: epath.PathLike, config: t5.T5Config) -> str:
  """A SentencePiece model in or beside the checkpoint, or 'bytes' for ByT5.

  Raises:
    UserError: there is none.
  """
  if config.vocab_size == 384:  # ByT5: 256 bytes, 3 special, 125 sentinels
    return 'bytes'
  folders = [pathlib.Path(path), pathlib.Path(path).parent]
  for folder in folders:
    for name in ('spiece.model', 'sentencepiece.model'):
      if (folder / name).is_file():
        return str(folder / name)
  raise UserError(
    f'{path}: T5X checkpoints hold no vocabulary; put its spiece.model into '
    f'{folders[1]}'
  )


def _target(tree: Any, file: epath.Path) -> dict:
  if isinstance(tree, dict):
    tree = tree.get('optimizer', tree)
    if isinstance(tree.get('target'), dict):
      return tree['target']
  raise UserError(f'{file} has no optimizer/target: it is no T5X checkpoint')


def _is_spec(leaf: Any) -> bool:
  return isinstance(leaf, dict) and {'driver', 'kvstore'} <= set(leaf)


def _array(leaf: Any, folder: epath.Path) -> Any:
  if not _is_spec(leaf):
    return leaf
  import tensorstore  # 0.2 s of import for this one use

  # The spec's own path may name the place it was written to.
  stored = leaf['kvstore'].get('path') or leaf.get('path', '')
  path = str(folder / stored.rstrip('/').rsplit('/', 1)[-1])
  bucket = _BUCKET.fullmatch(path)
  if bucket:
    kvstore = {'driver': 'gcs', 'bucket': bucket[1], 'path': bucket[2]}
  else:
    kvstore = {'driver': 'file', 'path': path}
  spec = {'driver': leaf['driver'], 'kvstore': kvstore}
  try:
    return tensorstore.open(spec, open=True, read=True).result().read().result()
  except (ValueError, OSError) as error:
    reason = str(error).splitlines()[0]
    raise UserError(f'{path} cannot be read ({reason})') from error


def _check(params: types.Params, config: t5.T5Config, file: epath.Path) -> None:
  shapes = jax.eval_shape(t5.make_network(config).init, jax.random.key(0))
  found = parameters.flatten(params)
  for path, leaf in parameters.flatten(shapes).items():
    name = '/'.join(path)
    if path not in found:
      raise UserError(
        f'{file} has no parameter {name}, expected shape {leaf.shape}'
      )
    if found[path].shape != leaf.shape:
      raise UserError(
        f'{file}: parameter {name} has shape {found[path].shape}, expected '
        f'{leaf.shape}'
      )
