"""DEITA: how complex an instruction is, times how good its answer.

A model reads the instruction, or the instruction and its response, and is asked
for a grade; the expected grade over the tokens "1" to "6" is the score. Summed
over the exchanges of a conversation, complexity times quality is what "What
Makes Good Data for Alignment?" (arXiv 2312.15685) sorts by. Prompts, grades and
sum are those of hkust-nlp/deita, whose two fine-tuned scorers grade one
criterion each; here one model is asked for both (ours), and the columns of the
criteria allow to run one after the other. Ours too: a prompt that is too long
loses the end of its longer part. The paper's last step, leaving out what has a
cosine above 0.9 with what was taken, needs embeddings and is not done here.
"""

from collections.abc import Callable, Mapping
import hashlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcurate.scorers import answers, exchanges
from jaxcurate.types import Batch, Features, Network, Params, Scorer, Vocabulary

# hkust-nlp/deita: src/deita/selection/scorer/llama_scorer.py, word for word.
COMPLEXITY = (
  'You are a helpful assistant. Please identify the complexity score of the'
  ' following user query. \n##Query: {instruction}  \n##Complexity: '
)
QUALITY = (
  'You are a helpful assistant. Please identify the quality score of the'
  ' Response corresponding to the Question. \n #Question#:\n{instruction}\n'
  '#Response#:\n{output} \n##Quality: '
)
_GRADES = ('1', '2', '3', '4', '5', '6')
_CRITERIA = ('complexity', 'quality')


def make(
  *,
  network: Network,
  vocabulary: Vocabulary,
  complexity_template: str = COMPLEXITY,
  quality_template: str = QUALITY,
  max_length: int = 1024,
) -> Scorer:
  """The DEITA scorer, column `deita` and the grades that it is made of.

  deita = sum over exchanges of complexity * quality

  Args:
    network: a decoder-only network; the paper's are fine-tuned for this.
    vocabulary: its vocabulary.
    complexity_template: prompt with `{instruction}` once.
    quality_template: prompt with `{instruction}` and `{output}` once each.
    max_length: longest prompt in tokens, BOS included.

  Returns:
    A scorer of conversations, others have no score: `deita`, >= 1 per
    exchange; `deita/complexity` and `deita/quality` are mean grades over the
    exchanges, from 1 to 6.

  Raises:
    ValueError: a network with an encoder, a template without its places, or
      grades that are several tokens.
  """
  if network.encode is not None:
    raise ValueError(
      'DEITA reads the grade after the prompt; give a decoder-only model, this'
      ' one is an encoder-decoder'
    )
  exchanges.check_template(complexity_template, ['instruction'])
  exchanges.check_template(quality_template, ['instruction', 'output'])
  templates = (complexity_template, quality_template)
  grade_ids = np.array([_grade_ids(t, vocabulary) for t in templates])
  encode = _make_encoder(templates, vocabulary, max_length)
  settings = (templates, max_length, vocabulary.bos_id)
  digest = hashlib.blake2b(repr(settings).encode(), digest_size=8).hexdigest()
  return Scorer(
    columns={
      'deita': 'summed complexity x quality',
      **{f'deita/{name}': 'expected grade, 1 to 6' for name in _CRITERIA},
    },
    features=Features(
      name=f'deita:{digest}',
      examples=_make_examples(encode),
      encoder_length=0,
      decoder_length=max_length,
      apply=_make_apply(network, grade_ids),
      combine=_combine,
    ),
    score=lambda grades: {
      'deita': float((grades['complexity'] * grades['quality']).sum()),
      **{f'deita/{name}': float(grades[name].mean()) for name in _CRITERIA},
    },
  )


def _grade_ids(template: str, vocabulary: Vocabulary) -> list[int]:
  """The token that each grade is at the prompt's end.

  Raises:
    ValueError: a grade is not one token there.
  """
  end = template.rpartition('}')[2]
  written = vocabulary.encode_batch([end + grade for grade in _GRADES])
  before = written[0][:-1]
  for grade, tokens in zip(_GRADES, written, strict=True):
    if tokens[:-1] != before or tokens[-1] == vocabulary.unk_id:
      raise ValueError(
        f'the grade {grade!r} is not one token of this vocabulary after'
        f' {end!r}: {tokens}; end the prompt otherwise, or take another model'
      )
  return [tokens[-1] for tokens in written]


