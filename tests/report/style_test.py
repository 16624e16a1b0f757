"""Readable in light and in dark: WCAG 2.1 contrast ratios."""

import re

import pytest

from jaxcurate.report import plotting, style

TEXT, GRAPHICS = 4.5, 2.6  # WCAG AA for text; ours for lines 2 px wide


def _variables(block):
  return dict(re.findall(r'--(\w+): (#[0-9a-f]{6})', block))


def _schemes():
  light, dark = re.findall(r':root \{(.*?)\}', style.CSS, re.DOTALL)
  return {'light': _variables(light), 'dark': _variables(dark)}


def _luminance(color):
  parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
  linear = [
    x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts
  ]
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first, second):
  high, low = sorted([_luminance(first), _luminance(second)], reverse=True)
  return (high + 0.05) / (low + 0.05)


def test_contrast_by_hand():
  assert contrast('#000000', '#ffffff') == pytest.approx(21)
  assert contrast('#777777', '#777777') == 1


def test_both_schemes_define_the_same_colours():
  schemes = _schemes()
  assert set(schemes['light']) == set(schemes['dark'])


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize(
  'name', ['ink', 'soft', 'good', 'bad', 'even', 'accent']
)
def test_text_can_be_read(scheme, name):
  colors = _schemes()[scheme]
  for behind in ('paper', 'card'):
    assert contrast(colors[name], colors[behind]) >= TEXT


@pytest.mark.parametrize('scheme', ['light', 'dark'])
@pytest.mark.parametrize('color', [*plotting.COLORS, plotting.GRAY])
def test_lines_can_be_seen(scheme, color):
  assert contrast(color, _schemes()[scheme]['paper']) >= GRAPHICS


def test_every_variable_used_is_defined():
  used = set(re.findall(r'var\(--(\w+)\)', style.CSS))
  assert used <= set(_schemes()['light'])


def test_nothing_is_fetched():
  assert 'url(' not in style.CSS
  assert '@import' not in style.CSS
  assert '</style' not in style.CSS
