"""A network with its vocabulary, asked in texts."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax

from jaxcurate.data import vocabulary as vocabularies
from jaxcurate.evaluate import continuations, generation, text_requests
from jaxcurate.evaluate.continuations import LogLikelihood
from jaxcurate.evaluate.task import Continuation, Generation
from jaxcurate.io.errors import UserError
from jaxcurate.models import decoder, load, partitioning
from jaxcurate.types import Network, Params, Vocabulary

# T5's `n_positions`; its relative positions go further, its training did not.
_T5_LENGTH = 512
# Texts are tokenised so many at a time: a prompt of a thousand tokens times
# four choices fills memory otherwise.
_BLOCK = 4096


class LanguageModel(NamedTuple):
  """What the tasks and lm-evaluation-harness ask of a model.

  Attributes:
    log_likelihoods: continuations of contexts -> `LogLikelihood` of each. An
      empty context is BOS, or EOS where there is no BOS.
    rolling: texts -> natural-log probability of each whole text, window by
      window, every token predicted once.
    generate: prompts -> what the model writes, greedily.
    max_length: tokens that it reads at a time.
  """

  log_likelihoods: Callable[[Sequence[Continuation]], list[LogLikelihood]]
  rolling: Callable[[Sequence[str]], list[float]]
  generate: Callable[[Sequence[Generation]], list[str]]
  max_length: int


def open_model(
  path: str,
  mesh: jax.sharding.Mesh,
  *,
  vocabulary: str | None = None,
  dtype: str | None = None,
  max_length: int | None = None,
  special_tokens: bool = False,
) -> LanguageModel:
  """Loads a checkpoint onto the mesh.

  Args:
    path: as `models.load.load` takes it.
    mesh: axes 'data' and 'model'.
    vocabulary: file, folder or 'bytes'; None for the checkpoint's own.
    dtype: of activations; None is float32 on CPU, bfloat16 elsewhere.
    max_length: tokens it reads at a time; None is what a decoder's config
      says, and 512 for a T5.
    special_tokens: whether special tokens that a text spells count.

  Raises:
    UserError: no weights there, no vocabulary, or one that does not fit.
  """
  if dtype is None:
    dtype = 'float32' if jax.default_backend() == 'cpu' else 'bfloat16'
  loaded = load.load(path, dtype=dtype)
  if isinstance(loaded.config, decoder.DecoderConfig):
    length = loaded.config.max_length
  elif loaded.config.num_decoder_layers:
    length = _T5_LENGTH
  else:
    raise UserError(
      f'{path}: is an encoder alone, which gives texts no probability; give'
      ' a T5 with its decoder, or a decoder-only model'
    )
  words = vocabularies.load_vocabulary(vocabulary or loaded.vocabulary)
  vocabularies.check_fits(words, loaded.network.vocab_size)
  shardings = partitioning.param_shardings(
    mesh, loaded.network.logical_axes, loaded.params
  )
  return make(
    load.for_scoring(loaded),
    jax.device_put(loaded.params, shardings),
    words,
    mesh,
    max_length=max_length or length,
    special_tokens=special_tokens,
  )


def make(
  network: Network,
  params: Params,
  vocabulary: Vocabulary,
  mesh: jax.sharding.Mesh,
  *,
  max_length: int,
  special_tokens: bool = False,
) -> LanguageModel:
  """The language model of a network.

  Args:
    network: decoder-only, or an encoder-decoder: contexts go to the encoder,
      continuations to the decoder.
    params: on the mesh.
    vocabulary: of the network.
    mesh: axes 'data' and 'model'.
    max_length: tokens that it reads at a time, at least 1.
    special_tokens: whether special tokens that a text spells count.
  """
  if max_length < 1:
    raise ValueError(f'max_length is {max_length}, expected at least 1')
  encoder = text_requests.make_encoder(
    vocabulary, causal=network.encode is None, special_tokens=special_tokens
  )
  read = continuations.make_reader(network, params, mesh, max_length=max_length)
  write = generation.make_writer(
    network,
    params,
    mesh,
    decode=vocabulary.decode,
    eos_id=vocabulary.eos_id,
    max_length=max_length,
  )

  def log_likelihoods(asked: Sequence[Continuation]) -> list[LogLikelihood]:
    found = []
    for start in range(0, len(asked), _BLOCK):
      block = [(one.context, one.text) for one in asked[start : start + _BLOCK]]
      found += read(text_requests.encode_pairs(encoder, block))
    return found

  def rolling(texts: Sequence[str]) -> list[float]:
    found = []
    for start in range(0, len(texts), _BLOCK):
      block = text_requests.encode_texts(encoder, texts[start : start + _BLOCK])
      pieces = [
        text_requests.windows(ids, encoder.alone, max_length) for ids in block
      ]
      read_ones = iter(read([pair for piece in pieces for pair in piece]))
      found += [
        sum((next(read_ones).log_prob for _ in piece), 0.0) for piece in pieces
      ]
    return found

  def write_all(asked: Sequence[Generation]) -> list[str]:
    contexts = text_requests.encode_texts(encoder, [one[0] for one in asked])
    return write(
      [
        generation.Prompt(ids or [encoder.alone], one.stops, one.max_tokens)
        for ids, one in zip(contexts, asked, strict=True)
      ]
    )

  return LanguageModel(log_likelihoods, rolling, write_all, max_length)
