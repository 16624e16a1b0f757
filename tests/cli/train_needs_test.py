"""What a weighting needs is asked for, and nothing is taken for nothing."""

import jax
import numpy as np
import pytest

from jaxcurate.cli import train_needs
from jaxcurate.data import row_shape, token_cache, training
from jaxcurate.data import vocabulary as vocabularies
from jaxcurate.io import manifest as manifests
from jaxcurate.io import tables
from jaxcurate.io.errors import UserError
from jaxcurate.models import load
from jaxcurate.models import mesh as mesh_lib
from jaxcurate.types import Document, Weighting

IDS = [f'id{i}' for i in range(40)]


def weighting(*needs, refresh=None):
  return Weighting(
    init=lambda shapes: (),
    update=lambda signals, state: (signals.mask_E, state, {}),
    refresh=refresh,
    needs=frozenset(needs),
  )


@pytest.fixture(scope='module')
def cache(tmp_path_factory):
  rows = [Document(name, 'abcde' * 4, None) for name in IDS]
  return token_cache.build(
    tmp_path_factory.mktemp('data') / 'cache',
    rows,
    vocabularies.ByteVocabulary(),
    settings={},
    holdout_share=0.0,
  )


@pytest.fixture
def score_folder(tmp_path):
  """(column -> values) -> a score folder of the forty ids."""

  def write(columns, name='scores'):
    folder = tmp_path / name
    keys = {
      'id': np.array(IDS, object),
      'domain': np.array([None] * len(IDS), object),
      'num_tokens': np.ones(len(IDS), np.int32),
    }
    tables.write_table(folder / 'part-0.parquet', {**keys, **columns})
    manifests.write_manifest(
      folder, {'kind': 'scores', 'columns': dict.fromkeys(columns, 'nats')}
    )
    return str(folder)

  return write


def test_a_score_column_is_joined_by_id(cache, score_folder):
  values = np.arange(40, dtype=np.float32)
  folder = score_folder({'good': values[::-1].copy(), 'other': values})
  column = train_needs.read_scores(weighting('score'), 'w', [folder], 'other')
  found = train_needs.columns_of(column, cache.train)
  np.testing.assert_array_equal(found['score'], values)
  assert train_needs.columns_of(None, cache.train) == {}
  with pytest.raises(UserError, match='the columns good, other; name one'):
    train_needs.read_scores(weighting('score'), 'w', [folder], None)
  with pytest.raises(UserError, match=r"no score column 'x'.*good, other"):
    train_needs.read_scores(weighting('score'), 'w', [folder], 'x')


def test_a_document_without_a_score_is_named(cache, score_folder):
  values = np.arange(40, dtype=np.float32)
  values[[3, 7]] = np.nan  # null
  column = train_needs.read_scores(
    weighting('score'), 'w', [score_folder({'good': values})], None
  )
  with pytest.raises(UserError, match=r"score good: 2 of 40 .*'id3'"):
    train_needs.columns_of(column, cache.train)


def test_scores_are_asked_for_and_refused():
  with pytest.raises(UserError, match='w reads a score: give --scores'):
    train_needs.read_scores(weighting('score'), 'w', [], 'good')
  for scores, by in (['x'], None), ([], 'good'):
    with pytest.raises(UserError, match='w reads no score; drop'):
      train_needs.read_scores(weighting('loss'), 'w', scores, by)
  assert train_needs.read_scores(weighting('loss'), 'w', [], None) is None


def test_a_second_model_must_read_the_same_tokens(tiny_model):
  needs = weighting('loss', 'reference_loss')
  devices = mesh_lib.make_mesh('data=8')
  model = load.load(str(tiny_model))
  words = vocabularies.load_vocabulary(model.vocabulary)

  def read(rule, reference, vocabulary=words, network=model.network):
    return train_needs.read_reference(
      rule, 'w', reference, network, vocabulary, devices, 'float32'
    )

  found = read(needs, str(tiny_model))
  assert found is not None
  assert found.network.width == 16
  assert jax.tree.leaves(found.params)[0].sharding.mesh == devices
  assert read(weighting('loss'), None) is None
  with pytest.raises(UserError, match='no second model; drop --reference'):
    read(weighting('loss'), str(tiny_model))
  with pytest.raises(UserError, match='w compares with a second model; give'):
    read(needs, None)
  with pytest.raises(UserError, match=r"is not the model's .*same tokens"):
    read(needs, str(tiny_model), vocabularies.ByteVocabulary())
  alone = model.network._replace(encode=None)
  with pytest.raises(
    UserError, match='is an encoder-decoder and the model decoder-only'
  ):
    read(needs, str(tiny_model), network=alone)


def test_domains_must_be_there():
  train_needs.check_domains(weighting('domain'), 'w', ['a'])
  train_needs.check_domains(weighting('loss'), 'w', [])
  with pytest.raises(UserError, match=r'w weighs domains.*--domain_field'):
    train_needs.check_domains(weighting('domain'), 'w', [])


def test_epochs_between_refreshes_become_steps(cache):
  batches = training.TrainingBatches(
    cache.train,
    vocabularies.ByteVocabulary(),
    row_shape.causal_settings(length=20, max_segments=1),
    rows_per_batch=4,
    seed=0,
    block_documents=16,
  )
  assert batches.rows_per_epoch() == 80  # twenty tokens and EOS: two windows
  looks = weighting(refresh=lambda signals, state: state)

  def steps(epochs, rule=looks):
    return train_needs.refresh_by_epochs(
      rule, 'w', epochs, batches, 4
    ).refresh_interval

  assert [steps(None), steps(1), steps(0.5), steps(1e-3)] == [1, 20, 10, 1]
  with pytest.raises(UserError, match='refresh_epochs is -1, expected above'):
    steps(-1)
  with pytest.raises(UserError, match='w has nothing to refresh'):
    steps(1, weighting())
