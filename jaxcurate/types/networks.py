"""Networks and vocabularies as every method sees them, and their batches.

A *batch* is a dict of padded arrays under T5X's names; absent features are
absent keys:

  encoder_input_tokens  [B, L] int32, 0 = padding
  encoder_segment_ids   [B, L] int32, 0 = padding, 1..S = the example in the row
  encoder_positions     [B, L] int32, position within the segment
  decoder_input_tokens  [B, T] int32 (starts with 0, the decoder start token)
  decoder_target_tokens [B, T] int32
  decoder_segment_ids, decoder_positions: as for the encoder
  decoder_loss_weights  [B, T] float32, 1 where a target counts

An *example*, b * S + (s - 1), is segment s of row b.
A decoder-only network reads the decoder_* arrays alone; its inputs are the
targets one step later, the first one BOS where the model has one.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax

Params = Any  # a pytree of arrays
Batch = Mapping[str, Any]  # name -> array, see the module docstring
State = Any  # a pytree of arrays, checkpointed


class Prefix(NamedTuple):
  """Keys and values that every decoder layer sees before its own tokens.

  A learned prefix and the cache of tokens already read are the same thing. A
  token's position is the number of valid slots of its prefix plus its place
  in its segment; keys are stored as the layer compares them (rotated).

  Attributes:
    key, value: [layers, B, P, heads, head_dim] float; heads of keys and
      values (fewer than the queries' with grouped queries); B = 1 serves
      every row.
    mask: [B, P] bool, False in slots that hold nothing.
  """

  key: jax.Array
  value: jax.Array
  mask: jax.Array


class Network(NamedTuple):
  """A network as plain functions: an encoder-decoder, or a decoder alone.

  The states of `decode` are scaled so that logits = states @ head(params).

  Attributes:
    init: key -> params.
    encode: (params, tokens_BxL, segment_ids_BxL, *, dropout_key=None) ->
      states_BxLxD after the final norm. None for a decoder-only network.
    decode: (params, encoded_BxLxD, encoder_segment_ids_BxL,
      decoder_input_tokens_BxT, decoder_segment_ids_BxT,
      *, prefix=None, dropout_key=None) -> states_BxTxD after the final norm.
      Tokens of one segment attend causally to themselves, to the `Prefix` of
      their row, and to their own segment's encoder states; a decoder-only
      network takes None for both encoder arrays.
    extend: (params, tokens_BxT, segment_ids_BxT, *, prefix=None) ->
      (states_BxTxD, Prefix of these T tokens): `decode` that also hands out
      what later tokens need. None where there is an encoder.
    head: params -> [D, V] output matrix.
    pool: (params, states_BxLxD, segment_ids_BxL, num_segments) ->
      embedding_BxSxP, one vector per segment, unit L2 norm: the mean over its
      tokens of bidirectional states, then what the checkpoint adds
      (Sentence-T5's dense layer); the position-weighted mean of causal ones.
      Empty segments are 0.
    width: D.
    vocab_size: V.
    logical_axes: params-shaped pytree of tuples of T5X logical axis names,
      or () for a replicated leaf.
    prefix_shape: (layers, heads, head_dim) of a `Prefix` of this network.
  """

  init: Callable[[jax.Array], Params]
  encode: Callable[..., jax.Array] | None
  decode: Callable[..., jax.Array]
  head: Callable[[Params], jax.Array]
  pool: Callable[[Params, jax.Array, jax.Array, int], jax.Array]
  width: int
  vocab_size: int
  logical_axes: Any
  extend: Callable[..., tuple[jax.Array, Prefix]] | None = None
  prefix_shape: tuple[int, int, int] | None = None


@runtime_checkable
class Vocabulary(Protocol):
  """Text to token ids and back; padding is marked by segment id, not token."""

  size: int  # including sentinels
  bos_id: int | None  # what the model's texts begin with, None for nothing
  eos_id: int
  unk_id: int | None

  def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, without EOS."""
    ...

  def decode(self, ids: Sequence[int]) -> str:
    """Text of the ids."""
    ...

  def sentinel_id(self, index: int) -> int:
    """Id of the index-th span-corruption sentinel (0-based)."""
    ...


@runtime_checkable
class ChatVocabulary(Vocabulary, Protocol):
  """Of a decoder: special tokens can be spelt, and chats be framed by them.

  T5 and byte vocabularies are none; `isinstance(vocabulary, ChatVocabulary)`
  tells. A base model's has no chat template: what needs one then raises.
  """

  bos_token: str | None
  eos_token: str | None
  chat_template: str | None

  def encode_special(self, text: str) -> list[int]:
    """Ids of one text in which special tokens count; none are added."""
    ...

  def encode_chat(
    self,
    turns: Sequence[tuple[str, str]],
    *,
    add_generation_prompt: bool = True,
  ) -> list[int]:
    """Ids of (role, content) turns as the template writes them.

    Special tokens that a content spells are text. BOS is there where the
    template writes it.

    Raises:
      ValueError: there is no template, or it refuses these turns.
    """
    ...

  def encode_chat_frame(self, user_text: str) -> tuple[list[int], list[int]]:
    """Ids before and after '{text}' when a user says `user_text`.

    The ids of a document go in between; the assistant's answer comes after.

    Raises:
      ValueError: there is no template, or it alters what the user says, or
        '{text}' is not there exactly once.
    """
    ...
