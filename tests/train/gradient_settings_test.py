import pytest

from jaxcurate.ops.approximate_gram import EXACT, Approximation
from jaxcurate.train.gradient_settings import GradientSettings


def test_exact_unless_told_otherwise():
  GradientSettings().check()
  assert GradientSettings().approximation() == EXACT
  settings = GradientSettings('keep_factors', 64, rank_one=True)
  settings.check()
  assert settings.approximation() == Approximation(64, True)


def test_what_is_not_known_is_named():
  with pytest.raises(ValueError, match="way is 'both', expected one of"):
    GradientSettings('both').check()
  with pytest.raises(ValueError, match='projection is 0, expected at least 1'):
    GradientSettings(projection=0).check()
