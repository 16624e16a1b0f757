import json
import lzma
import threading
import time

import pytest
import tokenizers
from tokenizers import models, pre_tokenizers, processors

from jaxcurate.data import tokenizer_json
from jaxcurate.io.errors import UserError

PIECES = [
  '<s>',
  '</s>',
  '<unk>',
  '▁',
  'a',
  'b',
  '▁a',
  '▁ab',
  '<',
  's',
  '>',
  '/',
]


@pytest.fixture(scope='module')
def unpack(shared_data, tmp_path_factory):
  """Name -> path of a tokenizer.json of the shared data."""
  folder = tmp_path_factory.mktemp('real')

  def path(name):
    packed = shared_data / 'tokenizers' / f'{name}.xz'
    (folder / name).write_bytes(lzma.decompress(packed.read_bytes()))
    return folder / name

  return path


def _unigram(path, **changes):
  """A Unigram whose special pieces could be spelt, as T5's file has it."""
  scores = [(piece, -float(i)) for i, piece in enumerate(PIECES)]
  tokenizer = tokenizers.Tokenizer(models.Unigram(scores, unk_id=2))
  tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
  tokenizer.add_special_tokens(PIECES[:3])
  for name, value in changes.items():
    setattr(tokenizer, name, value)
  tokenizer.save(str(path))
  return path


def test_by_hand(tmp_path):
  found = tokenizer_json.read(_unigram(tmp_path / 'tokenizer.json'))
  assert found.encode(['ab', 'a c', '']) == [[7], [6, 3, 2], []]
  assert found.special_ids == {'<s>': 0, '</s>': 1, '<unk>': 2}
  assert (found.num_text_ids, found.unk_id) == (12, 2)
  assert (found.begins_with, found.ends_with) == (None, None)


def test_special_tokens_by_choice(tmp_path):
  found = tokenizer_json.read(_unigram(tmp_path / 'tokenizer.json'))
  assert found.encode(['</s>']) == [[3, 8, 11, 9, 10]]
  assert found.encode_special('a</s>')[-1] == 1
  assert 1 not in found.encode(['a</s>'])[0]


def test_ignore_merges_finds_no_special_either(tmp_path):
  vocab = {piece: i for i, piece in enumerate(['<s>', '<', 's', '>', '<s'])}
  model = models.BPE(vocab, [('<', 's')], ignore_merges=True)
  tokenizer = tokenizers.Tokenizer(model)
  tokenizer.add_special_tokens(['<s>'])
  tokenizer.save(str(tmp_path / 'tokenizer.json'))
  found = tokenizer_json.read(tmp_path / 'tokenizer.json')
  assert found.encode(['<s>', '<s']) == [[4, 3], [4]]
  assert found.encode_special('<s>') == [0]


def test_merges_that_spell_a_special(tmp_path):
  vocab = {piece: i for i, piece in enumerate(['<s>', '<', 's', '>', '<s'])}
  model = models.BPE(vocab, [('<', 's'), ('<s', '>')])
  tokenizer = tokenizers.Tokenizer(model)
  tokenizer.add_special_tokens(['<s>'])
  tokenizer.save(str(tmp_path / 'tokenizer.json'))
  found = tokenizer_json.read(tmp_path / 'tokenizer.json')
  assert found.encode(['<s>']) == [[4, 3]]


def test_what_the_post_processor_puts_around_a_text(tmp_path):
  for single, around in (
    ('<s> $A', ('<s>', None)),
    ('$A </s>', (None, '</s>')),
    ('<s> $A </s>', ('<s>', '</s>')),
    ('$A', (None, None)),
  ):
    post_processor = processors.TemplateProcessing(
      single=single, special_tokens=[('<s>', 0), ('</s>', 1)]
    )
    path = _unigram(tmp_path / 'tokenizer.json', post_processor=post_processor)
    found = tokenizer_json.read(path)
    assert (found.begins_with, found.ends_with) == around
    assert found.encode(['ab']) == [[7]]


def test_truncation_and_padding_do_not_apply(tmp_path):
  path = _unigram(tmp_path / 'tokenizer.json')
  data = json.loads(path.read_text())
  tokenizer = tokenizers.Tokenizer.from_str(json.dumps(data))
  tokenizer.enable_truncation(2)
  tokenizer.enable_padding(length=9)
  tokenizer.save(str(path))
  found = tokenizer_json.read(path)
  assert found.encode(['ab ab ab', 'ab']) == [[7, 7, 7], [7]]
  assert found.encode_special('ab ab ab') == [7, 7, 7]


