"""Manifests: round trip, and a clear refusal of anything else."""

import json

import pytest

from jaxcurate.io import manifest
from jaxcurate.io.errors import UserError


def test_round_trip_adds_version_and_time(tmp_path):
  manifest.write_manifest(
    tmp_path, {'kind': 'scores', 'columns': {'a': 'nats'}}
  )
  content = manifest.read_manifest(tmp_path, 'scores')
  assert content['columns'] == {'a': 'nats'}
  assert content['version'] and content['created'].endswith('+00:00')


def test_unknown_kind_is_not_written(tmp_path):
  with pytest.raises(ValueError, match="kind 'x'"):
    manifest.write_manifest(tmp_path, {'kind': 'x'})
  assert not list(tmp_path.iterdir())


def test_nan_is_not_written(tmp_path):
  with pytest.raises(ValueError, match='JSON'):
    manifest.write_manifest(tmp_path, {'kind': 'scores', 'x': float('nan')})


def test_missing_broken_and_wrong_kind(tmp_path):
  with pytest.raises(UserError, match=r'no manifest\.json.*jaxcurate sample'):
    manifest.read_manifest(tmp_path, 'selection')
  (tmp_path / 'manifest.json').write_text('{"kind": ')
  with pytest.raises(UserError, match='broken JSON'):
    manifest.read_manifest(tmp_path)
  (tmp_path / 'manifest.json').write_text(json.dumps({'kind': 'scores'}))
  with pytest.raises(UserError, match='holds scores, but selection'):
    manifest.read_manifest(tmp_path, 'selection')
  (tmp_path / 'manifest.json').write_text('[]')
  with pytest.raises(UserError, match='"kind" must be one of'):
    manifest.read_manifest(tmp_path)


def test_other_settings_are_refused_with_both_values(tmp_path):
  same = {'a': 1, 'b': (1, 2)}
  manifest.refuse_other_settings(tmp_path, {'a': 1, 'b': [1, 2]}, same)
  with pytest.raises(UserError, match=r'a: 1 there, 2 now; c: None there, 3'):
    manifest.refuse_other_settings(tmp_path, {'a': 1}, {'a': 2, 'c': 3})


def test_begin_records_refuses_and_knows_what_is_finished(tmp_path):
  folder = tmp_path / 'out'
  assert not manifest.begin(folder, 'scores', {'a': 1})
  assert not manifest.begin(folder, 'scores', {'a': 1})
  with pytest.raises(UserError, match='a: 1 there, 2 now'):
    manifest.begin(folder, 'scores', {'a': 2})
  manifest.write_manifest(folder, {'kind': 'scores', 'settings': {'a': 1}})
  assert [path.name for path in folder.iterdir()] == ['manifest.json']
  assert manifest.begin(folder, 'scores', {'a': 1})
  with pytest.raises(UserError, match='holds scores'):
    manifest.begin(folder, 'training', {'a': 1})


def test_begin_leaves_other_peoples_folders_alone(tmp_path):
  (tmp_path / 'x.parquet').write_bytes(b'')
  with pytest.raises(UserError, match='something else'):
    manifest.begin(tmp_path, 'scores', {})
  with pytest.raises(UserError, match='is a file'):
    manifest.begin(tmp_path / 'x.parquet', 'scores', {})
