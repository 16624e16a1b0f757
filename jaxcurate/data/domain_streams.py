"""One stream of rows per domain of a part, the same whatever the shares."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxcurate.data.row_shape import RowSettings
from jaxcurate.data.row_stream import RowStream, Windowing
from jaxcurate.data.shuffle import mix
from jaxcurate.data.token_part import TokenPart
from jaxcurate.io.errors import UserError
from jaxcurate.ops.ids import hash_ids


class DomainStreams(NamedTuple):
  """The streams of M domains.

  Attributes:
    names: M names.
    codes: of the documents of each.
    streams: of each.
    pass_tokens: tokens of one pass over each, copies counted.
    left_out: why -> documents of the part in none of them.
  """

  names: tuple[str, ...]
  codes: tuple[int, ...]
  streams: tuple[RowStream, ...]
  pass_tokens: tuple[int, ...]
  left_out: Mapping[str, int]


def open_streams(
  part: TokenPart,
  domains: Sequence[str],
  names: Sequence[str],
  settings: RowSettings,
  *,
  eos_id: int,
  seed: int,
  windowing: Windowing,
  block_documents: int,
) -> DomainStreams:
  """The streams of named domains; their order follows (seed, name) alone.

  Args:
    part: N documents.
    domains: names of its domain codes.
    names: M domains to open.
    settings, eos_id, windowing, block_documents: see `RowStream`.
    seed: of order and masks.

  Raises:
    UserError: a named domain has no document.
  """
  code_N = np.asarray(part.domain)
  order = np.argsort(code_N, kind='stable')
  bounds = np.searchsorted(code_N[order], np.arange(-1, len(domains) + 1))
  documents = {
    name: order[bounds[code + 1] : bounds[code + 2]]
    for code, name in enumerate(domains)
  }
  lacking = [name for name in names if not len(documents.get(name, ()))]
  if lacking:
    known = sorted(name for name in domains if len(documents[name]))
    raise UserError(
      f'no document to train on in domain {", ".join(lacking)} of the mixture;'
      f' the mixture names {", ".join(names)}, the corpus has documents in'
      f' {", ".join(known) or "no domain"}; see --domain_field, --selection'
    )
  left_out = {
    f'in domain {name}, without a share': len(own)
    for name, own in documents.items()
    if name not in names and len(own)
  }
  if bounds[1]:
    left_out['without a domain'] = int(bounds[1])
  copies_N = np.diff(part.copies_end, prepend=0)
  tokens_N = np.diff(part.offsets)
  streams = [
    RowStream(
      part,
      settings,
      eos_id=eos_id,
      # Domains of equal size would else be shuffled alike.
      seed=int(mix(seed, hash_ids([name])[0])),
      windowing=windowing,
      block_documents=block_documents,
      documents=documents[name],
    )
    for name in names
  ]
  totals = [
    int((copies_N[own] * tokens_N[own]).sum())
    for own in (documents[name] for name in names)
  ]
  codes = {name: code for code, name in enumerate(domains)}
  return DomainStreams(
    tuple(names),
    tuple(codes[name] for name in names),
    tuple(streams),
    tuple(totals),
    left_out,
  )
