"""PyTorch's decoders with our parameters, for the benchmarks alone."""

from collections.abc import Callable, Mapping, Sequence
import tempfile
from typing import Any

import numpy as np
from peers import why_not

from jaxcurate.models import decoder, decoder_tensor_names, huggingface_decoder
from jaxcurate.models import parameters as trees

try:
  import torch
  import transformers
except ImportError:
  torch = transformers = None

__all__ = ['as_arrays', 'log_ratios', 'lora_gradients', 'make_peer', 'why_not']


def make_peer(config: decoder.DecoderConfig, params: Any) -> Any:
  """The model that transformers makes of our export, with SDPA attention.

  It runs on the GPU where PyTorch finds one, in the config's dtype.

  Args:
    config: of the network.
    params: ours.
  """
  with tempfile.TemporaryDirectory() as folder:
    huggingface_decoder.export_huggingface(folder, params, config, 'bytes')
    model = transformers.AutoModelForCausalLM.from_pretrained(
      folder,
      dtype=getattr(torch, config.dtype),
      attn_implementation='sdpa',
    )
  return model.to('cuda' if torch.cuda.is_available() else 'cpu').eval()


def log_ratios(
  model: Any,
  documents: Sequence[np.ndarray],
  prefix: Mapping[str, np.ndarray],
  batch_size: int,
) -> Callable[[], np.ndarray]:
  """LAMDAS of documents: sorted, padded to each batch's longest, read twice.

  Args:
    model: from `make_peer`.
    documents: token ids of each, at least two.
    prefix: 'key' and 'value' [layers, P, heads, head_dim].
    batch_size: documents per batch.

  Returns:
    A call that scores all of them, in the order given.
  """
  key, value = (
    torch.tensor(prefix[name], dtype=model.dtype, device=model.device)
    for name in ('key', 'value')
  )
  order = sorted(range(len(documents)), key=lambda i: len(documents[i]))

  def read(tokens: Any, mask: Any, with_prefix: bool) -> Any:
    settings: dict[str, Any] = {'use_cache': False}
    if with_prefix:
      cache = transformers.DynamicCache()
      for layer, (own_key, own_value) in enumerate(
        zip(key, value, strict=True)
      ):
        shape = (len(tokens), *own_key.swapaxes(0, 1).shape)
        cache.update(
          own_key.swapaxes(0, 1).expand(shape),
          own_value.swapaxes(0, 1).expand(shape),
          layer,
        )
      settings = {'use_cache': True, 'past_key_values': cache}
    # Without padding there is nothing to mask; the peer is faster so.
    if mask is not None:
      slots = len(key[0]) if with_prefix else 0
      settings['attention_mask'] = torch.nn.functional.pad(
        mask[:, :-1], (slots, 0), value=1
      )
    logits = model(input_ids=tokens[:, :-1], **settings).logits
    loss = torch.nn.functional.cross_entropy(
      logits.float().flatten(0, 1), tokens[:, 1:].flatten(), reduction='none'
    ).reshape(len(tokens), -1)
    return -loss if mask is None else -loss * mask[:, 1:]

  @torch.inference_mode()
  def call() -> np.ndarray:
    scores = np.zeros(len(documents), np.float32)
    for start in range(0, len(order), batch_size):
      chosen = order[start : start + batch_size]
      longest = len(documents[chosen[-1]])
      tokens = torch.zeros((len(chosen), longest), dtype=torch.long)
      mask = torch.zeros_like(tokens)
      for row, index in enumerate(chosen):
        own = torch.from_numpy(documents[index])
        tokens[row, : len(own)] = own
        mask[row, : len(own)] = 1
      lengths = mask.sum(1).cpu().numpy() - 1
      tokens = tokens.to(model.device)
      mask = None if bool(mask.all()) else mask.to(model.device)
      ratio = (read(tokens, mask, True) - read(tokens, mask, False)).sum(1)
      scores[chosen] = ratio.cpu().numpy() / lengths
    return scores

  return call


def lora_gradients(
  model: Any, adapters: Any, alpha: float, documents: Sequence[np.ndarray]
) -> Callable[[], list[dict[tuple[str, ...], Any]]]:
  """Gradients of the adapters, one document and one backward pass at a time.

  Args:
    model: from `make_peer`; its weights are frozen, its linear layers changed.
    adapters: ours, from `ops.lora.init`, layers stacked or not.
    alpha: LoRA's scale.
    documents: token ids of each, at least two.

  Returns:
    A call that gives path -> gradient of every document, on the device.
  """
  model.requires_grad_(False)
  flat = trees.flatten(trees.unstack_layers(adapters))
  tensors = {
    path: torch.tensor(np.asarray(leaf), device=model.device).requires_grad_()
    for path, leaf in flat.items()
  }
  for path, a in tensors.items():
    if path[-1] != 'lora_a':
      continue
    b = tensors[(*path[:-1], 'lora_b')]
    name = decoder_tensor_names.huggingface_name((*path[:-1], 'kernel'))
    module = model.model.get_submodule(name.removesuffix('.weight'))

    def add(_, inputs: Any, output: Any, a: Any = a, b: Any = b) -> Any:
      low = inputs[0] @ a.to(output.dtype)
      return output + alpha / a.shape[1] * (low @ b.to(output.dtype))

    module.register_forward_hook(add)

  def call() -> list[dict[tuple[str, ...], Any]]:
    found = []
    for own in documents:
      tokens = torch.from_numpy(own)[None].to(model.device)
      logits = model(input_ids=tokens[:, :-1], use_cache=False).logits
      loss = torch.nn.functional.cross_entropy(logits[0].float(), tokens[0, 1:])
      gradients = torch.autograd.grad(loss, list(tensors.values()))
      found.append(dict(zip(tensors, gradients, strict=True)))
    if model.device.type == 'cuda':
      torch.cuda.synchronize()
    return found

  return call


def as_arrays(found: list[dict[tuple[str, ...], Any]]) -> list[np.ndarray]:
  """Each document's gradient as one vector, in the order of our leaves."""
  return [
    np.concatenate([x.float().cpu().numpy().ravel() for x in own.values()])
    for own in found
  ]