def _make_encoder(
  templates: tuple[str, str], vocabulary: Vocabulary, max_length: int
) -> Callable[[list[exchanges.Exchange]], list[list[int]]]:
  """Exchanges to the prompts of both criteria, one after the other."""
  start = [] if vocabulary.bos_id is None else [vocabulary.bos_id]
  room = max_length - len(start)

  def without_grade(prompts: list[str]) -> list[list[int]]:
    # With a grade, so that what stands before it is what it is in an answer.
    written = vocabulary.encode_batch([text + _GRADES[0] for text in prompts])
    return [tokens[:-1] for tokens in written]

  def shortened(template: str, said: dict[str, str], over: int) -> list[int]:
    said = {name: said[name] for name in said if f'{{{name}}}' in template}
    written = vocabulary.encode_batch(list(said.values()))
    tokens = dict(zip(said, written, strict=True))
    keep = {name: len(own) for name, own in tokens.items()}
    while True:
      longest = max(keep, key=lambda name: keep[name])
      keep[longest] = max(keep[longest] - over, 0)
      said[longest] = vocabulary.decode(tokens[longest][: keep[longest]])
      [prompt] = without_grade([exchanges.fill(template, said)])
      if len(prompt) <= room or not any(keep.values()):
        return prompt
      over = len(prompt) - room

  def encode(found: list[exchanges.Exchange]) -> list[list[int]]:
    said = [
      (template, {'instruction': e.instruction, 'output': e.response})
      for e in found
      for template in templates
    ]
    prompts = without_grade([exchanges.fill(*both) for both in said])
    return [
      [
        *start,
        *(
          prompt
          if len(prompt) <= room
          else shortened(*both, len(prompt) - room)
        ),
      ]
      for both, prompt in zip(said, prompts, strict=True)
    ]

  empty = {'instruction': '', 'output': ''}
  frames = without_grade([exchanges.fill(t, empty) for t in templates])
  longest = len(start) + max(map(len, frames))
  if longest >= max_length:
    raise ValueError(
      f'max_length {max_length} leaves no room for text: the prompt alone'
      f' takes {longest} tokens'
    )
  return encode


def _make_examples(
  encode: Callable[[list[exchanges.Exchange]], list[list[int]]],
) -> Callable[..., list[list[dict[str, np.ndarray]]]]:
  """Documents to two prompts per exchange."""

  def examples(documents, tokens):
    del tokens  # of the contents, one after the other
    own = [exchanges.of_document(document) for document in documents]
    prompts = iter(encode([e for found in own for e in found]))
    result = []
    for found in own:
      result.append([])
      for _ in range(len(_CRITERIA) * len(found)):
        ids = np.array(next(prompts), np.int32)
        # Nothing is predicted: the targets only say how long it is.
        result[-1].append({'decoder_inputs': ids, 'decoder_targets': ids})
    return result

  return examples


def _make_apply(
  network: Network, grade_ids_2xG: np.ndarray
) -> Callable[[Params, Batch, int], dict[str, jax.Array]]:
  """The expected grade after every prompt."""
  grades_G = np.arange(1, len(_GRADES) + 1, dtype=np.float32)

  def apply(params, batch, num_segments):
    states, exists = answers.answer_states(network, params, batch, num_segments)
    logits = jnp.einsum(
      'bsd,dg->bsg',
      states,
      network.head(params)[:, grade_ids_2xG.ravel()].astype(states.dtype),
      preferred_element_type=jnp.float32,
    ).reshape(*states.shape[:2], *grade_ids_2xG.shape)
    expected_BxSx2 = jax.nn.softmax(logits, axis=-1) @ grades_G
    return {'grade': jnp.where(exists[:, :, None], expected_BxSx2, 0.0)}

  return apply


def _combine(outputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
  """Grades of one document, [exchanges] for each criterion.

  Its prompts alternate; each was graded with both criteria's grade tokens.
  """
  grade_Ex2x2 = outputs['grade'].astype(np.float64).reshape(-1, 2, 2)
  return {name: grade_Ex2x2[:, i, i] for i, name in enumerate(_CRITERIA)}
