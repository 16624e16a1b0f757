"""How every figure of the report is drawn and kept.

A figure is one SVG (inline on the page, text in the reader's own font and
colour, so that it suits light and dark), one PNG and one JSON with the same
numbers. Matplotlib is imported when the first figure is drawn.
"""

from collections.abc import Callable, Mapping, Sequence
import io
import json
import math
import re
from typing import Any, NamedTuple
import warnings

import numpy as np

from jaxcurate.report import text

# Almost black in the PNG, and the page's own text colour in the SVG.
INK = '#1b1f25'
GRAY = '#8a919c'
# Mid tones that hold against white and against near-black, apart for the
# colour-blind (after Okabe and Ito).
COLORS = (
  '#2f7fd1',
  '#d9722b',
  '#1f9d78',
  '#b8559c',
  '#b59a14',
  '#6f5fd0',
  '#c24545',
  '#2aa3b8',
)


class Figure(NamedTuple):
  """One drawn figure.

  Attributes:
    name: file name without ending.
    title: heading on the page.
    caption: what it shows and how to read it, plain text.
    data: the numbers, JSON-able.
    commands: the command lines whose artefacts it was made from.
    svg: `<svg>...</svg>`.
    png: the file's content.
  """

  name: str
  title: str
  caption: str
  data: Mapping[str, Any]
  commands: Sequence[str]
  svg: str
  png: bytes


def method_colors(
  methods: Sequence[str], baseline: str | None
) -> dict[str, str]:
  """A colour per method, the same in every figure; the baseline is gray.

  >>> method_colors(['uniform', 'adapt'], 'uniform')['uniform']
  '#8a919c'
  """
  others = [name for name in methods if name != baseline]
  colors = {name: COLORS[i % len(COLORS)] for i, name in enumerate(others)}
  return colors if baseline is None else {baseline: GRAY, **colors}


def draw(
  name: str,
  *,
  title: str,
  caption: str,
  data: Mapping[str, Any],
  commands: Sequence[str],
  size: tuple[float, float],
  paint: Callable[[Any], None],
) -> Figure:
  """Draws one figure.

  Args:
    name: file name without ending.
    title: heading on the page.
    caption: text below it.
    data: the numbers drawn.
    commands: command lines that made what it shows.
    size: width and height in inches.
    paint: draws on an empty `matplotlib.figure.Figure`.

  Returns:
    The figure.
  """
  # Imported late: half a second that other commands should not pay.
  import matplotlib as mpl
  from matplotlib.backends.backend_agg import FigureCanvasAgg
  from matplotlib.figure import Figure as Canvas

  with warnings.catch_warnings(), mpl.rc_context(_style(name)):
    # The PNG's font lacks some scripts; the SVG uses the reader's fonts.
    warnings.filterwarnings('ignore', message='Glyph')
    warnings.filterwarnings('ignore', message='Matplotlib currently does not')
    # Labels longer than the figure: drawn over its edge.
    warnings.filterwarnings('ignore', message='constrained_layout not applied')
    canvas = Canvas(figsize=size, layout='constrained')
    FigureCanvasAgg(canvas)
    paint(canvas)
    png, svg = io.BytesIO(), io.StringIO()
    canvas.savefig(png, format='png', dpi=150, facecolor='white')
    canvas.set_layout_engine('none')  # laid out once is enough
    canvas.savefig(
      svg,
      format='svg',
      transparent=True,
      metadata={'Date': None, 'Creator': None, 'Format': None, 'Type': None},
    )
  inline = inline_svg(svg.getvalue(), title)
  return Figure(name, title, caption, data, commands, inline, png.getvalue())


def _style(salt: str) -> dict[Any, Any]:
  """Matplotlib settings; nothing in data is read as mathematics."""
  return {
    'text.parse_math': False,
    'text.usetex': False,
    'svg.fonttype': 'none',
    'svg.hashsalt': salt,
    'font.family': 'DejaVu Sans',
    'font.size': 9.5,
    'axes.titlesize': 10,
    'axes.titleweight': 'bold',
    'axes.titlelocation': 'left',
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.axisbelow': True,
    'axes.edgecolor': GRAY,
    'axes.labelcolor': INK,
    'axes.titlecolor': INK,
    'text.color': INK,
    'xtick.color': GRAY,
    'ytick.color': GRAY,
    'xtick.labelcolor': INK,
    'ytick.labelcolor': INK,
    'grid.color': GRAY,
    'grid.alpha': 0.25,
    'grid.linewidth': 0.7,
    'lines.linewidth': 1.8,
    'legend.frameon': False,
  }


