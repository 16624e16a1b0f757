"""Per-example gradients of a training step, from its own backward pass.

One forward and one backward pass give every layer's inputs and cotangents
(`ops.factors`); inner products of examples and, once the weights are known,
the weighted gradient are products of them. No second pass is made.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from flax import traverse_util
import jax
import jax.numpy as jnp

from jaxcurate.models import taps as taps_lib
from jaxcurate.ops import segments
from jaxcurate.ops.approximate_gram import EXACT, Approximation
from jaxcurate.ops.factors import Factors
from jaxcurate.ops.parameter_factors import part_of, seed_of
from jaxcurate.ops.vocabulary_factors import Head, Lookups
from jaxcurate.train import forward as forwards
from jaxcurate.train.factored_gradients import flat
from jaxcurate.types import Batch, Network, Params

Path = tuple[str, ...]
SHARED = '{} is used by encoder and decoder: no rule for per-example gradients'


class Taps(NamedTuple):
  """What is laid beside the parameters of each call of the network.

  Attributes:
    encoder: for `network.encode`: path of a parameter -> its tap, or shapes.
    decoder: for `network.decode`.
  """

  encoder: dict[Path, Any]
  decoder: dict[Path, Any]


def tap_shapes(network: Network, params: Params, batch: Batch) -> Taps:
  """Shapes of the factors of all parameters, for batches of this shape.

  Args:
    network: one whose layers look for taps, as ours do.
    params: its parameters, or their shapes.
    batch: arrays or shapes.

  Raises:
    ValueError: parameters let no factors out; they are named.
  """
  encoder: taps_lib.Shapes = {}
  encoded = encoder_ids = None
  if network.encode is not None:
    encode, encoder_ids = network.encode, batch['encoder_segment_ids']
    sources = (batch['encoder_input_tokens'], encoder_ids)
    encoder = taps_lib.shapes_of(encode, params, *sources)
    encoded = jax.eval_shape(encode, params, *sources)
  decoder = taps_lib.shapes_of(
    network.decode,
    params,
    encoded,
    encoder_ids,
    batch['decoder_input_tokens'],
    batch['decoder_segment_ids'],
  )
  known = {*encoder, *decoder, _head_path(network, params)}
  missing = [
    '/'.join(path)
    for path in sorted(traverse_util.flatten_dict(params))
    if path not in known
  ]
  if missing:
    raise ValueError(
      'per-example gradients need what goes into and comes out of every layer,'
      f' and {len(missing)} parameters let nothing out:'
      f' {", ".join(missing[:4])}'
      f'{" ..." if len(missing) > 4 else ""}; take a weighting without'
      ' gradients, or a network of jaxcurate.models'
    )
  return Taps(*(taps_lib.of_params(own, params) for own in (encoder, decoder)))


def zeros(shapes: Taps) -> Taps:
  """Taps that hand factors of these shapes out."""
  return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)


def layer_parts(
  params: Params,
  batch: Batch,
  factors: Taps,
  max_segments: int,
  approximation: Approximation = EXACT,
) -> dict[str, Any]:
  """Path of a parameter -> its factors; the output matrix is not among them.

  Args:
    params: of the network.
    batch: the batch.
    factors: gradient of the summed loss with respect to the taps.
    max_segments: S.
    approximation: of the Gram matrix.
  """
  leaves = flat(params)
  members = members_of(batch, max_segments)
  parts: dict[str, Any] = {}
  for call, taps in factors._asdict().items():
    for path, own in taps.items():
      name = '/'.join(path)
      of_token = members[side_of(call, path)]
      part = _part(path, own, of_token, leaves[name], approximation)
      if name in parts:
        part = _joined(name, parts[name], part)
      parts[name] = part
  return jax.lax.stop_gradient(parts)


def with_head(
  network: Network,
  params: Params,
  batch: Batch,
  parts: Mapping[str, Any],
  outputs: forwards.Forward,
  share_BxT: jax.Array,
  *,
  max_segments: int,
  z_loss: float,
  chunk_tokens: int | None,
) -> dict[str, Any]:
  """The parts and, where it is in training, the output matrix.

  Args:
    network: the network.
    params: its parameters.
    batch: the batch.
    parts: of `layer_parts`.
    outputs: of the same forward pass.
    share_BxT: [B, T] float32; the summed loss is
      sum_t share_t (nll_t + z_loss log_normaliser_t^2).
    max_segments: S.
    z_loss: factor of the squared log normaliser.
    chunk_tokens: tokens whose logits are held at a time, None = all.
  """
  path = _head_path(network, params)
  if path is None:
    return dict(parts)
  assert outputs.decoder_states_BxTxD is not None
  assert outputs.log_normaliser_BxT is not None
  name = '/'.join(path)
  head = Head(
    states=outputs.decoder_states_BxTxD,
    head=network.head(params),
    targets=jnp.asarray(batch['decoder_target_tokens']),
    share=share_BxT,
    log_normaliser=outputs.log_normaliser_BxT,
    members=members_of(batch, max_segments)['decoder'],
    lookups=parts.get(name),
    z_loss=z_loss,
    tied=path[-1] == 'embedding',
    chunk_tokens=chunk_tokens,
  )
  return {**parts, name: jax.lax.stop_gradient(head)}


def members_of(batch: Batch, max_segments: int) -> dict[str, jax.Array]:
  """Side -> [B, L, S] bool, which of its tokens are of which segment."""
  return {
    side: segments.membership(batch[f'{side}_segment_ids'], max_segments)
    for side in ('encoder', 'decoder')
    if f'{side}_segment_ids' in batch
  }


def _part(
  path: Path,
  own: Factors,
  members: jax.Array,
  leaf: jax.Array,
  approximation: Approximation,
) -> Any:
  """What one parameter's factors are, by its name."""
  if path[-1] == 'embedding':
    tokens = own.inputs.astype(jnp.int32)
    return Lookups(tokens, own.cotangents, members, len(leaf))
  stacked = taps_lib.is_stacked(path)
  return part_of(
    path[-1],
    own,
    members,
    stacked=stacked,
    seed=seed_of(path, approximation, len(leaf) if stacked else None),
    approximation=approximation,
  )


