import json
import math
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from jaxcurate.report import plotting


def _draw(paint, name='test', title='A title'):
  return plotting.draw(
    name,
    title=title,
    caption='',
    data={},
    commands=[],
    size=(3.0, 2.0),
    paint=paint,
  )


def test_a_figure_is_one_inline_svg_and_one_png(artefacts):
  def paint(canvas):
    axes = canvas.subplots()
    axes.plot([0, 1], [0, 1])
    axes.set_title(plotting.text.label(artefacts.hostile, 200))
    axes.set_xlabel('$\\frac{')

  drawn = _draw(paint, title='<b>"x"')
  assert drawn.png.startswith(b'\x89PNG')
  root = ET.fromstring(drawn.svg)  # well-formed whatever the label
  assert root.attrib['aria-label'] == '<b>"x"'
  assert '<script' not in drawn.svg
  assert 'onerror' not in drawn.svg.replace('onerror=alert(1)&gt;', '')
  assert 'currentColor' in drawn.svg
  assert '<metadata' not in drawn.svg
  assert '<!DOCTYPE' not in drawn.svg
  assert '$\\frac{' in drawn.svg  # never read as mathematics


def test_the_same_figure_twice_is_the_same_bytes():
  def paint(canvas):
    canvas.subplots().plot([0, 1], [1, 0])

  assert _draw(paint).svg == _draw(paint).svg
  # Ids of clip paths must not clash between figures of one page.
  other = _draw(paint, name='other').svg
  assert 'clip-path="url(#' in other
  assert _draw(paint).svg.split('url(#')[1][:8] != other.split('url(#')[1][:8]


def test_scripts_that_the_png_font_lacks_raise_no_warning(recwarn):
  drawn = _draw(lambda canvas: canvas.subplots().set_title('日本語 ไทย'))
  assert '日本語' in drawn.svg
  assert not [w for w in recwarn if 'Glyph' in str(w.message)]


def test_colors_are_fixed_by_name():
  colors = plotting.method_colors(['uniform', 'a', 'b'], 'uniform')
  assert colors['uniform'] == plotting.GRAY
  assert colors['a'] != colors['b']
  assert plotting.method_colors(['a'], None) == {'a': plotting.COLORS[0]}
  many = plotting.method_colors([str(i) for i in range(20)], None)
  assert len(many) == 20


def test_json_has_no_nan_and_survives_surrogates():
  data = {
    'a': np.array([1.0, math.nan]),
    'b': (np.float32(2), math.inf),
    'c': '\ud800',
    3: {'deep': np.int64(4)},
  }
  written = plotting.json_text(data)
  written.encode('utf-8')
  assert json.loads(written) == {
    'a': [1.0, None],
    'b': [2.0, None],
    'c': '\ud800',
    '3': {'deep': 4},
  }


@pytest.mark.parametrize('num', [0, 1, 2, 399, 400, 401, 12345])
def test_thin_keeps_the_ends(num):
  picked = plotting.thin(num)
  assert len(picked) == min(num, 400)
  if num:
    assert picked[0] == 0
    assert picked[-1] == num - 1
    assert (np.diff(picked) > 0).all()


def test_heat_map_writes_numbers_and_gaps():
  values = np.array([[0.5, np.nan], [1.0, -1.0]])

  def paint(canvas):
    plotting.heat_map(
      canvas.subplots(),
      values,
      ['r0', 'r1'],
      ['a column with a long name ' * 2, 'c1'],
      vmin=-1.0,
      vmax=1.0,
      cmap='RdBu',
      show=lambda i, j: f'<{i}{j}>',
    )

  svg = _draw(paint).svg
  assert '&lt;00&gt;' in svg
  assert '&lt;11&gt;' in svg
  assert '&lt;01&gt;' not in svg
  assert '–' in svg


def test_flop_axis_names_its_unit():
  def paint(canvas):
    axes = canvas.subplots()
    axes.plot([0, 2e13], [0, 1])
    plotting.flop_axis(axes.xaxis)

  assert 'TFLOP' in _draw(paint).svg
