"""How Hugging Face calls the parameters of decoder-only networks."""

import re

_LAYER = re.compile(r'layers_(\d+)')

_MODULES = {
  'query': 'self_attn.q_proj',
  'key': 'self_attn.k_proj',
  'value': 'self_attn.v_proj',
  'out': 'self_attn.o_proj',
  'query_norm': 'self_attn.q_norm',
  'key_norm': 'self_attn.k_norm',
  'wi_0': 'mlp.gate_proj',
  'wi_1': 'mlp.up_proj',
  'wo': 'mlp.down_proj',
  'pre_self_attention_layer_norm': 'input_layernorm',
  'pre_mlp_layer_norm': 'post_attention_layernorm',
}
# With norms after the blocks too, what was before the second block's has its
# own name (Gemma 3).
_POST_NORMS = {
  'post_self_attention_layer_norm': 'post_attention_layernorm',
  'pre_mlp_layer_norm': 'pre_feedforward_layernorm',
  'post_mlp_layer_norm': 'post_feedforward_layernorm',
}
HEAD = 'lm_head.weight'
EMBEDDING = 'embed_tokens.weight'


def huggingface_name(path: tuple[str, ...], post_norms: bool = False) -> str:
  """Name of the tensor that holds the parameter at `path`.

  Args:
    path: names from the top of the parameter tree, layers not stacked.
    post_norms: `DecoderConfig.post_norms`.

  Returns:
    `HEAD`, or a name below the folder's prefix ('model.').

  >>> huggingface_name(
  ...   ('decoder', 'layers_3', 'self_attention', 'key', 'kernel'))
  'layers.3.self_attn.k_proj.weight'
  """
  if path == ('token_embedder', 'embedding'):
    return EMBEDDING
  if path == ('decoder', 'logits_dense', 'kernel'):
    return HEAD
  if path == ('decoder', 'decoder_norm', 'scale'):
    return 'norm.weight'
  modules = {**_MODULES, **(_POST_NORMS if post_norms else {})}
  *above, module, leaf = ('', '', *path)
  layer = _LAYER.fullmatch(above[3]) if len(above) > 3 else None
  if layer is None or module not in modules:
    raise ValueError(f'no Hugging Face tensor holds {"/".join(path)}')
  kind = 'bias' if leaf == 'bias' else 'weight'
  return f'layers.{layer[1]}.{modules[module]}.{kind}'
