import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate.types import Signals, TrainingShapes
from jaxcurate.weightings import adapt_bm25


def weights_of(scores, **settings):
  weighting = adapt_bm25.make(**settings)
  signals = Signals(
    mask_E=jnp.ones(len(scores), bool),
    step=jnp.int32(1),
    score_E=jnp.asarray(scores, jnp.float32),
  )
  return weighting.update(signals, weighting.init(TrainingShapes(1)))[0]


def test_by_hand():
  # Scores 10, 15 and 30 lie at 0, 1/4 and 1: sigmoid of these.
  weights = weights_of([10.0, 15.0, 30.0])
  np.testing.assert_allclose(weights, [0.5, 0.5621765, 0.7310586], atol=1e-6)
  weights = weights_of([10.0, 15.0, 30.0], gate='none')
  np.testing.assert_allclose(weights, [0, 0.25, 1], atol=1e-6)
  weights = weights_of([10.0, 15.0], bounds=(0.0, 20.0), temperature=0.5)
  np.testing.assert_allclose(weights, [0.7310586, 0.8175745], atol=1e-6)


def test_unit_and_origin_of_the_scores_do_not_matter():
  scores = np.random.default_rng(0).uniform(0, 50, 20)
  np.testing.assert_allclose(
    weights_of(scores), weights_of(3 * scores + 7), atol=1e-5
  )


def test_bad_settings_are_refused():
  with pytest.raises(ValueError, match='expected lowest < highest'):
    adapt_bm25.make(bounds=(2.0, 1.0))
