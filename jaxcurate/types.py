"""The small typed things that every stage of jaxcurate reads and writes.

A method is a pure file; what it receives and returns is defined here and
nowhere else. Arrays carry their axes in the last part of their names:
B rows, L encoder tokens, T decoder tokens, D width, V vocabulary, S segments
per row, E = B * S examples, N documents, Q criteria.

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
"""

from collections.abc import Callable, Mapping, Sequence
import dataclasses
from typing import Any, NamedTuple, Protocol, runtime_checkable

import flax.struct
import jax
import numpy as np

Params = Any  # a pytree of arrays
Batch = Mapping[str, Any]  # name -> array, see the module docstring
State = Any  # a pytree of arrays, checkpointed


@dataclasses.dataclass(frozen=True)
class ScoreTable:
  """Scores of N documents, joined by id and never by position.

  Attributes:
    id: [N] str (object array), unique.
    domain: [N] str or None (object array).
    num_tokens: [N] int32, whole document under the recorded tokenizer.
    scores: column name -> [N] float32; higher = keep; NaN = no score.
    units: column name -> unit, as stored in the manifest.
  """

  id: np.ndarray
  domain: np.ndarray
  num_tokens: np.ndarray
  scores: Mapping[str, np.ndarray]
  units: Mapping[str, str]

  def __post_init__(self):
    num_rows = len(self.id)
    columns = {'domain': self.domain, 'num_tokens': self.num_tokens}
    for name, column in {**columns, **self.scores}.items():
      if len(column) != num_rows:
        raise ValueError(
          f'column {name!r} has {len(column)} rows, id has {num_rows}'
        )


@dataclasses.dataclass(frozen=True)
class Candidates:
  """What a sampler sees of a ScoreTable: one score per document, no text.

  Attributes:
    id: [N] str (object array).
    id_hash: [N] uint64, `jaxcurate.ops.ids.hash_ids(id)`.
    score: [N] float32, finite; higher = keep.
    num_tokens: [N] int32.
    domain: [N] str or None (object array).
    unit: unit of the score, e.g. 'log P(yes)' or '-log density'.
  """

  id: np.ndarray
  id_hash: np.ndarray
  score: np.ndarray
  num_tokens: np.ndarray
  domain: np.ndarray
  unit: str = ''


@dataclasses.dataclass(frozen=True)
class Selection:
  """The documents that were kept, and how often.

  Attributes:
    id: [K] str (object array), documents with count >= 1 only.
    count: [K] int32 copies.
    expected_count: [K] float64 > 0, the expectation of `count` under the
      sampling design: the inclusion probability where counts are 0 or 1.
      Dividing by it de-biases totals (Horvitz-Thompson).
    design: 'random', or 'deterministic' where expectations are all 1 and
      totals cannot be de-biased.
  """

  id: np.ndarray
  count: np.ndarray
  expected_count: np.ndarray
  design: str = 'random'


@dataclasses.dataclass(frozen=True)
class AnchorSet:
  """A small trusted set of text, ready to run through the network.

  Attributes:
    name: what the manifest calls it.
    batches: padded batches of one shape.
  """

  name: str
  batches: tuple[Batch, ...]


class Network(NamedTuple):
  """An encoder-decoder network as plain functions of its parameters.

  The states of `decode` are scaled so that logits = states @ head(params).

  Attributes:
    init: key -> params.
    encode: (params, tokens_BxL, segment_ids_BxL, *, dropout_key=None) ->
      states_BxLxD after the final norm.
    decode: (params, encoded_BxLxD, encoder_segment_ids_BxL,
      decoder_input_tokens_BxT, decoder_segment_ids_BxT,
      *, dropout_key=None) -> states_BxTxD after the final norm. Tokens of one
      segment attend causally to themselves and to their own segment's encoder
      states.
    head: params -> [D, V] output matrix.
    pool: (params, states_BxLxD, segment_ids_BxL, num_segments) ->
      embedding_BxSxP, one vector per segment: mean over its tokens, then what
      the checkpoint adds (Sentence-T5's dense layer), then unit L2 norm.
      Empty segments are 0.
    width: D.
    vocab_size: V.
    logical_axes: params-shaped pytree of tuples of T5X logical axis names,
      or () for a replicated leaf.
  """

  init: Callable[[jax.Array], Params]
  encode: Callable[..., jax.Array]
  decode: Callable[..., jax.Array]
  head: Callable[[Params], jax.Array]
  pool: Callable[[Params, jax.Array, jax.Array, int], jax.Array]
  width: int
  vocab_size: int
  logical_axes: Any


@runtime_checkable
class Vocabulary(Protocol):
  """Text to token ids and back; the pad id is always 0."""

  size: int  # including sentinels
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


