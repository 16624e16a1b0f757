"""LAMDAS: how much likelier a text is once the model has seen a reference set.

A key/value prefix at every layer of a frozen language model is tuned on a
small reference set; a text is then read with and without it, and the score is
the log ratio of the two likelihoods per token. Source: LAMDAS (arXiv
2509.06524, Eqs. 1 and 3). Ours, for the paper does not say: the division by
the token count (`ops.log_ratio`), a prefix that begins as the keys and values
of real reference tokens, and long texts read in windows with one prefix.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcurate.ops import log_ratio
from jaxcurate.scorers import likelihood, prefix_tuning, reference_sets
from jaxcurate.types import (
  Batch,
  Document,
  Features,
  FitTools,
  Network,
  Params,
  Prefix,
  Scorer,
  Vocabulary,
)

_SUMS = 'log-likelihood'
_RESERVED = ('with', 'without', 'count')  # columns lamdas/...


def make(
  *,
  network: Network,
  vocabulary: Vocabulary,
  anchors: Sequence[Document],
  prefix_length: int = 30,
  learning_rate: float = 1e-3,
  weight_decay: float = 0.1,
  epochs: int = 10,
  batch_size: int = 4,
  held_out_share: float = 0.0,
  by_domain: bool = True,
  max_length: int = 512,
  long_texts: str = 'windows',
  seed: int = 0,
) -> Scorer:
  """The LAMDAS scorer, column `lamdas` and the sums that it is made of.

  Where the reference set names several domains each gets its own prefix, all
  read in one pass. A text need be close to one of them only: `lamdas` is the
  best domain's score, `lamdas/<domain>` the score of each.

  Args:
    network: decoder-only, or an encoder-decoder trained on span corruption
      (its decoder then has the prefix, and the texts one mask in both reads).
    vocabulary: its vocabulary.
    anchors: the reference set, at least two documents with text per domain.
    prefix_length: slots of keys and values per layer, >= 1.
    learning_rate, weight_decay: of AdamW.
    epochs: over the reference set, >= 1.
    batch_size: windows of reference documents per step, >= 1.
    held_out_share: of the reference documents, in [0, 1); above 0 the tuning
      ends with the first epoch that does not lower their loss.
    by_domain: one prefix per domain of the reference set, or one over all.
    max_length: tokens read at a time, see `likelihood.of_text`.
    long_texts: 'windows' reads all of a text, every window with the same
      prefix, and divides once; 'head' reads the first window.
    seed: of the held-out part, and of the masks of an encoder-decoder.

  Returns:
    A scorer; `lamdas` in nats per token, above 0 where the prefix makes the
    text likelier; `lamdas/with` and `lamdas/without` are the summed natural
    logs (with the best domain's prefix), `lamdas/count` the tokens in both.

  Raises:
    ValueError: a network that takes no prefix, a reference set that is too
      small or empty, or an option out of its range.
  """
  if network.prefix_shape is None:
    raise ValueError('this network takes no prefix; give a decoder or a T5')
  if prefix_length < 1 or not 0 <= held_out_share < 1:
    raise ValueError(
      f'prefix_length is {prefix_length}, expected at least 1;'
      f' held_out_share is {held_out_share}, expected in [0, 1)'
    )
  text = likelihood.of_text(
    network=network,
    vocabulary=vocabulary,
    max_length=max_length,
    long_texts=long_texts,
    seed=seed,
  )
  references = reference_sets.examples_by_domain(
    anchors, text, vocabulary, by_domain=by_domain, reserved=_RESERVED
  )
  names = [name for name in references if name is not None]
  digest = reference_sets.digest(references)

  def fit(params: Params, tools: FitTools) -> dict[str, jax.Array]:
    parts = [
      prefix_tuning.Part(*reference_sets.split(own, held_out_share, seed))
      for own in references.values()
    ]
    return prefix_tuning.tune(
      network,
      params,
      tools.train,
      text,
      parts,
      prefix_length=prefix_length,
      optimizer=optax.adamw(learning_rate, weight_decay=weight_decay),
      epochs=epochs,
      batch_size=batch_size,
    )

  features = Features(
    name=f'lamdas:{text.name}:{prefix_length}:{digest}',
    examples=text.examples,
    encoder_length=text.encoder_length,
    decoder_length=text.decoder_length,
    apply=_make_apply(network, text, len(references)),
    combine=likelihood.add_windows,
    reads=1 + len(references),
  )
  return Scorer(
    columns={
      'lamdas': log_ratio.UNIT,
      **{f'lamdas/{name}': log_ratio.UNIT for name in names},
      'lamdas/with': _SUMS,
      'lamdas/without': _SUMS,
      'lamdas/count': 'tokens',
    },
    features=features,
    score=lambda sums: _score(names, sums),
    fit=fit,
  )


def _score(names: Sequence[str], sums: dict[str, Any]) -> dict[str, float]:
  """Every column of one document from its sums over windows."""
  ratios_M = log_ratio.per_token(sums['with'], sums['without'], sums['count'])
  best = int(np.argmax(ratios_M))
  return {
    'lamdas': float(ratios_M[best]),
    **{
      f'lamdas/{name}': float(ratio)
      for name, ratio in zip(names, ratios_M, strict=False)
    },
    'lamdas/with': float(sums['with'][best]),
    'lamdas/without': float(sums['without']),
    'lamdas/count': float(sums['count']),
  }


def _make_apply(
  network: Network, text: likelihood.Likelihood, num_prefixes: int
) -> Callable[[Any, Batch, int], dict[str, jax.Array]]:
  """Both reads of every segment, over the same targets."""

  def apply(both, batch, num_segments):
    params, fitted = both
    if len(fitted['key']) != num_prefixes:
      raise ValueError(
        f'{len(fitted["key"])} prefixes were fitted, but the reference set has'
        f' {num_prefixes}: they belong to another one'
      )
    encoded = likelihood.encode(network, params, batch)

    def read(prefix: Prefix | None, chunk_tokens: int) -> dict[str, jax.Array]:
      return text.sums(
        network,
        params,
        batch,
        num_segments,
        prefix=prefix,
        encoded=encoded,
        chunk_tokens=chunk_tokens,
      )

    # All prefixes at once, so each has its share of the logits.
    share = max(1, likelihood.CHUNK_TOKENS // num_prefixes)
    with_MxBxS = jax.vmap(
      lambda one: read(prefix_tuning.as_prefix(one), share)['log_prob']
    )({'key': fitted['key'], 'value': fitted['value']})
    without = read(None, likelihood.CHUNK_TOKENS)
    return {
      'with': jnp.moveaxis(with_MxBxS, 0, -1),
      'without': without['log_prob'],
      'count': without['targets'],
    }

  return apply
