"""Small decoders trained on a mixture of corpora, for the studies.

Every corpus is dealt out into documents to train on, a few trusted ones and
unseen ones; vocabulary and decoder are made from passages of the first alone.
"""

from collections.abc import Mapping, Sequence
import gzip
import itertools
import json
import pathlib
import tempfile
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
import sentencepiece

from jaxcurate.data import causal_rows
from jaxcurate.data.vocabulary import load_vocabulary
from jaxcurate.models import decoder
from jaxcurate.ops import ids as ids_lib
from jaxcurate.scorers import likelihood
from jaxcurate.scoring import fitting
from jaxcurate.train import fit as fits
from jaxcurate.types import Document, Network, Params, Scorer, Vocabulary

_HEAD_DIM = 32
_BATCH_ROWS, _MAX_SEGMENTS = 16, 8
_PEAK_RATE = 4e-3


class Pool(NamedTuple):
  """Documents by what they are for; ids are unique over all."""

  train: list[Document]
  anchors: list[Document]
  test: list[Document]


class Judge(NamedTuple):
  """A decoder that was trained here.

  Attributes:
    network: the decoder.
    params: its parameters.
    vocabulary: its vocabulary.
    max_length: tokens of the longest text that it was trained on.
    num_params: how many parameters it has.
    loss: mean over the last epoch of training, nats per token.
  """

  network: Network
  params: Params
  vocabulary: Vocabulary
  max_length: int
  num_params: int
  loss: float


def read_pool(
  folder: str,
  domains: Mapping[str, tuple[str, str | None]],
  *,
  characters: int,
  counts: tuple[int, int, int],
  seed: int,
) -> Pool:
  """Passages of every domain, dealt out by a keyed hash of their ids.

  Of a trusted or unseen document one passage is kept, which begins after a
  third of what is left over, past titles and mail headers that would give a
  corpus away. Of the others every passage is one to train on.

  Args:
    folder: of the corpora.
    domains: name -> (file without .jsonl.gz, value of `domain`, None = all).
    characters: longest passage.
    counts: passages to train on (at most), anchors and test, per domain.
    seed: of the dealing.
  """
  pool = Pool([], [], [])
  for domain, (file, value) in domains.items():
    path = pathlib.Path(folder) / f'{file}.jsonl.gz'
    rows = [json.loads(line) for line in gzip.open(path, 'rt')]
    found = {
      f'{domain}/{row["id"]}': row['text'].strip()
      for row in rows
      if value in (None, row.get('domain'))
    }
    names = np.array(list(found), object)
    names = names[np.argsort(ids_lib.hash_ids(found, seed))]

    middles = [
      Document(name, middle(found[name], characters), domain)
      for name in names[: counts[1] + counts[2]]
    ]
    train, anchors, test = counts
    pool.anchors.extend(middles[:anchors])
    pool.test.extend(middles[anchors:])
    rest = names[anchors + test :]
    longest = max(len(found[name]) for name in rest)
    # The first passage of every document, then the second of all that have one.
    passages = (
      Document(f'{name}#{start}', found[name][start:][:characters], domain)
      for start in range(0, longest, characters)
      for name in rest
      if start < len(found[name])
    )
    pool.train.extend(itertools.islice(passages, train))
  return pool


def middle(text: str, characters: int) -> str:
  """So many characters, after a third of what is left over."""
  start = max(0, len(text) - characters) // 3
  return text[start : start + characters]


def train_vocabulary(documents: Sequence[Document], pieces: int) -> Vocabulary:
  """A SentencePiece vocabulary of the documents."""
  with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / 'spiece.model'
    write_vocabulary(path, [document.text for document in documents], pieces)
    return load_vocabulary(path)


