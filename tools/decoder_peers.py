"""PyTorch's decoders with our parameters, for the benchmarks alone."""

from collections.abc import Callable, Mapping, Sequence
import tempfile
from typing import Any

import numpy as np
from peers import why_not

from jaxcurate.models import decoder, huggingface_decoder

try:
  import torch
  import transformers
except ImportError:
  torch = transformers = None

__all__ = ['log_ratios', 'make_peer', 'why_not']


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
