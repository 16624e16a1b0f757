"""Generated text, against one full pass per token."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcurate import types
from jaxcurate.models import decoder, generate, t5

PROMPTS = [[3, 4, 5, 6], [7], [8, 9, 10]]


@pytest.fixture
def model(make_decoder_config, strong):
  config = make_decoder_config(window=3, window_pattern=(True, False))
  network = decoder.make_network(config)
  return network, strong(network)


@pytest.fixture
def t5_model(make_config, strong):
  network = t5.make_network(make_config())
  return network, strong(network, seed=2)


def _slowly(network, params, prompt, count):
  """Greedy tokens, the whole text read again for each."""
  written = []
  # One shape: later tokens never reach earlier ones.
  length = len(prompt) + count
  decode = jax.jit(network.decode)
  encoded = ids = None
  if network.encode is not None:
    ids = jnp.ones((1, len(prompt)), jnp.int32)
    encoded = jax.jit(network.encode)(params, jnp.asarray([prompt]), ids)
  for _ in range(count):
    text = [0, *written] if network.encode is not None else [*prompt, *written]
    tokens = np.zeros((1, length), np.int32)
    tokens[0, : len(text)] = text
    states = decode(params, encoded, ids, tokens, np.ones_like(tokens))
    logits = states[0, len(text) - 1] @ network.head(params)
    written.append(int(jnp.argmax(logits)))
  return written


@pytest.mark.parametrize('kind', ['model', 't5_model'])
def test_greedy_equals_one_pass_per_token(kind, request):
  network, params = request.getfixturevalue(kind)
  found = generate.generate(network, params, PROMPTS, max_new_tokens=6)
  for tokens, prompt in zip(found, PROMPTS, strict=True):
    assert tokens == _slowly(network, params, prompt, 6)


def test_a_network_by_hand():
  # Logits are those of the token two ahead: 1, 3, 5, ... from 1.
  table = np.roll(np.eye(8, dtype=np.float32), 2, axis=1)

  def extend(params, tokens, segments, *, prefix=None):
    blank = jnp.zeros((1, *tokens.shape, 1, 1))
    states = jnp.asarray(table)[tokens]
    return states, types.Prefix(blank, blank, segments > 0)

  network = types.Network(
    init=None, encode=None, decode=None, head=lambda params: jnp.eye(8),
    pool=None, width=8, vocab_size=8, logical_axes={}, extend=extend,
  )  # fmt: skip
  found = generate.generate(network, {}, [[1], [4, 2]], max_new_tokens=3)
  assert found == [[3, 5, 7], [4, 6, 0]]
  found = generate.generate(
    network, {}, [[1], [4, 2]], max_new_tokens=3, stop_ids=(6, 5)
  )
  assert found == [[3], [4]]


def test_padding_on_either_side_and_batches_change_nothing(model):
  network, params = model
  expected = generate.generate(network, params, PROMPTS, max_new_tokens=5)
  for sides in ('left', 'right', 'both'):
    tokens = np.zeros((3, 6), np.int32)
    segments = np.zeros_like(tokens)
    for b, prompt in enumerate(PROMPTS):
      start = {'left': 6 - len(prompt), 'right': 0, 'both': 1}[sides]
      tokens[b, start : start + len(prompt)] = prompt
      segments[b, start : start + len(prompt)] = 1
    found, count = generate.continue_rows(
      network, params, tokens, segments, max_new_tokens=5
    )
    assert found.tolist() == expected
    assert count.tolist() == [5, 5, 5]
  found = generate.generate(
    network, params, PROMPTS, max_new_tokens=5, batch_size=2
  )
  assert found == expected


def test_stop_ids_end_a_row(model):
  network, params = model
  plain = generate.generate(network, params, PROMPTS, max_new_tokens=5)
  stop = (plain[0][2], plain[1][0])
  found = generate.generate(
    network, params, PROMPTS, max_new_tokens=5, stop_ids=stop
  )
  for tokens, whole in zip(found, plain, strict=True):
    ends = [i for i, token in enumerate(whole) if token in stop]
    assert tokens == whole[: min(ends, default=5)]
  assert found[1] == []


def test_draws_follow_the_softmax(model):
  network, params = model
  ids = jnp.asarray([[3, 4, 5, 6]])
  decode = jax.jit(network.decode)
  states = decode(params, None, None, ids, jnp.ones_like(ids))
  logits = states[0, -1] @ network.head(params)
  trials = 2000
  found, _ = generate.continue_rows(
    network,
    params,
    np.repeat(ids, trials, 0),
    np.ones((trials, 4), np.int32),
    max_new_tokens=1,
    temperature=2.0,
    key=jax.random.key(0),
  )
  share = np.bincount(np.asarray(found)[:, 0], minlength=24) / trials
  prob = np.asarray(jax.nn.softmax(logits / 2.0))
  assert (abs(share - prob) <= 4 * np.sqrt(prob * (1 - prob) / trials)).all()


def test_a_key_says_what_is_drawn(model):
  network, params = model

  def draw(seed):
    return generate.generate(
      network, params, PROMPTS, max_new_tokens=8, temperature=5.0,
      key=jax.random.key(seed),
    )  # fmt: skip

  assert draw(0) == draw(0) != draw(1)


def test_nothing_to_write(model):
  network, params = model
  assert generate.generate(network, params, [], max_new_tokens=3) == []


@pytest.mark.parametrize(
  'changes, message',
  [
    ({'prompts': [[1], []]}, 'prompt 1 is empty'),
    ({'max_new_tokens': 0}, 'max_new_tokens is 0'),
    ({'temperature': -1.0}, 'temperature is -1.0, expected at least 0'),
    ({'temperature': 1.0}, 'temperature is 1.0, which needs a key'),
  ],
)
def test_what_is_refused(changes, message, model):
  network, params = model
  settings = {'prompts': PROMPTS, 'max_new_tokens': 3, **changes}
  with pytest.raises(ValueError, match=message):
    generate.generate(network, params, **settings)


def test_one_program_per_shape(model):
  network, params = model
  run = generate._continue_rows
  before = run._cache_size()
  for prompts in (PROMPTS, PROMPTS[::-1], [[5] * 60] * 3):
    generate.generate(network, params, prompts, max_new_tokens=4)
  assert run._cache_size() == before + 1