def test_real_tokenizers_agree_with_their_library(unpack):
  texts = [
    'Hello world',
    ' two  spaces\n\n\ttab ',
    'naïve e\u0301 日本語 😀👨‍👩‍👧 ∀x',
    'def f(x):\n        return x ** 2\r\n',
    '|||IP_ADDRESS||| is a token that is not special',
    '',
  ]
  for name in ('olmo_gpt_neox_tokenizer.json', 'flan_t5_tokenizer.json'):
    path = unpack(name)
    found = tokenizer_json.read(path)
    library = tokenizers.Tokenizer.from_file(str(path))
    expected = library.encode_batch(texts, add_special_tokens=False)
    assert found.encode(texts) == [encoding.ids for encoding in expected]
    for text in (*texts, 'a</s> b<|endoftext|>c <extra_id_0>'):
      ids = library.encode(text, add_special_tokens=False).ids
      assert found.encode_special(text) == ids
      assert found.decode(ids) == library.decode(ids)
    specials = set(found.special_ids.values()) - {found.unk_id}
    spelt = [f'{token}a{token}' for token in found.special_ids]
    assert not specials & {i for ids in found.encode(spelt) for i in ids}


def test_gpt2_by_hand(shared_data, tmp_path):
  names = {'vocab.json': 'gpt2_encoder.json', 'merges.txt': 'gpt2_vocab.bpe'}
  for name, packed in names.items():
    content = (shared_data / 'tokenizers' / f'{packed}.xz').read_bytes()
    (tmp_path / name).write_bytes(lzma.decompress(content))
  tokenizer = tokenizers.ByteLevelBPETokenizer.from_file(
    str(tmp_path / 'vocab.json'), str(tmp_path / 'merges.txt')
  )
  tokenizer.add_special_tokens(['<|endoftext|>'])
  tokenizer.save(str(tmp_path / 'tokenizer.json'))
  found = tokenizer_json.read(tmp_path / 'tokenizer.json')
  # The ids that GPT-2's own repository gives.
  assert found.encode(['Hello world']) == [[15496, 995]]
  assert found.encode_special('<|endoftext|>') == [50256]
  assert found.decode([15496, 995, 50256]) == 'Hello world'


def test_odd_text_and_odd_ids(tokenizer_folder):
  found = tokenizer_json.read(tokenizer_folder / 'tokenizer.json')
  texts = ['a\0b', '\ud800x', 'pair \ud83d\ude00', 'x']
  ids = found.encode(texts)
  assert [found.decode(i) for i in ids] == ['a\0b', '\ufffdx', 'pair 😀', 'x']
  assert found.encode_special('\ud800x') == ids[1]
  assert found.decode([*ids[3], 498, 10**6, -1]) == 'x'
  assert found.encode([]) == []


def test_many_texts_go_in_by_chunks(tokenizer_folder, monkeypatch):
  found = tokenizer_json.read(tokenizer_folder / 'tokenizer.json')
  texts = [f'{i} ' * (i % 7) for i in range(40)]
  whole = found.encode(texts)
  for characters in (1, 10, 50):
    monkeypatch.setattr(tokenizer_json, '_CHUNK_CHARACTERS', characters)
    assert found.encode(texts) == whole
    chunks = list(tokenizer_json._chunks(texts))
    assert [text for chunk in chunks for text in chunk] == texts
    assert all(len(c) == 1 or sum(map(len, c)) <= characters for c in chunks)


def test_encoding_releases_the_gil(tokenizer_folder):
  found = tokenizer_json.read(tokenizer_folder / 'tokenizer.json')
  ticks, done = 0, threading.Event()

  def count():
    nonlocal ticks
    while not done.is_set():
      ticks += 1
      time.sleep(0.001)

  thread = threading.Thread(target=count)
  thread.start()
  try:
    found.encode(['some words ' * 20_000] * 4)
    seen = ticks
  finally:
    done.set()
    thread.join()
  assert seen > 5


def test_errors_name_the_file(tmp_path):
  with pytest.raises(UserError, match=r'nowhere\.json: cannot read'):
    tokenizer_json.read(tmp_path / 'nowhere.json')
  for content in (b'', b'{}', b'[1]', b'\xff'):
    (tmp_path / 'tokenizer.json').write_bytes(content)
    with pytest.raises(UserError, match=r'tokenizer\.json: not a tokenizer'):
      tokenizer_json.read(tmp_path / 'tokenizer.json')
