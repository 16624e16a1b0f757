import io
import json
import pathlib

import pytest
import sentencepiece

from jaxcurate.data import tokenizer_sentencepiece
from jaxcurate.data.tokenizer_settings import Settings
from jaxcurate.io.errors import UserError

GOLDENS = pathlib.Path(__file__).parent / 'goldens' / 'llama2_ids.json'
TEXTS = [
  'Hello world',
  ' Hello  world ',
  ' ',
  '    four\n        eight',
  'naïve e\u0301 日本語 ∀x 😀👨‍👩‍👧 \u200b\ufeff',
  '▁ is itself a character',
  '',
]


@pytest.fixture(scope='module')
def llama(shared_data):
  return shared_data / 'tokenizers' / 'llama2_tokenizer.model'


@pytest.fixture(scope='module')
def gemma_like(tmp_path_factory):
  """A BPE with pad 0, BOS 2, byte fallback and <turn> as a symbol of texts."""
  from pydoc_data import topics

  path = tmp_path_factory.mktemp('gemma') / 'tokenizer.model'
  model = io.BytesIO()
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter(topics.topics['assignment'].splitlines()),
    model_writer=model,
    model_type='bpe',
    vocab_size=400,
    pad_id=0,
    eos_id=1,
    bos_id=2,
    unk_id=3,
    byte_fallback=True,
    add_dummy_prefix=False,
    normalization_rule_name='identity',
    remove_extra_whitespaces=False,
    user_defined_symbols=['<turn>'],
    minloglevel=2,
  )
  path.write_bytes(model.getvalue())
  return path


def test_llama_2_by_hand(llama):
  found = tokenizer_sentencepiece.read(llama, Settings())
  # What Meta's own class gives, BOS aside; '\n' is byte 10 + 3.
  assert found.encode(['Hello world', '\n']) == [[15043, 3186], [29871, 13]]
  assert found.special_ids == {'<unk>': 0, '<s>': 1, '</s>': 2}
  assert (found.num_text_ids, found.unk_id) == (32_000, 0)
  assert (found.begins_with, found.ends_with) == ('<s>', '</s>')


def test_llama_2_as_transformers_has_it(llama):
  """Written by tools/make_tokenizer_goldens.py; see there when to rewrite."""
  found = tokenizer_sentencepiece.read(llama, Settings())
  for case in json.loads(GOLDENS.read_text())['cases']:
    special = found.encode_special(case['text'])
    assert special == case['special_ids'], case['text']
    if '</s>' not in case['text'] and '<s>' not in case['text']:
      # transformers' split_special_tokens finds those among the pieces.
      assert found.encode([case['text']]) == [case['ids']]


def test_texts_are_sentencepieces_own(llama):
  found = tokenizer_sentencepiece.read(llama, Settings())
  library = sentencepiece.SentencePieceProcessor(str(llama))
  expected = [library.encode(text) for text in TEXTS]
  assert found.encode(TEXTS) == expected
  assert [found.encode_special(text) for text in TEXTS] == expected
  for text, ids in zip(TEXTS[:4], expected, strict=False):
    assert found.decode(ids) == text


def test_text_never_becomes_special(llama):
  found = tokenizer_sentencepiece.read(llama, Settings())
  texts = ['</s>', '<s>a</s>', '<unk>', '\0', 'x</s>']
  for ids in found.encode(texts):
    assert min(ids) > 2
  assert [found.decode(ids) for ids in found.encode(texts)] == texts


def test_the_dummy_space_after_special_tokens(llama):
  now = tokenizer_sentencepiece.read(llama, Settings())
  legacy = tokenizer_sentencepiece.read(llama, Settings(legacy=True))
  (hello,) = now.encode(['Hello'])
  assert legacy.encode_special('<s>Hello') == [1, *hello]
  assert now.encode_special('<s>Hello') == [1, 10994]  # 'Hello' without '▁'
  assert now.encode_special('<s> Hello') == [1, *hello]
  assert now.encode_special('Hello</s>') == [*hello, 2]


def test_added_tokens_follow_the_pieces(llama):
  settings = Settings(
    added_tokens={2: '</s>', 32_000: '<|im_start|>', 32_001: '<|im|>'},
    special_tokens=frozenset({'</s>', '<|im_start|>'}),
  )
  found = tokenizer_sentencepiece.read(llama, settings)
  assert found.encode_special('<|im_start|>\nHi<|im|>') == [
    *(32_000, 13, 18567),
    32_001,
  ]
  assert max(found.encode(['<|im_start|><|im|>'])[0]) < 32_000
  assert found.num_text_ids == 32_000
  assert found.decode([32_000, 18567, 10**6, -1, 2]) == 'Hi'


def test_symbols_that_the_settings_call_special(gemma_like):
  library = sentencepiece.SentencePieceProcessor(str(gemma_like))
  symbol = library.piece_to_id('<turn>')
  plain = tokenizer_sentencepiece.read(gemma_like, Settings())
  assert symbol in plain.encode(['a <turn> b'])[0]
  settings = Settings(
    added_tokens={symbol: '<turn>'}, special_tokens=frozenset({'<turn>'})
  )
  found = tokenizer_sentencepiece.read(gemma_like, settings)
  assert symbol not in found.encode(['a <turn> b'])[0]
  assert found.decode(found.encode(['a <turn> b'])[0]) == 'a <turn> b'
  assert found.encode_special('a<turn>b') == [
    *found.encode(['a'])[0],
    symbol,
    *found.encode(['b'])[0],
  ]
  assert found.decode([symbol]) == ''
  others = [text for text in TEXTS if '<' not in text]
  assert found.encode(others) == plain.encode(others)


def test_odd_text(llama):
  found = tokenizer_sentencepiece.read(llama, Settings())
  joined, emoji, lone = found.encode(['\ud83d\ude00', '😀', 'a\ud800'])
  assert joined == emoji
  assert found.decode(lone) == 'a\ufffd'
  assert found.encode_special('\ud83d\ude00') == emoji
  assert found.encode([]) == []
  assert found.encode_special('') == []


def test_errors_name_the_file_and_the_way_out(tmp_path):
  with pytest.raises(UserError, match=r'nowhere\.model: cannot read .*bytes'):
    tokenizer_sentencepiece.read(tmp_path / 'nowhere.model', Settings())
  (tmp_path / 'broken').write_bytes(b'not a model')
  with pytest.raises(UserError, match='broken: not a SentencePiece'):
    tokenizer_sentencepiece.load(tmp_path / 'broken')
