"""Writes a llama2.c model and tokenizer as a Hugging Face folder.

  python tools/convert_llama2c.py --model=stories260K.bin \
      --tokenizer=tok512.bin --output=stories

The formats are those of karpathy/llama2.c: seven int32 (width, feed-forward
width, layers, heads, heads of keys and values, vocabulary, longest text), then
float32 matrices [out, in]; a tokenizer is a list of scored pieces, which
becomes the SentencePiece BPE model that it came from.
"""

import argparse
import pathlib
import struct

import numpy as np
from sentencepiece import sentencepiece_model_pb2 as proto

from jaxcurate import types
from jaxcurate.models import decoder
from jaxcurate.models.huggingface_decoder import export_huggingface

_HEADER = struct.Struct('<7i')
_PIECE = struct.Struct('<fi')
_UNKNOWN, _BOS, _EOS, _FIRST_BYTE, _NUM_BYTES = 0, 1, 2, 3, 256


def read_model(
  path: pathlib.Path,
) -> tuple[types.Params, decoder.DecoderConfig]:
  """Parameters and config of a .bin file of version 0.

  Raises:
    ValueError: its size is not what its header asks for.
  """
  content = path.read_bytes()
  width, mlp, layers, heads, kv_heads, vocab, length = _HEADER.unpack_from(
    content
  )
  config = decoder.DecoderConfig(
    vocab_size=abs(vocab),
    embed_dim=width,
    num_heads=heads,
    num_kv_heads=kv_heads,
    head_dim=width // heads,
    mlp_dim=mlp,
    num_layers=layers,
    tied_head=vocab > 0,
    max_length=length,
    norm_eps=1e-5,
  )
  numbers = np.frombuffer(content, np.float32, offset=_HEADER.size)
  inner_kv = kv_heads * config.head_dim
  start = 0

  def take(*shape: int) -> np.ndarray:
    nonlocal start
    size = int(np.prod(shape))
    array = numbers[start : start + size].reshape(shape)
    start += size
    return array.copy()

  embedding = take(abs(vocab), width)
  attention_norm = take(layers, width)
  query = _halves(take(layers, width, width), config.head_dim)
  key = _halves(take(layers, inner_kv, width), config.head_dim)
  value, out = take(layers, inner_kv, width), take(layers, width, width)
  mlp_norm = take(layers, width)
  gate, down, up = (
    take(layers, *shape) for shape in ((mlp, width), (width, mlp), (mlp, width))
  )
  final_norm = take(width)
  take(2, length, config.head_dim // 2)  # cosines and sines, which we compute
  stack: dict = {'decoder_norm': {'scale': final_norm}}
  for i in range(layers):
    stack[f'layers_{i}'] = {
      'pre_self_attention_layer_norm': {'scale': attention_norm[i]},
      'self_attention': {
        'query': {'kernel': query[i].T},
        'key': {'kernel': key[i].T},
        'value': {'kernel': value[i].T},
        'out': {'kernel': out[i].T},
      },
      'pre_mlp_layer_norm': {'scale': mlp_norm[i]},
      'mlp': {
        'wi_0': {'kernel': gate[i].T},
        'wi_1': {'kernel': up[i].T},
        'wo': {'kernel': down[i].T},
      },
    }
  if not config.tied_head:
    stack['logits_dense'] = {'kernel': take(abs(vocab), width).T}
  if start != numbers.size:
    raise ValueError(
      f'{path} holds {numbers.size} numbers, its header asks for {start}'
    )
  return {'token_embedder': {'embedding': embedding}, 'decoder': stack}, config


def _halves(kernel: np.ndarray, head_dim: int) -> np.ndarray:
  """Rows of each head from (0, 1), (2, 3), ... pairs to (i, i + K/2) pairs."""
  layers, _, width = kernel.shape
  pairs = kernel.reshape(layers, -1, head_dim // 2, 2, width)
  return pairs.swapaxes(2, 3).reshape(kernel.shape)


def read_tokenizer(path: pathlib.Path) -> bytes:
  """A tokenizer's .bin file as a SentencePiece model."""
  content = path.read_bytes()
  model = proto.ModelProto()
  model.trainer_spec.model_type = proto.TrainerSpec.BPE
  model.trainer_spec.byte_fallback = True
  model.trainer_spec.unk_id = _UNKNOWN
  model.trainer_spec.bos_id, model.trainer_spec.eos_id = _BOS, _EOS
  model.trainer_spec.pad_id = -1
  model.normalizer_spec.name = 'identity'
  model.normalizer_spec.add_dummy_prefix = True
  model.normalizer_spec.remove_extra_whitespaces = False
  start, kinds = 4, proto.ModelProto.SentencePiece
  while start < len(content):
    score, size = _PIECE.unpack_from(content, start)
    start += _PIECE.size + size
    index, text = len(model.pieces), content[start - size : start].decode()
    kind, text = kinds.NORMAL, text.replace(' ', '▁')
    if index == _UNKNOWN:
      kind = kinds.UNKNOWN
    elif index in (_BOS, _EOS):
      kind, text = kinds.CONTROL, text.strip()
    elif index < _FIRST_BYTE + _NUM_BYTES:
      kind = kinds.BYTE
    model.pieces.add(piece=text, score=score, type=kind)
  model.trainer_spec.vocab_size = len(model.pieces)
  return model.SerializeToString()


def convert(
  model: pathlib.Path, tokenizer: pathlib.Path, output: pathlib.Path
) -> None:
  """Writes the folder; texts begin with BOS, as llama2.c has it."""
  params, config = read_model(model)
  output.mkdir(parents=True, exist_ok=True)
  words = output / 'tokenizer.model'
  words.write_bytes(read_tokenizer(tokenizer))
  (output / 'tokenizer_config.json').write_text(
    '{"add_bos_token": true, "bos_token": "<s>", "eos_token": "</s>",'
    ' "tokenizer_class": "LlamaTokenizer"}\n'
  )
  export_huggingface(output, params, config, str(words))


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  for name in ('--model', '--tokenizer', '--output'):
    parser.add_argument(name, type=pathlib.Path, required=True)
  args = parser.parse_args()
  convert(args.model, args.tokenizer, args.output)
  print(f'{args.output}: give it as --model={args.output}')


if __name__ == '__main__':
  main()
