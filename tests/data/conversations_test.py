import json
import lzma
import tarfile

import pytest

from jaxcurate.data.cells import Bad
from jaxcurate.data.conversations import text_of, to_turns
from jaxcurate.data.readers import open_corpus

ASKED = (('user', 'Add.\n\n2 and 3'), ('assistant', '5'))
CHAT = (('system', 'Be brief.'), ('user', 'Hi'), ('assistant', 'Ho'))


def _messages(role, content, names=('system', 'user', 'assistant')):
  turns = zip(names, ('Be brief.', 'Hi', 'Ho'), strict=True)
  return [{role: name, content: text} for name, text in turns]


@pytest.mark.parametrize(
  ('raw', 'turns'),
  [
    ({'instruction': 'Add.', 'input': '2 and 3', 'output': '5'}, ASKED),
    ({'instruction': 'Add.', 'context': '2 and 3', 'response': '5'}, ASKED),
    ({'instruction': 'Add.\n\n2 and 3', 'input': '', 'output': '5'}, ASKED),
    (
      {
        'instruction': 'Add.',
        'instances': [{'input': '2 and 3', 'output': '5'}],
      },
      ASKED,
    ),
    ({'prompt': 'Add.\n\n2 and 3', 'completion': '5'}, ASKED),
    ({'prompt': 'Add.\n\n2 and 3', 'response': 5}, ASKED),
    ({'question': b'Add.\n\n2 and 3', 'answer': b'5'}, ASKED),
    (
      {'question': 'q', 'answer': '(C)', 'rationale': 'Because.'},
      (('user', 'q'), ('assistant', 'Because.\n\n(C)')),
    ),
    ({'messages': _messages('role', 'content')}, CHAT),
    (
      {
        'conversations': _messages('from', 'value', ('system', 'human', 'gpt')),
        'id': 'x',
      },
      CHAT,
    ),
    (
      {
        'conversation': _messages('role', 'content')[1:],
        'system': 'Be brief.',
      },
      CHAT,
    ),
    (
      {'system_prompt': 'Be brief.', 'question': 'Hi', 'response': 'Ho'},
      CHAT,
    ),
  ],
)
def test_layouts_by_hand(raw, turns):
  assert to_turns(raw) == turns


def test_text_is_what_all_say():
  assert text_of(CHAT) == 'Be brief.\n\nHi\n\nHo'


def test_content_in_parts():
  parts = [{'type': 'text', 'text': 'H'}, {'type': 'text', 'text': 'i'}]
  found = to_turns({'messages': [{'role': 'user', 'content': parts}]})
  assert found == (('user', 'Hi'),)
  image = [{'type': 'image_url', 'image_url': 'x'}]
  found = to_turns({'messages': [{'role': 'user', 'content': image}]})
  assert found == Bad('broken turn', 'turn 0 (user): text not a string')


def _message(text, role, *replies, **more):
  return {'text': text, 'role': role, 'replies': list(replies), **more}


def test_the_thread_of_best_replies():
  tree = _message(
    'Q',
    'prompter',
    _message('unranked', 'assistant', rank=None),
    _message('worse', 'assistant', rank=1),
    _message(
      'best',
      'assistant',
      _message('gone', 'prompter', deleted=True, rank=0),
      _message('first', 'prompter', rank=None),
      _message('second', 'prompter', rank=None),
      rank=0,
    ),
  )
  turns = (('user', 'Q'), ('assistant', 'best'), ('user', 'first'))
  assert to_turns(tree) == turns
  assert to_turns({'prompt': tree, 'message_tree_id': 'x'}) == turns


def test_replies_alone_are_no_conversation():
  reply = _message('A', 'assistant', parent_id='x', message_id='y')
  assert to_turns(reply).reason == 'broken conversation'
  alone = {'message_id': 'x', 'parent_id': None, 'text': 'Q', 'role': 'user'}
  assert to_turns(alone) == (('user', 'Q'),)


def test_columns_that_agree_and_that_do_not():
  both = {'instruction': 'Hi', 'output': 'Ho', 'response': 'Ho'}
  assert to_turns(both) == (('user', 'Hi'), ('assistant', 'Ho'))
  found = to_turns(both | {'response': 'Hm'})
  assert found == Bad(
    'ambiguous conversation', "'output' and 'response' differ"
  )
  pairs = [{'role': 'user', 'content': 'Hi'}]
  pairs.append({'role': 'assistant', 'content': 'Ho'})
  assert to_turns(both | {'messages': pairs}) == to_turns(both)
  found = to_turns(both | {'messages': pairs[:1]})
  assert found.reason == 'ambiguous conversation'
  assert "'messages' and 'instruction'" in found.detail
  # UltraChat keeps its first message in a column of its own.
  assert to_turns({'prompt': 'Hi', 'messages': pairs}) == to_turns(both)
  nulls = dict.fromkeys(('prompt', 'completion', 'conversations', 'question'))
  assert to_turns(both | nulls) == to_turns(both)


