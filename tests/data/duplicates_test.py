import collections

import numpy as np

from jaxcurate.data import duplicates


def test_unique_ids_are_fine(tmp_path):
  duplicates.write_run(tmp_path, 'a', ['x', 'y'])
  duplicates.write_run(tmp_path, 'b', ['z'])
  assert duplicates.find_duplicates(tmp_path) is None


def test_names_the_id_and_both_places(tmp_path):
  duplicates.write_run(tmp_path, 'web/a.jsonl:0-2', ['x', 'naïve'])
  duplicates.write_run(tmp_path, 'web/b.jsonl:0-2', ['naïve', 'z'])
  message = duplicates.find_duplicates(tmp_path)
  assert message is not None
  assert "'naïve' (2 times: in web/a.jsonl:0-2, web/b.jsonl:0-2)" in message
  assert "'x'" not in message


def test_finds_duplicates_within_one_run(tmp_path):
  duplicates.write_run(tmp_path, 'a', ['x', 'y', 'x', 'x'])
  message = duplicates.find_duplicates(tmp_path)
  assert message is not None
  assert "'x' (3 times: in a)" in message


def test_writing_a_run_again_overwrites_it(tmp_path):
  duplicates.write_run(tmp_path, 'a', ['x', 'y'])
  duplicates.write_run(tmp_path, 'a', ['x', 'y'])
  assert duplicates.find_duplicates(tmp_path) is None
  assert len(list(tmp_path.iterdir())) == 1


def test_any_memory_bound_finds_what_a_counter_finds(tmp_path):
  rng = np.random.default_rng(0)
  seen = collections.Counter()
  for run in range(7):
    ids = [f'doc{i}' for i in rng.integers(0, 3000, rng.integers(0, 200))]
    seen.update(ids)
    duplicates.write_run(tmp_path, f'run{run}', ids)
  repeated = {key: count for key, count in seen.items() if count > 1}
  messages = {
    duplicates.find_duplicates(tmp_path, rows_in_memory=rows)
    for rows in (10_000, 300, 17, 1)
  }
  (message,) = messages  # the bound changes nothing
  assert message is not None
  assert f'and {len(repeated) - 5} more' in message
  for part in message.removeprefix('duplicate ids: ').split('; ')[:5]:
    key, count = part.split("'")[1], int(part.split('(')[1].split()[0])
    assert repeated[key] == count


def test_no_runs_and_empty_runs(tmp_path):
  assert duplicates.find_duplicates(tmp_path) is None
  duplicates.write_run(tmp_path, 'a', [])
  duplicates.write_run(tmp_path, 'b', ['x'])
  assert duplicates.find_duplicates(tmp_path, rows_in_memory=1) is None
