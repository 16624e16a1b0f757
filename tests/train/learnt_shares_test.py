"""A DoReMi proxy gives more to the domain of which there is more to learn."""

import json

import numpy as np

from jaxcurate.data import row_shape, token_cache
from jaxcurate.data import vocabulary as vocabularies
from jaxcurate.models import decoder
from jaxcurate.train import learnt_shares, optimizers, proxies
from jaxcurate.types import Document
from jaxcurate.weightings import doremi

NETWORK = decoder.make_network(
  decoder.DecoderConfig(
    vocab_size=384, embed_dim=8, num_heads=1, num_kv_heads=1, head_dim=8,
    mlp_dim=8, num_layers=1, max_length=32, tied_head=True,
  )
)  # fmt: skip


def make(folder):
  rng = np.random.default_rng(0)
  words = vocabularies.load_vocabulary('bytes')
  texts = {
    f'{name}{i}': text
    for i in range(12)
    for name, text in {
      'pattern': 'abcd' * 6,
      'random': ''.join(map(chr, rng.integers(97, 123, 24))),
    }.items()
  }
  ids = sorted(texts)  # of the table; the corpus has another order
  cache = token_cache.build(
    folder / 'cache',
    [Document(i, texts[i], 'other names') for i in reversed(ids)],
    words,
    settings={},
    holdout_share=0.0,
  )
  code = np.array([i.startswith('random') for i in ids]).astype(np.int64)
  return learnt_shares.make_learner(
    proxies.ProxyText(
      cache.train,
      token_cache.document_rows(cache.train, np.array(ids, object), 'table'),
      words,
      row_shape.causal_settings(length=28, max_segments=1),
      [],
    ),
    ['pattern', 'random'],
    code,
    network=NETWORK,
    optimizer=optimizers.make_optimizer(
      'adamw', schedule='constant', learning_rate=0.05, warmup_steps=1
    ),
    weighting=doremi.make(step_size=0.3),
    steps=20,
    rows_per_batch=4,
    folder=folder / 'proxies',
    seed=0,
    progress=False,
  )


def test_more_weight_where_more_can_be_learnt_and_only_once(tmp_path):
  share = np.array([0.5, 0.5])
  learnt = make(tmp_path)(share)
  np.testing.assert_allclose(learnt.sum(), 1.0, rtol=1e-5)
  assert learnt[0] > 0.55
  log = tmp_path / 'proxies' / learnt_shares.LOG
  assert [path.name for path in log.parent.iterdir()] == [log.name]
  line = {**json.loads(log.read_text()), 'learnt': [0.2, 0.8]}
  log.write_text(json.dumps(line) + '\n')
  assert make(tmp_path)(share).tolist() == [0.2, 0.8]
