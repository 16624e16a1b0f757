"""Where an iterator over domains is, as a checkpoint keeps it: by name."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxcurate.data.row_stream import Place
from jaxcurate.io.errors import UserError


class MixturePlace(NamedTuple):
  """The place of M domains between two batches.

  Attributes:
    batch: number of batches made.
    places: of the next row of each domain.
    tokens: read of each domain so far.
    credit: tokens that each is owed, see `ops.fair_turns`.
    memory: of the source of the shares.
  """

  batch: int
  places: tuple[Place, ...]
  tokens: tuple[int, ...]
  credit: tuple[float, ...]
  memory: Any


def first_place(num_domains: int, memory: Any) -> MixturePlace:
  """Where nothing is read yet."""
  return MixturePlace(
    0,
    (Place(),) * num_domains,
    (0,) * num_domains,
    (0.0,) * num_domains,
    memory,
  )


def to_json(
  place: MixturePlace,
  names: Sequence[str],
  prints: Sequence[str],
  reported: Sequence[int],
) -> dict[str, dict[str, Any]]:
  """Domain -> where it is.

  Args:
    place: of M domains.
    names: M names.
    prints: `RowStream.fingerprint` of each.
    reported: tokens of each that were read at the last report.
  """
  return {
    name: {
      **place.places[i]._asdict(),
      'tokens': place.tokens[i],
      'credit': place.credit[i],
      'reported': reported[i],
      'data': prints[i],
    }
    for i, name in enumerate(names)
  }


def from_json(
  saved: Mapping[str, Mapping[str, Any]],
  batch: int,
  names: Sequence[str],
  prints: Sequence[str],
  memory: Any,
) -> tuple[MixturePlace, tuple[int, ...]]:
  """The place, and the tokens of the last report; domains not saved begin.

  Args:
    saved: of `to_json`, perhaps of other domains.
    batch: number of batches made.
    names, prints: of M domains.
    memory: of the source of the shares.

  Raises:
    UserError: a domain is saved with other documents or settings.
  """
  own = []
  for name, now in zip(names, prints, strict=True):
    there = saved.get(name)
    if there is not None and there['data'] != now:
      raise UserError(
        f'the checkpoint was trained on other data of domain {name}'
        ' (documents, seed, lengths, noise or windowing differ); use the'
        ' settings it was made with, or another output folder'
      )
    begin = {**Place()._asdict(), 'tokens': 0, 'credit': 0.0, 'reported': 0}
    own.append({**begin, **(there or {})})
  place = MixturePlace(
    batch,
    tuple(Place.from_state(domain) for domain in own),
    tuple(int(domain['tokens']) for domain in own),
    tuple(float(domain['credit']) for domain in own),
    memory,
  )
  return place, tuple(int(domain['reported']) for domain in own)
