"""T5X's loss of each target, and the log-probability that a weighting reads."""

# Where T5X is not installed, pyright takes this very folder for it.
# pyright: reportAttributeAccessIssue=false, reportMissingImports=false

from flax.training import common_utils
import jax
import jax.numpy as jnp
from t5x import losses

from jaxcurate.t5x import batches


def token_losses(
  logits: jax.Array,
  targets: jax.Array,
  *,
  z_loss: float,
  label_smoothing: float,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """T5X's loss, its z part, and the log-probability, each [B, T] float32.

  Args:
    logits: [B, T, V] float.
    targets: [B, T] int.
    z_loss: factor of the squared log normaliser.
    label_smoothing: probability that is taken from the target.
  """
  confidence, size = 1.0 - label_smoothing, logits.shape[-1]
  rest = label_smoothing / max(size - 1, 1)
  soft = common_utils.onehot(targets, size, confidence, rest)
  loss, z_part = losses.cross_entropy_with_logits(logits, soft, z_loss=z_loss)
  if not label_smoothing:
    return loss, z_part, z_part - loss
  least = -(
    confidence * jnp.log(confidence)
    + (size - 1) * rest * jnp.log(rest + 1e-20)  # T5X's losses.py
  )
  return loss - least, z_part, batches.target_log_prob(logits, targets)
