import pytest

from jaxcurate.models import rope_settings
from jaxcurate.models.rope import Rope

YARN = {'factor': 4.0, 'original_max_position_embeddings': 64}
LLAMA3 = {
  'factor': 8.0,
  'low_freq_factor': 1.0,
  'high_freq_factor': 4.0,
  'original_max_position_embeddings': 64,
}


def _read(values, two=False):
  return rope_settings.read({'max_position_embeddings': 256, **values}, two=two)


@pytest.mark.parametrize(
  'kind, given, expected',
  [
    ('default', {}, Rope(5e4)),
    ('linear', {'factor': 2}, Rope(5e4, 'linear', 2.0)),
    ('dynamic', {'factor': 2.0}, Rope(5e4, 'dynamic', 2.0, 256)),
    ('yarn', YARN, Rope(5e4, 'yarn', 4.0, 64)),
    ('yarn', {**YARN, 'factor': None}, Rope(5e4, 'yarn', 4.0, 64)),
    ('yarn', {'factor': 2.0}, Rope(5e4, 'yarn', 2.0, 256)),
    ('llama3', LLAMA3, Rope(5e4, 'llama3', 8.0, 64)),
  ],
)
def test_both_forms_say_the_same(kind, given, expected):
  new = {'rope_parameters': {'rope_type': kind, 'rope_theta': 5e4, **given}}
  assert _read(new) == (expected, None)
  for name in ('type', 'rope_type'):
    old = {'rope_theta': 5e4, 'rope_scaling': {name: kind, **given}}
    assert _read(old) == (expected, None)
  one_kind = {'full_attention': new['rope_parameters']}
  assert _read({'rope_parameters': one_kind}) == (expected, None)


def test_nothing_said():
  assert _read({}) == (Rope(1e4), None)
  assert _read({'rope_scaling': None, 'rope_theta': 7}) == (Rope(7.0), None)
  found = rope_settings.read({}, two=True, theta=1e6)
  assert found == (Rope(1e6), Rope(1e4))


def test_two_kinds_of_layers():
  linear = {'rope_type': 'linear', 'factor': 8.0}
  old = {'rope_theta': 1e6, 'rope_local_base_freq': 5e3, 'rope_scaling': linear}
  expected = (Rope(1e6, 'linear', 8.0), Rope(5e3))
  assert _read(old, two=True) == expected
  new = {
    'full_attention': {**linear, 'rope_theta': 1e6},
    'sliding_attention': {'rope_type': 'default', 'rope_theta': 5e3},
  }
  assert _read({'rope_parameters': new}, two=True) == expected
  with pytest.raises(ValueError, match='differ between kinds of layers'):
    _read({'rope_parameters': new})


def test_yarn_s_other_settings():
  given = {**YARN, 'rope_type': 'yarn', 'mscale': 1.0, 'mscale_all_dim': 1.0}
  found, _ = _read({'rope_scaling': given})
  assert found.attention_factor == 1.0
  given |= {'attention_factor': 1.5, 'beta_fast': 16, 'truncate': False}
  found, _ = _read({'rope_scaling': given})
  assert found == Rope(
    1e4, 'yarn', 4.0, 64, beta_fast=16.0, truncate=False, attention_factor=1.5
  )
  # The file's own entry wins, as in transformers.
  found, _ = _read(
    {'rope_scaling': given, 'original_max_position_embeddings': 32}
  )
  assert found.original_length == 32


@pytest.mark.parametrize(
  'full, local',
  [
    (Rope(1e4), None),
    (Rope(1e6, 'linear', 8.0), Rope(1e4)),
    (Rope(1e4, 'dynamic', 2.0, 256), None),
    (Rope(5e5, 'llama3', 32.0, 8192), Rope(1e3)),
    (Rope(1e4, 'yarn', 4.0, 64, beta_fast=8.0, truncate=False), None),
    (Rope(1e4, 'yarn', 4.0, 64, attention_factor=1.25), None),
  ],
)
def test_what_is_written_is_read_back(full, local):
  values = rope_settings.write(full, local)
  assert _read(values, two=local is not None) == (full, local)


def test_stretched_windows_cannot_be_written():
  with pytest.raises(ValueError, match="local_rope is 'linear'"):
    rope_settings.write(Rope(1e4), Rope(1e4, 'linear', 2.0))


@pytest.mark.parametrize(
  'given, message',
  [
    ({'rope_type': 'longrope'}, "'longrope', known: default, linear, dynamic"),
    ({'rope_type': 'linear'}, "'linear' lacks factor"),
    ({'rope_type': 'llama3', 'factor': 2.0}, 'lacks low_freq_factor, high_f'),
    ({'partial_rotary_factor': 0.25}, 'partial_rotary_factor is 0.25'),
  ],
)
def test_what_is_refused(given, message):
  with pytest.raises(ValueError, match=message):
    _read({'rope_parameters': {'rope_theta': 1e4, **given}})
  with pytest.raises(ValueError, match="'dynamic' lacks original_length"):
    rope_settings.read(
      {'rope_scaling': {'rope_type': 'dynamic', 'factor': 2.0}}, two=False
    )
