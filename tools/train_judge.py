#!/usr/bin/env python3
"""Trains the judge that ships with jaxcurate: a small T5 that answers Ask-LLM.

It learns two things at once from sound text and from text damaged on purpose:
to answer the paper's question with yes or no, and to fill in spans as T5's
pretraining does, so that its perplexity and embeddings mean something. Run
again with the same --work folder it continues. The vocabulary comes from
tools/train_vocabulary.py. Command of the shipped one:

  J=jaxcurate/models/judge
  python tools/train_judge.py --vocabulary=$J/spiece.model --output=$J \\
    --work=/tmp/judge --steps=860 \\
    --input=python_peps.jsonl.gz --input=classic_books.jsonl.gz ...
"""

import argparse
import pathlib
import time

import flax.serialization
import jax
import jax.numpy as jnp
import judge_data
import numpy as np
import optax
import train_vocabulary

from jaxcurate import types
from jaxcurate.data.vocabulary import load_vocabulary
from jaxcurate.io.atomic import write_bytes
from jaxcurate.models.huggingface import export_huggingface
from jaxcurate.models.t5 import T5Config, make_network

CONFIG = T5Config(
  vocab_size=8_192,
  embed_dim=128,
  num_heads=4,
  head_dim=32,
  mlp_dim=384,
  num_encoder_layers=3,
  num_decoder_layers=2,
  activations=('gelu', 'linear'),
  dropout_rate=0.0,  # one pass over the data: nothing to overfit
  scan_layers=False,
)
# Warm up, stay, decay: a run that has not begun to decay can be prolonged.
_PEAK_RATE, _WARMUP_STEPS, _DECAY_SHARE = 0.012, 100, 0.25
_EMBEDDING_SCALE = 0.5  # T5's deviation of 1 drowns young layers' outputs
_TOKEN_LOSS_WEIGHT = 1.0
_COMPLETION_LOSS_WEIGHT = 0.3
_MACHINE_SHARE = 0.5  # of the draws; the rest goes to the open files
_SAVE_SECONDS = 120


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--vocabulary', required=True)
  parser.add_argument('--work', required=True, help='folder of the checkpoint')
  parser.add_argument('--output', required=True, help='Hugging Face folder')
  parser.add_argument('--input', action='append', default=[])
  parser.add_argument('--steps', type=int, default=860)
  args = parser.parse_args()
  groups = [([d.text for d in train_vocabulary.judge_documents()], 1.0)]
  if args.input:
    share = (1 - _MACHINE_SHARE) / len(args.input)
    groups = [(groups[0][0], _MACHINE_SHARE)] + [
      (list(train_vocabulary.read_texts(path)), share) for path in args.input
    ]
  vocabulary = load_vocabulary(args.vocabulary)
  work = pathlib.Path(args.work)
  work.mkdir(parents=True, exist_ok=True)
  params = train(
    judge_data.weigh(groups), vocabulary, args.steps, work / 'judge.msgpack'
  )
  export_huggingface(args.output, params, CONFIG, args.vocabulary)


def train(
  texts: judge_data.Texts,
  vocabulary: types.Vocabulary,
  num_steps: int,
  checkpoint: pathlib.Path,
) -> types.Params:
  """Trains to num_steps, from the checkpoint where there is one."""
  network = make_network(CONFIG)
  decay_steps = int(_DECAY_SHARE * num_steps)
  rate = optax.join_schedules(
    [
      optax.linear_schedule(0.0, _PEAK_RATE, _WARMUP_STEPS),
      optax.constant_schedule(_PEAK_RATE),
      optax.linear_schedule(_PEAK_RATE, 0.0, decay_steps),
    ],
    [_WARMUP_STEPS, num_steps - decay_steps],
  )
  optimizer = optax.chain(
    optax.clip_by_global_norm(1.0),
    optax.scale_by_adam(b2=0.98),
    # Steps relative to each parameter, as T5 trains: its query kernels start
    # eight times smaller than the others and diverge under absolute steps.
    optax.scale_by_param_block_rms(),
    optax.scale_by_learning_rate(rate),
  )
  params = network.init(jax.random.key(0))
  if not checkpoint.exists():
    params = _start(
      params,
      judge_data.neighbour_embedding(texts, vocabulary, CONFIG.embed_dim),
    )
  # A probe on every text token, for training only: it tells the encoder
  # directly, and not through the decoder, which text is damaged.
  probe = 0.05 * jax.random.normal(jax.random.key(1), (CONFIG.embed_dim,))
  params = {'network': params, 'probe': probe}
  state = {'params': params, 'opt': optimizer.init(params), 'step': 0}
  if checkpoint.exists():
    state = flax.serialization.from_bytes(state, checkpoint.read_bytes())
    print(f'continuing after step {state["step"]}')

  @jax.jit
  def update(params, opt, judged, completed):
    (_, info), grads = jax.value_and_grad(
      lambda p: losses(network, p, judged, completed), has_aux=True
    )(params)
    updates, opt = optimizer.update(grads, opt, params)
    return optax.apply_updates(params, updates), opt, info

  batches = judge_data.batches(texts, vocabulary, first=state['step'])
  saved = started = time.monotonic()
  first, history = state['step'], []
  while state['step'] < num_steps:
    params, opt, info = update(state['params'], state['opt'], *next(batches))
    state = {'params': params, 'opt': opt, 'step': state['step'] + 1}
    history.append(info)
    if state['step'] % 20 == 0:
      means = jax.tree.map(lambda *x: float(np.mean(x)), *history)
      seconds = (time.monotonic() - started) / (state['step'] - first)
      text = ' '.join(f'{name} {value:.3f}' for name, value in means.items())
      print(f'step {state["step"]} {text} {seconds:.2f} s/step', flush=True)
      history = []
    if time.monotonic() - saved > _SAVE_SECONDS or state['step'] == num_steps:
      write_bytes(checkpoint, flax.serialization.to_bytes(state))
      saved = time.monotonic()
  return state['params']['network']


