"""Our models in lm-evaluation-harness, under the name jaxcurate.

The harness finds models in its own registry, so its command is called through
this module, with all its flags (pip install jaxcurate[eval]):

  python -m jaxcurate.evaluate.harness run --model jaxcurate \\
    --model_args path=model/model --tasks arc_easy

In Python: `register()`, then `lm_eval.simple_evaluate(model='jaxcurate', ...)`.
Log-likelihoods, rolling log-likelihoods and greedy generation are those of its
Hugging Face class, truncation included (tests/evaluate/harness_test.py). It is
not for chat templates and not for sampling.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax

from jaxcurate.evaluate import language_model
from jaxcurate.evaluate.task import Continuation, Generation
from jaxcurate.io.errors import UserError
from jaxcurate.models import mesh as mesh_lib

NAME = 'jaxcurate'
_MAX_TOKENS = 256  # what the harness's Hugging Face class takes by default
_TOKEN_LIMITS = (
  'max_gen_toks', 'max_new_tokens', 'max_tokens', 'max_completion_tokens',
)  # fmt: skip


def register() -> type:
  """Makes the model known to lm_eval; returns its class.

  Raises:
    UserError: lm_eval is not installed.
  """
  try:
    # An empty registry fills itself when asked; ours must not be its first.
    from lm_eval import models  # noqa: F401
    from lm_eval.api import model, registry
  except ImportError as error:
    raise UserError(
      'lm-evaluation-harness is not installed: pip install jaxcurate[eval]'
    ) from error
  if NAME in registry.model_registry:
    return registry.get_model(NAME)

  class JaxcurateLM(model.LM):
    """`language_model.LanguageModel` as the harness calls it."""

    def __init__(
      self,
      path: str,
      vocabulary: str | None = None,
      mesh: str | None = None,
      dtype: str | None = None,
      max_length: int | None = None,
      batch_size: int | str | None = None,
      max_batch_size: int | None = None,
      device: str | None = None,
    ):
      """Loads the model.

      Args:
        path: checkpoint folder, 'judge' or 'hf:owner/name'.
        vocabulary: file or 'bytes'; None for the model's own.
        mesh: e.g. 'data=4;model=2'; all devices on data by default.
        dtype: 'float32' or 'bfloat16'; by device by default.
        max_length: tokens it reads at a time.
        batch_size, max_batch_size, device: the harness passes them; rows and
          devices are chosen here.
      """
      super().__init__()
      del batch_size, max_batch_size, device
      self._model = language_model.open_model(
        path,
        # Commas part the arguments of --model_args.
        mesh_lib.make_mesh(mesh and mesh.replace(';', ',')),
        vocabulary=vocabulary,
        dtype=dtype,
        max_length=max_length,
        special_tokens=True,
      )

    @property
    def max_length(self) -> int:
      """Tokens that the model reads at a time."""
      return self._model.max_length

    def loglikelihood(
      self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[tuple[float, bool]]:
      """(log-probability, greedy) of each (context, continuation)."""
      del disable_tqdm
      found = self._model.log_likelihoods(
        [Continuation(*request.args) for request in requests]
      )
      return self._kept('loglikelihood', requests, map(tuple, found))

    def loglikelihood_rolling(
      self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[float]:
      """Log-probability of each whole text."""
      del disable_tqdm
      found = self._model.rolling([request.args[0] for request in requests])
      return self._kept('loglikelihood_rolling', requests, found)

    def generate_until(
      self, requests: Sequence[Any], disable_tqdm: bool = False
    ) -> list[str]:
      """What the model writes after each context."""
      del disable_tqdm
      found = self._model.generate(
        [generation(*request.args) for request in requests]
      )
      return self._kept('generate_until', requests, found)

    def _kept(self, kind: str, requests: Sequence[Any], found: Any) -> list:
      """The answers, after the harness's cache has seen them."""
      found = list(found)
      for request, answer in zip(requests, found, strict=True):
        self.cache_hook.add_partial(kind, request.args, answer)
      return found

    def get_model_info(self) -> dict[str, Any]:
      """What the harness writes beside its results."""
      return {'model_device': jax.devices()[0].device_kind}

  registry.register_model(NAME)(JaxcurateLM)
  return JaxcurateLM


def generation(context: str, settings: Mapping[str, Any]) -> Generation:
  """A request of the harness as one of ours.

  Args:
    context: the prompt.
    settings: `generation_kwargs` of a task.

  Raises:
    UserError: the task wants to sample.
  """
  if settings.get('do_sample') or settings.get('temperature'):
    raise UserError(
      'only greedy generation is there, the task asks for'
      f' do_sample={settings.get("do_sample")} and'
      f' temperature={settings.get("temperature")}: add'
      ' --gen_kwargs do_sample=False,temperature=0'
    )
  stops = settings.get('until') or []
  limits = [settings[name] for name in _TOKEN_LIMITS if settings.get(name)]
  return Generation(
    context,
    (stops,) if isinstance(stops, str) else tuple(stops),
    int(limits[0]) if limits else _MAX_TOKENS,
  )


def main() -> None:
  """The harness's own command, with this model in its registry."""
  register()
  from lm_eval import __main__ as lm_eval_main

  lm_eval_main.cli_evaluate()


if __name__ == '__main__':
  main()
