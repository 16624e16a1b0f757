import lzma
import shutil
import struct
import threading
import time

import numpy as np
import pytest

from jaxcurate.data import vocabulary as vocabulary_lib
from jaxcurate.io.errors import UserError


@pytest.fixture(scope='module')
def t5(shared_data):
  return vocabulary_lib.load_vocabulary(
    shared_data / 'tokenizers' / 't5_spiece.model'
  )


def test_t5_layout(t5):
  assert (t5.size, t5.eos_id, t5.unk_id) == (32_100, 1, 2)
  assert t5.sentinel_id(0) == 32_099
  assert t5.sentinel_id(99) == 32_000
  with pytest.raises(ValueError, match=r'sentinel 100 .* has 100'):
    t5.sentinel_id(100)


def test_t5_ids_by_hand(t5):
  # The example of the T5 paper's repository, tokenized by seqio.
  (ids,) = t5.encode_batch(['That is good.'])
  assert ids == [466, 19, 207, 5]
  assert t5.decode([*ids, 1, 0, 0]) == 'That is good.'
  assert t5.encode_batch([]) == []


def test_text_never_becomes_a_special_id(t5):
  texts = ['</s>', '<pad>', '<extra_id_0>', '<unk>', '\0', '', ' \n\t ']
  for ids in t5.encode_batch(texts):
    assert not {0, 1} & set(ids)
    assert all(i < 32_000 for i in ids)
  assert t5.encode_batch(['', ' \n\t ']) == [[], []]


def test_decode_shows_sentinels_and_unknown_ids(t5):
  thank = t5.encode_batch(['Thank'])[0]
  assert t5.decode([*thank, 32_099]) == 'Thank <extra_id_0>'
  assert '⁇' in t5.decode([32_127])  # the embedding is padded to 32,128


def test_odd_text(t5):
  texts = ['a\0b', 'x 😀 y', '\ud800x', 'pair \ud83d\ude00', 'b\u0301']
  encoded = t5.encode_batch(texts)
  assert all(len(ids) >= 2 for ids in encoded)
  joined, emoji = t5.encode_batch(['pair \ud83d\ude00', 'pair 😀'])
  assert joined == emoji
  # One bad text does not change its neighbours.
  assert encoded[1] == t5.encode_batch(['x 😀 y'])[0]


def test_real_c4_documents_round_trip(t5, shared_data):
  path = shared_data / 'checkpoints' / 'airio_c4_t5vocab_500.tfrecord'
  documents = _int_features(path, 'targets')
  assert len(documents) == 500
  texts = [t5.decode(ids) for ids in documents]
  again = t5.encode_batch(texts)
  exact = 0
  for ids, round_trip in zip(documents, again, strict=True):
    # An unknown character decodes to ' ⁇ ', which NFKC turns into ' ?? '.
    exact += ids == round_trip
    words = t5.decode(ids).replace('⁇', '??').split()
    assert t5.decode(round_trip).replace('⁇', '??').split() == words
  clean = [ids for ids in documents if 2 not in ids]
  print(f'exact: {exact} of 500, {len(clean)} without unknown characters')
  assert exact >= 0.95 * len(clean)


def test_long_text_is_linear_and_equal_to_its_parts(t5):
  part = 'The quick brown fox is 1,234 years old. ' * 10_000
  whole = t5.encode_batch([part * 25])[0]  # 10 million characters
  assert whole == t5.encode_batch([part])[0] * 25


def test_encoding_releases_the_gil(t5):
  ticks = 0
  done = threading.Event()

  def count():
    nonlocal ticks
    while not done.is_set():
      ticks += 1
      time.sleep(0.001)

  thread = threading.Thread(target=count)
  thread.start()
  try:
    t5.encode_batch(['some words ' * 50_000] * 4)
    seen = ticks
  finally:
    done.set()
    thread.join()
  assert seen > 5


def test_bytes_by_hand():
  vocabulary = vocabulary_lib.ByteVocabulary(extra_ids=100)
  assert vocabulary.encode_batch(['a€', '']) == [[100, 229, 133, 175], []]
  assert vocabulary.decode([100, 229, 133, 175, 1, 0, 358]) == 'a€'
  assert vocabulary.size == 359
  assert vocabulary.sentinel_id(0) == 358
  assert vocabulary.sentinel_id(99) == 259
  assert vocabulary.decode([3 + 0xE2]) == '\ufffd'


def test_published_byt5_takes_its_sentinels_from_the_last_bytes():
  vocabulary = vocabulary_lib.load_vocabulary('bytes')
  assert vocabulary.size == 259
  assert [vocabulary.sentinel_id(i) for i in (0, 1)] == [258, 257]
  with pytest.raises(ValueError, match='sentinel 100'):
    vocabulary.sentinel_id(100)


def test_every_text_of_bytes_round_trips():
  vocabulary = vocabulary_lib.ByteVocabulary()
  rng = np.random.default_rng(0)
  points = rng.integers(0, 0xD800, 1000)
  text = ''.join(map(chr, points)) + '😀\0'
  assert vocabulary.decode(vocabulary.encode_batch([text])[0]) == text
  assert vocabulary.encode_batch(['\udc80']) == [[242, 194, 192]]  # U+FFFD


