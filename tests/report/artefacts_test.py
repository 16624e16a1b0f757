import pytest

from jaxcurate.report import artefacts as artefacts_lib
from jaxcurate.report import load


def test_settings_are_found_by_their_last_name():
  content = {'settings': {'sample.by': 'a', 'train/seed': 3, 'bypass': 1}}
  assert artefacts_lib.setting(content, 'by') == 'a'
  assert artefacts_lib.setting(content, 'seed') == 3
  assert artefacts_lib.setting(content, 'budget') is None
  assert artefacts_lib.setting({'settings': 'no dict'}, 'by') is None
  assert artefacts_lib.setting({}, 'by') is None


@pytest.mark.parametrize(
  'command, shown',
  [
    (['jaxcurate', 'score', '--input=a b'], "jaxcurate score '--input=a b'"),
    ('jaxcurate score', 'jaxcurate score'),
    (None, ''),
    ({}, ''),
  ],
)
def test_command_as_one_would_type_it(command, shown):
  assert artefacts_lib.command({'command': command}) == shown


@pytest.mark.parametrize(
  'cost, expected',
  [
    ({'flops': 5}, 5.0),
    ({'flops': '5'}, None),
    ({'flops': float('nan')}, None),
    ({}, None),
    (None, None),
    ([], None),
  ],
)
def test_cost_takes_finite_numbers_only(cost, expected):
  assert artefacts_lib.cost({'cost': cost}, 'flops') == expected


def test_the_exact_name_comes_first():
  content = {'settings': {'adapt.make.seed': 5, 'seed': 0}}
  assert artefacts_lib.setting(content, 'seed') == 0


@pytest.mark.parametrize(
  'content, expected',
  [
    ({'settings': {'selection': 'kept'}}, 'kept'),
    ({'command': ['jaxcurate', 'train', '--selection=a b']}, 'a b'),
    ({'command': ['jaxcurate', 'train', '--selection', 'kept']}, 'kept'),
    ({'command': 'jaxcurate train --selection=kept --steps=3'}, 'kept'),
    ({'command': ['jaxcurate', 'train', '--selection']}, ''),
    (
      {'command': ['jaxcurate', 'train'], 'settings': {'selection': None}},
      None,
    ),
    ({}, None),
  ],
)
def test_selection_path_from_settings_or_flag(content, expected):
  assert artefacts_lib.selection_path(content) == expected


def test_criterion_of_a_selection(artefacts, tmp_path):
  artefacts.selection(tmp_path / 'a', ['x'], by="'density'")
  artefacts.selection(tmp_path / 'b', ['x'])
  first, second = load.load([str(tmp_path)]).selections
  assert artefacts_lib.criterion(first) == 'density'
  assert artefacts_lib.criterion(second) is None


def test_methods_put_the_baseline_first(artefacts, tmp_path):
  for name in ('adapt', 'uniform', 'zebra'):
    artefacts.run(tmp_path / name, documents=0)
  assert list(load.load([str(tmp_path)]).methods()) == [
    'uniform',
    'adapt',
    'zebra',
  ]
