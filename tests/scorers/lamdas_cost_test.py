"""What LAMDAS costs, counted: at most 2.05 forward passes per document."""

import jax
import jax.numpy as jnp
import pytest

from jaxcurate.data.vocabulary import ByteVocabulary
from jaxcurate.models import decoder, t5
from jaxcurate.ops import flops
from jaxcurate.scorers import lamdas, likelihood
from jaxcurate.types import Document

ANCHORS = [Document(str(i), 'a text', None) for i in range(2)]


def shapes(length, sides=('decoder',)):
  """A batch of one full row, as shapes."""
  tokens = jax.ShapeDtypeStruct((1, length), jnp.int32)
  batch = {
    'decoder_loss_weights': jax.ShapeDtypeStruct((1, length), jnp.float32)
  }
  for side in sides:
    batch |= {f'{side}_{n}': tokens for n in ('input_tokens', 'segment_ids')}
  return batch | {'decoder_target_tokens': tokens}


def count(network, batch, prefix_length=30):
  """Operations of the encoder, of one likelihood and of both."""
  scorer = lamdas.make(
    network=network, vocabulary=ByteVocabulary(), anchors=ANCHORS
  )
  params = jax.eval_shape(network.init, jax.random.key(0))
  layers, heads, head_dim = network.prefix_shape
  shape = (1, layers, prefix_length, heads, head_dim)
  prefix = jax.ShapeDtypeStruct(shape, jnp.float32)
  fitted = {'key': prefix, 'value': prefix}
  functions = (
    (lambda p, b: likelihood.encode(network, p[0], b)),
    (lambda p, b: likelihood.sums(network, p[0], b, 1)),
    (lambda p, b: scorer.features.apply(p, b, 1)),
  )
  return [flops.count_flops(f, (params, fitted), batch) for f in functions]


@pytest.mark.parametrize('length', [256, 512])
def test_two_forward_passes_of_a_decoder(length):
  # The shape of Qwen2.5-0.5B, three of its layers; nothing is computed.
  network = decoder.make_network(
    decoder.DecoderConfig(
      vocab_size=151_936,
      embed_dim=896,
      num_heads=14,
      num_kv_heads=2,
      head_dim=64,
      mlp_dim=4864,
      num_layers=3,
      tied_head=True,
    )
  )
  encode, one, both = count(network, shapes(length))
  assert encode == 0
  assert 2.0 < both / one <= 2.05


def test_t5_reads_its_input_once():
  network = t5.make_network(
    t5.T5Config(
      vocab_size=32_128,
      embed_dim=512,
      num_heads=6,
      head_dim=64,
      mlp_dim=1024,
      num_encoder_layers=3,
      num_decoder_layers=3,
    )
  )
  encode, one, both = count(network, shapes(512, ('encoder', 'decoder')))
  assert encode > 0.2 * one
  assert encode + 2.0 * (one - encode) < both
  assert both < encode + 2.05 * (one - encode)
