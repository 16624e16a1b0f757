"""The judge that ships with jaxcurate: does it do what its card says?"""

import pathlib

import jax
import numpy as np
import pytest

from jaxcurate.data import damage, machine_text, packing
from jaxcurate.data.vocabulary import load_vocabulary
from jaxcurate.evaluate.auc import roc_auc
from jaxcurate.models import load
from jaxcurate.scorers import answers, ask_llm
from jaxcurate.types import Document

FOLDER = pathlib.Path(load.__file__).parent / 'judge'
MAX_LENGTH = 256  # the question and some 190 tokens of text


@pytest.fixture(scope='module')
def judge():
  return load.load('judge')


@pytest.fixture(scope='module')
def vocabulary(judge):
  return load_vocabulary(judge.vocabulary)


def test_it_is_small_and_complete():
  names = {path.name for path in FOLDER.iterdir()}
  assert {'config.json', 'model.safetensors', 'spiece.model'} <= names
  assert sum(path.stat().st_size for path in FOLDER.iterdir()) <= 20_000_000


def test_its_card_names_sources_and_licences():
  card = (FOLDER / 'README.md').read_text(encoding='utf-8')
  for word in ('license: apache-2.0', 'CC BY-SA', 'AUC', 'evaluate_judge.py'):
    assert word in card


def test_the_answers_are_single_tokens(judge, vocabulary):
  assert len(vocabulary.encode_batch(['yes'])[0]) == 1
  assert len(vocabulary.encode_batch(['no'])[0]) == 1
  yes, no = vocabulary.encode_batch(['yes', 'no'])
  # In the prompt's list of options they are the same tokens.
  assert vocabulary.encode_batch(['- yes\n- no'])[0][1::2] == [*yes, *no]
  assert vocabulary.size == judge.config.vocab_size == 8_192


def test_the_question_is_short(vocabulary):
  before, after = answers.frame_tokens(ask_llm.TEMPLATE, vocabulary)
  assert len(before) + len(after) < 70


def test_it_separates_held_out_sound_from_damaged_text(judge, vocabulary):
  # Modules of the standard library that neither judge nor demo ever saw.
  documents = machine_text.gather(max_per_package=40, packages=False)
  documents = [d for d in documents if d.split == 'held_out'][:120]
  assert len(documents) >= 80
  labelled = damage.with_damage(documents, 0.5, seed=1)
  sound = np.array([d.label == damage.SOUND for d in labelled])
  features = ask_llm.make(
    network=judge.network, vocabulary=vocabulary, max_length=MAX_LENGTH
  ).features
  examples = features.examples(
    [Document(d.id, d.text, d.domain) for d in labelled],
    vocabulary.encode_batch([d.text for d in labelled]),
  )
  batch, _, _ = packing.pack(
    [example for [example] in examples],
    encoder_length=MAX_LENGTH,
    decoder_length=1,
    max_segments=1,
  )
  apply = jax.jit(features.apply, static_argnums=2)
  log_yes = np.asarray(apply(judge.params, batch, 1)['log_yes']).reshape(-1)
  assert np.all(np.isfinite(log_yes)) and np.all(log_yes <= 0)
  assert roc_auc(log_yes, sound).auc >= 0.9
  # It answers: yes and no hold nearly all of the probability.
  assert np.median(log_yes[sound]) > np.log(0.5)
