"""A real tiny Llama, from llama2.c's format, writes its well-known story."""

import pathlib
import struct
import sys

import jax
import numpy as np
import pytest

from jaxcurate.data.vocabulary import load_vocabulary
from jaxcurate.models import generate, load

TOOLS = pathlib.Path(__file__).parent.parent.parent / 'tools'
# What llama2.c prints for stories260K.bin at temperature 0, its first 200
# characters. A property of the checkpoint: no change of ours may change it.
STORY = (
  'Once upon a time, there was a little girl named Lily. She loved to play '
  'outside in the park. One day, she saw a big, red ball. She wanted to play '
  'with it, but it was too high.\nLily\'s mom said, "Lily,'
)


@pytest.fixture
def tool(monkeypatch):
  monkeypatch.syspath_prepend(str(TOOLS))
  import convert_llama2c

  yield convert_llama2c
  sys.modules.pop('convert_llama2c')


@pytest.fixture
def stories(tool, shared_data, tmp_path):
  checkpoints = shared_data / 'checkpoints'
  if not (checkpoints / 'stories260K.bin').is_file():
    pytest.skip('no stories260K.bin')
  tool.convert(
    checkpoints / 'stories260K.bin',
    checkpoints / 'tok512.bin',
    tmp_path / 'out',
  )
  model = load.load(str(tmp_path / 'out'))
  return model, load_vocabulary(model.vocabulary)


def test_it_writes_its_story(stories):
  model, vocabulary = stories
  [ids] = generate.generate(
    model.network, model.params, [[vocabulary.bos_id]], max_new_tokens=96
  )
  assert vocabulary.decode(ids).lstrip()[: len(STORY)] == STORY


def test_a_prompt_is_continued(stories):
  model, vocabulary = stories
  [prompt] = vocabulary.encode_batch([STORY[:60]])
  [ids] = generate.generate(
    model.network,
    model.params,
    [[vocabulary.bos_id, *prompt]],
    max_new_tokens=16,
  )
  text = vocabulary.decode([*prompt, *ids]).lstrip()
  assert STORY.startswith(text) and len(text) > 80


def test_texts_survive_the_tokenizer(stories):
  _, vocabulary = stories
  assert (vocabulary.size, vocabulary.bos_id, vocabulary.eos_id) == (512, 1, 2)
  texts = ['Lily saw a big, red ball.', 'naïve café\n\t2x  two spaces', 'the']
  ids = vocabulary.encode_batch(texts)
  assert [vocabulary.decode(own).lstrip() for own in ids] == texts
  assert ids[2] == [265]  # ' the', see tok512.bin


def test_pairs_become_halves(tool):
  kernel = np.arange(16.0).reshape(1, 8, 2)  # two heads of four
  found = tool._halves(kernel, 4)
  assert found[0, :, 0].tolist() == [0, 4, 2, 6, 8, 12, 10, 14]


@pytest.mark.parametrize('tied', [True, False])
def test_every_number_is_read(tool, tied, tmp_path):
  width, mlp, layers, heads, kv_heads, vocab, length = 8, 12, 2, 4, 2, 5, 6
  head_dim, inner_kv = 2, 4
  per_layer = 2 * width + 2 * width * (width + inner_kv) + 3 * width * mlp
  count = vocab * width + layers * per_layer + width + length * head_dim
  count += 0 if tied else vocab * width
  header = (width, mlp, layers, heads, kv_heads, vocab if tied else -vocab)
  numbers = np.arange(count, dtype=np.float32)
  file = tmp_path / 'model.bin'
  file.write_bytes(struct.pack('<7i', *header, length) + numbers.tobytes())
  params, config = tool.read_model(file)
  network = load.make_network(config)
  shapes = jax.eval_shape(network.init, jax.random.key(0))
  assert jax.tree.map(lambda x: x.shape, shapes) == jax.tree.map(
    lambda x: x.shape, params
  )
  found = np.concatenate([leaf.ravel() for leaf in jax.tree.leaves(params)])
  assert len(set(found.tolist())) == found.size == count - length * head_dim
  assert config.tied_head is tied
  file.write_bytes(file.read_bytes() + b'1234')
  with pytest.raises(
    ValueError, match=f'{count + 1} numbers.* asks for {count}'
  ):
    tool.read_model(file)
