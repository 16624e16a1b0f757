"""Tiny networks of real T5X, and a trainer of one or of 4 x 2 devices.

Where T5X is not installed every test that asks for `t5x` is skipped; looking
for it costs nothing.
"""

import importlib.util
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

VOCAB, ROWS, SEGMENTS = 64, 8, 2
# Of the optimizer that steps along the gradient; so large that the gradient can
# be read off the step without cancellation.
RATE = 2.0**14


@pytest.fixture(scope='session')
def t5x():
  """Makers of models, batches, states and trainers; see the functions."""
  if importlib.util.find_spec('t5x') is None:
    pytest.skip('T5X is not installed; docs/t5x.md says how')
  import cached_property
  import seqio
  from t5x import (
    adafactor,
    checkpoints,
    models,
    optimizers,
    partitioning,
    trainer,
    utils,
  )
  from t5x.examples.decoder_only import network as decoder_network
  from t5x.examples.t5 import network

  from jaxcurate.t5x import models as weighted_models
  from jaxcurate.t5x import trainer as weighted_trainer

  vocabulary = seqio.PassThroughVocabulary(VOCAB)

  class Partitioner(partitioning.PjitPartitioner):
    """T5X's with a mesh of the first devices, data x model."""

    def __init__(self, data=1, model=1):
      super().__init__(num_partitions=1)
      self.shape = (data, model)

    @cached_property.cached_property
    def mesh(self):
      data, model = self.shape
      devices = np.array(jax.devices()[: data * model])
      return jax.sharding.Mesh(devices.reshape(data, model), ['data', 'model'])

  def sgd():
    return optimizers.sgd(learning_rate=RATE)

  def make_model(
    weighting=None, optimizer=None, dropout=0.0, mlp_dim=32, **settings
  ):
    """An encoder-decoder; without a weighting T5X's own."""
    config = network.T5Config(
      vocab_size=VOCAB,
      emb_dim=16,
      num_heads=2,
      num_encoder_layers=1,
      num_decoder_layers=1,
      head_dim=8,
      mlp_dim=mlp_dim,
      mlp_activations=('gelu', 'linear'),
      dropout_rate=dropout,
    )
    settings = {'z_loss': 1e-4, **settings}
    if weighting is None:
      settings = {
        'loss_normalizing_factor': 'NUM_REAL_TARGET_TOKENS',
        **settings,
      }
      made = models.EncoderDecoderModel
    else:
      settings = {'weighting': weighting, 'max_segments': SEGMENTS, **settings}
      made = weighted_models.WeightedEncoderDecoderModel
    return made(
      module=network.Transformer(config),
      input_vocabulary=vocabulary,
      output_vocabulary=vocabulary,
      optimizer_def=optimizer or sgd(),
      **settings,
    )

  def make_decoder(weighting, **settings):
    """A decoder-only model."""
    config = decoder_network.TransformerConfig(
      vocab_size=VOCAB,
      emb_dim=16,
      num_heads=2,
      num_layers=1,
      head_dim=8,
      mlp_dim=32,
      dropout_rate=0.0,
    )
    return weighted_models.WeightedDecoderOnlyModel(
      module=decoder_network.DecoderWrapper(config),
      vocabulary=vocabulary,
      optimizer_def=sgd(),
      weighting=weighting,
      max_segments=SEGMENTS,
      **settings,
    )

  def make_trainer(
    model, batch, *, parts=None, mesh=(1, 1), state=None, **settings
  ):
    """A trainer at its first step, or at `state`."""
    partitioner = Partitioner(*mesh)
    start = utils.TrainStateInitializer(
      optimizer_def=model.optimizer_def,
      init_fn=model.get_initial_variables,
      input_shapes={name: value.shape for name, value in batch.items()},
      input_types={name: value.dtype for name, value in batch.items()},
      partitioner=partitioner,
    )
    stock = not hasattr(model, 'weighting')
    made = trainer.Trainer if stock else weighted_trainer.WeightedTrainer
    return made(
      model=model,
      train_state=start.from_scratch(jax.random.PRNGKey(0))
      if state is None
      else state,
      partitioner=partitioner,
      eval_names=[],
      summary_dir=None,
      train_state_axes=start.train_state_axes,
      rng=jax.random.PRNGKey(1),
      learning_rate_fn=lambda step: 0.01,  # not read by SGD
      num_microbatches=parts,
      **settings,
    )

  def step(trainer, batch):
    """One step: (state before, on the host; state after; metrics)."""
    before = jax.device_get(trainer.train_state)
    batch = {name: jnp.asarray(value) for name, value in batch.items()}
    after, metrics = trainer._partitioned_train_step(trainer.train_state, batch)
    trainer.train_state = after
    values = {
      name: float(metric.total)
      for name, metric in metrics.items()
      if type(metric).__name__ == 'AveragePerStep'
    }
    return before, after, values

  def anchors(rows, batch_size=4):
    """A DatasetConfig of examples, each a pair of token lists."""

    def dataset_fn(split, shuffle_files, seed=None):
      import tensorflow as tf

      del split, shuffle_files, seed
      return tf.data.Dataset.from_generator(
        lambda: (
          {'inputs': np.int32(i), 'targets': np.int32(t)} for i, t in rows
        ),
        output_signature={
          name: tf.TensorSpec([None], tf.int32)
          for name in ('inputs', 'targets')
        },
      )

    name = f'anchors_{len(seqio.TaskRegistry.names())}'
    feature = seqio.Feature(vocabulary, add_eos=False)
    seqio.TaskRegistry.add(
      name,
      source=seqio.FunctionDataSource(dataset_fn, splits=['train']),
      preprocessors=[],
      output_features={'inputs': feature, 'targets': feature},
    )
    return utils.DatasetConfig(
      mixture_or_task_name=name,
      task_feature_lengths={'inputs': 12, 'targets': 8},
      split='train',
      batch_size=batch_size,
      shuffle=False,
      seed=0,
    )

  return types.SimpleNamespace(
    RATE=RATE,
    SEGMENTS=SEGMENTS,
    adafactor=adafactor,
    anchors=anchors,
    as_batch=as_batch,
    checkpoints=checkpoints,
    make_batch=make_batch,
    make_decoder=make_decoder,
    make_model=make_model,
    make_trainer=make_trainer,
    some_anchors=some_anchors,
    step=step,
    utils=utils,
    vocabulary=vocabulary,
  )


