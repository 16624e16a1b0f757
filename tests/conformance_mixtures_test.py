"""Every mixture of gin_configs/methods keeps the contract of its kind.

A new method brings its own Gin file and is found here by it.
"""

import importlib
import inspect
import json
import pathlib

import numpy as np
import pytest

from jaxcurate.mixtures import expected_copies
from jaxcurate.types import ScoreTable

ROOT = pathlib.Path(__file__).parent.parent
MODULES = [
  importlib.import_module(f'jaxcurate.mixtures.{path.stem}')
  for path in sorted((ROOT / 'gin_configs' / 'methods').glob('*.gin'))
  if (ROOT / 'jaxcurate' / 'mixtures' / path.name).with_suffix('.py').exists()
]


def table_of(rows):
  rng = np.random.default_rng(1)
  table = ScoreTable(
    id=np.array([f'doc-{i}' for i in range(60)], object),
    domain=np.array([f'domain{i % 3}' for i in range(60)], object),
    num_tokens=rng.integers(1, 200, 60).astype(np.int32),
    scores={'s': rng.normal(size=60).astype(np.float32)},
    units={'s': 'nats'},
  )
  return table.take(rows)


def mix(module, table):
  """The Mixture; methods that train proxies get what a formula says."""
  wanted = inspect.signature(module.mix).parameters
  if 'learn' in wanted:
    return module.mix(table, lambda share: (share + share[::-1]) / 2).mixture
  if 'proxies' not in wanted:
    return module.mix(table)

  def proxies(space, rows):
    wanted = [space.values(row)[table.domain == 'domain0'] for row in rows]
    everything = [space.values(row).sum() for row in rows]
    own = np.array([w.sum() for w in wanted]) / np.array(everything)
    return 2.0 + (own - 0.6) ** 2

  found = module.mix(
    table, proxies, seed=0, rounds=(30,), num_proposals=200, num_best=5
  )
  json.dumps(found.diagnostics)
  return found.mixture


@pytest.mark.parametrize(
  'module', MODULES, ids=lambda m: m.__name__.rpartition('.')[2]
)
def test_mixture(module):
  table = table_of(np.arange(60))
  mixture = mix(module, table)
  assert sorted(mixture.domains) == ['domain0', 'domain1', 'domain2']
  shuffled = mix(module, table_of(np.random.default_rng(2).permutation(60)))
  assert shuffled.domains == mixture.domains
  np.testing.assert_allclose(shuffled.share_M, mixture.share_M, rtol=1e-6)
  # Expected tokens are as the shares say, whatever is in a domain.
  copies, _ = expected_copies.expected_copies(
    mixture, table, table.num_tokens, 500, max_copies=1e9
  )
  assert (copies >= 0).all()
  for name, share in zip(mixture.domains, mixture.share_M, strict=True):
    own = (copies * table.num_tokens)[table.domain == name].sum()
    assert own == pytest.approx(500 * share)
  alone = table_of(np.arange(1))
  if module.__name__.rpartition('.')[2] in ('climb', 'regmix'):
    with pytest.raises(ValueError, match='shares need at least two'):
      mix(module, alone)
    return
  assert mix(module, alone).domains == ('domain0',)
  assert mix(module, alone).share_M.tolist() == [1.0]