def inline_svg(svg: str, title: str) -> str:
  """A stand-alone SVG document turned into an element of the page.

  Args:
    svg: as matplotlib writes it.
    title: read out by screen readers.

  Returns:
    `<svg ...>...</svg>` that scales with the page and takes its text colour.
  """
  svg = svg[svg.index('<svg') :]
  svg = re.sub(r'<metadata>.*?</metadata>', '', svg, flags=re.DOTALL)
  svg = re.sub(
    r' id="(?:figure|axes|patch|text|line2d|matplotlib\.axis|xtick'
    r'|ytick|legend|PolyCollection|QuadMesh|LineCollection'
    r'|FillBetweenPolyCollection|PathCollection)_\d+"',
    '',
    svg,
  )
  svg = svg.replace(INK, 'currentColor')
  svg = svg.replace("'DejaVu Sans'", 'system-ui, sans-serif')
  size = re.search(r'width="([\d.]+)pt" height="[\d.]+pt"', svg)
  if size:
    # 96 CSS pixels and 72 points to the inch.
    width = float(size[1]) * 96 / 72
    # Narrow screens scroll sideways rather than shrink the text away.
    style = f'max-width:{width:.0f}px;min-width:{min(width, 560):.0f}px'
    svg = svg.replace(size[0], f'style="{style}"', 1)
  return svg.replace(
    '<svg ', f'<svg role="img" aria-label="{text.escape(title)}" ', 1
  )


def json_text(data: Any) -> str:
  """JSON without NaN or infinity (null), lone surrogates escaped.

  >>> json_text({'a': [1.0, float('nan')]})
  '{"a": [1.0, null]}'
  """
  return json.dumps(_plain(data), allow_nan=False)


def _plain(value: Any) -> Any:
  if isinstance(value, Mapping):
    return {str(key): _plain(item) for key, item in value.items()}
  if isinstance(value, np.ndarray):
    return _plain(value.tolist())
  if isinstance(value, list | tuple):
    return [_plain(item) for item in value]
  if isinstance(value, np.generic):
    return _plain(value.item())
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


def flop_axis(axis: Any) -> None:
  """Writes 5 TFLOP instead of 0.5 and a power of ten in the corner.

  Args:
    axis: `axes.xaxis` or `axes.yaxis`.
  """
  from matplotlib.ticker import FuncFormatter, MaxNLocator

  axis.set_major_locator(MaxNLocator(6))
  axis.set_major_formatter(FuncFormatter(lambda value, _: text.flops(value)))


def thin(num_points: int, limit: int = 400) -> np.ndarray:
  """Indices of at most `limit` points of a line, ends included.

  >>> thin(5, 3).tolist()
  [0, 2, 4]
  """
  picked = np.linspace(0, num_points - 1, min(num_points, limit))
  return np.unique(picked.round().astype(np.int64))


def heat_map(
  axes: Any,
  values: np.ndarray,
  rows: Sequence[str],
  columns: Sequence[str],
  *,
  vmin: float,
  vmax: float,
  cmap: str,
  show: Callable[[int, int], str],
) -> None:
  """A labelled matrix with its numbers in the cells.

  Args:
    axes: where to draw.
    values: [rows, columns], NaN drawn as a gap.
    rows: labels, top to bottom.
    columns: labels, left to right.
    vmin: value of the first colour.
    vmax: value of the last colour.
    cmap: matplotlib's colour map.
    show: cell text of a row and a column.
  """
  masked = np.ma.masked_invalid(values)
  mesh = axes.pcolormesh(
    masked, vmin=vmin, vmax=vmax, cmap=cmap, edgecolors='none'
  )
  axes.invert_yaxis()
  axes.set_xticks(np.arange(len(columns)) + 0.5, columns)
  axes.set_yticks(np.arange(len(rows)) + 0.5, rows)
  axes.tick_params(length=0, top=False)
  longest = max((len(name) for name in columns), default=0)
  if longest > 13:  # wider than a column
    axes.tick_params(axis='x', rotation=35)
    for tick in axes.get_xticklabels():
      tick.set_horizontalalignment('right')
  for spine in axes.spines.values():
    spine.set_visible(False)
  if values.size > 1_500:
    return  # numbers would only be noise
  for i, j in np.ndindex(values.shape):
    if not math.isfinite(values[i, j]):
      axes.text(j + 0.5, i + 0.5, text.NONE, ha='center', va='center')
      continue
    red, green, blue, _ = mesh.cmap(mesh.norm(values[i, j]))
    # Rec. 601 luma; the light half of the scale takes dark figures.
    bright = 0.299 * red + 0.587 * green + 0.114 * blue > 0.55
    axes.text(
      j + 0.5,
      i + 0.5,
      show(i, j),
      ha='center',
      va='center',
      color='#111418' if bright else '#ffffff',
      fontsize=8.5,
    )
