"""LESS: how much a step on a document would help on the anchors.

Influence to first order: the direction in which Adam would move for the
document, compared with the direction that lowers the anchors' loss, at several
points of a short LoRA training. Source: LESS (arXiv 2402.04333, Definition 3.1
and sections 4.1 to 4.3) and its code (princeton-nlp/LESS, matching.py). Both
directions are projected to 8,192 numbers and normalised. The anchors' domains
are LESS's subtasks, their documents its shots: a document need help one of
them only.

The documents' features depend on the model and the warm-up alone; they are
kept in bfloat16 while the corpus is read, and scored afterwards. Ours: an
example whose gradient is 0 has the feature 0, where the formula would give
everything that has nothing to teach the direction of the momentum.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float
import numpy as np

from jaxcurate.ops import adam_direction, lora, projection
from jaxcurate.scorers import (
  gradient_features,
  likelihood,
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
  Summary,
  Vocabulary,
)

_UNIT = 'mean cosine'
_MOMENTS = ('first_moment', 'second_moment')


def make(
  *,
  network: Network,
  vocabulary: Vocabulary,
  anchors: Sequence[Document],
  sample: Sequence[Document],
  rank: int = 128,
  alpha: float = 512.0,
  dropout_rate: float = 0.1,
  targets: Sequence[str] = lora.TARGETS,
  learning_rate: float = 2e-5,
  warm_up_share: float = 0.03,
  epochs: int = 4,
  batch_size: int = 128,
  width: int = projection.WIDTH,
  by_domain: bool = True,
  max_length: int = 512,
  seed: int = 0,
) -> Scorer:
  """The LESS scorer, column `less`, and `less/<domain>` of several domains.

  less/m(z) = sum_c eta_c mean_j cos(phi_c(z), phi_c(v_mj)),
  less(z) = max_m less/m(z)

  over checkpoints c with learning rates eta_c (of sum 1), anchor domains m and
  their documents v_mj.

  Args:
    network: decoder-only, or an encoder-decoder trained on span corruption.
    vocabulary: its vocabulary.
    anchors: what the model is to be good at, at least two documents with text
      per domain; of conversations the answers count.
    sample: random documents of the corpus, for the warm-up; LESS draws 5 %.
    rank, alpha, dropout_rate, targets: of LoRA, see `warm_up.WarmUp`.
    learning_rate, warm_up_share, epochs, batch_size: of the warm-up.
    width: K, numbers per feature and checkpoint.
    by_domain: one subtask per domain of the anchors, or one over all.
    max_length: tokens of a document that are read.
    seed: of masks, dropout and projection.

  Returns:
    A scorer with a fit and a summary; scores in [-1, 1]. A document in which
    nothing counts (a conversation without an answer) has no score.

  Raises:
    ValueError: no or unusable anchors or sample, or an option out of its
      range.
  """
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
    anchors, text, vocabulary, by_domain=by_domain
  )
  lessons = warm_up.examples_of(text, vocabulary, sample)
  domains = [name for name in references if name is not None]

  def fit(params: Params, tools: FitTools) -> dict[str, Any]:
    projection.check_projection(gradient_features.product_dtype())
    checkpoints = warm_up.train(
      network, params, tools, text, lessons, training, seed
    )
    anchors_CxMxK = _anchor_features(
      network, params, checkpoints, tools, text, references, settings
    )
    return {**checkpoints, 'anchors': anchors_CxMxK}

  def apply(both: Any, batch: Batch) -> Float[Array, 'B D']:
    params, fitted = both
    return document_features(network, params, fitted, batch, settings)

  of = (training, settings, reference_sets.digest(references))
  return Scorer(
    columns={'less': _UNIT, **{f'less/{name}': _UNIT for name in domains}},
    features=gradient_features.make_features(
      f'less:{text.name}:{of}', text, apply
    ),
    summary=Summary(
      sample_size=0,
      init=lambda features, num_documents: {
        name: features['fitted'][name] for name in ('anchors', 'rates')
      },
      update=None,
      merge=lambda first, second: first,
      score=lambda state, features: _score(domains, state, features),
      diagnose=lambda state: {
        'checkpoint_weights': np.asarray(state['rates']).tolist()
      },
    ),
    fit=fit,
  )


def document_features(
  network: Network,
  params: Params,
  fitted: Params,
  batch: Batch,
  settings: gradient_features.Settings,
) -> Float[Array, 'B D']:
  """Adam's direction for each row at every checkpoint, projected, of norm 1.

  Args:
    network: the network.
    params: its parameters.
    fitted: checkpoints of `warm_up.train`.
    batch: one example per row.
    settings: of the projection.

  Returns:
    [B, C * K] bfloat16; 0 for a row whose gradient is 0.
  """

  def at(checkpoint: Params) -> Float[Array, 'B K']:
    gradients, _ = gradient_features.example_gradients(
      network,
      params,
      checkpoint['adapters'],
      batch,
      alpha=settings.alpha,
      objective=gradient_features.mean_loss,
    )
    directions = adam_direction.adam_direction(
      gradients, *(checkpoint[name] for name in _MOMENTS)
    )
    found = gradient_features.unit(
      gradient_features.project(directions, settings)
    )
    none_B = gradient_features.is_zero(gradients)
    return jnp.where(none_B[:, None], 0.0, found).astype(jnp.bfloat16)

  names = ('adapters', *_MOMENTS)
  found_CxBxK = jax.lax.map(at, {name: fitted[name] for name in names})
  return gradient_features.joined(found_CxBxK)


def _anchor_features(
  network: Network,
  params: Params,
  checkpoints: Params,
  tools: FitTools,
  text: likelihood.Likelihood,
  references: dict[str | None, reference_sets.Windows],
  settings: gradient_features.Settings,
) -> Float[np.ndarray, 'C M K']:
  """Each domain's mean of normalised projected gradients, per checkpoint."""

  def apply(both: Any, batch: Batch) -> Float[Array, 'B D']:
    params, adapters = both

    def at(own: Params) -> Float[Array, 'B K']:
      gradients, _ = gradient_features.example_gradients(
        network,
        params,
        own,
        batch,
        alpha=settings.alpha,
        objective=gradient_features.mean_loss,
      )
      return gradient_features.project(gradients, settings)

    return gradient_features.joined(jax.lax.map(at, adapters))

  counts = {name: len(reference) for name, reference in references.items()}
  found = tools.outputs(
    gradient_features.make_features('less anchors', text, apply),
    (params, checkpoints['adapters']),
    [own for reference in references.values() for [own] in reference],
  )['embedding']
  shape = (len(found), len(checkpoints['rates']), settings.width)
  found_AxCxK = np.asarray(found, np.float64).reshape(shape)
  norm_AxC = np.linalg.norm(found_AxCxK, axis=-1)
  if not (np.isfinite(norm_AxC) & (norm_AxC > 0)).all():
    raise ValueError(
      f"the norms of the {len(found)} anchors' gradients go from"
      f' {norm_AxC.min()} to {norm_AxC.max()}, expected finite and above 0;'
      ' lower the learning rate, or use --dtype=float32'
    )
  parts = np.split(
    found_AxCxK / norm_AxC[..., None], np.cumsum([*counts.values()])[:-1]
  )
  means_CxMxK = np.stack([part.mean(axis=0) for part in parts], axis=1)
  return means_CxMxK.astype(np.float32)


def _score(
  domains: Sequence[str], state: Params, features: Batch
) -> dict[str, jax.Array]:
  """Every column of a batch of stored features."""
  num_checkpoints, _, width = state['anchors'].shape
  stored_BxCxK = features['embedding'].reshape(-1, num_checkpoints, width)
  # The rounding to bfloat16 changed the norms.
  score_BxM = jnp.einsum(
    'bck,cmk,c->bm',
    gradient_features.unit(stored_BxCxK),
    state['anchors'],
    state['rates'],
    precision=jax.lax.Precision.HIGHEST,
  )
  names = [f'less/{name}' for name in domains]
  return {
    'less': jnp.max(score_BxM, axis=1),
    **{name: score_BxM[:, m] for m, name in enumerate(names)},
  }
