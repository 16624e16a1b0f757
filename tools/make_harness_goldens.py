"""Writes tests/evaluate/goldens: what lm-evaluation-harness says of two models.

  pip install lm_eval torch transformers && python tools/make_harness_goldens.py

One safetensors file each for a small Llama and a small T5 holds the files of a
Hugging Face folder, byte by byte, and as metadata requests with the answers of
the harness's own Hugging Face class (log-likelihoods, rolling, generations) on
a CPU in float32. Weights are random from a seed with `initializer_range` 0.25,
so that attention matters; tokenizers are trained here. The T5's head is its
embedding: the harness ties the two of every T5 that transformers 5 loads, also
where they differ (T5 1.1), and its numbers are then those of another model.
Written with lm_eval 0.4.13, torch 2.13.0 and transformers 5.23.0; write anew
only when a kind of request is added.
"""

import json
import pathlib
import tempfile
from typing import Any

import numpy as np
from safetensors.numpy import save_file
import sentencepiece
import tokenizers
import torch
import transformers

GOLDENS = pathlib.Path(__file__).parent.parent / 'tests/evaluate/goldens'
MAX_LENGTH = 64
DEVIATION = {'llama': 0.25, 't5': 0.6}  # of weights; so attention matters
_UNSCALED = ('relative_attention_bias', 'embed', 'shared')
_PIECES = 90  # of the SentencePiece model
SEEDS = {'llama': 0, 't5': 7}  # of models that write varied texts
_BOS, _EOS = '<|begin|>', '<|end|>'
_TEXT = """
The river rises in the hills and runs for ninety miles before it meets the sea.
A question was asked of every child: which of these two stones is the heavier?
Answer: the grey one, because it sinks. The other floats on water, as wood does.
In 1923 there were 48 ships in the harbour; by spring no more than 7 were left.
She wrote the letter twice, burned one copy, and gave the second to her brother.
"""


def _pairs() -> list[tuple[str, str]]:
  lines = _TEXT.strip().splitlines()
  question = 'Question: which stone is heavier?\nAnswer:'
  letters = [(f'{lines[1]}\nA. grey\nB. white\nAnswer:', f' {c}') for c in 'AB']
  return [
    *((question, f' the {word} one') for word in ('grey', 'white', 'other')),
    (question, ' the grey one, because it sinks'),
    *letters,
    ('The river rises ', 'in the hills'),  # the space goes to the answer
    ('', lines[3]),
    (' '.join(lines), ' by spring'),  # longer than the model reads
    (' '.join(lines), f' {lines[4][:60]}'),
    ('naïve café \u2014 ', '\u65e5\u672c'),
  ]


def _texts() -> list[str]:
  lines = _TEXT.strip().splitlines()
  return [lines[0], 'a', ' '.join(lines)]


def _prompts() -> list[tuple[str, dict[str, Any]]]:
  lines = _TEXT.strip().splitlines()
  settings = {'do_sample': False, 'temperature': 0.0, 'max_gen_toks': 24}
  return [
    *((line, {'until': ['e', '\n'], **settings}) for line in lines[:3]),
    (lines[0], {'until': [], **settings}),
    (' '.join(lines), {'until': ['the'], **settings}),  # longer than is read
    ('In 1923', {'until': '\n', 'max_gen_toks': 16}),
  ]


def make_folder(kind: str, folder: pathlib.Path) -> None:
  """Saves a random model with its tokenizer."""
  if kind == 'llama':
    _save_bpe(folder)
    model = transformers.LlamaForCausalLM(
      transformers.LlamaConfig(
        vocab_size=320,
        hidden_size=16,
        intermediate_size=20,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=MAX_LENGTH,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
        tie_word_embeddings=False,
      )
    )
  else:
    _save_pieces(folder)
    model = transformers.T5ForConditionalGeneration(
      transformers.T5Config(
        vocab_size=320,
        d_model=16,
        d_kv=8,
        d_ff=20,
        num_heads=2,
        num_layers=2,
        num_decoder_layers=2,
        decoder_start_token_id=0,
        n_positions=MAX_LENGTH,
      )
    )
  generator = torch.Generator().manual_seed(SEEDS[kind])
  with torch.no_grad():
    for name, weight in model.named_parameters():
      noise = torch.randn(weight.shape, generator=generator)
      if 'norm' in name:
        weight.copy_(1 + 0.2 * noise)
      elif any(part in name for part in _UNSCALED):
        weight.copy_(noise)
      else:
        weight.copy_(DEVIATION[kind] * noise)
    if kind == 't5':  # what is no text is seldom written
      model.shared.weight[_PIECES:] *= 0.1
      model.shared.weight[[0, 2, 3]] *= 0.1
  model.save_pretrained(folder)


