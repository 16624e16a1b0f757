"""Classifiers of page quality to compare a judge with, from scikit-learn.

Logistic regression on character n-grams (tf-idf) and on seven hand-made
features, the usual first baselines. Their settings are chosen inside the
training pages by the area under the ROC curve, as `GridSearchCV` would.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import cross_validation
from jaxtyping import Bool, Float, Int
import numpy as np
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from jaxcurate.evaluate import auc

# Features of pages to train on and of pages to score: (train, test) -> both.
Features = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]

_FOLDS = 5
_MIN_PAGES = 2  # an n-gram of one page says nothing of others
_MAX_ITERATIONS = 1_000
_STOP_WORDS = frozenset(
  'the of and to a in is that it for was on are as with his they at be this'
  ' from have or by one had not but what all were when we there can an your'
  ' which their'.split()
)


class Setting(NamedTuple):
  """What was chosen: the name of the features, and scikit-learn's C."""

  features: str
  cost: float


def logistic_regression(
  name: str,
  features: Mapping[str, Features],
  costs: Sequence[float],
  chosen: list[str],
) -> cross_validation.Arm:
  """An arm that chooses features and C inside the pages it may train on.

  Args:
    name: of its scores.
    features: name -> features, to choose from.
    costs: of scikit-learn's C, inverse of the penalty.
    chosen: to which every call adds what it chose.
  """

  def arm(
    train: Int[np.ndarray, ' M'],
    label: Bool[np.ndarray, ' M'],
    test: Int[np.ndarray, ' T'],
  ) -> dict[str, Float[np.ndarray, ' T']]:
    total = dict.fromkeys((Setting(f, c) for f in features for c in costs), 0.0)
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=0)
    for fit, held_out in folds.split(train, label):
      for kind, make in features.items():
        seen, unseen = make(train[fit], train[held_out])
        for cost in costs:
          scored = _fit(seen, label[fit], cost).decision_function(unseen)
          area = auc.roc_auc(scored, label[held_out], num_resamples=2).auc
          total[Setting(kind, cost)] += area
    best = max(total, key=lambda setting: total[setting])
    chosen.append(f'{best.features}, C = {best.cost:g}')
    seen, unseen = features[best.features](train, test)
    return {name: _fit(seen, label, best.cost).decision_function(unseen)}

  return arm


def character_ngrams(texts: Sequence[str], orders: tuple[int, int]) -> Features:
  """tf-idf of lower-cased character n-grams, by scikit-learn's own rules.

  Counting looks at one page at a time and is done once; which n-grams count
  and their idf come from the pages to train on.

  Args:
    texts: every page.
    orders: shortest and longest n-gram.
  """
  counts: Any = CountVectorizer(
    analyzer='char', ngram_range=orders
  ).fit_transform(texts)

  def make(train: np.ndarray, test: np.ndarray):
    own = counts[train]
    known = np.bincount(own.indices, minlength=own.shape[1]) >= _MIN_PAGES
    weigh = TfidfTransformer(sublinear_tf=True).fit(own[:, known])
    return reduced(
      weigh.transform(own[:, known]), weigh.transform(counts[test][:, known])
    )

  return make


def reduced(
  train: Any, test: Any
) -> tuple[Float[np.ndarray, 'M K'], Float[np.ndarray, 'T K']]:
  """The same rows in the span of the training rows, K <= M columns.

  Weights with an L2 penalty lie in that span, so that logistic regression
  gives the same scores, hundreds of times faster.

  Args:
    train: [M, F] sparse.
    test: [T, F] sparse.
  """
  values, vectors = np.linalg.eigh((train @ train.T).toarray())
  kept = values > values[-1] * 1e-10
  root, vectors = np.sqrt(values[kept]), vectors[:, kept]
  return vectors * root, (test @ train.T).toarray() @ (vectors / root)


def hand_made(texts: Sequence[str]) -> Features:
  """`seven_features`, standardised by the pages to train on."""
  found = np.array([seven_features(text) for text in texts])

  def make(train: np.ndarray, test: np.ndarray):
    scale: Any = StandardScaler().fit(found[train])
    return scale.transform(found[train]), scale.transform(found[test])

  return make


def seven_features(text: str) -> list[float]:
  """Length, length of words, and shares of what tells prose from menus.

  Args:
    text: with one word at least.

  Returns:
    Log characters, mean characters per word, digits and other symbols per
    character, different words per word, lines that end a sentence per line,
    and stop words per word.

  >>> seven_features('The end.')[1:]
  [3.5, 0.0, 0.125, 1.0, 1.0, 0.5]
  """
  words, lines = text.split(), text.split('\n')
  symbols = sum(not c.isalnum() and not c.isspace() for c in text)
  return [
    float(np.log(len(text))),
    sum(map(len, words)) / len(words),
    sum(c.isdigit() for c in text) / len(text),
    symbols / len(text),
    len(set(words)) / len(words),
    sum(line.rstrip().endswith(('.', '!', '?', '"')) for line in lines)
    / len(lines),
    sum(word.lower() in _STOP_WORDS for word in words) / len(words),
  ]


def _fit(
  rows: np.ndarray, label: np.ndarray, cost: float
) -> LogisticRegression:
  return LogisticRegression(C=cost, max_iter=_MAX_ITERATIONS).fit(rows, label)
