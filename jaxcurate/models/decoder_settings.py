"""config.json of a Hugging Face decoder <-> `DecoderConfig`.

Model types llama, mistral, qwen2, qwen3, gemma3_text, and the text part of
gemma3. What we cannot compute is refused rather than passed over: biases on
outputs and in feed-forward blocks, capped scores, partial rotation.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from jaxcurate.models import rope_settings
from jaxcurate.models.decoder_config import DecoderConfig

_FULL, _SLIDING = 'full_attention', 'sliding_attention'
_ACTIVATIONS = {
  'silu': 'silu',
  'swish': 'silu',
  'gelu_pytorch_tanh': 'gelu',
  'gelu_new': 'gelu',
  'relu': 'relu',
}
# What a file may leave out: transformers 5.23's defaults. Gemma 3's files on
# the hub do leave out even sizes.
_GEMMA = {
  'vocab_size': 262_208,
  'hidden_size': 2304,
  'intermediate_size': 9216,
  'num_hidden_layers': 26,
  'num_attention_heads': 8,
  'num_key_value_heads': 4,
  'head_dim': 256,
  'hidden_activation': 'gelu_pytorch_tanh',
  'max_position_embeddings': 131_072,
  'tie_word_embeddings': True,
  'query_pre_attn_scalar': 256,
  'sliding_window': 4096,
  'sliding_window_pattern': 6,
}
_DEFAULTS: dict[str, dict[str, Any]] = {
  'llama': {'max_position_embeddings': 2048},
  'mistral': {'max_position_embeddings': 131_072, 'sliding_window': 4096},
  'qwen2': {'max_position_embeddings': 32_768, 'max_window_layers': 28},
  'qwen3': {
    'max_position_embeddings': 32_768,
    'max_window_layers': 28,
    'head_dim': 128,
  },
  'gemma3_text': _GEMMA,
  'gemma3': _GEMMA,
}
MODEL_TYPES = tuple(_DEFAULTS)


def read(values: Mapping[str, Any]) -> DecoderConfig:
  """The config that config.json states.

  Args:
    values: its content; model_type is one of `MODEL_TYPES`.

  Raises:
    ValueError: it asks for what we do not have.
    KeyError: an entry without default is absent.
  """
  model_type = values['model_type']
  gemma = _DEFAULTS[model_type] is _GEMMA
  if model_type == 'gemma3':  # the text part of a model that also sees
    values = {**values, **values['text_config']}
  given = {name: value for name, value in values.items() if value is not None}
  said = {**_DEFAULTS[model_type], **given}
  _refuse(said)
  activation = said['hidden_activation'] if gemma else said.get('hidden_act')
  activation = activation or 'silu'
  if activation not in _ACTIVATIONS:
    raise ValueError(
      f'the activation is {activation!r}, known: {", ".join(_ACTIVATIONS)}'
    )
  scalar = int(said['query_pre_attn_scalar']) if gemma else None
  num_heads, num_layers = said['num_attention_heads'], said['num_hidden_layers']
  full, local = rope_settings.read(
    said, two=gemma, theta=1e6 if gemma else 10_000.0
  )
  # null is a value here: no window.
  no_window = 'sliding_window' in values and values['sliding_window'] is None
  kinds = _layer_types(said, model_type, num_layers)
  windowed = [kind == _SLIDING and not no_window for kind in kinds]
  return DecoderConfig(
    vocab_size=said['vocab_size'],
    embed_dim=said['hidden_size'],
    num_heads=num_heads,
    num_kv_heads=said.get('num_key_value_heads', num_heads),
    head_dim=said.get('head_dim', said['hidden_size'] // num_heads),
    mlp_dim=said['intermediate_size'],
    num_layers=num_layers,
    activation=_ACTIVATIONS[activation],
    tied_head=said.get('tie_word_embeddings', False),
    qkv_bias=model_type == 'qwen2',
    qk_norm=model_type == 'qwen3' or gemma,
    norm_offset=gemma,
    post_norms=gemma,
    scale_embeddings=gemma,
    query_pre_attn_scalar=scalar,
    rope=full,
    local_rope=local,
    window=said.get('sliding_window', 4096) if any(windowed) else None,
    window_pattern=_shortest(windowed) if any(windowed) else (True,),
    max_length=said['max_position_embeddings'],
    norm_eps=said.get('rms_norm_eps', 1e-6),
  )


def write(config: DecoderConfig) -> dict[str, Any]:
  """config.json of a config, in the form that transformers 4 and 5 read.

  Raises:
    ValueError: no model type of `MODEL_TYPES` computes it.
  """
  model_type, architecture = _model_type(config)
  activation = next(
    k for k, v in _ACTIVATIONS.items() if v == config.activation
  )
  values = {
    'architectures': [architecture],
    'model_type': model_type,
    'vocab_size': config.vocab_size,
    'hidden_size': config.embed_dim,
    'num_attention_heads': config.num_heads,
    'num_key_value_heads': config.num_kv_heads,
    'head_dim': config.head_dim,
    'intermediate_size': config.mlp_dim,
    'num_hidden_layers': config.num_layers,
    'tie_word_embeddings': config.tied_head,
    'max_position_embeddings': config.max_length,
    'rms_norm_eps': config.norm_eps,
    **rope_settings.write(config.rope, config.local_rope),
  }
  if config.rope.kind == 'dynamic':  # transformers stretches from there on
    values['max_position_embeddings'] = config.rope.original_length
  kinds = [
    _SLIDING if config.is_windowed(i) else _FULL
    for i in range(config.num_layers)
  ]
  if model_type == 'gemma3_text':
    values['hidden_activation'] = activation
    values['query_pre_attn_scalar'] = (
      config.query_pre_attn_scalar or config.head_dim
    )
  else:
    values['hidden_act'] = activation
  if model_type in ('qwen2', 'qwen3'):
    values['use_sliding_window'] = config.window is not None
  if model_type != 'llama':
    values['sliding_window'] = config.window
  if model_type not in ('llama', 'mistral'):
    values['layer_types'] = kinds
  return values


def _refuse(said: Mapping[str, Any]) -> None:
  for name in (
    'attention_bias',
    'mlp_bias',
    'attn_logit_softcapping',
    'final_logit_softcapping',
    'use_bidirectional_attention',
  ):
    if said.get(name):
      raise ValueError(f'{name} is {said[name]!r}, which is not supported')


def _layer_types(
  said: Mapping[str, Any], model_type: str, num_layers: int
) -> Sequence[str]:
  if model_type == 'llama':
    return [_FULL] * num_layers
  if model_type == 'mistral':
    return [_SLIDING] * num_layers
  gemma = _DEFAULTS[model_type] is _GEMMA
  if not gemma and not said.get('use_sliding_window', False):
    return [_FULL] * num_layers
  kinds = said.get('layer_types')
  if kinds is None and gemma:
    period = said['sliding_window_pattern']
    kinds = [_SLIDING if (i + 1) % period else _FULL for i in range(num_layers)]
  elif kinds is None:
    first = said['max_window_layers']
    kinds = [_SLIDING if i >= first else _FULL for i in range(num_layers)]
  unknown = set(kinds) - {_FULL, _SLIDING}
  if unknown or len(kinds) != num_layers:
    raise ValueError(
      f'layer_types has {len(kinds)} entries of {sorted(set(kinds))}, expected '
      f'{num_layers} of {_FULL} and {_SLIDING}'
    )
  return kinds


def _shortest(pattern: Sequence[bool]) -> tuple[bool, ...]:
  """The shortest pattern whose repetition is this one."""
  length = len(pattern)
  period = next(
    period
    for period in range(1, length + 1)
    if all(pattern[i] == pattern[i % period] for i in range(length))
  )
  return tuple(pattern[:period])


def _model_type(config: DecoderConfig) -> tuple[str, str]:
  gemma = (
    config.norm_offset,
    config.post_norms,
    config.scale_embeddings,
    config.local_rope is not None,
  )
  scaled = config.query_pre_attn_scalar not in (None, config.head_dim)
  if all(gemma) and config.qk_norm and not config.qkv_bias:
    return 'gemma3_text', 'Gemma3ForCausalLM'
  if not any(gemma) and not scaled:
    if config.qkv_bias and not config.qk_norm:
      return 'qwen2', 'Qwen2ForCausalLM'
    if config.qk_norm and not config.qkv_bias:
      return 'qwen3', 'Qwen3ForCausalLM'
    every = all(map(config.is_windowed, range(config.num_layers)))
    if not config.qk_norm and not config.qkv_bias:
      if config.window is None:
        return 'llama', 'LlamaForCausalLM'
      if every:
        return 'mistral', 'MistralForCausalLM'
  raise ValueError(
    'no model_type of Hugging Face computes this config; known are '
    f'{", ".join(MODEL_TYPES)}: {config}'
  )
