"""Answers, up to the string that ends them."""

import numpy as np
import pytest

from jaxcurate.evaluate import generation
from jaxcurate.evaluate.generation import Prompt

SUCCESSOR = np.eye(8)[[1, 2, 3, 4, 5, 6, 7, 0]] * 0.9 + 0.1 / 8
LETTERS = 'abcdefg.'


def decode(ids):
  return ''.join(LETTERS[i % 8] for i in ids)


def writer(model, mesh, *, eos_id=-1, max_length=256):
  return generation.make_writer(
    *model, mesh, decode=decode, eos_id=eos_id, max_length=max_length
  )


def test_three_by_hand(make_bigram, mesh):
  write = writer(make_bigram(SUCCESSOR), mesh)
  found = write(
    [Prompt([0], ['.'], 30), Prompt([4], [], 5), Prompt([2], ['ga', 'fg'], 30)]
  )
  assert found == ['bcdefg', 'fg.ab', 'de']


def test_eos_ends_an_answer(make_bigram, mesh):
  write = writer(make_bigram(SUCCESSOR), mesh, eos_id=3)
  assert write([Prompt([0], ['x'], 30), Prompt([2], [], 30)]) == ['bc', '']


def test_answers_go_on_over_rounds(make_bigram, mesh):
  write = writer(make_bigram(SUCCESSOR), mesh, max_length=512)
  cycle = 'bcdefg.a' * 40
  prompts = [Prompt([0], [], n) for n in (300, 64, 65, 1)]
  assert write(prompts) == [cycle[:300], cycle[:64], cycle[:65], 'b']
  # A stop that lies across two rounds.
  assert write([Prompt([0], [cycle[62:66]], 200)]) == [cycle[:6]]


def test_against_one_token_at_a_time(model, mesh, slow):
  rng = np.random.default_rng(0)
  prompts = [
    Prompt(rng.integers(1, 40, n).tolist(), ['c'], 7) for n in (3, 20, 30)
  ]
  for prompt, found in zip(prompts, writer(model, mesh)(prompts), strict=True):
    answer = []
    while len(answer) < 7 and 'c' not in decode(answer):
      best = max(
        range(40), key=lambda t: slow(model, prompt.ids, [*answer, t])[0]
      )
      answer.append(best)
    assert found == decode(answer).partition('c')[0]


def test_company_and_devices_change_nothing(model, mesh, small_mesh):
  rng = np.random.default_rng(1)
  prompts = [
    Prompt(rng.integers(1, 40, n).tolist(), ['c'], 12) for n in (2, 5, 9, 40)
  ]
  found = writer(model, mesh)(prompts)
  assert writer(model, small_mesh)(prompts[::-1])[::-1] == found
  assert writer(model, small_mesh)(prompts[:1]) == found[:1]


def test_long_prompts_lose_their_left_end(model, mesh):
  prompt = np.random.default_rng(2).integers(1, 40, 50).tolist()
  short = writer(model, mesh, max_length=24)
  kept = 24 if model.network.encode else 24 - 8
  assert short([Prompt(prompt, [], 8)]) == short(
    [Prompt(prompt[-kept:], [], 8)]
  )
  assert short([Prompt(prompt, [], 8)]) != short([Prompt(prompt[-6:], [], 8)])


def test_no_prompts_and_no_room(decoder_model, mesh):
  write = writer(decoder_model, mesh, max_length=8)
  assert write([]) == []
  with pytest.raises(ValueError, match='may have 8 tokens, which leaves no'):
    write([Prompt([1], [], 8)])


@pytest.mark.parametrize(
  'text, stops, expected',
  [
    ('a b', [], ('a b', False)),
    ('a b', ['c', ''], ('a b', False)),
    ('a b c', ['c', 'b'], ('a ', True)),
    ('b', ['b'], ('', True)),
    ('', ['b'], ('', False)),
  ],
)
def test_cut(text, stops, expected):
  assert generation.cut(text, stops) == expected
