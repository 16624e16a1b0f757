"""RHO-loss puts what is learnable and unlearnt before the known and noise."""

import jax
import numpy as np
import pytest

from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.scorers import rho
from jaxcurate.types import Document

VOCABULARY = ByteVocabulary()


def knows(params, letters):
  """Parameters under which the next letter is one of `letters`, mostly."""
  flat = jax.tree.map(np.zeros_like, params)
  flat['token_embedder']['embedding'] += 1.0
  flat['decoder']['decoder_norm']['scale'] += 1.0
  [ids] = VOCABULARY.encode_batch([letters])
  flat['decoder']['logits_dense']['kernel'][:, ids] = 0.25
  return flat


def test_learnable_before_known_and_noise(slow_llama, score_documents):
  model = slow_llama(VOCABULARY.size)
  as_numpy = jax.tree.map(np.array, model.params)
  scorer = rho.make(
    network=model.network, vocabulary=VOCABULARY, reference=model.network
  )
  texts = {'known': 'abcdab', 'learnable': 'efghef', 'noise': 'wxyzwx'}
  documents = [Document(name, text, None) for name, text in texts.items()]
  rows = score_documents(
    scorer,
    (knows(as_numpy, 'abcd'), knows(as_numpy, 'abcdefgh')),
    documents,
    VOCABULARY,
  )
  known, learnable, noise = (row['rho'] for row in rows)
  # Logits of 4 for the letters that a model knows, 0 for all others.
  width = VOCABULARY.size
  few, many = (
    np.log(4 * np.exp(4) + width - 4),
    np.log(8 * np.exp(4) + width - 8),
  )
  assert known == pytest.approx((few - 4) - (many - 4), rel=1e-4)
  assert learnable == pytest.approx(few - (many - 4), rel=1e-4)
  assert noise == pytest.approx(few - many, rel=1e-4)
  assert learnable > max(known, noise)