def _save_bpe(folder: pathlib.Path) -> None:
  """A byte-level tokenizer that puts BOS before every text."""
  tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
  byte_level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
  tokenizer.pre_tokenizer = byte_level
  tokenizer.decoder = tokenizers.decoders.ByteLevel()
  tokenizer.train_from_iterator(
    _TEXT.splitlines(),
    tokenizers.trainers.BpeTrainer(
      vocab_size=320,
      special_tokens=[_BOS, _EOS],
      initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
      show_progress=False,
    ),
  )
  tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
    single=f'{_BOS} $A', special_tokens=[(_BOS, 0)]
  )
  transformers.PreTrainedTokenizerFast(
    tokenizer_object=tokenizer, bos_token=_BOS, eos_token=_EOS
  ).save_pretrained(folder)


def _save_pieces(folder: pathlib.Path) -> None:
  """A SentencePiece model in T5's layout, 100 sentinels behind it."""
  text = folder / 'text.txt'
  text.write_text(_TEXT)
  # A line's end is a space, as T5 has it; its other rules are a large table.
  rules = folder / 'rules.tsv'
  rules.write_text('A\t20\n')
  sentencepiece.SentencePieceTrainer.train(
    input=str(text),
    model_prefix=str(folder / 'spiece'),
    vocab_size=_PIECES,
    pad_id=0,
    eos_id=1,
    unk_id=2,
    bos_id=-1,
    normalization_rule_tsv=str(rules),
    num_threads=1,
    minloglevel=2,
  )
  for path in (text, rules, folder / 'spiece.vocab'):
    path.unlink()
  (folder / 'tokenizer_config.json').write_text(
    json.dumps({'tokenizer_class': 'T5Tokenizer', 'extra_ids': 100})
  )


def ask(model: Any, pairs: list[tuple[str, str]]) -> dict[str, list]:
  """Every request with the answer of a model of the harness.

  Args:
    model: any of its classes.
    pairs: contexts and continuations.
  """
  requests = {
    'loglikelihood': pairs,
    'loglikelihood_rolling': [(text,) for text in _texts()],
    'generate_until': _prompts(),
  }
  return {
    kind: [
      {'request': request, 'answer': answer}
      for request, answer in zip(
        asked, _answers(model, kind, asked), strict=True
      )
    ]
    for kind, asked in requests.items()
  }


def _answers(model: Any, kind: str, asked: list) -> list:
  from lm_eval.api.instance import Instance

  return getattr(model, kind)(
    [Instance(kind, {}, request, i) for i, request in enumerate(asked)]
  )


def pairs_for(model: Any) -> list[tuple[str, str]]:
  """Contexts with continuations, some of which greedy decoding writes."""
  special = set(model.tokenizer.all_special_ids)
  tokens = [
    model.tokenizer.decode([i])
    for i in range(len(model.tokenizer))
    if i not in special
  ]
  tokens = [
    token
    for token in tokens
    if token.strip() and token.isprintable() and '\ufffd' not in token
  ]
  lines = _TEXT.strip().splitlines()[:3]
  asked = [(line, token) for line in lines for token in tokens]
  found = _answers(model, 'loglikelihood', asked)
  return _pairs() + [
    pair for pair, (_, greedy) in zip(asked, found, strict=True) if greedy
  ]


def harness_model(folder: pathlib.Path) -> Any:
  """The harness's own class on a saved folder."""
  from lm_eval.models.huggingface import HFLM

  return HFLM(
    str(folder),
    device='cpu',
    dtype='float32',
    batch_size=3,
    max_length=MAX_LENGTH,
  )


def main() -> None:
  GOLDENS.mkdir(exist_ok=True)
  for kind in SEEDS:
    with tempfile.TemporaryDirectory() as name:
      folder = pathlib.Path(name)
      make_folder(kind, folder)
      files = {
        path.name: np.frombuffer(path.read_bytes(), np.uint8)
        for path in sorted(folder.iterdir())
      }
      model = harness_model(folder)
      answers = ask(model, pairs_for(model))
    path = GOLDENS / f'harness_{kind}.safetensors'
    save_file(files, path, metadata={'answers': json.dumps(answers)})
    print(f'{path}: {path.stat().st_size:,} bytes')


if __name__ == '__main__':
  main()
