#!/usr/bin/env python3
"""How well the shipped judge separates sound from damaged text it never saw.

Scores the machine's held-out modules and packages, half of them damaged, with
Ask-LLM and prints the area under the ROC curve per kind of damage; with
--pages=FILE also that of human judgements of web pages (JSON Lines with
`text` and `label` 1 = good), a test that the judge was not trained for.

  python tools/evaluate_judge.py --pages=dclm_human_majority_data.jsonl.gz
"""

import argparse
from collections.abc import Callable
import gzip
import json

import jax
import numpy as np
import train_vocabulary

from jaxcurate.data import damage, machine_text, packing
from jaxcurate.data.vocabulary import load_vocabulary
from jaxcurate.evaluate.auc import Auc, roc_auc
from jaxcurate.models import load
from jaxcurate.scorers import ask_llm
from jaxcurate.types import Document

_ROWS, _SEGMENTS = 4, 8  # rows in one pass, documents in one row
# Kinds of damage that are in no training text.
_UNTAUGHT = {
  'words in reverse': lambda text: ' '.join(text.split()[::-1]),
  'every third word lost': lambda text: ' '.join(
    word for i, word in enumerate(text.split()) if i % 3
  ),
  'letters of each word reversed': lambda text: ' '.join(
    word[::-1] for word in text.split()
  ),
  'spaces lost': lambda text: ''.join(text.split()),
}


def main() -> None:
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument('--model', default='judge')
  parser.add_argument('--split', default='held_out')
  parser.add_argument('--documents', type=int, default=2_000)
  parser.add_argument('--pages', help='JSON Lines file of judged web pages')
  args = parser.parse_args()
  score = make_score(args.model)
  # As many as in training, so that all near-duplicates of its texts are out.
  documents = machine_text.gather(
    max_per_package=train_vocabulary.MAX_PER_PACKAGE
  )
  documents = [d for d in documents if d.split == args.split]
  # Every n-th keeps the mixture of domains and does not depend on the machine.
  documents = documents[:: -(-len(documents) // args.documents)]
  labelled = damage.with_damage(documents, 0.5, seed=0)
  scores = score([d.text for d in labelled])
  labels = np.array([d.label for d in labelled])
  print(f'{len(labelled)} documents of split {args.split!r}')
  print('| sound against | AUC | 95 % interval | sound | damaged |')
  print('|---|---|---|---|---|')
  sound = labels == damage.SOUND
  print(_row('all damage', roc_auc(scores, sound)))
  for kind in damage.KINDS:
    part = sound | (labels == kind)
    print(_row(kind, roc_auc(scores[part], sound[part])))
  names = np.array([d.id.split('/')[0] for d in labelled])
  for name in sorted(set(names)):
    part = names == name
    print(_row(f'all damage, {name}', roc_auc(scores[part], sound[part])))
  originals = [d.text for d in documents]
  for name, spoil in _UNTAUGHT.items():
    texts = originals[::2] + [spoil(text) for text in originals[1::2]]
    is_sound = np.arange(len(texts)) < len(originals[::2])
    print(_row(f'{name} (not taught)', roc_auc(score(texts), is_sound)))
  if args.pages:
    with gzip.open(args.pages, 'rt', encoding='utf-8') as file:
      rows = [json.loads(line) for line in file]
    scores = score([row['text'] for row in rows])
    good = np.array([row['label'] == 1 for row in rows])
    print(_row('web pages that people judged bad', roc_auc(scores, good)))


def make_score(model: str) -> Callable[[list[str]], np.ndarray]:
  """A function from texts to log P(yes) under the model."""
  network, params, _, vocabulary_path = load.load(model)
  vocabulary = load_vocabulary(vocabulary_path)
  features = ask_llm.make(network=network, vocabulary=vocabulary).features
  apply = jax.jit(features.apply, static_argnums=2)

  def score(texts: list[str]) -> np.ndarray:
    examples = features.examples(
      [Document('', text, None) for text in texts],
      vocabulary.encode_batch(texts),
    )
    batch, row, segment = packing.pack(
      [example for [example] in examples],
      encoder_length=features.encoder_length,
      decoder_length=_SEGMENTS,
      max_segments=_SEGMENTS,
    )
    log_yes = []
    for start in range(0, len(batch['encoder_input_tokens']), _ROWS):
      part = {k: v[start : start + _ROWS] for k, v in batch.items()}
      missing = _ROWS - len(part['encoder_input_tokens'])
      part = {k: np.pad(v, [(0, missing), (0, 0)]) for k, v in part.items()}
      log_yes.append(apply(params, part, _SEGMENTS)['log_yes'])
    log_yes = np.concatenate(log_yes)
    return log_yes.reshape(*log_yes.shape[:2])[row, segment - 1]

  return score


def _row(name: str, auc: Auc) -> str:
  return (
    f'| {name} | {auc.auc:.3f} | {auc.low:.3f} to {auc.high:.3f} '
    f'| {auc.num_positive} | {auc.num_negative} |'
  )


if __name__ == '__main__':
  main()
