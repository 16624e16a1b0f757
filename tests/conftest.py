"""Shared test set-up: 8 emulated devices, a compilation cache, real data."""

import os
import pathlib

# Before jax is imported anywhere: 8 CPU devices so that every sharded path
# runs, and a persistent cache so that a second run compiles nothing.
os.environ.setdefault('JAX_PLATFORMS', 'cpu')
os.environ['XLA_FLAGS'] = (
  os.environ.get('XLA_FLAGS', '') + ' --xla_force_host_platform_device_count=8'
)
_CACHE = pathlib.Path(__file__).parent.parent / '.jax_cache'
os.environ.setdefault('JAX_COMPILATION_CACHE_DIR', str(_CACHE))
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '0.2')
os.environ.setdefault('JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES', '0')

import pytest  # noqa: E402

_SHARED = pathlib.Path(__file__).parent.parent.parent / 'shared' / 'data'


@pytest.fixture(scope='session')
def shared_data() -> pathlib.Path:
  """The folder of real corpora; skips where it is absent."""
  if not _SHARED.is_dir():
    pytest.skip(f'real data not found at {_SHARED}')
  return _SHARED
