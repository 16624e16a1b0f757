"""How a step comes by the gradients of its examples, as a user sets it."""

from typing import Literal, NamedTuple

from jaxcurate.ops.approximate_gram import Approximation

_WAYS = ('auto', 'keep_factors', 'second_pass')


class GradientSettings(NamedTuple):
  """For weightings that look at the examples' gradients; others need none.

  Attributes:
    way: 'keep_factors' or 'second_pass', see `factored_step`; 'auto' takes the
      first unless it plans over three times the bytes of the second.
    projection: numbers that stand for an example's gradient of one matrix in
      the Gram matrix, which is then right in expectation only; for contexts
      whose exact one takes too long. None: exact.
    rank_one: take an outer product for the preconditioner of a matrix in the
      Gram matrix: exact under Adafactor, not so under Adam, and cheaper. A
      projection needs it wherever there is a preconditioner.
  """

  way: Literal['auto', 'keep_factors', 'second_pass'] = 'auto'
  projection: int | None = None
  rank_one: bool = False

  def check(self) -> None:
    """Raises ValueError for a setting that is not known or out of range."""
    if self.way not in _WAYS:
      raise ValueError(f'way is {self.way!r}, expected one of {_WAYS}')
    if self.projection is not None and self.projection < 1:
      raise ValueError(
        f'projection is {self.projection}, expected at least 1 or None'
      )

  def approximation(self) -> Approximation:
    """What the Gram matrix may leave out."""
    return Approximation(self.projection, self.rank_one)


DEFAULT = GradientSettings()
