"""Writes tests/models/goldens: what `transformers` computes for small T5s.

  pip install torch==2.13.0 transformers && python tools/make_t5_goldens.py

One safetensors file per variant holds the weights under Hugging Face's names
(random, from a seed, large enough that attention is far from uniform), padded
inputs, and the encoder states, logits and loss of torch in float32. Written
with transformers 5.23.0; write anew only when a variant is added.
"""

import argparse
import json
import pathlib

import numpy as np
from safetensors.torch import save_file
import torch
from transformers import T5Config, T5ForConditionalGeneration

GOLDENS = pathlib.Path(__file__).parent.parent / 'tests/models/goldens'

# Of each variant what makes it one: activation, head, depths, head width.
# ByT5 is given other buckets, so that the config's are seen to be read.
VARIANTS = {
  't5_1_0': {'feed_forward_proj': 'relu', 'vocab_size': 64},
  't5_1_1': {'feed_forward_proj': 'gated-gelu', 'vocab_size': 64},
  'flan': {
    'feed_forward_proj': 'gated-gelu',
    'vocab_size': 48,
    'num_heads': 3,
    'num_decoder_layers': 1,
  },
  'byt5': {
    'feed_forward_proj': 'gated-gelu',
    'vocab_size': 128,
    'num_layers': 3,
    'num_decoder_layers': 1,
    'relative_attention_num_buckets': 12,
    'relative_attention_max_distance': 40,
  },
}
ENCODER_LENGTHS = (140, 61)  # beyond the largest bucket's distance, 128
TARGET_LENGTHS = (33, 20)


def make_model(variant: str, seed: int = 0) -> T5ForConditionalGeneration:
  """A random model of the variant, its config.json's fields set."""
  sizes = {
    'd_model': 16,
    'd_kv': 8,
    'd_ff': 24,
    'num_heads': 2,
    'num_layers': 2,
    'num_decoder_layers': 2,
    'decoder_start_token_id': 0,
  }
  tied = variant == 't5_1_0'
  config = T5Config(**{**sizes, **VARIANTS[variant]}, tie_word_embeddings=tied)
  model = T5ForConditionalGeneration(config).eval()
  if not tied:
    # transformers 5 ties whatever it is told, and unties only what it loads.
    weight = torch.empty_like(model.shared.weight)
    model.lm_head.weight = torch.nn.Parameter(weight)
  generator = torch.Generator().manual_seed(seed)
  with torch.no_grad():
    for name, weight in model.named_parameters():
      noise = torch.randn(weight.shape, generator=generator)
      if 'layer_norm' in name:
        weight.copy_(1 + 0.2 * noise)
      elif 'relative_attention_bias' in name or name == 'shared.weight':
        weight.copy_(noise)
      else:
        weight.copy_(0.25 * noise)
  return model


def make_inputs(vocab_size: int, seed: int = 0) -> dict[str, np.ndarray]:
  """Right-padded inputs and labels, -100 where no label is."""
  rng = np.random.default_rng(seed)

  def padded(lengths: tuple[int, ...], fill: int) -> np.ndarray:
    rows = np.full((len(lengths), max(lengths)), fill, np.int64)
    for row, length in zip(rows, lengths, strict=True):
      row[:length] = rng.integers(2, vocab_size, length)
    return rows

  return {
    'input_ids': padded(ENCODER_LENGTHS, 0),
    'labels': padded(TARGET_LENGTHS, -100),
  }


def run(
  model: T5ForConditionalGeneration, inputs: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
  """Encoder states, logits and loss."""
  tensors = {name: torch.tensor(array) for name, array in inputs.items()}
  with torch.inference_mode():
    output = model(
      **tensors,
      attention_mask=(tensors['input_ids'] != 0).long(),
      decoder_attention_mask=(tensors['labels'] != -100).long(),
    )
  return {
    'encoder_states': output.encoder_last_hidden_state.numpy(),
    'logits': output.logits.numpy(),
    'loss': output.loss.numpy(),
  }


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--output', type=pathlib.Path, default=GOLDENS)
  output = parser.parse_args().output
  output.mkdir(parents=True, exist_ok=True)
  for variant in VARIANTS:
    model = make_model(variant)
    inputs = make_inputs(model.config.vocab_size)
    tensors = {f'input/{k}': torch.tensor(v) for k, v in inputs.items()}
    for name, array in run(model, inputs).items():
      tensors[f'output/{name}'] = torch.tensor(array)
    tied = model.lm_head.weight is model.shared.weight
    for name, weight in model.state_dict().items():
      duplicate = 'embed_tokens' in name or (name == 'lm_head.weight' and tied)
      if not duplicate:
        tensors[f'model/{name}'] = weight.clone()
    path = output / f'{variant}.safetensors'
    config = json.dumps(model.config.to_diff_dict())
    save_file(tensors, path, metadata={'config': config})
    print(f'{path}: {path.stat().st_size} bytes')


if __name__ == '__main__':
  main()
