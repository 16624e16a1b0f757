"""Makes the scorers of a run: each gets what its `make` asks for by name.

`network` and `vocabulary` are the model's. A parameter `anchors` stands for
--anchors, `reference` for the network of --reference, `sample` for documents
drawn from the corpus itself, `corpus` for sums over all of it, `head` for the
one beside the model.
"""

from collections.abc import Callable, Iterable, Sequence
import hashlib
import heapq
import importlib
import inspect
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxcurate.cli import gin_files
from jaxcurate.cli import inputs as inputs_lib
from jaxcurate.data import readers
from jaxcurate.io import hosts
from jaxcurate.io.errors import UserError
from jaxcurate.models import heads
from jaxcurate.ops import ids as ids_lib
from jaxcurate.types import Document, Scorer

# Documents -> sums over them.
Count = Callable[[Iterable[Document]], dict[str, np.ndarray]]


class Given(NamedTuple):
  """What the methods of a run may ask for.

  Attributes:
    loaded: the model.
    anchors: trusted documents, none when not given.
    reference: a second model, or None.
    sample: () -> documents drawn from the corpus.
    corpus: `count` -> what `count(documents)`, a dict of arrays, adds up to
      over all documents of the corpus.
    template: prompt files for ask_llm, see `inputs.read_templates`.
  """

  loaded: inputs_lib.Loaded
  anchors: Sequence[Document]
  reference: inputs_lib.Loaded | None
  sample: Callable[[], list[Document]]
  corpus: Callable[[Count], dict[str, np.ndarray]]
  template: Sequence[str]


def make_scorers(
  methods: Sequence[Callable[..., Scorer]], given: Given
) -> list[Scorer]:
  """Calls every method.

  Args:
    methods: `make` functions of scorers.
    given: what they may ask for.

  Raises:
    UserError: something is given that no method asks for, or the reverse, or
      a method refuses a setting.
  """
  asked = {make: inspect.signature(make).parameters for make in methods}
  names = [make.__module__.rpartition('.')[2] for make in methods]
  for value, parameter, flag in (
    (given.template, 'template', '--template'),
    (given.anchors, 'anchors', '--anchors'),
    (given.reference, 'reference', '--reference'),
  ):
    if value and not any(parameter in p for p in asked.values()):
      raise UserError(
        f'{flag} is not for {", ".join(names)} but for'
        f' {", ".join(_who_asks(parameter))}; drop it, or add such a --method'
      )
  scorers = []
  for make, name in zip(methods, names, strict=True):
    own = _arguments(name, asked[make], given)
    try:
      scorers.append(
        make(
          network=given.loaded.network,
          vocabulary=given.loaded.vocabulary,
          **own,
        )
      )
    except ValueError as error:
      raise UserError(f'{name}: {error}') from error
  return scorers


def _who_asks(parameter: str) -> list[str]:
  """Names of the scorers whose `make` has the parameter."""
  modules = {
    name: importlib.import_module(f'jaxcurate.scorers.{name}')
    for name in gin_files.known_methods('scorers')
  }
  return [
    name
    for name, module in modules.items()
    if parameter in inspect.signature(module.make).parameters
  ]


def _arguments(name: str, asked: Any, given: Given) -> dict[str, Any]:
  """What one method asks for, but network and vocabulary."""
  own: dict[str, Any] = {}
  if 'template' in asked and given.template:
    templates = inputs_lib.read_templates(given.template)
    plain = templates.get('')
    own |= {'criteria': templates} if plain is None else {'template': plain}
  if 'anchors' in asked:
    if not given.anchors:
      raise UserError(
        f'{name} learns from a small trusted corpus; give --anchors=FILES, or'
        ' --fitted=SCORES of an earlier run'
      )
    own['anchors'] = given.anchors
  if 'reference' in asked:
    if given.reference is None:
      raise UserError(f'{name} compares two models; give --reference=MODEL')
    words = [m.vocabulary for m in (given.loaded, given.reference)]
    first, second = (getattr(v, 'name', None) for v in words)
    if first != second:
      raise UserError(
        f'--reference={given.reference.name}: its vocabulary ({second}) is not'
        f" the model's ({first}); {name} compares the same tokens"
      )
    own['reference'] = given.reference.network
  if 'sample' in asked:
    own['sample'] = given.sample()
  if 'corpus' in asked:
    own['corpus'] = given.corpus
  if 'head' in asked:
    own['head'] = heads.read(given.loaded.name)
  return own


def sample_documents(
  corpus: readers.Corpus, number: int, seed: int
) -> list[Document]:
  """Documents drawn uniformly: those whose keyed id hash is smallest.

  Args:
    corpus: read once, whole.
    number: of documents; all of a smaller corpus.
    seed: of the hash.

  Returns:
    In the order of their hashes.
  """
  heap: list[tuple[int, int, Document]] = []
  count = 0
  for block in corpus.blocks(block_rows=1024):
    hashes = ids_lib.hash_ids([row.id for row in block.rows], seed).tolist()
    for key, row in zip(hashes, block.rows, strict=True):
      count += 1
      entry = (-key, count, row)
      if len(heap) < number:
        heapq.heappush(heap, entry)
      elif entry > heap[0]:
        heapq.heapreplace(heap, entry)
  return [row for _, _, row in sorted(heap, reverse=True)]


def total(corpus: readers.Corpus, count: Count) -> dict[str, np.ndarray]:
  """Sums over all documents of a corpus; every host reads its share.

  Args:
    corpus: read once, whole.
    count: documents -> name -> array, sums over them.
  """
  shard, num_shards = jax.process_index(), jax.process_count()
  return hosts.add_up(count(corpus.rows(shard=shard, num_shards=num_shards)))


def digest(documents: Sequence[Document]) -> str | None:
  """Short hash of ids, texts and domains; None of none."""
  if not documents:
    return None
  made = hashlib.blake2b(digest_size=8)
  for document in documents:
    for part in (document.id, document.text, document.domain or ''):
      made.update(f'{len(part)}:{part}'.encode('utf-8', 'replace'))
  return made.hexdigest()
