"""Makes the scorers of a run: each gets what its `make` asks for by name.

`network` and `vocabulary` are the model's. A parameter `anchors` stands for
--anchors, `labelled` for those of them that --targets has labels of,
`reference` for the network of --reference, `sample` for documents drawn from
the corpus itself, `corpus` for sums over all of it, `head` for the
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
from jaxcurate.data import targets as targets_lib
from jaxcurate.io import hosts
from jaxcurate.io.errors import UserError
from jaxcurate.models import heads
from jaxcurate.ops import ids as ids_lib
from jaxcurate.scoring import fitting
from jaxcurate.types import Document, Scorer

# Documents -> sums over them.
Count = Callable[[Iterable[Document]], dict[str, np.ndarray]]


class Given(NamedTuple):
  """What the methods of a run may ask for.

  Attributes:
    loaded: the model.
    anchors: trusted documents, none when not given, perhaps with labels.
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


class Trusted(NamedTuple):
  """The flags that say what methods learn from.

  Attributes:
    anchors: files.
    targets: file or score folder of labels of anchors, by id, or None.
    by: its column; None for the usual one.
    fitted: earlier score folder, whose anchors have their labels, or None.
    id_field: column of the ids, of files.
  """

  anchors: Sequence[str]
  targets: str | None = None
  by: str | None = None
  fitted: str | None = None
  id_field: str = 'id'


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
  labelled = [a for a in given.anchors if a.label is not None]
  for value, parameters, flag in (
    (given.template, {'template'}, '--template'),
    (given.anchors, {'anchors', 'labelled'}, '--anchors'),
    (labelled, {'labelled'}, '--targets'),
    (given.reference, {'reference'}, '--reference'),
  ):
    if value and not any(parameters & set(p) for p in asked.values()):
      raise UserError(
        f'{flag} is not for {", ".join(names)} but for'
        f' {", ".join(_who_asks(parameters))}; drop it, or add such a --method'
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


def _who_asks(parameters: set[str]) -> list[str]:
  """Names of the scorers whose `make` has any of the parameters."""
  modules = {
    name: importlib.import_module(f'jaxcurate.scorers.{name}')
    for name in gin_files.known_methods('scorers')
  }
  return [
    name
    for name, module in modules.items()
    if parameters & set(inspect.signature(module.make).parameters)
  ]


def _arguments(name: str, asked: Any, given: Given) -> dict[str, Any]:
  """What one method asks for, but network and vocabulary."""
  own: dict[str, Any] = {}
  if 'template' in asked and given.template:
    templates = inputs_lib.read_templates(given.template)
    plain = templates.get('')
    own |= {'criteria': templates} if plain is None else {'template': plain}
  if 'anchors' in asked or 'labelled' in asked:
    if not given.anchors:
      raise UserError(
        f'{name} learns from a small trusted corpus; give --anchors=FILES, or'
        ' --fitted=SCORES of an earlier run'
      )
  if 'anchors' in asked:
    own['anchors'] = given.anchors
  if 'labelled' in asked:
    own['labelled'] = [a for a in given.anchors if a.label is not None]
    if not own['labelled']:
      raise UserError(
        f'{name} learns labels; give --targets=FILE with an id and a label for'
        ' documents of --anchors (column --by), or a score folder'
      )
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


def trusted(
  open_documents: Callable[..., readers.Corpus], which: Trusted
) -> list[Document]:
  """What methods learn from: --anchors, or those of an earlier run.

  Args:
    open_documents: opens files as `inputs`.
    which: the flags.

  Raises:
    UserError: no anchor, or no anchor has a label.
  """
  if not which.anchors:
    if which.targets is not None:
      raise UserError('--targets has labels of --anchors; give these too')
    return [] if which.fitted is None else fitting.read_anchors(which.fitted)
  found = list(open_documents(inputs=which.anchors).rows())
  if not found:
    raise UserError(
      f'--anchors={", ".join(which.anchors)}: no document with text'
    )
  if which.targets is None:
    return found
  read = targets_lib.read_targets(
    which.targets,
    () if which.by is None else (which.by,),
    id_field=which.id_field,
  )
  label = dict(zip(read.id, read.value[:, 0].tolist(), strict=True))
  label = {id_: own for id_, own in label.items() if np.isfinite(own)}
  found = [a._replace(label=label.get(a.id)) for a in found]
  known = {a.id for a in found if a.label is not None}
  print(
    f'{which.targets}: labels of {len(known):,} of {len(found):,} anchors;'
    f' {len(label) - len(known):,} others are not among them'
  )
  if not known:
    raise UserError(f'{which.targets}: has no label of any of --anchors')
  return found


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
  """Short hash of ids, texts, domains and labels; None of none."""
  if not documents:
    return None
  made = hashlib.blake2b(digest_size=8)
  for document in documents:
    parts = [document.id, document.text, document.domain or '']
    if document.label is not None:
      parts.append(repr(document.label))
    for part in parts:
      made.update(f'{len(part)}:{part}'.encode('utf-8', 'replace'))
  return made.hexdigest()
