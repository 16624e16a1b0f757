"""A cascade that was broken off continues to the same table."""

import pyarrow.parquet as pq
import pytest

from jaxcurate.io import manifest as manifests
from jaxcurate.io.errors import UserError
from jaxcurate.scoring import parts as parts_lib


class Stop(Exception):
  pass


@pytest.mark.parametrize('after', [1, 7, 20])
def test_interrupted_run_continues_to_the_same_table(small_judge, small, after):
  folder, *_ = small_judge.world
  small.run(folder / 'in', folder / 'whole', cascade=small_judge.plan(folder))
  seen = []

  def stop(progress):
    seen.append(progress)
    if len(seen) == after:
      raise Stop

  with pytest.raises(Stop):
    small.run(
      folder / 'in',
      folder / 'out',
      cascade=small_judge.plan(folder),
      on_progress=stop,
    )
  kept = parts_lib.committed(folder / 'out' / '.scratch')
  assert not list((folder / 'out').glob('*.parquet'))
  again = []
  small.run(
    folder / 'in', folder / 'out', cascade=small_judge.plan(folder),
    on_progress=again.append,
  )  # fmt: skip
  assert again[-1].documents == 200 - sum(part.num_rows for part in kept)
  same_tables(folder / 'whole', folder / 'out')


def test_broken_off_while_the_table_is_written(small_judge, small):
  folder, *_ = small_judge.world
  small.run(folder / 'in', folder / 'whole', cascade=small_judge.plan(folder))
  names = sorted(path.name for path in (folder / 'whole').glob('*.parquet'))
  obstacle = folder / 'out' / names[4]  # a folder where a file should go

  def block(progress):
    if progress.documents == 200:
      obstacle.mkdir()

  with pytest.raises(UserError, match='cannot write'):
    small.run(
      folder / 'in',
      folder / 'out',
      cascade=small_judge.plan(folder),
      on_progress=block,
    )
  obstacle.rmdir()
  written = list((folder / 'out').glob('*.parquet'))
  assert 0 < len(written) < len(names)
  small.run(folder / 'in', folder / 'out', cascade=small_judge.plan(folder))
  same_tables(folder / 'whole', folder / 'out')


def same_tables(one, two):
  names = sorted(path.name for path in one.iterdir())
  assert names == sorted(path.name for path in two.iterdir())
  for path in one.glob('*.parquet'):
    assert pq.read_table(path).equals(pq.read_table(two / path.name))
  assert (one / 'examples.jsonl').read_text() == (
    two / 'examples.jsonl'
  ).read_text()
  contents = [manifests.read_manifest(folder) for folder in (one, two)]
  for content in contents:
    del content['created'], content['cost']['seconds']
    del content['cost']['last_run_seconds']
  assert contents[0] == contents[1]


def test_other_plan_or_no_plan_is_refused(small_judge, small):
  folder, *_ = small_judge.world
  small.run(folder / 'in', folder / 'out', cascade=small_judge.plan(folder))
  with pytest.raises(UserError, match='band'):
    small.run(
      folder / 'in',
      folder / 'out',
      cascade=small_judge.plan(folder, (0.5, 0.9)),
    )
  with pytest.raises(UserError, match='cascade'):
    small.run(folder / 'in', folder / 'out')
