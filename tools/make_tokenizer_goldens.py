"""Encodes texts with transformers, for tests/data/vocabulary_decoder_test.py.

  PYTHONPATH=. python tools/make_tokenizer_goldens.py

Ids of our own sentences under Llama 2's tokenizer.model, as transformers'
LlamaTokenizer has them, with special tokens as text and as tokens. Runs of
spaces are left out: of 'a  b' transformers 5 makes '▁a', '▁▁', 'b' where
SentencePiece itself, the reference, makes '▁a', '▁', '▁b'. Rerun it to add a
text; transformers 5.23 made the present file.
"""

import json
import pathlib
import tempfile

import transformers

ROOT = pathlib.Path(__file__).parent.parent
MODEL = ROOT.parent / 'shared/data/tokenizers/llama2_tokenizer.model'
OUTPUT = ROOT / 'tests/data/goldens/llama2_ids.json'

TEXTS = [
  'Hello world',
  '\n',
  'a\n\n\tb',
  '',
  'naïve café, Ångström — “quoted”',
  '日本語 ∀x∈ℝ 😀👨‍👩‍👧',
  'e\u0301 \u00a0 \u200b \ufeff x',
  '</s><s><unk><0x0A>',
  '<s>[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nHi [/INST] Hello </s>',
  'text<s>more</s> <s> end',
  '<s>',
  '3.14159 + 2,718',
  'def f(x):\n\treturn x ** 2 # ok\r\n',
]


def main() -> None:
  with tempfile.TemporaryDirectory() as folder:
    copy = pathlib.Path(folder) / 'tokenizer.model'
    copy.write_bytes(MODEL.read_bytes())
    tokenizer = transformers.LlamaTokenizer.from_pretrained(folder)
  cases = [
    {
      'text': text,
      'ids': tokenizer.encode(
        text, add_special_tokens=False, split_special_tokens=True
      ),
      'special_ids': tokenizer.encode(text, add_special_tokens=False),
    }
    for text in TEXTS
  ]
  lines = ',\n'.join(f'  {json.dumps(case)}' for case in cases)
  version = transformers.__version__
  OUTPUT.write_text(
    f'{{"transformers": "{version}", "cases": [\n{lines}\n]}}\n'
  )
  print(f'{OUTPUT}: {len(cases)} texts')


if __name__ == '__main__':
  main()