@pytest.mark.parametrize(
  'raw',
  [
    {},
    {'text': 'plain'},
    {'text': 'by an engineer', 'role': 'engineer'},
    {'prompt': 'no answer'},
    {'prompt': 'no answer', 'completion': None},
    {'output': 'no question'},
    {'instances': ['of something else']},
  ],
)
def test_rows_of_no_layout(raw):
  assert to_turns(raw) is None


@pytest.mark.parametrize(
  ('raw', 'reason', 'detail'),
  [
    ({'messages': []}, 'broken conversation', 'no list of turns'),
    ({'messages': 'Hi'}, 'broken conversation', 'no list of turns'),
    ({'messages': ['Hi']}, 'broken conversation', 'turn 0 is no object'),
    ({'messages': [{}]}, 'unknown role', 'turn 0 is of None; known: assist'),
    (
      {'messages': [{'role': 'tool', 'content': 'x'}]},
      'unknown role',
      "turn 0 is of 'tool'",
    ),
    ({'messages': [{'role': ['user'], 'content': 'x'}]}, 'unknown role', ''),
    (
      {'messages': [{'role': 'user', 'content': None}]},
      'empty turn',
      'turn 0 (user) says nothing',
    ),
    (
      {'prompt': 'Hi', 'completion': ' \n'},
      'empty turn',
      'turn 1 (assistant) says nothing',
    ),
    (
      {'prompt': 'Hi', 'completion': 'a\0'},
      'broken turn',
      'turn 1 (assistant): NUL byte',
    ),
    ({'instruction': 'a\ud800', 'output': 'x'}, 'broken turn', 'unicode'),
    ({'prompt': b'\xff', 'completion': 'x'}, 'broken turn', 'UTF-8'),
    ({'prompt': 'Hi', 'completion': {'a': 1}}, 'broken turn', 'not a string'),
    (
      {'instruction': 'x', 'instances': [{}, {}]},
      'ambiguous conversation',
      'no list of one object',
    ),
    ({'instruction': 'x', 'instances': [3]}, 'ambiguous conversation', 'one'),
  ],
)
def test_broken_rows(raw, reason, detail):
  found = to_turns(raw)
  assert isinstance(found, Bad)
  assert found.reason == reason
  assert detail in found.detail


# Rows as the files' own README counts them, and those with an empty turn.
REAL = {
  'alpaca_alpagasus_helpfulness_t45.json.xz': (2022, 1),
  'code_alpaca_2k.json.xz': (2017, 2),
  'new_codealpaca.json.xz': (4535, 0),
  'dolly_hhrlhf_train_small.jsonl.xz': (1000, 0),
  'oasst_en_100_message.jsonl.xz': (100, 0),
  'oasst_en_100_tree.jsonl.xz': (100, 0),
  'self_instruct_seed_tasks.jsonl': (175, 0),
}


@pytest.mark.parametrize('name', REAL)
def test_real_instructions(shared_data, name):
  path = str(shared_data / 'instruction' / name)
  corpus = open_corpus([path], turns=True, on_bad_row='skip')
  (block,) = corpus.blocks(block_rows=10**6)
  rows, empty = REAL[name]
  assert len(block.rows) == rows - empty
  assert block.skipped == ({'empty turn': empty} if empty else {})
  for document in block.rows:
    assert [role for role, _ in document.turns[:2]] == ['user', 'assistant']
    assert document.text == text_of(document.turns)


def test_both_oasst_layouts_are_the_same_conversations(shared_data):
  found = [
    [
      document.turns
      for document in open_corpus(
        [str(shared_data / 'instruction' / f'oasst_en_100_{kind}.jsonl.xz')],
        turns=True,
      ).rows()
    ]
    for kind in ('message', 'tree')
  ]
  assert found[0] == found[1]
  assert max(map(len, found[0])) >= 4


def test_real_chains_of_thought(shared_data, tmp_path):
  packed = shared_data / 'instruction' / 'flan_v2_cot.tar.xz'
  with tarfile.open(packed) as archive:
    for name in ('qasc_train.tsv', 'strategyqa_train.tsv'):
      archive.extract(name, tmp_path, filter='data')
      documents = list(open_corpus([str(tmp_path / name)], turns=True).rows())
      assert len(documents) == len((tmp_path / name).read_bytes().splitlines())
      assert all(len(document.turns) == 2 for document in documents)
  assert documents[0].turns[1][1].endswith('Genghis Khan.\n\nyes')


def test_real_rows_survive_json(shared_data, tmp_path):
  source = shared_data / 'instruction' / 'alpaca_en_demo.json.xz'
  rows = json.loads(lzma.decompress(source.read_bytes()))
  path = tmp_path / 'lines.jsonl'
  path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
  as_lines = [d[1:] for d in open_corpus([str(path)], turns=True).rows()]
  as_array = [d[1:] for d in open_corpus([str(source)], turns=True).rows()]
  assert as_lines == as_array
