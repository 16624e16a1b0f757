"""Conversations as rows: prompts are read, answers are learnt."""

import json
from typing import Any

import numpy as np
import pytest

from jaxcurate.data import (
  evaluation,
  readers,
  row_shape,
  spoken_rows,
  token_cache,
  training,
)
from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.data.vocabulary_decoder import DecoderVocabulary
from jaxcurate.io.errors import UserError
from jaxcurate.models import decoder, t5
from jaxcurate.types import Document

VOCABULARY = ByteVocabulary()
CAUSAL = row_shape.causal_settings(length=16, max_segments=3)
ENCODED = row_shape.spoken_settings(
  encoder_length=8, decoder_length=5, max_segments=3
)


def ids(text):
  return [byte + 3 for byte in text.encode()]


def of(name, *contents, domain=None):
  roles = ('user', 'assistant')
  turns = tuple((roles[i % 2], text) for i, text in enumerate(contents))
  return Document(name, '\n\n'.join(contents), domain, turns=turns)


def build(
  folder, rows, *, causal=True, vocabulary: Any = VOCABULARY, **options
):
  options = {'holdout_share': 0.0, **options}
  return token_cache.build(
    folder / 'cache',
    rows,
    vocabulary,
    settings={},
    spell=spoken_rows.make_spell(vocabulary, causal=causal),
    **options,
  )


def batches(part, settings=CAUSAL, **options):
  options = {'rows_per_batch': 2, 'seed': 0, 'prefetch': 0, **options}
  return training.TrainingBatches(part, VOCABULARY, settings, **options)


def segments_of(batch, side='decoder'):
  """(row, segment) -> slice of its row."""
  found = {}
  for row, own in enumerate(batch[f'{side}_segment_ids']):
    for segment in range(1, own.max() + 1):
      found[row, segment] = (row, own == segment)
  return found


def test_a_decoder_learns_every_answer(tmp_path):
  rows = [of('a', 'ab', 'c', 'd', 'ef', 'unanswered')]
  part = build(tmp_path, rows).train
  batch = next(batches(part, rows_per_batch=1))
  whole = [*ids('ab\nc'), 1, *ids('\nd\nef'), 1]
  size = len(whole) - 1
  inputs, targets = (
    batch[f'decoder_{side}_tokens'][0] for side in ('input', 'target')
  )
  assert inputs[:size].tolist() == whole[:-1]
  assert targets[:size].tolist() == whole[1:]
  counted = batch['decoder_loss_weights'][0] > 0
  assert targets[counted].tolist() == [*ids('c'), 1, *ids('ef'), 1]
  assert (batch['decoder_segment_ids'][0] > 0).sum() == size


def test_an_encoder_decoder_learns_the_last_answer(tmp_path):
  part = build(tmp_path, [of('a', 'ab', 'c', 'd', 'ef')], causal=False).train
  batch = next(batches(part, ENCODED, rows_per_batch=1))
  assert batch['encoder_input_tokens'][0].tolist() == [
    *ids('ab\nc\nd'), 1, 0
  ]  # fmt: skip
  assert batch['decoder_input_tokens'][0].tolist() == [0, *ids('ef'), 0, 0]
  assert batch['decoder_target_tokens'][0].tolist() == [*ids('ef'), 1, 0, 0]
  assert batch['decoder_loss_weights'][0].tolist() == [1, 1, 1, 0, 0]


def test_what_does_not_fit_is_cut_at_its_end(tmp_path):
  rows = [of('a', 'a long question', 'a long answer')]
  part = build(tmp_path, rows, causal=False).train
  batch = next(batches(part, ENCODED, rows_per_batch=1))
  assert batch['encoder_input_tokens'][0].tolist() == [*ids('a long '), 1]
  assert batch['decoder_target_tokens'][0].tolist() == ids('a lon')
  part = build(tmp_path / 'causal', rows).train
  settings = row_shape.causal_settings(length=18, max_segments=1)
  batch = next(batches(part, settings, rows_per_batch=1))
  assert batch['decoder_target_tokens'][0].tolist() == ids(
    ' long question\na l'
  )
  assert batch['decoder_loss_weights'][0].sum() == 3


