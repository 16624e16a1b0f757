"""TRAK and DsDm: what having trained on a document does to the anchors.

A linear model in the space of projected gradients stands for training: the
documents' gradients of f = log(p / (1 - p)), whitened by their own second
moment over the corpus, against the anchors'. Sources: TRAK (arXiv 2303.14186,
Eq. 14 and section 3.3, which averages an ensemble) and DsDm (arXiv 2401.12926),
which keeps the documents with the highest mean over its targets. LAMDAS (arXiv
2509.06524) compares with it. Ours: gradients of LoRA adapters only; the
ensemble is the checkpoints of one warm-up, as in LESS; f and 1 - p of a text
are means over its target tokens.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from jaxcurate.ops import lora, projection
from jaxcurate.scorers import (
  gradient_features,
  reference_sets,
  training_examples,
  warm_up,
)
from jaxcurate.types import (
  Batch,
  Document,
  FitTools,
  Network,
  Params,
  Scorer,
  State,
  Summary,
  Vocabulary,
)

_UNIT = 'influence on log-odds'
_WIDTH = 4_096  # TRAK, appendix; the second moment is [K, K] per checkpoint


def make(
  *,
  network: Network,
  vocabulary: Vocabulary,
  anchors: Sequence[Document],
  sample: Sequence[Document],
  ridge: float = 0.01,
  rank: int = 128,
  alpha: float = 512.0,
  dropout_rate: float = 0.1,
  targets: Sequence[str] = lora.TARGETS,
  learning_rate: float = 2e-5,
  warm_up_share: float = 0.03,
  epochs: int = 4,
  batch_size: int = 128,
  width: int = _WIDTH,
  max_length: int = 512,
  seed: int = 0,
) -> Scorer:
  """The TRAK scorer, column `trak`.

  trak(z) = mean_c[phi_c(z)^T (G_c + lambda_c I)^-1 mean_j phi_c(v_j)]
            * mean_c[1 - p_c(z)]
  G_c = mean_z phi_c(z) phi_c(z)^T,  lambda_c = ridge * tr(G_c) / K

  over checkpoints c, anchors v_j and the documents z of the corpus. (TRAK has
  the sum over the documents in place of G_c: ours is N times as large, and
  does not shrink as the corpus grows.)

  Args:
    network: decoder-only, or an encoder-decoder trained on span corruption.
    vocabulary: its vocabulary.
    anchors: what the model is to be good at, at least two documents with text;
      of conversations the answers count.
    sample: random documents of the corpus, for the warm-up.
    ridge: > 0, of the regulariser, in mean eigenvalues of G_c.
    rank, alpha, dropout_rate, targets: of LoRA, see `warm_up.WarmUp`.
    learning_rate, warm_up_share, epochs, batch_size: of the warm-up.
    width: K, numbers per feature and checkpoint; the state is C * K^2 float32.
    max_length: tokens of a document that are read.
    seed: of masks, dropout and projection.

  Returns:
    A scorer with a fit and a summary. A document in which nothing counts (a
    conversation without an answer) has no score.

  Raises:
    ValueError: no or unusable anchors or sample, or an option out of its
      range.
  """
  if ridge <= 0:
    raise ValueError(f'ridge is {ridge}, expected above 0')
  training = warm_up.WarmUp(
    rank=rank,
    alpha=alpha,
    dropout_rate=dropout_rate,
    targets=tuple(targets),
    learning_rate=learning_rate,
    warm_up_share=warm_up_share,
    epochs=epochs,
    batch_size=batch_size,
  )
  warm_up.check(training)
  settings = gradient_features.Settings(alpha=alpha, width=width, seed=seed)
  text = training_examples.of_documents(
    network,
    vocabulary,
    max_length=max_length,
    conversations=training_examples.has_conversations([*anchors, *sample]),
    seed=seed,
  )
  references = reference_sets.examples_by_domain(
    anchors, text, vocabulary, by_domain=False
  )
  lessons = warm_up.examples_of(text, vocabulary, sample)

  def apply(both: Any, batch: Batch) -> Float[Array, 'B D']:
    params, fitted = both
    found = features_and_doubt(
      network, params, fitted['adapters'], batch, settings
    )
    return found.astype(jnp.bfloat16)

  def fit(params: Params, tools: FitTools) -> dict[str, Any]:
    projection.check_projection(gradient_features.product_dtype())
    adapters = warm_up.train(
      network, params, tools, text, lessons, training, seed
    )['adapters']
    found = tools.outputs(
      gradient_features.make_features('trak anchors', text, apply),
      (params, {'adapters': adapters}),
      [own for [own] in references[None]],
    )['embedding']
    anchors_CxK, _ = _split(np.float32(found).mean(axis=0)[None], epochs)
    if not np.isfinite(anchors_CxK).all():
      raise ValueError(
        'the gradients of the anchors are not finite; lower the learning rate,'
        ' or use --dtype=float32'
      )
    return {'adapters': adapters, 'anchors': np.asarray(anchors_CxK[0])}

  def init(features: Batch, num_documents: int) -> State:
    del num_documents  # those without a score do not count
    anchors_CxK = jnp.asarray(features['fitted']['anchors'])
    return {
      'anchors': anchors_CxK,
      'moment': jnp.zeros((*anchors_CxK.shape, width), jnp.float32),
      'num_documents': jnp.zeros((), jnp.uint32),
      'regulariser': jnp.zeros(len(anchors_CxK)),
      'direction': jnp.zeros_like(anchors_CxK),
    }

  of = (training, settings, reference_sets.digest(references))
  return Scorer(
    columns={'trak': _UNIT},
    features=gradient_features.make_features(
      f'trak:{text.name}:{of}', text, apply
    ),
    summary=Summary(
      sample_size=0,
      init=init,
      update=_update,
      merge=_merge,
      score=_score,
      diagnose=_diagnose,
      finish=lambda state: _solve(state, ridge),
    ),
    fit=fit,
  )


def features_and_doubt(
  network: Network,
  params: Params,
  adapters: Params,
  batch: Batch,
  settings: gradient_features.Settings,
) -> Float[Array, 'B D']:
  """Projected gradients of each row's log-odds, then its mean 1 - p.

  Args:
    network: the network.
    params: its parameters.
    adapters: of C checkpoints, [C, ...].
    batch: one example per row.
    settings: of the projection.

  Returns:
    [B, C * (K + 1)] float32: K numbers and 1 - p of each checkpoint.
  """

  def at(own: Params) -> Float[Array, 'B K']:
    gradients, doubt_B = gradient_features.example_gradients(
      network,
      params,
      own,
      batch,
      alpha=settings.alpha,
      objective=gradient_features.mean_log_odds,
    )
    found = gradient_features.project(gradients, settings)
    return jnp.concatenate([found, doubt_B[:, None]], axis=1)

  return gradient_features.joined(jax.lax.map(at, adapters))


def _split(features_BxD: Any, num_checkpoints: int) -> tuple[Any, Any]:
  """Projected gradients [B, C, K] and 1 - p [B, C] of stored features."""
  found = features_BxD.reshape(len(features_BxD), num_checkpoints, -1)
  return found[..., :-1], found[..., -1]


def _update(state: State, features: Batch) -> State:
  num_checkpoints = len(state['anchors'])
  found_BxCxK, _ = _split(features['embedding'], num_checkpoints)
  found_BxCxK = jnp.where(features['mask'][:, None, None], found_BxCxK, 0.0)
  more = jnp.einsum(
    'bck,bcl->ckl',
    found_BxCxK,
    found_BxCxK,
    precision=jax.lax.Precision.HIGHEST,
  )
  count = jnp.sum(features['mask'], dtype=jnp.uint32)
  return {
    **state,
    'moment': state['moment'] + more,
    'num_documents': state['num_documents'] + count,
  }


def _merge(first: State, second: State) -> State:
  names = ('moment', 'num_documents')
  return {**first, **{name: first[name] + second[name] for name in names}}


def _solve(state: State, ridge: float) -> State:
  """The direction [C, K] that documents are compared with."""
  count = jnp.maximum(state['num_documents'].astype(jnp.float32), 1.0)
  moment_CxKxK = state['moment'] / count
  scale_C = jnp.trace(moment_CxKxK, axis1=1, axis2=2) / moment_CxKxK.shape[1]
  # A corpus without gradients has no scale; any will do for scores of 0.
  scale_C = jnp.where(scale_C > 0, scale_C, 1.0)

  def solve(moment: Array, anchors: Array, scale: Array) -> Array:
    whole = moment / scale + ridge * jnp.eye(len(anchors))
    factor = jax.scipy.linalg.cho_factor(whole, lower=True)
    return jax.scipy.linalg.cho_solve(factor, anchors) / scale

  found_CxK = jax.lax.map(
    lambda own: solve(*own), (moment_CxKxK, state['anchors'], scale_C)
  )
  return {**state, 'direction': found_CxK, 'regulariser': ridge * scale_C}


def _score(state: State, features: Batch) -> dict[str, jax.Array]:
  num_checkpoints = len(state['direction'])
  found_BxCxK, doubt_BxC = _split(features['embedding'], num_checkpoints)
  influence_B = jnp.einsum(
    'bck,ck->b',
    found_BxCxK,
    state['direction'],
    precision=jax.lax.Precision.HIGHEST,
  )
  return {'trak': influence_B / num_checkpoints * jnp.mean(doubt_BxC, axis=1)}


def _diagnose(state: State) -> dict[str, Any]:
  return {
    'num_documents': int(state['num_documents']),
    'regulariser': np.asarray(state['regulariser']).tolist(),
  }
