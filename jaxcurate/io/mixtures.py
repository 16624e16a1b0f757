"""Mixtures as readable JSON, domains by name."""

from collections.abc import Mapping, Sequence
import json
from typing import Any

from etils import epath
import numpy as np

from jaxcurate.io import atomic
from jaxcurate.io import manifest as manifests
from jaxcurate.io.errors import UserError
from jaxcurate.types import Mixture, QualityShape, RankMap

NAME = 'mixture.json'
RANKS = 'ranks.json'
_SHAPE = ('steepness', 'keep_fraction', 'repetition', 'floor')


def write_mixture(
  folder: epath.PathLike, mixture: Mixture, content: Mapping[str, Any]
) -> None:
  """Writes `folder/mixture.json`, then the manifest.

  With quality also `ranks.json`, which tells documents of other tables their
  ranks: `pool`, `scores` by criterion and `quality` by domain.

  The file holds `domains`, name -> share and, with quality, the parameters of
  its sampling function and the weights of the criteria; and `provenance`.

  Args:
    folder: the output folder.
    mixture: what to write.
    content: manifest fields besides kind and num_rows.
  """
  domains: dict[str, dict[str, Any]] = {
    name: {'share': float(share)}
    for name, share in zip(mixture.domains, mixture.share_M, strict=True)
  }
  shape = mixture.shape
  if shape is not None:
    for row, own in enumerate(domains.values()):
      for name in _SHAPE:
        own[name] = float(getattr(shape, f'{name}_M')[row])
      own['criteria'] = dict(
        zip(shape.criteria, shape.weights_MxQ[row].tolist(), strict=True)
      )
    if shape.ranks is not None:
      ranks = shape.ranks
      content_of = {
        'pool': ranks.pool,
        'scores': _by_name(shape.criteria, ranks.score_QxK),
        'quality': _by_name(mixture.domains, ranks.quality_MxK),
      }
      text = json.dumps(content_of, ensure_ascii=False, allow_nan=False)
      atomic.write_text(epath.Path(folder) / RANKS, text + '\n')
  provenance = {
    name: content[name] for name in ('command', 'settings', 'inputs')
  }
  text = json.dumps(
    {'domains': domains, 'provenance': provenance},
    indent=2,
    ensure_ascii=False,
    allow_nan=False,
  )
  atomic.write_text(epath.Path(folder) / NAME, text + '\n')
  manifests.write_manifest(
    folder, {'kind': 'mixture', 'num_rows': len(domains), **content}
  )


def read_mixture(path: epath.PathLike) -> Mixture:
  """The Mixture of a folder, or of a file that a person wrote.

  Args:
    path: a folder that `jaxcurate mix` wrote, or JSON of the same layout;
      `provenance` may be missing.

  Raises:
    UserError: nothing there, broken JSON, or a domain that lacks a number.
  """
  file = epath.Path(path)
  if file.is_dir():
    manifests.read_manifest(file, 'mixture')
    file = file / NAME
  if not file.exists():
    raise UserError(
      f'{path}: not there; give the folder that `jaxcurate mix` wrote, or a'
      f' {NAME}'
    )
  try:
    domains = json.loads(file.read_text())['domains']
    names = tuple(domains)
    share = _numbers(domains, 'share')
    shape = None
    if any('criteria' in own for own in domains.values()):
      criteria = tuple(next(iter(domains.values()))['criteria'])
      weights = [
        [own['criteria'][c] for c in criteria] for own in domains.values()
      ]
      shape = QualityShape(
        criteria,
        np.array(weights, np.float64),
        **{f'{name}_M': _numbers(domains, name) for name in _SHAPE},
        ranks=_read_ranks(file.with_name(RANKS), criteria, names),
      )
    return Mixture(names, share, shape)
  except json.JSONDecodeError as error:
    raise UserError(f'{file}: broken JSON ({error})') from error
  except (KeyError, TypeError, AttributeError) as error:
    raise UserError(
      f'{file}: every domain needs "share" and, with quality,'
      f' {", ".join(_SHAPE)} and the same "criteria"; {error} is missing or of'
      ' another type'
    ) from error
  except ValueError as error:
    raise UserError(f'{file}: {error}') from error


def _numbers(domains: Mapping[str, Mapping[str, Any]], name: str) -> np.ndarray:
  return np.array([float(own[name]) for own in domains.values()])


def _by_name(
  names: Sequence[str], values: np.ndarray
) -> dict[str, list[float]]:
  return dict(zip(names, values.tolist(), strict=True))


def _read_ranks(
  file: epath.Path, criteria: Sequence[str], domains: Sequence[str]
) -> RankMap | None:
  """The map to ranks; None where there is none, as of a file by hand."""
  if not file.exists():
    return None
  try:
    found = json.loads(file.read_text())
    return RankMap(
      found['pool'],
      np.array([found['scores'][name] for name in criteria], np.float64),
      np.array([found['quality'][name] for name in domains], np.float64),
    )
  except (ValueError, KeyError, TypeError) as error:
    raise UserError(
      f'{file}: not the ranks of the {NAME} beside it ({error}); mix again, or'
      ' remove it: ranks are then those within the table that is sampled'
    ) from error
