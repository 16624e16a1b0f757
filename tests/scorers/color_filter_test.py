"""CoLoR-Filter puts what the fine-tuned model likes better than the prior."""

import jax
import numpy as np
import pytest

from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.scorers import color_filter
from jaxcurate.types import Document

VOCABULARY = ByteVocabulary()


def test_downstream_text_scores_above_general_text(slow_llama, score_documents):
  model = slow_llama(VOCABULARY.size)
  prior = jax.tree.map(np.zeros_like, jax.tree.map(np.array, model.params))
  prior['token_embedder']['embedding'] += 1.0
  prior['decoder']['decoder_norm']['scale'] += 1.0
  conditional = jax.tree.map(np.copy, prior)
  [ids] = VOCABULARY.encode_batch(['abcd'])  # the downstream alphabet
  conditional['decoder']['logits_dense']['kernel'][:, ids] = 0.25
  scorer = color_filter.make(
    network=model.network, vocabulary=VOCABULARY, reference=model.network
  )
  documents = [Document(text, text, None) for text in ('abcdabcd', 'wxyzwxyz')]
  near, far = (
    row['color_filter']
    for row in score_documents(
      scorer, (prior, conditional), documents, VOCABULARY
    )
  )
  # The prior is uniform; the conditional gives the four letters a logit of 4.
  width = VOCABULARY.size
  loss = np.log(4 * np.exp(4) + width - 4)
  assert near == pytest.approx(np.log(width) - (loss - 4), rel=1e-4)
  assert far == pytest.approx(np.log(width) - loss, rel=1e-4)
  assert near > 0 > far
