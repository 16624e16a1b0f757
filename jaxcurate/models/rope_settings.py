"""Rotary embeddings as config.json states them, both ways.

`transformers` 5 has `rope_parameters`, one dict or one per kind of layer;
before it, there were `rope_theta`, `rope_scaling` and, for Gemma 3's windowed
layers, `rope_local_base_freq`. Files of either kind are read; the older form
is written, because every version reads it.
"""

from collections.abc import Mapping
import math
from typing import Any

from jaxcurate.models import rope
from jaxcurate.models.rope import Rope

_FULL, _SLIDING = 'full_attention', 'sliding_attention'
_LOCAL_THETA = 'rope_local_base_freq'
_DEFAULT_THETA = 10_000.0  # of transformers, as all defaults here


def read(
  values: Mapping[str, Any], *, two: bool, theta: float = _DEFAULT_THETA
) -> tuple[Rope, Rope | None]:
  """Rotary embedding of full layers, and of windowed ones where it differs.

  Args:
    values: content of config.json.
    two: windowed layers have their own (Gemma 3).
    theta: where the file says nothing.

  Raises:
    ValueError: an unknown rope_type, a setting it lacks, or a partial
      rotation.
  """
  scaling = values.get('rope_scaling')
  given = _said(scaling or values.get('rope_parameters'))
  theta = values.get('rope_theta') or theta
  if not two:
    return _rope({'rope_theta': theta, **_flat(given)}, values), None
  nested = {_FULL, _SLIDING} & set(given)
  full = _said(given.get(_FULL)) if nested else given
  local = _said(given.get(_SLIDING))
  local_theta = values.get(_LOCAL_THETA) or _DEFAULT_THETA
  return (
    _rope({'rope_theta': theta, **full}, values),
    _rope({'rope_theta': local_theta, **local}, values),
  )


def write(full: Rope, local: Rope | None) -> dict[str, Any]:
  """Entries of config.json, in the older form.

  Raises:
    ValueError: the windowed layers' angles are stretched, which the older
      form cannot say.
  """
  values: dict[str, Any] = {
    'rope_theta': full.theta,
    'rope_scaling': None if full.kind == 'default' else _scaling(full),
  }
  if local is not None:
    if local.kind != 'default':
      raise ValueError(
        f"local_rope is {local.kind!r}, but config.json can only say 'default' "
        'for windowed layers'
      )
    values[_LOCAL_THETA] = local.theta
  return values


def _said(given: Mapping[str, Any] | None) -> dict[str, Any]:
  return {k: v for k, v in (given or {}).items() if v is not None}


def _flat(given: dict[str, Any]) -> dict[str, Any]:
  # Some files nest by kind of layer although all kinds are the same.
  if {_FULL, _SLIDING} & set(given):
    every = [value for value in given.values() if isinstance(value, dict)]
    if any(value != every[0] for value in every):
      raise ValueError(
        'rope_parameters differ between kinds of layers, which only Gemma 3 '
        'has here'
      )
    return _said(every[0])
  return given


def _rope(given: dict[str, Any], values: Mapping[str, Any]) -> Rope:
  kind = given.get('rope_type') or given.get('type') or 'default'
  if kind not in rope.KINDS:
    raise ValueError(f'rope_type is {kind!r}, known: {", ".join(rope.KINDS)}')
  partial = values.get('partial_rotary_factor') or given.get(
    'partial_rotary_factor'
  )
  if partial not in (None, 1.0):
    raise ValueError(
      f'partial_rotary_factor is {partial}, but here whole heads are rotated'
    )
  longest = values.get('max_position_embeddings')
  # transformers lets the file's own entry win over the one for the rotation.
  original = values.get('original_max_position_embeddings') or given.get(
    'original_max_position_embeddings', longest
  )
  read_as: dict[str, Any] = {'factor': given.get('factor')}
  if kind == 'dynamic':  # stretched from the longest length on
    read_as['original_length'] = longest
  elif kind in ('yarn', 'llama3'):
    read_as['original_length'] = original
  if kind == 'yarn' and read_as['factor'] is None and longest and original:
    read_as['factor'] = longest / original
  if kind == 'llama3':
    read_as |= {
      f'{k}_freq_factor': given.get(f'{k}_freq_factor') for k in ('low', 'high')
    }
  if kind == 'default':
    read_as = {}
  absent = [name for name, value in read_as.items() if value is None]
  if absent:
    raise ValueError(f'rope_type {kind!r} lacks {", ".join(absent)}')
  if kind == 'yarn':
    read_as |= {
      'beta_fast': given.get('beta_fast') or 32.0,
      'beta_slow': given.get('beta_slow') or 1.0,
      'truncate': given.get('truncate', True),
      'attention_factor': _attention_factor(
        given, float(read_as['factor'] or 1)
      ),
    }
  for name, value in read_as.items():  # files write 8 as well as 8.0
    if name not in ('original_length', 'truncate') and value is not None:
      read_as[name] = float(value)
  return Rope(theta=float(given['rope_theta']), kind=kind, **read_as)


def _attention_factor(given: dict[str, Any], factor: float) -> float | None:
  if given.get('attention_factor') is not None:
    return float(given['attention_factor'])
  mscale, all_dim = given.get('mscale'), given.get('mscale_all_dim')
  if not (mscale and all_dim) or factor <= 1:
    return None
  grown = (0.1 * scale * math.log(factor) + 1.0 for scale in (mscale, all_dim))
  return next(grown) / next(grown)


def _scaling(full: Rope) -> dict[str, Any]:
  scaling: dict[str, Any] = {'rope_type': full.kind, 'factor': full.factor}
  if full.kind in ('yarn', 'llama3'):
    scaling['original_max_position_embeddings'] = full.original_length
  if full.kind == 'llama3':
    scaling['low_freq_factor'] = full.low_freq_factor
    scaling['high_freq_factor'] = full.high_freq_factor
  if full.kind == 'yarn':
    scaling['beta_fast'] = full.beta_fast
    scaling['beta_slow'] = full.beta_slow
    scaling['truncate'] = full.truncate
    if full.attention_factor is not None:
      scaling['attention_factor'] = full.attention_factor
  return scaling