def test_names_tell_vocabularies_apart(t5, shared_data):
  path = shared_data / 'tokenizers' / 'seqio_test_sentencepiece.model'
  names = {
    t5.name,
    vocabulary_lib.load_vocabulary(path).name,
    vocabulary_lib.SentencePieceVocabulary(path, extra_ids=7).name,
    vocabulary_lib.ByteVocabulary(0).name,
    vocabulary_lib.ByteVocabulary(100).name,
  }
  assert len(names) == 5


def test_errors_name_the_file_and_the_way_out(tmp_path, shared_data):
  with pytest.raises(UserError, match=r'nowhere\.model: cannot read .*bytes'):
    vocabulary_lib.load_vocabulary(tmp_path / 'nowhere.model')
  for name, content in (('broken', b'not a model'), ('empty', b'')):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=f'{name}: not a SentencePiece'):
      vocabulary_lib.load_vocabulary(tmp_path / name)
  with pytest.raises(UserError, match='pad id is -1'):
    vocabulary_lib.SentencePieceVocabulary(
      shared_data / 'tokenizers' / 'llama2_tokenizer.model'
    )


def test_a_decoders_files_are_known_by_what_they_are(
  tokenizer_folder, small_vocabulary, shared_data, tmp_path
):
  load = vocabulary_lib.load_vocabulary
  json_file = tokenizer_folder / 'tokenizer.json'
  assert load(json_file).name == load(str(tokenizer_folder)).name
  llama = shared_data / 'tokenizers' / 'llama2_tokenizer.model'
  assert load(llama).bos_id == 1
  shutil.copy(llama, tmp_path / 'tokenizer.model')
  assert load(tmp_path).encode_batch(['Hello']) == [[15043]]
  shutil.copy(json_file, tmp_path)
  assert load(tmp_path).size < 1000  # tokenizer.json comes first
  shutil.copy(small_vocabulary, tmp_path / 'spiece.model')
  assert load(tmp_path).name == load(small_vocabulary).name
  (tmp_path / 'empty').mkdir()
  with pytest.raises(UserError, match=r'empty: has no vocabulary; expected'):
    load(tmp_path / 'empty')


def test_sentinels_of_a_t5_tokenizer_json(shared_data, tmp_path, t5):
  packed = shared_data / 'tokenizers' / 'flan_t5_tokenizer.json.xz'
  path = tmp_path / 'tokenizer.json'
  path.write_bytes(lzma.decompress(packed.read_bytes()))
  found = vocabulary_lib.load_vocabulary(path)
  assert (found.size, found.bos_id, found.eos_id) == (32_100, None, 1)
  assert [found.sentinel_id(i) for i in (0, 99)] == [32_099, 32_000]
  text = 'Thank you for inviting me to your party last week.'
  assert found.encode_batch([text]) == t5.encode_batch([text])


def test_where_a_vocabulary_is(tmp_path):
  assert vocabulary_lib.find('bytes') == 'bytes'
  with pytest.raises(UserError, match='has no vocabulary; expected one of'):
    vocabulary_lib.find(tmp_path)
  for name in ('tokenizer.model', 'tokenizer.json', 'spiece.model'):
    (tmp_path / name).touch()
    assert vocabulary_lib.find(tmp_path) == str(tmp_path / name)
    assert vocabulary_lib.find(tmp_path / name) == str(tmp_path / name)


def test_a_tokenizer_that_does_not_fit_the_model(t5):
  vocabulary_lib.check_fits(t5, 32_100)
  vocabulary_lib.check_fits(t5, 32_128)
  with pytest.raises(
    UserError, match=r'largest id is 32,099, the model has ids up to 31,999;'
  ):
    vocabulary_lib.check_fits(t5, 32_000)


def _int_features(path, name):
  """One int64 feature of each record of a TFRecord file, sans tensorflow."""
  data = path.read_bytes()
  at, rows = 0, []
  while at < len(data):
    (size,) = struct.unpack_from('<Q', data, at)
    record = data[at + 12 : at + 12 + size]
    at += 12 + size + 4  # length, its checksum, record, its checksum
    features = _field(record, 1)[0]
    for entry in _field(features, 1):
      if _field(entry, 1)[0] == name.encode():
        packed = _field(_field(_field(entry, 2)[0], 3)[0], 1)[0]
        rows.append(_varints(packed))
  return rows


def _field(message, number):
  """Payloads of one length-delimited field."""
  at, payloads = 0, []
  while at < len(message):
    tag, at = _varint(message, at)
    size, at = _varint(message, at)
    if tag == number << 3 | 2:
      payloads.append(message[at : at + size])
    at += size
  return payloads


def _varint(data, at):
  value, shift = 0, 0
  while True:
    byte = data[at]
    value |= (byte & 127) << shift
    at, shift = at + 1, shift + 7
    if byte < 128:
      return value, at


def _varints(data):
  at, values = 0, []
  while at < len(data):
    value, at = _varint(data, at)
    values.append(value)
  return values
