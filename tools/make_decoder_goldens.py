"""Writes tests/models/goldens/decoder_*: what `transformers` computes.

  pip install torch==2.13.0 transformers && python tools/make_decoder_goldens.py

One safetensors file per variant holds the weights of a small decoder under
Hugging Face's names, left-padded token ids, and torch's final states and
logits in float32. Weights are random from a seed, with `initializer_range`
0.25: with the usual 0.02 attention is all but uniform, and a network without
rotary positions would pass. Written with transformers 5.23.0; write anew only
when a variant is added.
"""

import argparse
import json
import pathlib
from typing import Any

import numpy as np
from safetensors.torch import save_file
import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

GOLDENS = pathlib.Path(__file__).parent.parent / 'tests/models/goldens'
PREFIX = 'decoder_'
LENGTHS = (24, 15)

SIZES = {
  'vocab_size': 40,
  'hidden_size': 16,
  'intermediate_size': 20,
  'num_hidden_layers': 2,
  'num_attention_heads': 4,
  'num_key_value_heads': 2,
  'head_dim': 8,
  'initializer_range': 0.25,
  'tie_word_embeddings': False,
  'pad_token_id': 0,
}
# Of each variant what makes it one; windows and lengths of pretraining are
# small, so that 24 tokens are beyond them.
VARIANTS: dict[str, dict[str, Any]] = {
  'llama': {'model_type': 'llama', 'head_dim': None},
  'llama3': {
    'model_type': 'llama',
    'tie_word_embeddings': True,
    'rope_parameters': {
      'rope_type': 'llama3',
      'rope_theta': 500.0,
      'factor': 4.0,
      'low_freq_factor': 1.0,
      'high_freq_factor': 4.0,
      'original_max_position_embeddings': 16,
    },
  },
  'llama_dynamic': {
    'model_type': 'llama',
    'num_hidden_layers': 1,
    'max_position_embeddings': 16,
    'rope_parameters': {
      'rope_type': 'dynamic',
      'rope_theta': 100.0,
      'factor': 3.0,
    },
  },
  'mistral': {'model_type': 'mistral', 'sliding_window': 5},
  'qwen2': {
    'model_type': 'qwen2',
    'head_dim': None,
    'num_key_value_heads': 1,
    'use_sliding_window': True,
    'sliding_window': 7,
    'max_window_layers': 1,
    'max_position_embeddings': 32,
    'rope_parameters': {
      'rope_type': 'yarn',
      'rope_theta': 100.0,
      'factor': 2.0,
      'original_max_position_embeddings': 16,
    },
  },
  'qwen3': {'model_type': 'qwen3', 'tie_word_embeddings': True},
  'gemma3': {
    'model_type': 'gemma3_text',
    'num_hidden_layers': 3,
    'tie_word_embeddings': True,
    'query_pre_attn_scalar': 12,
    'sliding_window': 6,
    'layer_types': ['sliding_attention', 'full_attention', 'sliding_attention'],
    'rope_parameters': {
      'full_attention': {
        'rope_type': 'linear',
        'rope_theta': 1000.0,
        'factor': 8.0,
      },
      'sliding_attention': {'rope_type': 'default', 'rope_theta': 100.0},
    },
  },
}


def make_model(variant: str, seed: int = 0) -> PreTrainedModel:
  """A random model of the variant, its config.json's fields set."""
  values = {**SIZES, **VARIANTS[variant]}
  values = {name: value for name, value in values.items() if value is not None}
  config = AutoConfig.for_model(**values)
  model = AutoModelForCausalLM.from_config(config, attn_implementation='eager')
  generator = torch.Generator().manual_seed(seed)
  with torch.no_grad():
    for name, weight in model.named_parameters():
      noise = torch.randn(weight.shape, generator=generator)
      if name.endswith('norm.weight'):
        center = 0.0 if variant.startswith('gemma') else 1.0
        weight.copy_(center + 0.2 * noise)
      else:
        weight.copy_(config.initializer_range * noise)
  return model.eval()


def make_inputs(variant: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
  """Left-padded token ids and their mask, [rows, length] int64."""
  rng = np.random.default_rng(seed)
  # Dynamic stretching: transformers goes by the longest row of a batch, we by
  # each row.
  lengths = (24, 24) if variant == 'llama_dynamic' else LENGTHS
  ids = rng.integers(1, SIZES['vocab_size'], (len(lengths), max(lengths)))
  place = np.arange(max(lengths)) - max(lengths)
  mask = (place >= -np.array(lengths)[:, None]).astype(np.int64)
  return ids * mask, mask


def run(
  model: PreTrainedModel, ids: np.ndarray, mask: np.ndarray
) -> dict[str, np.ndarray]:
  """Final states and logits."""
  mask = torch.tensor(mask)
  with torch.inference_mode():
    output = model(
      torch.tensor(ids),
      attention_mask=mask,
      position_ids=(mask.cumsum(-1) - 1).clamp(min=0),
      output_hidden_states=True,
    )
  return {
    'states': output.hidden_states[-1].numpy(),
    'logits': output.logits.numpy(),
  }


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--output', type=pathlib.Path, default=GOLDENS)
  output = parser.parse_args().output
  output.mkdir(parents=True, exist_ok=True)
  for variant in VARIANTS:
    model = make_model(variant)
    ids, mask = make_inputs(variant)
    tensors = {'input/ids': torch.tensor(ids), 'input/mask': torch.tensor(mask)}
    for name, array in run(model, ids, mask).items():
      tensors[f'output/{name}'] = torch.tensor(array)
    for name, weight in model.state_dict().items():
      if name != 'lm_head.weight' or not model.config.tie_word_embeddings:
        tensors[f'model/{name}'] = weight.clone()
    path = output / f'{PREFIX}{variant}.safetensors'
    config = json.dumps(model.config.to_dict())
    save_file(tensors, path, metadata={'config': config})
    print(f'{path}: {path.stat().st_size} bytes')


if __name__ == '__main__':
  main()