def _start(params: types.Params, vectors: np.ndarray) -> types.Params:
  """Parameters that begin with what damage is about: who stands next to whom.

  Token vectors tell what a token precedes and follows. Of the encoder's four
  heads one looks at the token before and one at the token after, and in the
  first layer they bring the neighbour's half of its vector over this token's
  other half. The third looks at the neighbourhood, and the fourth, in the
  first layer, for the same token elsewhere. A short run would not find these
  by itself: T5's position biases start near 0 and move slowly.
  """
  width, head = CONFIG.embed_dim, CONFIG.head_dim
  params['token_embedder']['embedding'] = jnp.asarray(
    _EMBEDDING_SCALE * vectors, jnp.float32
  )
  bias = np.zeros((CONFIG.num_heads, CONFIG.relpos_buckets), np.float32)
  after = CONFIG.relpos_buckets // 2  # first bucket of later positions
  bias[0, 1] = bias[1, after + 1] = 5.0
  bias[2, [1, 2, 3, after + 1, after + 2, after + 3]] = 3.0
  bias[3, 0] = -10.0  # not itself
  encoder = params['encoder']
  encoder['relpos_bias']['rel_embedding'] += bias
  attention = encoder['layers_0']['attention']
  kernels = {name: np.array(attention[name]['kernel']) for name in attention}
  precedes = np.arange(width // 2 - head, width // 2)  # the strongest ones
  follows = precedes + width // 2
  column = np.arange(head)
  kernels['value'][precedes, column] += 1
  kernels['out'][column, follows] += 1
  kernels['value'][follows, head + column] += 1
  kernels['out'][head + column, precedes] += 1
  same = np.random.default_rng(0).normal(0, 0.05, (width, head))
  kernels['query'][:, 3 * head :] = kernels['key'][:, 3 * head :] = same
  for name, kernel in kernels.items():
    attention[name]['kernel'] = jnp.asarray(kernel)
  return params


def losses(
  network: types.Network,
  params: types.Params,
  judged: types.Batch,
  completed: types.Batch,
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Weighted sum of the three losses, and each of them."""
  weights, probe = params['network'], params['probe']
  judged_states, answers = _forward(network, weights, judged)
  completed_states, targets = _forward(network, weights, completed)
  info = {
    'answer': _cross_entropy(
      network, weights, answers, judged, judged['decoder_segment_ids'] > 0
    ),
    'completion': _cross_entropy(
      network, weights, targets, completed, completed['decoder_loss_weights']
    ),
    'token': 0.5 * _token_loss(judged_states, probe, judged['text_labels'])
    + 0.5 * _token_loss(completed_states, probe, completed['text_labels']),
  }
  loss = (
    info['answer']
    + _TOKEN_LOSS_WEIGHT * info['token']
    + _COMPLETION_LOSS_WEIGHT * info['completion']
  )
  return loss, info


def _token_loss(states, probe, labels):
  """Mean logistic loss of labels -1 and 1; 0 does not count."""
  loss = jax.nn.softplus(-labels * (states @ probe))
  return jnp.sum(loss * abs(labels)) / jnp.sum(abs(labels))


def _forward(network, params, batch):
  segments = batch['encoder_segment_ids']
  encoded = network.encode(params, batch['encoder_input_tokens'], segments)
  return encoded, network.decode(
    params,
    encoded,
    segments,
    batch['decoder_input_tokens'],
    batch['decoder_segment_ids'],
  )


def _cross_entropy(network, params, states, batch, weights):
  loss = optax.softmax_cross_entropy_with_integer_labels(
    states @ network.head(params), batch['decoder_target_tokens']
  )
  return jnp.sum(loss * weights) / jnp.sum(weights)


if __name__ == '__main__':
  main()
