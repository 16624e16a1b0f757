"""Training LoRA adapters of a network instead of its parameters.

LoRA: Low-Rank Adaptation of Large Language Models (arXiv 2106.09685). A
network with adapters is a network like any other, whose parameters are the
adapters: the step, the weightings and the checkpoints see them alone. The
frozen parameters are an argument of every compiled function, `base`, around
which that network is made while the function is traced; closed over from
outside they would become constants of the program.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh
from jaxtyping import Array

from jaxcurate.models import partitioning
from jaxcurate.ops import lora
from jaxcurate.types import Network, Params


class LoraSettings(NamedTuple):
  """Shape and scale of adapters.

  Attributes:
    rank: r, >= 1.
    alpha: the scale, before it is divided by the rank.
    dropout_rate: of the adapters' inputs, where the step has dropout; see
      `ops.lora.attach`.
    targets: which matrices, see `ops.lora.init`.
  """

  rank: int = 8
  alpha: float = 16.0
  dropout_rate: float = 0.0
  targets: Sequence[str] = lora.TARGETS


class Frozen(NamedTuple):
  """A network's own parameters under adapters.

  Attributes:
    params: of the network, or their shapes; they stay as they are.
    settings: of the adapters.
  """

  params: Params
  settings: LoraSettings


def check(settings: LoraSettings) -> None:
  """Raises ValueError for a setting out of its range."""
  if settings.rank < 1:
    raise ValueError(f'rank is {settings.rank}, expected at least 1')
  if settings.alpha <= 0:
    raise ValueError(f'alpha is {settings.alpha}, expected above 0')
  if not 0 <= settings.dropout_rate < 1:
    raise ValueError(
      f'dropout_rate is {settings.dropout_rate}, expected in [0, 1)'
    )


def bind(network: Network, base: Params, settings: LoraSettings) -> Network:
  """The network whose parameters are adapters of `base`.

  Args:
    network: whose layers look for adapters, as ours do.
    base: its parameters; inside a traced function, that function's argument.
      Shapes will do where only `init` and the axes are needed.
    settings: of the adapters.

  Raises:
    ValueError: a setting is out of its range, or a target matches no matrix.
  """
  check(settings)

  def init(key: Array) -> Params:
    return lora.init(key, base, rank=settings.rank, targets=settings.targets)

  def attach(adapters: Params, dropout_key: Array | None = None) -> Params:
    key = None
    if dropout_key is not None and settings.dropout_rate:
      key = jax.random.fold_in(dropout_key, 1)  # another than the network's
    return lora.attach(
      base,
      adapters,
      alpha=settings.alpha,
      dropout_rate=settings.dropout_rate,
      dropout_key=key,
    )

  def with_adapters(function: Callable[..., Any] | None) -> Any:
    if function is None:
      return None

    def call(adapters: Params, *args: Any, **kwargs: Any) -> Any:
      key = kwargs.get('dropout_key')
      return function(attach(adapters, key), *args, **kwargs)

    return call

  return network._replace(
    init=init,
    encode=with_adapters(network.encode),
    decode=with_adapters(network.decode),
    extend=with_adapters(network.extend),
    head=with_adapters(network.head),
    pool=with_adapters(network.pool),
    # Small: every device has all of them.
    logical_axes=jax.tree.map(
      lambda _: (), jax.eval_shape(init, jax.random.key(0))
    ),
  )


def place(network: Network, frozen: Frozen, mesh: Mesh | None) -> Frozen:
  """The same with its parameters on the devices, as the mesh splits them.

  Args:
    network: names the parameters' axes.
    frozen: parameters on the host or devices.
    mesh: axes 'data' and 'model', or None for one device.
  """
  layout = None
  if mesh is not None:
    layout = partitioning.param_shardings(
      mesh, network.logical_axes, frozen.params
    )
  return frozen._replace(params=jax.device_put(frozen.params, layout))


def around(
  make: Callable[[Network], Callable[..., Any]],
  network: Network,
  frozen: Frozen | None,
  *,
  donate: bool = False,
) -> Callable[..., Any]:
  """A compiled function of a network, with `base` as its last argument.

  Args:
    make: network -> jitted function of the parameters in training.
    network: without adapters.
    frozen: their base, or None to train the network itself; `base` is then
      ignored.
    donate: whether the first argument's buffers are given away.

  Raises:
    ValueError: as `make` and `bind` do.
  """
  if frozen is None:
    plain = make(network)
    return lambda *arguments: plain(*arguments[:-1])
  make(bind(network, frozen.params, frozen.settings))  # raises now, not later

  def call(*arguments: Any) -> Any:
    *rest, base = arguments
    return make(bind(network, base, frozen.settings))(*rest)

  return jax.jit(call, donate_argnums=(0,) if donate else ())
