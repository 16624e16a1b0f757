"""A model asked in texts: its three questions, on tokens worked out here."""

import jax
import numpy as np
import pytest

from jaxcurate.data import vocabulary as vocabularies
from jaxcurate.evaluate import language_model
from jaxcurate.evaluate.task import Continuation, Generation
from jaxcurate.io.errors import UserError
from jaxcurate.models import huggingface, t5


class Digits:
  """'0'..'9' and 'a'..'e' are 2..16; EOS is 1."""

  size, bos_id, eos_id, unk_id = 40, None, 1, None
  letters = '0123456789abcde'

  def encode_batch(self, texts):
    return [[2 + self.letters.index(c) for c in text] for text in texts]

  def decode(self, ids):
    return ''.join(self.letters[(i - 2) % 15] for i in ids)

  def sentinel_id(self, index):
    raise ValueError(index)


WORDS = Digits()


@pytest.fixture
def asked(model, mesh):
  """(max_length) -> LanguageModel over either network."""
  return lambda length: language_model.make(
    *model, WORDS, mesh, max_length=length
  )


def ids(text):
  return WORDS.encode_batch([text])[0]


def test_log_likelihoods(model, asked, slow):
  pairs = [('12', '34'), ('12', '5'), ('', '67'), ('ab', '')]
  found = asked(32).log_likelihoods([Continuation(*pair) for pair in pairs])
  end = [] if model.network.encode is None else [1]
  for one, (context, text) in zip(found[:3], pairs[:3], strict=True):
    before = [*ids(context), *end] if context else [1]
    log_prob, greedy = slow(model, before, ids(text))
    assert one.log_prob == pytest.approx(log_prob, rel=1e-5)
    assert one.greedy == greedy
  assert found[3] == (0.0, True)


def test_rolling_reads_every_token_once(model, asked, slow):
  text = '0123456789abcde'
  end = [] if model.network.encode is None else [1]
  whole = [*ids(text), *end]
  wide, narrow = (asked(length).rolling([text, ''])[0] for length in (32, 10))
  assert wide == pytest.approx(slow(model, [1], whole)[0], rel=1e-5)
  rest = len(whole) - 10
  context = [1, *whole][-11:-rest]
  expected = slow(model, [1], whole[:10])[0]
  expected += slow(model, context, whole[10:])[0]
  assert narrow == pytest.approx(expected, rel=1e-5)


def test_generation_ends_with_a_stop(asked):
  model = asked(64)
  [whole] = model.generate([Generation('123', (), 12)])
  cut, short, empty = model.generate(
    [
      Generation('123', (whole[3],), 12),
      Generation('123', (), 2),
      Generation('', (), 1),
    ]
  )
  assert cut == whole.partition(whole[3])[0]
  assert short == whole[:2]
  assert len(empty) <= 1


def test_blocks_change_nothing(asked, monkeypatch):
  model = asked(32)
  pairs = [Continuation('12', c) for c in '345']
  before = model.log_likelihoods(pairs), model.rolling(['12', '', '45'])
  monkeypatch.setattr(language_model, '_BLOCK', 2)
  np.testing.assert_allclose(model.log_likelihoods(pairs), before[0], rtol=1e-5)
  found = model.rolling(['12', '', '45'])
  np.testing.assert_allclose(found, before[1], rtol=1e-5)


def test_nothing_is_asked(asked):
  model = asked(8)
  assert model.log_likelihoods([]) == model.rolling([]) == []
  assert model.generate([]) == [] and model.max_length == 8


def test_at_least_one_token_is_read(asked):
  with pytest.raises(ValueError, match='max_length is 0, expected at least 1'):
    asked(0)


def saved(folder, vocab_size, decoder_layers):
  config = t5.T5Config(
    vocab_size=vocab_size,
    embed_dim=8,
    num_heads=2,
    head_dim=4,
    mlp_dim=8,
    num_encoder_layers=1,
    num_decoder_layers=decoder_layers,
    activations=('gelu', 'linear'),
  )
  shapes = jax.eval_shape(t5.make_network(config).init, jax.random.key(0))
  params = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
  huggingface.export_huggingface(folder, params, config, 'bytes')
  return str(folder)


def test_an_encoder_alone_has_no_probabilities(tmp_path, small_mesh):
  size = vocabularies.load_vocabulary('bytes').size
  with pytest.raises(UserError, match='encoder alone'):
    language_model.open_model(saved(tmp_path, size, 0), small_mesh)


def test_a_saved_model_reads_as_far_as_it_was_trained(tmp_path, small_mesh):
  size = vocabularies.load_vocabulary('bytes').size
  path = saved(tmp_path, size, 1)
  assert language_model.open_model(path, small_mesh).max_length == 512
  model = language_model.open_model(path, small_mesh, max_length=16)
  assert model.max_length == 16
  with pytest.raises(ValueError, match='17 tokens, the model reads 16'):
    model.log_likelihoods([Continuation('a', 'b' * 17)])


def test_a_vocabulary_that_does_not_fit(tmp_path, small_mesh):
  path = saved(tmp_path, 100, 1)
  with pytest.raises(UserError, match='tokenizer does not match'):
    language_model.open_model(path, small_mesh, vocabulary='bytes')