def make_batch(seed=0):
  """Packed rows of one and two examples; the last row is padding."""
  rng = np.random.default_rng(seed)

  def segment_ids(length):
    ids = np.zeros((ROWS, length), np.int32)
    for row in range(ROWS - 1):
      end = 0
      for s in range(1 + row % SEGMENTS):
        start, end = end, end + rng.integers(2, length // SEGMENTS + 1)
        ids[row, start:end] = s + 1
    return ids

  encoder_ids, decoder_ids = segment_ids(12), segment_ids(8)

  def tokens(ids):
    return rng.integers(1, VOCAB, ids.shape).astype(np.int32) * (ids > 0)

  positions = np.zeros_like(decoder_ids)
  for row, ids in enumerate(decoder_ids):
    for segment in range(1, SEGMENTS + 1):
      own = ids == segment
      positions[row, own] = np.arange(own.sum())
  return {
    'encoder_input_tokens': tokens(encoder_ids),
    'encoder_segment_ids': encoder_ids,
    'decoder_input_tokens': tokens(decoder_ids),
    'decoder_target_tokens': tokens(decoder_ids),
    'decoder_segment_ids': decoder_ids,
    'decoder_positions': positions,
    'decoder_loss_weights': (decoder_ids > 0).astype(np.float32),
  }


def as_batch(pairs):
  """The padded batch that T5X's converter makes of pairs of token lists."""

  def padded(lists, length):
    return np.array([[*row, *[0] * (length - len(row))] for row in lists])

  inputs, targets = zip(*pairs, strict=True)
  shifted = [[0, *row[:-1]] for row in targets]
  return {
    'encoder_input_tokens': padded(inputs, 12),
    'decoder_input_tokens': padded(shifted, 8),
    'decoder_target_tokens': padded(targets, 8),
  }


def some_anchors(count=6, seed=7):
  """Pairs of token lists of various lengths."""
  rng = np.random.default_rng(seed)
  return [
    tuple(
      rng.integers(1, VOCAB, rng.integers(2, limit)).tolist()
      for limit in (12, 8)
    )
    for _ in range(count)
  ]
