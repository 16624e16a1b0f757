"""PyTorch's T5 with our parameters, for the benchmarks and nothing else.

Our own import and export are not used: the names are mapped here a second
time, so that a benchmark that finds equal numbers checks them too.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxcurate.models import parameters
from jaxcurate.models.t5 import T5Config

try:
  import torch
  import transformers
except ImportError:
  torch = transformers = None

ABSENT = 'peer left out: pip install torch transformers'
LEARNING_RATE = 1e-4  # of the training comparison

_ATTENTION = {'query': 'q', 'key': 'k', 'value': 'v', 'out': 'o'}
# Our block -> (position in the layer, their name), by stack.
_BLOCKS = {
  'encoder': {
    'attention': (0, 'SelfAttention'),
    'mlp': (1, 'DenseReluDense'),
    'pre_attention_layer_norm': (0, 'layer_norm'),
    'pre_mlp_layer_norm': (1, 'layer_norm'),
  },
  'decoder': {
    'self_attention': (0, 'SelfAttention'),
    'encoder_decoder_attention': (1, 'EncDecAttention'),
    'mlp': (2, 'DenseReluDense'),
    'pre_self_attention_layer_norm': (0, 'layer_norm'),
    'pre_cross_attention_layer_norm': (1, 'layer_norm'),
    'pre_mlp_layer_norm': (2, 'layer_norm'),
  },
}


def why_not(backend: str) -> str | None:
  """Why the peer cannot run beside JAX on this backend, or None.

  Args:
    backend: jax.default_backend().
  """
  if torch is None:
    return ABSENT
  if backend != 'cpu' and not torch.cuda.is_available():
    return f'peer left out: JAX runs on {backend}, PyTorch on the CPU alone'
  return None


def make_peer(config: T5Config, params: Any, *, attention: str = 'sdpa') -> Any:
  """transformers' T5ForConditionalGeneration with our parameters.

  It runs on the GPU where PyTorch finds one, in the config's dtype.

  Args:
    config: T5 1.1 or Flan; the head is separate.
    params: ours.
    attention: 'sdpa' or 'eager'.
  """
  shape = transformers.T5Config(
    vocab_size=config.vocab_size,
    d_model=config.embed_dim,
    d_kv=config.head_dim,
    d_ff=config.mlp_dim,
    num_layers=config.num_encoder_layers,
    num_decoder_layers=config.num_decoder_layers,
    num_heads=config.num_heads,
    feed_forward_proj='gated-gelu',
    dropout_rate=0.0,
    tie_word_embeddings=False,
    use_cache=False,
  )
  shape._attn_implementation = attention
  # transformers 5 overwrites both when it builds a config.
  shape.tie_word_embeddings = False
  shape.scale_decoder_outputs = False
  model = transformers.T5ForConditionalGeneration(shape)
  weights = {
    name: torch.tensor(np.array(array)) for name, array in _weights(params)
  }
  embedding = weights['shared.weight']
  # A clone: transformers may have tied the head to the embedding.
  model.lm_head.weight = torch.nn.Parameter(weights['lm_head.weight'].clone())
  for stack in ('encoder', 'decoder'):
    weights[f'{stack}.embed_tokens.weight'] = embedding
  missing, unexpected = model.load_state_dict(weights, strict=False)
  if missing or unexpected:
    raise ValueError(f'missing {missing[:3]}, unexpected {unexpected[:3]}')
  device = 'cuda' if torch.cuda.is_available() else 'cpu'
  return model.to(device, getattr(torch, config.dtype))


def _weights(params: Any) -> list[tuple[str, np.ndarray]]:
  """Their names and our arrays, transposed where they hold [out, in]."""
  params = parameters.unstack_layers(params)
  found = [
    ('shared.weight', params['token_embedder']['embedding']),
    ('lm_head.weight', params['decoder']['logits_dense']['kernel'].T),
  ]
  for stack, blocks in _BLOCKS.items():
    tree = params[stack]
    norm = tree[f'{stack}_norm']['scale']
    found.append((f'{stack}.final_layer_norm.weight', norm))
    bias = tree['relpos_bias']['rel_embedding'].T
    where = f'{stack}.block.0.layer.0.SelfAttention.relative_attention_bias'
    found.append((f'{where}.weight', bias))
    for layer in (name for name in tree if name.startswith('layers_')):
      number = layer.removeprefix('layers_')
      for ours, (place, theirs) in blocks.items():
        prefix = f'{stack}.block.{number}.layer.{place}.{theirs}'
        found.extend(_block(prefix, tree[layer][ours]))
  return found


def _block(
  prefix: str, block: Mapping[str, Any]
) -> list[tuple[str, np.ndarray]]:
  if 'scale' in block:
    return [(f'{prefix}.weight', block['scale'])]
  return [
    (f'{prefix}.{_ATTENTION.get(name, name)}.weight', part['kernel'].T)
    for name, part in block.items()
  ]


def log_yes_of_prompts(
  model: Any, prompts: Sequence[np.ndarray], yes_id: int, batch_size: int
) -> Callable[[], np.ndarray]:
  """log P(yes) of prompts: sorted, padded to each batch's longest.

  Args:
    model: from `make_peer`.
    prompts: token ids of each, any lengths.
    yes_id: the word's token.
    batch_size: prompts per batch.

  Returns:
    A call that scores all of them, in the order given.
  """
  model.eval()

  @torch.inference_mode()
  def call() -> np.ndarray:
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    scores = np.zeros(len(prompts), np.float32)
    for start in range(0, len(order), batch_size):
      chosen = order[start : start + batch_size]
      longest = len(prompts[chosen[-1]])
      tokens = torch.zeros((len(chosen), longest), dtype=torch.long)
      mask = torch.zeros_like(tokens)
      for row, index in enumerate(chosen):
        prompt = torch.from_numpy(prompts[index])
        tokens[row, : len(prompt)] = prompt
        mask[row, : len(prompt)] = 1
      start_ids = torch.zeros((len(chosen), 1), dtype=torch.long)
      # Without padding there is nothing to mask; the peer is faster so.
      mask = None if bool(mask.all()) else mask.to(model.device)
      logits = model(
        input_ids=tokens.to(model.device),
        attention_mask=mask,
        decoder_input_ids=start_ids.to(model.device),
      ).logits[:, 0]
      log_prob = torch.log_softmax(logits.float(), -1)[:, yes_id]
      scores[chosen] = log_prob.cpu().numpy()
    return scores

  return call


def training_step(
  model: Any, batch: Mapping[str, np.ndarray]
) -> Callable[[], float]:
  """One eager step: forward, cross-entropy, backward, fused AdamW.

  Args:
    model: from `make_peer`.
    batch: ours, one example per row and no padding.

  Returns:
    A call that makes a step and returns the mean loss per target before it.
  """

  def put(name: str) -> Any:
    return torch.tensor(batch[name], dtype=torch.long, device=model.device)

  tokens, inputs = put('encoder_input_tokens'), put('decoder_input_tokens')
  targets = put('decoder_target_tokens').reshape(-1)
  optimizer = torch.optim.AdamW(
    model.parameters(), lr=LEARNING_RATE, weight_decay=0.0, fused=True
  )
  model.train()

  def call() -> float:
    logits = model(input_ids=tokens, decoder_input_ids=inputs).logits
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    return float(loss.detach())

  return call
