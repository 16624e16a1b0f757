import jax
import numpy as np
import pyarrow.parquet as pq
import pytest

from jaxcurate.train import evaluation

S = 2


def results(tiny, batches, members=1):
  network = tiny.make_network()
  step = evaluation.make_eval_step(network, max_segments=S, chunk_tokens=16)
  params = jax.jit(network.init)(jax.random.key(0))
  if members > 1:
    keys = jax.random.split(jax.random.key(0), members)
    params = jax.jit(jax.vmap(network.init))(keys)
    step = jax.vmap(step, in_axes=(0, None))
  return params, evaluation.evaluate(
    step, params, batches, jax.device_put, members=members
  )


def held_out(*batches):
  """Example e of every batch belongs to document a-e."""
  named = []
  for batch in batches:
    ids = batch['decoder_segment_ids']
    real = [(row == s).any() for row in ids for s in range(1, S + 1)]
    domains = [('even', 'odd', None)[e % 3] for e in range(len(real))]
    named.append(
      evaluation.EvalBatch(
        batch, [f'a-{e}' if r else None for e, r in enumerate(real)], domains
      )
    )
  return named


def slow_losses(network, params, batch):
  """Example e -> mean nats, with dense float64 softmax, segment by segment."""
  decoded = jax.jit(
    lambda params: network.decode(
      params,
      network.encode(
        params, batch['encoder_input_tokens'], batch['encoder_segment_ids']
      ),
      batch['encoder_segment_ids'],
      batch['decoder_input_tokens'],
      batch['decoder_segment_ids'],
    )
  )(params)
  logits = np.asarray(decoded, np.float64) @ np.asarray(network.head(params))
  normaliser = np.log(np.exp(logits).sum(-1))
  losses = {}
  for row, ids in enumerate(batch['decoder_segment_ids']):
    for s in set(ids[ids > 0].tolist()):
      own = np.flatnonzero(ids == s)
      targets = batch['decoder_target_tokens'][row, own]
      log_prob = logits[row, own, targets] - normaliser[row, own]
      losses[row * S + s - 1] = -log_prob.mean()
  return losses


def test_every_document_against_numpy(tiny):
  batch = tiny.make_batch(0)
  params, (result,) = results(tiny, held_out(batch))
  expected = slow_losses(tiny.make_network(), params, batch)
  assert list(result.id) == [f'a-{e}' for e in expected]
  np.testing.assert_allclose(result.loss, list(expected.values()), rtol=1e-5)
  for example, tokens in zip(expected, result.tokens):
    row, s = divmod(example, S)
    assert tokens == (batch['decoder_segment_ids'][row] == s + 1).sum()


def test_parts_of_a_document_are_added_up(tiny):
  batches = [tiny.make_batch(k) for k in (0, 1)]
  _, (whole,) = results(tiny, held_out(*batches))
  _, (first,) = results(tiny, held_out(batches[0]))
  _, (second,) = results(tiny, held_out(batches[1]))
  tokens = first.tokens + second.tokens
  loss = (first.loss * first.tokens + second.loss * second.tokens) / tokens
  np.testing.assert_array_equal(whole.tokens, tokens)
  np.testing.assert_allclose(whole.loss, loss, rtol=1e-5)


def test_summary_by_hand():
  result = evaluation.EvalResult(
    id=np.array(['a', 'b', 'c'], object),
    domain=np.array(['x', 'y', None], object),
    loss=np.array([1.0, 2.0, 6.0], np.float32),
    tokens=np.array([3, 1, 4], np.int32),
  )
  assert evaluation.summarise(result) == {
    'eval/loss': 29 / 8,
    'eval/domain/x': 1.0,
    'eval/domain/y': 2.0,
  }


def test_population_members_are_kept_apart(tiny):
  batch = tiny.make_batch(0)
  params, both = results(tiny, held_out(batch), members=2)
  for member, result in enumerate(both):
    own = jax.tree.map(lambda x, m=member: x[m], params)
    expected = slow_losses(tiny.make_network(), own, batch)
    np.testing.assert_allclose(result.loss, list(expected.values()), rtol=1e-5)
  assert both[0].loss[0] != both[1].loss[0]


def test_parquet_and_mismatched_ids(tiny, tmp_path):
  text = held_out(tiny.make_batch(0))
  _, (result,) = results(tiny, text)
  evaluation.write_eval(tmp_path / 'eval.parquet', result)
  table = pq.read_table(tmp_path / 'eval.parquet')
  assert [str(column.type) for column in table.columns] == [
    'string',
    'string',
    'float',
    'int32',
  ]
  assert table['id'].to_pylist() == list(result.id)
  with pytest.raises(ValueError, match='3 ids and 16 domains'):
    results(tiny, [text[0]._replace(id=['a', 'b', 'c'])])
  with pytest.raises(ValueError, match='example 0 of a batch'):
    results(tiny, [text[0]._replace(id=[None] * 16)])
