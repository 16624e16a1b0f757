import json

import pytest

from jaxcurate.data import mixture_place
from jaxcurate.data.mixture_place import MixturePlace
from jaxcurate.data.row_stream import Place
from jaxcurate.io.errors import UserError

NAMES, PRINTS = ('a', 'b'), ('x', 'y')
PLACE = MixturePlace(
  7, (Place(1, 2, 3), Place(0, 0, 5)), (900, 100), (0.1, -0.1), {'k': 1}
)


def saved():
  found = mixture_place.to_json(PLACE, NAMES, PRINTS, (800, 90))
  return json.loads(json.dumps(found))


def test_a_place_survives_json():
  assert saved()['b'] == {
    'epoch': 0, 'block': 0, 'row': 5, 'tokens': 100, 'credit': -0.1,
    'reported': 90, 'data': 'y',
  }  # fmt: skip
  found = mixture_place.from_json(saved(), 7, NAMES, PRINTS, {'k': 1})
  assert found == (PLACE, (800, 90))


def test_domains_are_found_by_name_and_new_ones_begin():
  place, reported = mixture_place.from_json(
    saved(), 7, ('c', 'b'), ('z', 'y'), None
  )
  assert place.places == (Place(), PLACE.places[1])
  assert place.tokens == (0, 100) and reported == (0, 90)
  assert place.credit == (0.0, -0.1)


def test_nothing_is_read_at_first():
  first = mixture_place.first_place(2, None)
  assert first == MixturePlace(0, (Place(),) * 2, (0, 0), (0.0, 0.0), None)


def test_other_documents_are_refused():
  with pytest.raises(UserError, match='other data of domain b'):
    mixture_place.from_json(saved(), 7, NAMES, ('x', 'other'), None)
