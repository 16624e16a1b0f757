"""What cannot be learnt is said in one line, and nothing is left behind."""

import json

import pytest

from jaxcurate.models import heads

GOOD = [{'id': f'doc{i}', 'label': i % 2} for i in range(30)]
PAIR = {'id_a': 'doc0', 'id_b': 'doc1', 'probability': 1}
SHORT = '--gin.train_judge.run.max_length=16'


@pytest.fixture
def train(run, tiny_model, corpus, tmp_path):
  """train(rows, flags...) -> Result of learning from these judgements."""

  def call(rows, *flags, flag='--targets'):
    path = tmp_path / 'labels.jsonl'
    path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    return run(
      'train', f'--model={tiny_model}', f'--input={corpus}',
      f'{flag}={path}', f'--output={tmp_path / "out"}', SHORT, *flags,
    )  # fmt: skip

  return call


@pytest.mark.parametrize(
  'rows, words',
  [
    ([], ['labels.jsonl: has no judgements']),
    ([{**row, 'id': f'page{i}'} for i, row in enumerate(GOOD)],
     ["none of its 30 ids is in the corpus", "'page", "'doc29'", '--id_field']),
    ([{**row, 'label': 1} for row in GOOD], ["'label' are 1, so there is"]),
    ([{**row, 'label': None} for row in GOOD], ["0 judgement(s) of 'label'"]),
    ([{**row, 'label': None} for row in GOOD[2:]] + GOOD[:1],
     ["1 judgement(s) of 'label', expected at least 2"]),
    ([*GOOD, GOOD[3]], ["labels.jsonl:30: id 'doc3' is also", ':3']),
    ([*GOOD, {'id': 'x', 'label': 'good'}], [":30: 'label' is 'good'"]),
    ([*GOOD, {'id': 'x'}], [":30: no column 'label'; it has id"]),
  ],
)  # fmt: skip
def test_bad_labels(train, fails_clearly, rows, words):
  assert fails_clearly(train(rows), *words)


@pytest.mark.parametrize(
  'flags, words',
  [
    (['--by=grade'], ["no column 'grade'", 'it has id, label']),
    (['--pairs=x.jsonl'], ['either --targets or --pairs']),
    (['--weighting=adapt', '--anchors=x'], ['--weighting, --anchors: not']),
    (['--gin.train_judge.run.loss="hinge"'], ["'hinge'", 'binary']),
    (['--gin.train_judge.run.loss="bradley_terry"'], ['needs --pairs']),
    (['--model=models/tiny.gin'], ['give --steps']),
    (['--gin_file=methods/ask_llm.gin',
      '--gin.train_judge.run.answer=@ask_llm.make'], ['give --steps']),
    (['--gin.train_judge.run.pooling="last"'], ["'last'", "'mean'"]),
    (['--gin.train_judge.run.max_length=1'], ['no room for text']),
    (['--gin.train_judge.run.penalties=()'], ['penalties are ()']),
  ],
)  # fmt: skip
def test_bad_settings(train, fails_clearly, flags, words):
  assert fails_clearly(train(GOOD, *flags), *words)


def test_labels_outside_0_and_1_are_not_probabilities(train, fails_clearly):
  rows = [{**row, 'label': 1 + row['label']} for row in GOOD]
  result = train(rows, '--gin.train_judge.run.loss="binary"')
  assert fails_clearly(result, 'labels.jsonl: label: 2 is not in [0, 1]')


def test_columns_that_one_answer_cannot_learn(train, fails_clearly):
  rows = [{**row, 'other': 1 - row['label']} for row in GOOD]
  flags = ('--gin_file=methods/ask_llm.gin', '--steps=1', '--by=label,other')
  result = train(rows, *flags, '--gin.train_judge.run.answer=@ask_llm.make')
  assert fails_clearly(result, 'cannot learn 2 columns')


def test_all_judged_texts_are_held_out(train, fails_clearly):
  result = train(GOOD, '--gin.train_judge.run.holdout_share=0.99999')
  assert fails_clearly(result, 'no document is left to train on', '30 held out')


@pytest.mark.parametrize(
  'row, words',
  [
    ({'id_a': 'doc0'}, ["has no 'id_b'"]),
    ({**PAIR, 'id_b': 'doc0'}, ["compares id 'doc0' with itself"]),
    ({**PAIR, 'probability': 7}, ['7 is not in [0, 1]']),
  ],
)
def test_bad_pairs(train, fails_clearly, row, words):
  assert fails_clearly(train([PAIR, row], flag='--pairs'), ':1', *words)


def test_steps_that_leave_the_finite_numbers(train, fails_clearly, tmp_path):
  result = train(
    GOOD, '--steps=30', '--gin.train_judge.run.judgements_per_batch=4',
    '--gin.optimizers.make_optimizer.warmup_steps=0',
    '--gin.optimizers.make_optimizer.learning_rate=1e30',
  )  # fmt: skip
  assert fails_clearly(
    result, 'step ', 'infinite or NaN', 'lower the learning rate'
  )
  assert not (tmp_path / 'out' / 'model').exists()


def test_by_names_a_column_of_judgements(run, fails_clearly, tmp_path):
  result = run('train', '--by=label', f'--output={tmp_path / "out"}')
  assert fails_clearly(
    result, '--by names a column of --scores, --targets or --pairs'
  )


def test_a_model_without_a_head(
  run, tiny_model, corpus, fails_clearly, tmp_path
):
  result = run(
    'score', '--method=rater', f'--model={tiny_model}', f'--input={corpus}',
    f'--output={tmp_path / "out"}',
  )  # fmt: skip
  assert fails_clearly(result, f'has no {heads.NAME}', 'jaxcurate train')
