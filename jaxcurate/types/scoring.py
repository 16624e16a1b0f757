"""A scorer: what it reads, what it runs, what it learns first."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxcurate.types.networks import Batch, Params, State


class Document(NamedTuple):
  """One document of a corpus.

  Attributes:
    id: unique in its corpus.
    text: not empty, free of NUL and of lone surrogates.
    domain: name of its domain, or None.
    vector: [D] float32 precomputed embedding, when one was asked for.
    turns: (role, content) of each turn where the row is a conversation or an
      instruction with its answer; roles are 'system', 'user', 'assistant'.
      `text` is then their contents, one after the other.
    label: what people or a large model say of it, for methods that learn from
      labelled documents.
  """

  id: str
  text: str
  domain: str | None
  vector: np.ndarray | None = None
  turns: tuple[tuple[str, str], ...] | None = None
  label: float | None = None


class Features(NamedTuple):
  """One forward pass over documents; scorers with the same name share it.

  Attributes:
    name: names pass and settings; equal name = same computation.
    examples: (documents, tokens) -> per document a list of examples, each a
      dict of 1-D int32 arrays: 'encoder', or 'decoder_inputs' and
      'decoder_targets', or all three; further keys as `packing.pack` has
      them. `tokens` are `vocabulary.encode_batch` of the texts. An empty list
      means the document has no score (null).
    encoder_length: longest 'encoder' array, 0 for a decoder-only network.
    decoder_length: longest 'decoder_*' array, 0 when there is none.
    apply: (params, batch, num_segments) -> dict of [B, S, ...] float32
      arrays, jitted by the engine with num_segments = S static; entry
      [b, s - 1] belongs to segment s of row b. `params` is the network's,
      or the pair (network's, more) where the scorer has a `fit` or a
      `second` network.
    combine: outputs of one document's examples, name -> [num_examples, ...]
      float32 -> dict name -> scalar or vector of the document.
    max_segments: S, most examples in a row; each costs a decoder position.
    rows: rows per device and batch that suit the pass; None leaves it to the
      device.
    column: take 'embedding' from this column of the input rows instead of
      running a network; the fields above are then unused.
    reads: how often the network reads every token, for estimates of the cost.
  """

  name: str
  examples: Callable[..., list[list[dict[str, np.ndarray]]]]
  encoder_length: int
  decoder_length: int
  apply: Callable[[Params, Batch, int], dict[str, jax.Array]]
  combine: Callable[[dict[str, np.ndarray]], dict[str, Any]]
  max_segments: int = 16
  column: str | None = None
  rows: int | None = None
  reads: int = 1


class Summary(NamedTuple):
  """What a scorer learns about the whole corpus before it can score.

  Features of documents arrive as a dict of [B, ...] arrays with
  'embedding' [B, D] float32, 'id_hash' [B, 2] uint32 (high, low) and 'mask'
  [B] bool. Where the pass gives bfloat16 embeddings they are kept as such
  until here, two bytes a number.

  Attributes:
    sample_size: how many documents (those with the smallest keyed id hash)
      `init` wants to see; 0 for none.
    init: (sample features, num_documents) -> state. The features have one more
      entry, 'fitted', where the scorer has a `fit`: what that returned.
    update: (state, features) -> state; None when one look at the sample is
      enough. Pure JAX; masked rows change nothing.
    merge: (state, state) -> state of the union; both begin from one `init`.
    score: (state, features) -> dict column -> [B] float32.
    diagnose: state -> dict of plain numbers for the manifest.
    finish: state -> state of the same shapes, once after the whole corpus, or
      None.
  """

  sample_size: int
  init: Callable[[Batch, int], State]
  update: Callable[[State, Batch], State] | None
  merge: Callable[[State, State], State]
  score: Callable[[State, Batch], dict[str, jax.Array]]
  diagnose: Callable[[State], dict[str, Any]]
  finish: Callable[[State], State] | None = None


class FitTools(NamedTuple):
  """What the command lends a scorer that learns before it scores.

  Attributes:
    train: `jaxcurate.train.fit.fit` with mesh and seed filled in.
    outputs: (features, params, examples) -> name -> [num_examples, ...]
      float32, one forward pass over examples outside the corpus.
  """

  train: Callable[..., Any]
  outputs: Callable[..., dict[str, np.ndarray]]


class Scorer(NamedTuple):
  """A method that gives every document a float32; higher = keep, always.

  Attributes:
    columns: column name -> unit, in the order of the table.
    features: the forward pass it needs.
    score: features of one document (from `features.combine`) -> column ->
      float; None for scorers with a summary.
    summary: for scorers that first summarise the corpus.
    fit: (network params, FitTools) -> what the method learns from its anchors
      before it scores, a pytree of arrays in dicts; kept in the output folder
      as safetensors. An entry 'report', of numbers and texts as JSON has
      them, goes to the manifest instead of the pass.
    second: whether the pass also takes a second network's params.
  """

  columns: Mapping[str, str]
  features: Features
  score: Callable[[dict[str, Any]], dict[str, float]] | None = None
  summary: Summary | None = None
  fit: Callable[[Params, FitTools], Params] | None = None
  second: bool = False
