"""Batches of rows of several domains, each with a place of its own.

The rows of a domain are the same sequence whatever the shares are and were: a
share says how soon the next row of a domain comes, never which. So shares may
change, and runs stop and go on with other batches or hosts, without a document
lost or repeated. Whose row is next follows from `ops.fair_turns`, by tokens.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxtyping import Float, Float32
import numpy as np

from jaxcurate.data import domain_streams, mixture_place
from jaxcurate.data.batch_rows import BatchRows
from jaxcurate.data.made_ahead import MadeAhead
from jaxcurate.data.mixture_place import MixturePlace
from jaxcurate.data.row_shape import RowSettings
from jaxcurate.data.row_stream import Pick, Place, Windowing, tokens_of
from jaxcurate.data.share_sources import Losses, ShareSource
from jaxcurate.data.token_part import TokenPart
from jaxcurate.io.errors import UserError
from jaxcurate.ops import fair_turns
from jaxcurate.types import Vocabulary


class MixtureBatches:
  """An iterator over batches, never ending; as `training.TrainingBatches`.

  A class because it is an iterator with a place that can be saved.

  Attributes:
    domains: names of those that have a share.
    left_out: why -> documents of the part that are in no domain of it.
  """

  domains: tuple[str, ...]
  left_out: Mapping[str, int]

  def __init__(
    self,
    part: TokenPart,
    domains: Sequence[str],
    vocabulary: Vocabulary,
    settings: RowSettings,
    source: ShareSource,
    *,
    rows_per_batch: int,
    seed: int,
    windowing: Windowing = 'document',
    columns: Mapping[str, Float32[np.ndarray, ' N']] | None = None,
    shard: int = 0,
    num_shards: int = 1,
    block_documents: int = 1024,
    prefetch: int = 2,
  ):
    """Starts at the first row of every domain.

    Args:
      part: documents to train on.
      domains: names of its domain codes.
      vocabulary: the one that tokenized them.
      settings: of the rows, see `row_shape.row_settings`.
      source: of the shares, of tokens.
      rows_per_batch: over all shards.
      seed: of order and masks.
      windowing, columns, shard, num_shards, block_documents, prefetch: as of
        `training.TrainingBatches`.

    Raises:
      UserError: a domain of the source has no document, or the settings clash.
    """
    self._rows = BatchRows(
      part,
      vocabulary,
      settings,
      rows_per_batch=rows_per_batch,
      windowing=windowing,
      columns=columns,
      shard=shard,
      num_shards=num_shards,
    )
    self._source, self.domains = source, source.domains
    self._own = domain_streams.open_streams(
      part,
      domains,
      source.domains,
      settings,
      eos_id=vocabulary.eos_id,
      seed=seed,
      windowing=windowing,
      block_documents=block_documents,
    )
    self.left_out = self._own.left_out
    count = len(source.domains)
    self._losses: dict[int, Losses] = {}  # of the last batches, by number
    self._next: dict[int, tuple[Place, Pick, int, Place]] = {}
    self._others: dict[str, Any] = {}  # of domains that had shares before
    self._history: list[list[Any]] = [[1, source.describe()]]
    self._reported = (0,) * count
    begin = mixture_place.first_place(count, source.begin(1))
    self._ahead = MadeAhead(self._make, begin, prefetch=prefetch)

  def __iter__(self) -> 'MixtureBatches':
    return self

  def __next__(self) -> dict[str, np.ndarray]:
    batch = self._ahead.take()
    # The next one to be made reads those of `lag` before it.
    self._losses.pop(self._ahead.place.batch - self._source.lag, None)
    return batch

  def observe(
    self,
    step: int,
    nll_M: Float[np.ndarray, ' M'],
    targets_M: Float[np.ndarray, ' M'],
  ) -> None:
    """Takes the losses of a batch, for a source that learns from them.

    Args:
      step: number of the batch, from 1.
      nll_M: natural-log losses of the targets of each domain code, summed.
      targets_M: number of these targets.
    """
    if not self._source.lag:
      return
    codes = list(self._own.codes)
    self._losses[step] = Losses(
      nll_M[codes].astype(float).tolist(),
      targets_M[codes].astype(float).tolist(),
    )

  @property
  def memory(self) -> Any:
    """What the source knows, after the last batch that was returned."""
    return self._ahead.place.memory

  def state(self) -> dict[str, Any]:
    """Where the batch that `next` would return begins; JSON-able."""
    now = self._ahead.place
    own = mixture_place.to_json(
      now, self._own.names, self._prints(), self._reported
    )
    return {
      'batch': now.batch,
      'domains': {**self._others, **own},
      'shares': self.history(),
      'memory': now.memory,
      'losses': [[step, *own] for step, own in sorted(self._losses.items())],
    }

  def restore(self, state: Mapping[str, Any]) -> None:
    """Goes to a place; under the same shares, batches are those of an
    undisturbed run, under others every domain goes on where it was.

    The batch size, the number of shards and the shares may differ from the run
    that saved it. A domain without a share keeps its place.

    Raises:
      UserError: the state is of other data or settings.
    """
    there = state.get('domains')
    if there is None:
      raise UserError(
        'the checkpoint was trained without a mixture; drop --mixture, or give'
        ' another --output'
      )
    history = [list(entry) for entry in state['shares']]
    made, memory = int(state['batch']), state['memory']
    losses = {
      step: Losses(nll, number) for step, nll, number in state['losses']
    }
    if history[-1][1] != self._source.describe():
      history.append([made + 1, self._source.describe()])
      memory, losses = self._source.begin(made + 1), {}
    names = self._own.names
    place, reported = mixture_place.from_json(
      there, made, names, self._prints(), memory
    )
    self._ahead.go_to(place)
    self._reported, self._history, self._losses = reported, history, losses
    self._others = {n: own for n, own in there.items() if n not in names}

  def report(self) -> dict[str, float]:
    """'mixture/NAME' -> its share of the tokens since the last report."""
    now = self._ahead.place.tokens
    new = np.subtract(now, self._reported)
    self._reported = now
    share = new / max(new.sum(), 1)
    return {
      f'mixture/{name}': float(value)
      for name, value in zip(self._own.names, share, strict=True)
    }

  def history(self) -> list[list[Any]]:
    """[first batch, what the source says] for every source there was."""
    return [list(entry) for entry in self._history]

  def read(self) -> dict[str, dict[str, Any]]:
    """Domain -> tokens read so far, and passes over its documents now."""
    before = {n: {'tokens': own['tokens']} for n, own in self._others.items()}
    return before | {
      name: {'tokens': tokens, 'passes': round(tokens / whole, 4)}
      for name, tokens, whole in zip(
        self._own.names,
        self._ahead.place.tokens,
        self._own.pass_tokens,
        strict=True,
      )
    }

  def rows_per_epoch(self) -> int:
    """Rows of one pass over every domain."""
    return sum(stream.rows_per_epoch() for stream in self._own.streams)

  def epochs(self) -> int:
    """How often as many tokens were read as one pass over all domains has."""
    tokens = sum(self._ahead.place.tokens)
    return tokens // max(1, sum(self._own.pass_tokens))

  def document_id(self, id_hash: int) -> str | None:
    """Id of the document with this hash, None where there is none."""
    return self._rows.document_id(id_hash)

  def close(self) -> None:
    """Stops the background thread; batches made ahead are made again."""
    self._ahead.close()

  def _prints(self) -> list[str]:
    return [stream.fingerprint() for stream in self._own.streams]

  def _make(
    self, now: MixturePlace
  ) -> tuple[dict[str, np.ndarray], MixturePlace]:
    """The batch at a place, and the place after it."""
    share_M, memory = self._source.share(
      now.batch + 1, now.memory, self._losses
    )
    credit_M = fair_turns.settle(np.array(now.credit), share_M)
    places, tokens = list(now.places), list(now.tokens)
    size_M = np.ones(len(places), np.int64)
    for domain in np.flatnonzero(share_M > 0):
      size_M[domain] = self._peek(int(domain), places[domain])[1]
    picks: list[Pick] = []
    for _ in range(self._rows.number):
      turn = fair_turns.next_turn(credit_M, size_M, share_M)
      pick, size, places[turn] = self._peek(turn, places[turn])
      picks.append(pick)
      tokens[turn] += size
      credit_M = credit_M + share_M * size
      credit_M[turn] -= size
      size_M[turn] = self._peek(turn, places[turn])[1]
    after = MixturePlace(
      now.batch + 1,
      tuple(places),
      tuple(tokens),
      tuple(credit_M.tolist()),
      memory,
    )
    return self._rows.fill(picks), after

  def _peek(self, domain: int, place: Place) -> tuple[Pick, int, Place]:
    """A domain's row at a place, its tokens, and the place after it."""
    known = self._next.get(domain)
    if known is None or known[0] != place:
      [pick], after = self._own.streams[domain].take(place, 1)
      known = self._next[domain] = (place, pick, tokens_of(pick), after)
    return known[1:]
