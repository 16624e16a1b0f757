"""Per-example gradients whose factors live no longer than their layer.

Each request for products runs a forward and a backward pass, and every layer's
place in the backward pass adds its own share to them (`ops.parameter_factors`).
Beside an ordinary pass that holds the products, [E, E] a layer, and what lies
outside the layers: the cotangents of the embedded tokens and the last states.
"""

from collections.abc import Callable, Sequence
import functools

import flax.struct
import jax
import jax.numpy as jnp

from jaxcurate.models import taps as taps_lib
from jaxcurate.ops import gram, segments
from jaxcurate.ops.approximate_gram import Approximation
from jaxcurate.ops.parameter_factors import Probe, seed_of
from jaxcurate.train import example_gradients
from jaxcurate.train import forward as forwards
from jaxcurate.train.example_gradients import Taps
from jaxcurate.train.factored_gradients import flat
from jaxcurate.types import Batch, Network, Params


@flax.struct.dataclass
class StreamedGradients:
  """`types.ExampleGradients` that are asked for anew each time.

  Attributes:
    run: (directions, scale) -> their products, by a backward pass.
    jvp: direction -> [E], by a forward pass.
  """

  run: Callable[..., gram.Products] = flax.struct.field(pytree_node=False)
  jvp: Callable[..., jax.Array] = flax.struct.field(pytree_node=False)

  def products(
    self, directions: Sequence[Params], scale: Params | None = None
  ) -> gram.Products:
    """The Gram matrix and inner products with directions in one pass."""
    return self.run(directions, scale)

  def dot(self, direction: Params) -> jax.Array:
    """[E] float32, <g_e, direction>."""
    return self.jvp(direction)

  def gram(self, scale: Params | None = None) -> jax.Array:
    """[E, E] float32, <g_i, scale * g_j>; None: all ones."""
    return self.run([], scale).gram


def streamed_gradients(
  network: Network,
  params: Params,
  batch: Batch,
  key: jax.Array | None,
  share_BxT: jax.Array,
  *,
  num_examples: jax.Array,
  max_segments: int,
  z_loss: float,
  chunk_tokens: int | None,
  approximation: Approximation,
) -> StreamedGradients:
  """The gradients of a batch's examples; nothing is computed yet.

  Args:
    network: one whose layers look for taps.
    params: its parameters.
    batch: the batch.
    key: of dropout, or None.
    share_BxT: [B, T] float32, how much each target counts; 0 where none does.
    num_examples: [] real examples.
    max_segments: S, examples per row.
    z_loss: factor of the squared log normaliser.
    chunk_tokens: tokens whose logits are held at a time, None = all.
    approximation: of the Gram matrix.

  Raises:
    ValueError: parameters let no factors out; they are named.
  """
  shapes = example_gradients.tap_shapes(network, params, batch)
  # The smallest normal number: a batch without targets gives 0, not NaN.
  total = jnp.maximum(jnp.sum(share_BxT), jnp.finfo(jnp.float32).tiny)
  unit = num_examples / total

  def forward(
    params: Params, decoder_params: Params | None = None
  ) -> tuple[jax.Array, forwards.Forward]:
    outputs = forwards.forward(
      network,
      params,
      batch,
      decoder_params=decoder_params,
      chunk_tokens=chunk_tokens,
      dropout_key=key,
    )
    assert outputs.log_prob_BxT is not None
    assert outputs.log_normaliser_BxT is not None
    loss = -outputs.log_prob_BxT + z_loss * outputs.log_normaliser_BxT**2
    # Where nothing counts the loss may be anything: it is never multiplied.
    return jnp.where(share_BxT > 0, share_BxT * loss, 0.0), outputs

  def run(directions: Sequence[Params], scale: Params | None) -> gram.Products:
    probes, tables = _probes(
      shapes, params, batch, directions, scale, max_segments, approximation
    )

    def loss(sums: Taps, tables: Taps) -> tuple[jax.Array, forwards.Forward]:
      tapped = []
      for probe, own, table in zip(probes, sums, tables, strict=True):
        taps = {path: probe[path].replace(sums=x) for path, x in own.items()}
        tapped.append(taps_lib.attach(params, taps | table))
      values, outputs = forward(*tapped)
      return jnp.sum(values), outputs._replace(encoder_states_BxLxD=None)

    start = Taps(*({k: p.sums for k, p in own.items()} for own in probes))
    (sums, tables), outputs = jax.grad(loss, (0, 1), has_aux=True)(
      start, tables
    )
    parts = example_gradients.with_head(
      network,
      params,
      batch,
      example_gradients.layer_parts(params, batch, tables, max_segments),
      outputs,
      share_BxT,
      max_segments=max_segments,
      z_loss=z_loss,
      chunk_tokens=chunk_tokens,
    )
    inside = [
      own if own.gram.ndim == 2 else jax.tree.map(lambda x: x.sum(0), own)
      for of_call in sums
      for own in of_call.values()
    ]
    scales = None if scale is None else flat(scale)
    ways = [flat(direction) for direction in directions]
    outside = [
      part.replace(slice_floats=gram.SMALL_SLICE).products(
        None if scales is None else scales[name], [way[name] for way in ways]
      )
      for name, part in parts.items()
    ]
    total = functools.reduce(gram.add, inside + outside)
    return gram.Products(total.gram * unit**2, total.dots * unit)

  def jvp(direction: Params) -> jax.Array:
    def losses(params: Params) -> jax.Array:
      values_BxT, _ = forward(params)
      return segments.segment_sum(
        values_BxT, batch['decoder_segment_ids'], max_segments
      ).reshape(-1)

    way = jax.tree.map(lambda d, p: d.astype(p.dtype), direction, params)
    return jax.jvp(losses, (params,), (way,))[1] * unit

  return StreamedGradients(run, jvp)


def _probes(
  shapes: Taps,
  params: Params,
  batch: Batch,
  directions: Sequence[Params],
  scale: Params | None,
  max_segments: int,
  approximation: Approximation,
) -> tuple[Taps, Taps]:
  """Probes of the layers' parameters, and taps of the tables.

  Two calls may read one table, and the output matrix may be made of it.
  """
  leaves, scales = flat(params), None if scale is None else flat(scale)
  ways = [flat(direction) for direction in directions]
  members = example_gradients.members_of(batch, max_segments)
  probes, tables = Taps({}, {}), Taps({}, {})
  seen = set()
  for call, own_shapes in shapes._asdict().items():
    for path, own in own_shapes.items():
      name = '/'.join(path)
      if path[-1] == 'embedding':
        getattr(tables, call)[path] = own
        continue
      if name in seen:
        raise ValueError(example_gradients.SHARED.format(name))
      seen.add(name)
      of_token = members[example_gradients.side_of(call, path)]
      sums = gram.nothing(of_token, len(ways))
      layers = None
      if taps_lib.is_stacked(path):
        layers = len(leaves[name])
        sums, of_token = jax.tree.map(
          lambda x, n=layers: jnp.broadcast_to(x, (n, *x.shape)),
          (sums, of_token),
        )
      getattr(probes, call)[path] = Probe(
        sums,
        of_token,
        None if scales is None else scales[name],
        tuple(way[name] for way in ways),
        seed_of(path, approximation, layers),
        approximation,
      )
  return probes, example_gradients.zeros(tables)
