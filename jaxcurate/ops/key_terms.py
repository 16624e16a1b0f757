"""Key terms of groups of texts, by tf-idf of whole classes.

The class-based tf-idf of BERTopic (arXiv 2203.05794, section 3.3) takes a class
as one long text. Ours: a text counts a term once, so that one long text does
not name its class, and the weight of a term is the log of how much likelier it
is in the class than anywhere. Function words then weigh nothing, without a list
of them for every language.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
import math

_LETTERS = 3  # shorter words say little by themselves


def key_terms(
  words: Iterable[Sequence[str]],
  index: Iterable[int],
  num_groups: int,
  num_terms: int = 10,
) -> list[list[str]]:
  """The terms that tell each group from all texts.

  weight of t in g = p(t | g) ln(p(t | g) / p(t)), p(t | g) the share of the
  group's texts that have t

  Args:
    words: of N texts, in lower case.
    index: the group of each text, in [0, num_groups), or -1 for none.
    num_groups: G.
    num_terms: at most, of a group.

  Returns:
    The terms of each group, best first, ties by the alphabet; only words of
    three letters or more with a weight above 0.

  >>> key_terms([['the', 'puck'], ['the', 'disk']], [0, 1], 2)
  [['puck'], ['disk']]
  """
  with_term: list[Counter[str]] = [Counter() for _ in range(num_groups)]
  size = [0] * num_groups
  for own, group in zip(words, index, strict=True):
    if group >= 0:
      size[group] += 1
      with_term[group].update({word for word in own if _is_term(word)})
  everywhere: Counter[str] = Counter()
  for counts in with_term:
    everywhere.update(counts)

  def weight(term: str, group: int) -> float:
    share = with_term[group][term] / size[group]
    return share * math.log(share * sum(size) / everywhere[term])

  found = []
  for group, counts in enumerate(with_term):
    weighed = ((weight(term, group), term) for term in counts)
    best = sorted((-w, term) for w, term in weighed if w > 1e-12)
    found.append([term for _, term in best[:num_terms]])
  return found


def _is_term(word: str) -> bool:
  return len(word) >= _LETTERS and word.isalpha()
