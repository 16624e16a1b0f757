import collections

import numpy as np
import pytest

from jaxcurate.data import boilerplate, damage
from jaxcurate.data.machine_text import Document

TEXT = """Return the address of the server as a string.

The address isn't cached; every call asks the name service again, which may
take several seconds. Callers that need speed should keep the result:

  host: name of the host, e.g. "localhost".
  port: number of the port (default: 80).
"""


@pytest.mark.parametrize('kind', damage.KINDS)
@pytest.mark.parametrize('text', [TEXT, 'one two', 'a b c d e f g h', ' x  y '])
def test_every_kind_changes_every_text(kind, text):
  for seed in range(40):
    for share in (None, 0.05, 1.0):
      rng = np.random.default_rng(seed)
      damaged = damage.damage(text, kind, rng, share=share)
      assert damaged != text
      assert isinstance(damaged, str)
      damaged.encode('utf-8')


@pytest.mark.parametrize('kind', damage.KINDS)
def test_same_generator_same_damage(kind):
  first, second, other = (
    damage.damage(TEXT, kind, np.random.default_rng(seed)) for seed in (1, 1, 2)
  )
  assert first == second != other


def test_shuffling_keeps_words_and_layout():
  rng = np.random.default_rng(0)
  damaged = damage.damage(TEXT, 'shuffled_words', rng)
  assert sorted(damaged.split()) == sorted(TEXT.split())
  assert damaged.count('\n') == TEXT.count('\n')
  assert len(damaged) == len(TEXT)


def test_repetition_adds_only_what_was_there():
  for seed in range(20):
    rng = np.random.default_rng(seed)
    damaged = damage.damage(TEXT, 'repetition', rng)
    assert set(damaged.split()) == set(TEXT.split())
    assert len(damaged) > len(TEXT)


def test_repetition_grows_with_the_share():
  def length(share):
    return np.mean(
      [
        len(damage.damage(TEXT, 'repetition', rng, share=share))
        for rng in map(np.random.default_rng, range(30))
      ]
    )

  assert len(TEXT) < length(0.2) < length(0.5) < length(1.0)


def test_boilerplate_leaves_the_share_that_is_not_damaged():
  lines = [f'Line number {i} says something of its own.' for i in range(20)]
  rng = np.random.default_rng(3)
  damaged = damage.damage('\n'.join(lines), 'boilerplate', rng, share=0.4)
  kept = [line for line in damaged.split('\n') if line in lines]
  assert kept == lines[:12]
  assert len(damaged.split('\n')) > 14


def test_encoding_damage_shows_what_wrong_decoders_show():
  all_signs = collections.Counter()
  for seed in range(60):
    rng = np.random.default_rng(seed)
    all_signs.update(damage.damage(TEXT, 'encoding', rng, share=1.0))
  assert all_signs['Ã'] and all_signs['â'] and all_signs['\ufffd']
  rng = np.random.default_rng(0)
  words = {damage._mojibake("isn't", rng) for _ in range(20)}
  assert 'isnâ€™t' in words
  assert 'a&amp;lt;b' in {damage._escaped('a<b', rng) for _ in range(20)}


def test_bad_arguments_are_named():
  rng = np.random.default_rng(0)
  with pytest.raises(ValueError, match="unknown damage 'rust', expected one"):
    damage.damage(TEXT, 'rust', rng)
  with pytest.raises(ValueError, match='fewer than two different words'):
    damage.damage('same same', 'repetition', rng)
  with pytest.raises(ValueError, match='expected a number from 0 to 1'):
    damage.with_damage([], 2.0, 0)


def _documents(count):
  return [
    Document(f'id{i}', f'{TEXT} Number {i}.', 'topics', 'demo')
    for i in range(count)
  ]


def test_with_damage_labels_and_depends_on_seed_and_id_alone():
  documents = _documents(200)
  labelled = damage.with_damage(documents, 0.3, seed=5)
  backwards = damage.with_damage(documents[::-1], 0.3, seed=5)
  assert labelled == backwards[::-1]
  assert labelled != damage.with_damage(documents, 0.3, seed=6)
  for original, row in zip(documents, labelled, strict=True):
    assert (row.id, row.split) == (original.id, 'demo')
    if row.label == damage.SOUND:
      assert (row.text, row.domain) == (original.text, 'topics')
    else:
      assert row.text != original.text
      assert row.domain == f'damaged-{row.label}'


def test_with_damage_has_its_share_of_every_kind():
  labels = [d.label for d in damage.with_damage(_documents(1_000), 0.4, 0)]
  for kind in damage.KINDS:
    error = 4 * (0.1 * 0.9 / 1_000) ** 0.5
    assert abs(labels.count(kind) / 1_000 - 0.1) < error
  assert not damage.with_damage([], 0.5, 0)
  assert {d.label for d in damage.with_damage(_documents(9), 0.0, 0)} == {
    'sound'
  }


def test_boilerplate_fills_every_blank():
  rng = np.random.default_rng(0)
  lines = [boilerplate.line(rng) for _ in range(2_000)]
  assert not any('{' in line or '}' in line for line in lines)
  assert len(set(lines)) > 1_000
