"""Key terms of groups: by hand, by brute force, and of little text."""

import numpy as np
import pytest

from jaxcurate.ops import key_terms

TEXTS = [
  'the puck hit the goal',
  'the goal the puck the ice',
  'the disk and the file',
  'the file system',
  'puck the ai 42',
]
WORDS = [text.split() for text in TEXTS]


def test_weights_by_hand():
  """In group 0 'goal' has 2/2 ln(1 / (2/5)), 'puck' ln(1 / (3/5)), 'ice' and
  'hit' 1/2 ln(1/2 / (1/5)); 'the' is in every text and weighs nothing."""
  found = key_terms.key_terms(WORDS, [0, 0, 1, 1, 2], 3)
  assert found[0] == ['goal', 'puck', 'hit', 'ice']
  assert found[1] == ['file', 'and', 'disk', 'system']
  assert found[2] == ['puck']  # 'ai' and '42' are no terms


def test_agrees_with_brute_force():
  rng = np.random.default_rng(0)
  names = [f'{a}{b}{c}' for a in 'ab' for b in 'cd' for c in 'efg']
  words = [rng.choice(names, 6).tolist() for _ in range(40)]
  group = rng.integers(-1, 3, 40)
  found = key_terms.key_terms(words, group.tolist(), 3, num_terms=4)
  own = group >= 0
  has = np.array([[name in text for name in names] for text in words])
  for g in range(3):
    share = has[group == g].mean(axis=0)
    with np.errstate(divide='ignore', invalid='ignore'):
      weight = np.nan_to_num(share * np.log(share / has[own].mean(axis=0)))
    best = sorted(zip(-weight, names, strict=True))[:4]
    assert found[g] == [name for w, name in best if w < 0]


def test_repeating_a_word_or_the_texts_changes_nothing():
  expected = key_terms.key_terms(WORDS, [0, 0, 1, 1, 2], 3)
  loud = [own + own[:1] * 50 for own in WORDS]
  assert key_terms.key_terms(loud, [0, 0, 1, 1, 2], 3) == expected
  order = [4, 2, 0, 3, 1]
  found = key_terms.key_terms(
    [WORDS[i] for i in order] * 2, [[0, 0, 1, 1, 2][i] for i in order] * 2, 3
  )
  assert found == expected


@pytest.mark.parametrize(
  ('words', 'group', 'expected'),
  [
    ([], [], [[], []]),
    ([['one', 'text']], [0], [[], []]),  # nothing tells it from all texts
    ([[], ['abc']], [0, 1], [[], ['abc']]),
    ([['abc'], ['abc']], [-1, 1], [[], []]),
    ([['été', 'x1'], ['x1']], [0, 1], [['été'], []]),
  ],
)
def test_little_text(words, group, expected):
  assert key_terms.key_terms(words, group, 2) == expected