def write_vocabulary(
  path: pathlib.Path, texts: Sequence[str], pieces: int
) -> None:
  """Writes a SentencePiece model of the texts, in T5's layout."""
  sentencepiece.SentencePieceTrainer.train(
    sentence_iterator=iter([text[:4000] for text in texts]),
    model_prefix=str(path.with_suffix('')),
    vocab_size=pieces,
    pad_id=0,
    eos_id=1,
    unk_id=2,
    bos_id=-1,
    byte_fallback=True,
    num_threads=1,
    minloglevel=2,
  )


def train(
  documents: Sequence[Document],
  vocabulary: Vocabulary,
  embed_dim: int,
  num_layers: int,
  *,
  max_length: int,
  epochs: int,
  mesh: jax.sharding.Mesh,
  seed: int,
) -> Judge:
  """A Llama of that width and depth, trained on the documents.

  Args:
    documents: to learn from.
    vocabulary: of the decoder.
    embed_dim: width, a multiple of 32.
    num_layers: depth.
    max_length: tokens of a document that are read.
    epochs: over the documents.
    mesh: where it is trained.
    seed: of the parameters and of the order.
  """
  heads = embed_dim // _HEAD_DIM
  network = decoder.make_network(
    decoder.DecoderConfig(
      vocab_size=vocabulary.size,
      embed_dim=embed_dim,
      num_heads=heads,
      num_kv_heads=heads,
      head_dim=_HEAD_DIM,
      mlp_dim=3 * embed_dim,
      num_layers=num_layers,
      tied_head=True,
    )
  )
  tokens = vocabulary.encode_batch([document.text for document in documents])
  examples = [
    causal_rows.causal_example(
      np.array(own[:max_length]), vocabulary, ends=len(own) < max_length
    )
    for own in tokens
    if len(own) > 1
  ]
  targets = sum(len(example['decoder_targets']) for example in examples)
  steps = epochs * targets / (_BATCH_ROWS * max_length)

  def loss(params, nothing, batch):
    del nothing
    sums = likelihood.sums(
      network, params, batch, _MAX_SEGMENTS, chunk_tokens=_BATCH_ROWS * 1024
    )
    return -sums['log_prob'].sum() / sums['targets'].sum()

  result = fits.fit(
    init=network.init,
    loss=loss,
    params={},
    examples=examples,
    encoder_length=0,
    decoder_length=max_length,
    optimizer=optax.adamw(
      optax.warmup_cosine_decay_schedule(
        0.0, _PEAK_RATE, int(0.1 * steps), int(steps)
      ),
      weight_decay=0.01,
    ),
    epochs=epochs,
    batch_size=_BATCH_ROWS,
    seed=seed,
    mesh=mesh,
    max_segments=_MAX_SEGMENTS,
  )
  size = sum(leaf.size for leaf in jax.tree.leaves(result.fitted))
  return Judge(
    network, result.fitted, vocabulary, max_length, size, result.losses[-1]
  )


def score(
  scorer: Scorer,
  judge: Judge,
  documents: Sequence[Document],
  mesh: jax.sharding.Mesh,
) -> dict[str, np.ndarray]:
  """Every column of the scorer for every document; NaN = no score."""
  tools = fitting.make_tools(mesh, 0)
  params: Any = judge.params
  if scorer.fit is not None:
    params = (params, scorer.fit(params, tools))
  assert scorer.score is not None, 'none of these summarises the corpus'
  tokens = judge.vocabulary.encode_batch([d.text for d in documents])
  examples = scorer.features.examples(documents, tokens)
  flat = [example for own in examples for example in own]
  outputs = tools.outputs(scorer.features, params, flat)
  ends = list(itertools.accumulate(len(own) for own in examples))
  rows = []
  for own, end in zip(examples, ends, strict=True):
    found = {name: out[end - len(own) : end] for name, out in outputs.items()}
    rows.append(
      scorer.score(scorer.features.combine(found))
      if own
      else dict.fromkeys(scorer.columns, np.nan)
    )
  return {
    name: np.array([row[name] for row in rows]) for name in scorer.columns
  }