def _joined(name: str, one: Any, other: Any) -> Lookups:
  """Factors of a table that two calls read."""
  if not isinstance(one, Lookups) or not isinstance(other, Lookups):
    raise ValueError(SHARED.format(name))
  both: list[jax.Array] = [
    jnp.concatenate([getattr(part, field) for part in (one, other)], axis=1)
    for field in ('tokens', 'cotangents', 'members')
  ]
  return Lookups(both[0], both[1], both[2], one.vocab_size)


def side_of(call: str, path: Path) -> str:
  """Whose tokens a layer's inputs are of: 'encoder' or 'decoder'."""
  across = 'encoder_decoder_attention' in path
  if call == 'encoder' or (across and path[-2] in ('key', 'value')):
    return 'encoder'
  return 'decoder'


def _head_path(network: Network, params: Params) -> Path | None:
  """The parameter that the output matrix is made of; None if it is frozen."""
  jaxpr = jax.make_jaxpr(network.head)(params).jaxpr
  read = {id(variable) for variable in jaxpr.outvars}
  for equation in reversed(jaxpr.eqns):
    if read & {id(variable) for variable in equation.outvars}:
      read |= {id(variable) for variable in equation.invars}
  leaves = jax.tree_util.tree_leaves_with_path(params)
  used = [
    tuple(entry.key for entry in path)
    for (path, _), variable in zip(leaves, jaxpr.invars, strict=True)
    if id(variable) in read
  ]
  if len(used) > 1:
    raise ValueError(
      f'the output matrix is made of {len(used)} parameters: no rule for'
      ' per-example gradients'
    )
  return used[0] if used else None
