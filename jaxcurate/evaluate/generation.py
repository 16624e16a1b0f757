"""What a model writes after a prompt, up to a string that ends the answer.

Strings are looked for between rounds of 64, 128, 256, ... tokens, so that an
answer that ends early costs little: answers that have ended leave the batch.
A decoder-only network goes on from where it was; an encoder-decoder, whose
decoder begins anew, writes all of it again, which doubles its work at most.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import numpy as np
import tqdm

from jaxcurate.evaluate.continuation_rows import padded_length
from jaxcurate.models import generate
from jaxcurate.types import Network, Params

_FIRST_ROUND = 64
_MIN_PROMPT = 64  # shorter ones are padded to this
# Tokens of one batch with all it writes; a step reads all weights, so rows are
# nearly free until the cache of keys and values fills the memory.
_CPU_TOKENS, _ACCELERATOR_TOKENS = 16_384, 65_536


class Prompt(NamedTuple):
  """What is to be continued.

  Attributes:
    ids: at least one.
    stops: strings that end the answer, not part of it.
    max_tokens: most tokens of the answer, at least 1.
  """

  ids: Sequence[int]
  stops: Sequence[str]
  max_tokens: int


def make_writer(
  network: Network,
  params: Params,
  mesh: jax.sharding.Mesh,
  *,
  decode: Callable[[Sequence[int]], str],
  eos_id: int,
  max_length: int,
) -> Callable[[Sequence[Prompt]], list[str]]:
  """A function that continues prompts greedily.

  Args:
    network: decoder-only, or an encoder-decoder that reads the prompt in its
      encoder.
    params: on the mesh.
    mesh: axes 'data' and 'model'.
    decode: ids -> text, without special tokens.
    eos_id: ends an answer too.
    max_length: tokens the network reads; a decoder's hold prompt and answer.
      Longer prompts lose their left end.

  Returns:
    Prompts -> the text of each answer, in order. Raises ValueError where the
    answer of a decoder leaves no room for a prompt.
  """
  causal = network.encode is None
  sharding = jax.sharding.NamedSharding(
    mesh, jax.sharding.PartitionSpec('data')
  )
  shards = mesh.shape['data']
  tokens = _ACCELERATOR_TOKENS
  if jax.default_backend() == 'cpu':
    tokens = _CPU_TOKENS

  def continued(
    prompts: Sequence[Sequence[int]], length: int, count: int, new: int
  ) -> list[list[int]]:
    """Up to `new` ids after each of at most `count` prompts."""
    ids = np.zeros((count, length), np.int32)
    segments = np.zeros_like(ids)
    for row, prompt in enumerate(prompts):
      ids[row, length - len(prompt) :] = prompt
      segments[row, length - len(prompt) :] = 1
    written, lengths = jax.device_get(
      generate.continue_rows(
        network,
        params,
        jax.device_put(ids, sharding),
        jax.device_put(segments, sharding),
        max_new_tokens=new,
        stop_ids=(eos_id,),
      )
    )
    return [
      row[:length].tolist()
      for row, length in zip(written, lengths, strict=True)
    ][: len(prompts)]

  def write(prompts: Sequence[Prompt]) -> list[str]:
    starts = [_start(prompt, max_length, causal=causal) for prompt in prompts]
    answers: list[list[int]] = [[] for _ in prompts]
    texts = [''] * len(prompts)
    waiting, new = list(range(len(prompts))), _FIRST_ROUND
    with tqdm.tqdm(total=len(prompts), unit='answer', leave=False) as bar:
      while waiting:
        before = {
          i: [*starts[i], *answers[i]] if causal else starts[i] for i in waiting
        }
        still = []
        for batch in _batches(before, tokens, new, shards):
          rows, length, chosen = batch
          found = continued([before[i] for i in chosen], length, rows, new)
          for i, more in zip(chosen, found, strict=True):
            answers[i] = [*answers[i], *more] if causal else more
            answer = answers[i][: prompts[i].max_tokens]
            texts[i], ended = cut(decode(answer), prompts[i].stops)
            full = len(answers[i]) >= prompts[i].max_tokens
            if not (ended or full or len(more) < new):
              still.append(i)
          bar.update(len(chosen) - len(set(chosen) & set(still)))
        waiting, new = sorted(still), 2 * new
    return texts

  return write


def cut(text: str, stops: Sequence[str]) -> tuple[str, bool]:
  """The text before the first of the stops, and whether there is one.

  >>> cut('4. Q: and', ['Q:', '.'])
  ('4', True)
  """
  places = [text.find(stop) for stop in stops if stop and stop in text]
  return (text[: min(places)], True) if places else (text, False)


def _start(prompt: Prompt, max_length: int, *, causal: bool) -> Sequence[int]:
  """The end of the prompt that the network can read."""
  room = max_length - prompt.max_tokens if causal else max_length
  if room < 1:
    raise ValueError(
      f'an answer may have {prompt.max_tokens} tokens, which leaves no room'
      f' for a prompt in the {max_length} that the model reads: raise'
      ' max_length'
    )
  return prompt.ids[-room:]


def _batches(
  before: dict[int, Sequence[int]], tokens: int, new: int, shards: int
) -> list[tuple[int, int, list[int]]]:
  """(rows, padded length, prompts in them), the longest prompts first."""
  by_length: dict[int, list[int]] = {}
  for i, ids in before.items():
    by_length.setdefault(padded_length(len(ids), _MIN_PROMPT), []).append(i)
  batches = []
  for length, same in sorted(by_length.items(), reverse=True):
    most = max(1, tokens // (length + new) // shards) * shards
    few = padded_length(-(-len(same) // shards), 1) * shards
    rows = min(most, few)
    batches += [
      (rows, length, same[start : start + rows])
      for start in range(0, len(same), rows)
    ]
  return batches