class Features(NamedTuple):
  """One forward pass over documents; scorers with the same name share it.

  Attributes:
    name: names pass and settings; equal name = same computation.
    examples: (ids, texts, tokens) -> per document a list of examples, each a
      dict with 'encoder' and optionally 'decoder_inputs' and
      'decoder_targets', 1-D int32 arrays. `tokens` are
      `vocabulary.encode_batch(texts)`. An empty list means the document has
      no score (null).
    encoder_length: longest 'encoder' array that `examples` makes.
    decoder_length: longest 'decoder_*' array, 0 when there is none.
    apply: (params, batch, num_segments) -> dict of [B, S, ...] float32
      arrays, jitted by the engine with num_segments = S static; entry
      [b, s - 1] belongs to segment s of row b.
    combine: outputs of one document's examples, name -> [num_examples, ...]
      float32 -> dict name -> scalar or vector of the document.
    max_segments: S, most examples in a row; each costs a decoder position.
    column: take 'embedding' from this column of the input rows instead of
      running a network; the fields above are then unused.
  """

  name: str
  examples: Callable[..., list[list[dict[str, np.ndarray]]]]
  encoder_length: int
  decoder_length: int
  apply: Callable[[Params, Batch, int], dict[str, jax.Array]]
  combine: Callable[[dict[str, np.ndarray]], dict[str, Any]]
  max_segments: int = 16
  column: str | None = None


class Summary(NamedTuple):
  """What a scorer learns about the whole corpus before it can score.

  Features of documents arrive as a dict of [B, ...] arrays with
  'embedding' [B, D] float32, 'id_hash' [B, 2] uint32 (high, low) and 'mask'
  [B] bool.

  Attributes:
    sample_size: how many documents (those with the smallest keyed id hash)
      `init` wants to see.
    init: (sample features, num_documents) -> state.
    update: (state, features) -> state; None when one look at the sample is
      enough. Pure JAX; masked rows change nothing.
    merge: (state, state) -> state of the union; both begin from one `init`.
    score: (state, features) -> dict column -> [B] float32.
    diagnose: state -> dict of plain numbers for the manifest.
  """

  sample_size: int
  init: Callable[[Batch, int], State]
  update: Callable[[State, Batch], State] | None
  merge: Callable[[State, State], State]
  score: Callable[[State, Batch], dict[str, jax.Array]]
  diagnose: Callable[[State], dict[str, Any]]


class Scorer(NamedTuple):
  """A method that gives every document a float32; higher = keep, always.

  Attributes:
    columns: column name -> unit, in the order of the table.
    features: the forward pass it needs.
    score: features of one document (from `features.combine`) -> column ->
      float; None for scorers with a summary.
    summary: for scorers that first summarise the corpus.
  """

  columns: Mapping[str, str]
  features: Features
  score: Callable[[dict[str, Any]], dict[str, float]] | None = None
  summary: Summary | None = None


@flax.struct.dataclass
class Signals:
  """What one train step offers a weighting; what it did not ask for is None.

  Attributes:
    mask_E: [E] bool, True for real examples. Always present.
    loss_E: [E] float32, mean natural-log loss per target token ('loss').
    encoder_pooled_ExD: [E, D] float32 plain mean of the encoder's last states
      (they are bidirectional), not normalised ('encoder_pooled').
    decoder_pooled_ExD: [E, D] float32 position-weighted mean of the decoder's
      last states (they are causal), not normalised ('decoder_pooled').
    batch: the batch itself ('batch').
    params: ('params').
    opt_state: optimizer state before the update ('opt_state').
    step: [] int32. Always present.
  """

  mask_E: jax.Array
  step: jax.Array
  loss_E: jax.Array | None = None
  encoder_pooled_ExD: jax.Array | None = None
  decoder_pooled_ExD: jax.Array | None = None
  batch: Batch | None = None
  params: Params | None = None
  opt_state: Any = None


class Weighting(NamedTuple):
  """A rule that weights every example of a training batch, on device.

  Attributes:
    init: width D -> state.
    update: (signals, state) -> (weights_E, state, info). Weights are finite,
      >= 0 and exactly 0 where the mask is False; no gradient flows through
      them. `info` is a dict of scalars for the log.
    refresh: (anchor signals, state) -> state, its own jitted program, or None.
      Signals hold all anchor examples of one AnchorSet.
    refresh_interval: steps between refreshes; the first is before step 1.
    needs: names of the signals `update` reads.
    anchor_needs: names of the signals `refresh` reads.
    batch_coupled: True when a weight depends on other rows of the batch.
    absolute: True when the scale of the weights is meant (ADAPT's sigmoid):
      the loss is then divided by the unweighted target count.
  """

  init: Callable[[int], State]
  update: Callable[[Signals, State], tuple[jax.Array, State, dict]]
  refresh: Callable[[Signals, State], State] | None = None
  refresh_interval: int = 1
  needs: frozenset[str] = frozenset()
  anchor_needs: frozenset[str] = frozenset()
  batch_coupled: bool = False
  absolute: bool = True