def test_packed_and_padded_rows_hold_the_same_examples(tmp_path):
  rows = [
    of(f'id{i}', 'q' * (1 + i % 5), chr(97 + i) * (1 + i % 3))
    for i in range(20)
  ]
  part = build(tmp_path, rows).train
  found = []
  for segments in (1, 3):
    settings = row_shape.causal_settings(length=16, max_segments=segments)
    stream = batches(
      part, settings, columns={'score': np.arange(20, dtype=np.float32)}
    )
    seen = {}
    for batch in (next(stream) for _ in range(stream.rows_per_epoch() // 2)):
      for (row, segment), own in segments_of(batch).items():
        code = tuple(batch['document_id_hash'][row, segment - 1])
        seen[code] = (
          batch['decoder_target_tokens'][own].tolist(),
          batch['decoder_loss_weights'][own].tolist(),
          float(batch['document_score'][row, segment - 1]),
        )
    found.append(seen)
  assert found[0] == found[1] and len(found[0]) == 20


def test_a_run_goes_on_where_it_was(tmp_path):
  part = build(tmp_path, [of(f'{i}', 'q', 'a' * (i + 1)) for i in range(9)])
  stream = batches(part.train)
  for _ in range(3):
    next(stream)
  state = json.loads(json.dumps(stream.state()))
  other = batches(part.train)
  other.restore(state)
  for _ in range(4):
    one, two = next(stream), next(other)
    for name in one:
      np.testing.assert_array_equal(one[name], two[name], err_msg=name)


def test_an_answer_out_of_reach_is_no_example(tmp_path):
  rows = [of('far', 'q' * 40, 'a'), of('near', 'q', 'a')]
  part = build(tmp_path, rows).train
  assert spoken_rows.unreached_share(part, CAUSAL) == 0.5
  stream = batches(part, rows_per_batch=1)
  assert stream.rows_per_epoch() == 1
  for _ in range(3):
    assert next(stream)['decoder_loss_weights'].sum() == 2  # a, EOS
  part = build(tmp_path / 'far', rows[:1]).train
  with pytest.raises(UserError, match='begins within 16 tokens; raise'):
    next(batches(part))


def test_who_gets_no_answer_is_counted(tmp_path):
  rows = [
    of('a', 'ab', 'c'), of('b', 'ab'), Document('c', 'plain', None),
  ]  # fmt: skip
  for causal in (True, False):
    cache = build(tmp_path / str(causal), rows, causal=causal)
    assert cache.skipped['no answer'] == 2
    assert len(cache.train.id_hash) == 1
  with pytest.raises(UserError, match=r'left to train on \(2 no answer\)'):
    build(tmp_path / 'none', rows[1:])


def test_held_out_answers_count_alone(tmp_path):
  rows = [of(f'{i}', 'question', 'abc'[: 1 + i % 3]) for i in range(6)]
  cache = build(tmp_path, [of('t', 'q', 'a')], eval_rows=rows)
  found = list(
    evaluation.eval_batches(cache.eval, VOCABULARY, CAUSAL, rows_per_batch=4)
  )
  counted = sum(batch.batch['decoder_loss_weights'].sum() for batch in found)
  assert counted == sum(1 + i % 3 + 1 for i in range(6))


def test_shapes_follow_from_the_network():
  causal = decoder.make_network(decoder.DecoderConfig())
  encoded = t5.make_network(t5.T5Config())

  def make(network, spoken=True, length=8, decoder_length=None):
    return row_shape.settings_for(
      network,
      length=length,
      max_segments=3,
      spoken=spoken,
      decoder_length=decoder_length,
    )

  assert make(encoded, decoder_length=5) == ENCODED
  assert make(encoded).decoder_length == 8
  assert make(causal, length=16) == CAUSAL
  with pytest.raises(UserError, match='decoder_length is 5, which is for'):
    make(causal, decoder_length=5)
  with pytest.raises(UserError, match='decoder_length is 5, which is for'):
    make(encoded, spoken=False, decoder_length=5)
  with pytest.raises(ValueError, match='1 and 5 tokens, expected at least 2'):
    make(encoded, length=1, decoder_length=5)


def test_conversations_cross_no_window(tmp_path):
  part = build(tmp_path, [of('a', 'ab', 'c')]).train
  with pytest.raises(UserError, match='conversations need windowing="doc'):
    batches(part, windowing='concat')


def test_a_template_frames_what_is_said(tokenizer_folder, tmp_path):
  vocabulary = DecoderVocabulary(tokenizer_folder / 'tokenizer.json')
  part = build(tmp_path, [of('a', 'Hi', 'Ho')], vocabulary=vocabulary).train
  said = spoken_rows.document_spoken(part, 0) > 0
  start = '<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n'
  assert part.tokens[~said].tolist() == vocabulary.encode_special(start)
  assert part.tokens[said][-2:].tolist() == vocabulary.encode_special(
    '<|im_end|>\n'
  )


def test_what_the_template_refuses_is_named_or_left_out(tmp_path):
  class Refusing(ByteVocabulary):
    bos_token = eos_token = None
    chat_template = 'x'

    def encode_special(self, text):
      raise NotImplementedError

    def encode_chat(self, turns, *, add_generation_prompt=True):
      raise ValueError('the chat template fails')

    def encode_chat_frame(self, user_text):
      raise NotImplementedError

  with pytest.raises(UserError, match=r"'a': the chat template.*on_bad_row"):
    build(tmp_path, [of('a', 'b', 'c')], vocabulary=Refusing())
  spell = spoken_rows.make_spell(Refusing(), causal=True, skip_refused=True)
  assert spell((('assistant', 'x'),)) == ([], [])


@pytest.mark.parametrize(
  'row, answer',
  [
    ({'instruction': 'Add.', 'input': '1 + 1', 'output': '2'}, '2'),  # Alpaca
    ({'instruction': 'Say', 'context': '', 'response': 'so'}, 'so'),  # Dolly
    ({'question': 'Why?', 'answer': 'no', 'rationale': 'As.'}, 'As.\n\nno'),
    (
      {'prompt': {'role': 'prompter', 'text': 'Hi', 'replies': [
        {'role': 'assistant', 'text': 'bad', 'rank': 1},
        {'role': 'assistant', 'text': 'good', 'rank': 0}]}},
      'good',
    ),
  ],
)  # fmt: skip
def test_layouts_of_instructions(row, answer, tmp_path):
  path = tmp_path / 'rows.jsonl'
  path.write_text(json.dumps(row) + '\n')
  corpus = readers.open_corpus([str(path)], turns=True)
  part = build(tmp_path, corpus.rows(), causal=False).train
  said = spoken_rows.document_spoken(part, 0) > 0
  assert VOCABULARY.decode(part.tokens[said].tolist()) == answer
