"""What the judge is trained on: prompts with true answers, real completions."""

import pathlib
import sys

import jax
import numpy as np
import pytest

from jaxcurate.data import damage
from jaxcurate.data.vocabulary import load_vocabulary
from jaxcurate.models import load
from jaxcurate.models.t5 import make_network

TOOLS = pathlib.Path(__file__).parent.parent.parent / 'tools'
SPIECE = pathlib.Path(load.__file__).parent / 'judge' / 'spiece.model'
WORDS = 'the house stands by a river and every room has its own view of it'


@pytest.fixture
def tools(monkeypatch):
  monkeypatch.syspath_prepend(str(TOOLS))
  import judge_data
  import train_judge

  yield judge_data, train_judge
  for name in ('judge_data', 'train_judge', 'train_vocabulary'):
    sys.modules.pop(name)


@pytest.fixture(scope='module')
def vocabulary():
  return load_vocabulary(SPIECE)


@pytest.fixture
def texts(tools):
  rng = np.random.default_rng(0)
  words = np.array(WORDS.split())
  made = [' '.join(rng.permutation(words)) + '. ' + WORDS for _ in range(20)]
  return tools[0].weigh([(made[:10], 0.9), (made[10:], 0.1)])


def test_groups_are_drawn_by_their_shares(tools, texts):
  judge_data, _ = tools
  rng = np.random.default_rng(1)
  first = texts.texts[:10]
  hits = sum(
    judge_data.draw(texts, 60, rng).split()[0] in {t.split()[0] for t in first}
    for _ in range(50)
  )
  assert hits > 25
  assert texts.cumulative[9] == pytest.approx(0.9)


def test_a_crop_is_words_in_a_row(tools):
  judge_data, _ = tools
  text = '\n'.join(f'word{i} and' for i in range(500))
  for seed in range(20):
    crop = judge_data.crop(text, 12, np.random.default_rng(seed))
    assert len(crop.split()) <= 12
    assert crop in text


def test_every_damaged_text_stands_beside_its_original(tools, texts):
  judge_data, _ = tools
  made, sound = judge_data.pairs(texts, 40, 60, np.random.default_rng(0))
  assert sound.tolist() == [True, False] * 20
  assert all(a != b for a, b in zip(made[::2], made[1::2], strict=True))
  assert set(judge_data._KIND_PROBS) == set(damage.KINDS)


def test_prompts_have_the_answer_of_their_text(tools, texts, vocabulary):
  judge_data, _ = tools
  rng = np.random.default_rng(0)
  batch = judge_data.judge_batch(texts, vocabulary, 4, 192, 2, rng)
  [yes], [no] = vocabulary.encode_batch(['yes', 'no'])
  answers = []
  for row in range(4):
    for segment in (1, 2):
      place = batch['encoder_segment_ids'][row] == segment
      if not place.any():
        continue
      prompt = vocabulary.decode(
        batch['encoder_input_tokens'][row][place].tolist()
      )
      assert prompt.startswith('###') and prompt.endswith('- yes - no')
      labels = set(batch['text_labels'][row][place]) - {0}
      answer = batch['decoder_target_tokens'][row][segment - 1]
      assert labels == ({1} if answer == yes else {-1})
      answers.append(answer)
  assert set(answers) == {yes, no}


def test_completions_count_sound_text_only(tools, texts, vocabulary):
  judge_data, _ = tools
  rng = np.random.default_rng(0)
  batch = judge_data.completion_batch(texts, vocabulary, 4, 128, rng)
  for row in range(4):
    for segment in range(1, batch['encoder_segment_ids'][row].max() + 1):
      inputs = batch['encoder_segment_ids'][row] == segment
      targets = batch['decoder_segment_ids'][row] == segment
      is_sound = batch['text_labels'][row][inputs] == 1
      assert is_sound.all() or not is_sound.any()
      weights = batch['decoder_loss_weights'][row][targets]
      assert np.all(weights == is_sound[0])
  assert 0 < batch['decoder_loss_weights'].sum()


def test_batches_depend_on_their_number_alone(tools, texts, vocabulary):
  judge_data, _ = tools
  stream = judge_data.batches(texts, vocabulary, first=0)
  batches = [next(stream) for _ in range(3)]
  again = next(judge_data.batches(texts, vocabulary, first=2))
  jax.tree.map(np.testing.assert_array_equal, batches[2], again)
  assert batches[0][0]['encoder_input_tokens'].shape == (2, 448)
  assert batches[1][0]['encoder_input_tokens'].shape == (6, 192)


def test_neighbours_of_a_kind_have_similar_vectors(tools, vocabulary):
  judge_data, _ = tools
  rng = np.random.default_rng(0)
  made = [
    f'{rng.choice(["a", "the"])} {rng.choice(["house", "room"])} '
    f'{rng.choice(["is", "was"])} here'
    for _ in range(300)
  ]
  texts = judge_data.weigh([(made, 1.0)])
  vectors = judge_data.neighbour_embedding(texts, vocabulary, 8)
  assert vectors.shape == (8_192, 8)
  house, room, is_ = (
    vectors[vocabulary.encode_batch([w])[0][0]] for w in ('house', 'room', 'is')
  )
  assert house @ room > 4 * abs(house @ is_)


def test_the_network_begins_by_looking_at_neighbours(tools):
  _, train_judge = tools
  network = make_network(train_judge.CONFIG)
  shapes = jax.eval_shape(network.init, jax.random.key(0))
  zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
  vectors = np.random.default_rng(0).normal(size=(8_192, 128))
  params = train_judge._start(zeros, vectors)
  bias = params['encoder']['relpos_bias']['rel_embedding']
  assert np.argmax(bias[0]) == 1 and np.argmax(bias[1]) == 17
  assert jax.tree.map(np.shape, params) == jax.tree.map(np.shape, shapes)
  assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(params))
