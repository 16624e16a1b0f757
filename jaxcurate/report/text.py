"""Hostile text made safe to show, and numbers made easy to read.

Everything that comes from data (texts, ids, domains, column names, commands)
passes through `clean` before it reaches a figure and through `escape` before
it reaches the page: characters that hide, reorder or break what a reader sees
are written out as their code point.
"""

import html
import math
import re
import unicodedata

# Format characters that ordinary text needs: joiners of Indic and Arabic
# scripts and emoji, and the soft hyphen.
_HARMLESS = frozenset('\u200c\u200d\u00ad')
_HIDDEN = frozenset(['Cc', 'Cf', 'Cs', 'Zl', 'Zp'])
# Runs of combining marks beyond this grow out of their line (Zalgo text).
_MARKS = re.compile(
  r'([\u0300-\u036f\u20d0-\u20ff]{3})[\u0300-\u036f\u20d0-\u20ff]+'
)

NONE = '–'
MINUS = '\u2212'


def clean(text: object, *, keep: str = '\n\t') -> str:
  r"""Text with control, direction and lone-surrogate characters written out.

  Args:
    text: anything; what is not a string is turned into one.
    keep: control characters that may stay.

  Returns:
    Text that can be encoded as UTF-8 and hides nothing.

  >>> clean('a\x00b\u202ec')
  'a⟨U+0000⟩b⟨U+202E⟩c'
  """
  shown = [
    character
    if character in keep
    or character in _HARMLESS
    or unicodedata.category(character) not in _HIDDEN
    else f'⟨U+{ord(character):04X}⟩'
    for character in str(text)
  ]
  return _MARKS.sub(r'\1', ''.join(shown))


def label(text: object, limit: int = 28) -> str:
  """`clean` on one line, cut in the middle to at most `limit` characters.

  >>> label('a-very-long-name-of-a-domain.example', 11)
  'a-ver…ample'
  """
  line = clean(text, keep='')
  if len(line) <= limit:
    return line
  tail = (limit - 1) // 2
  return line[: limit - 1 - tail] + '…' + line[len(line) - tail :]


def escape(text: object, *, keep: str = '\n\t') -> str:
  """`clean` text with the HTML characters escaped, quotes included.

  >>> escape('<b a="1">')
  '&lt;b a=&quot;1&quot;&gt;'
  """
  return html.escape(clean(text, keep=keep), quote=True)


def number(value: float | None, digits: int = 3) -> str:
  """A number with `digits` decimals, thousands apart, a dash for none.

  >>> number(1234.5678, 1), number(-0.5, 2), number(None), number(math.nan)
  ('1,234.6', '−0.50', '–', '–')
  """
  if value is None or math.isnan(value):
    return NONE
  if math.isinf(value):
    return '∞' if value > 0 else MINUS + '∞'
  return f'{value:,.{digits}f}'.replace('-', MINUS)


def signed(value: float | None, digits: int = 3) -> str:
  """A number that always shows its sign.

  >>> signed(0.0214), signed(-0.0214)
  ('+0.021', '−0.021')
  """
  text = number(value, digits)
  return '+' + text if value is not None and value > 0 else text


def interval(
  low: float | None, high: float | None, digits: int = 3, *, sign: bool = False
) -> str:
  """Both ends of an interval, or a dash.

  >>> interval(-0.034, -0.009, sign=True)
  '−0.034..−0.009'
  """
  if low is None or high is None or math.isnan(low) or math.isnan(high):
    return NONE
  show = signed if sign else number
  return f'{show(low, digits)}..{show(high, digits)}'


def share(value: float | None) -> str:
  """A fraction in per cent.

  >>> share(0.1234)
  '12.3 %'
  """
  return NONE if value is None or math.isnan(value) else f'{100 * value:.1f} %'


def flops(value: float | None) -> str:
  """Operations with an SI prefix, three significant digits.

  >>> flops(1.2345e15), flops(0.0), flops(None)
  ('1.23 PFLOP', '0 FLOP', '–')
  """
  if value is None or not math.isfinite(value):
    return NONE
  prefixes = ['', 'k', 'M', 'G', 'T', 'P', 'E', 'Z', 'Y']
  power = 0 if abs(value) < 1 else int(math.log10(abs(value)) // 3)
  power = min(power, len(prefixes) - 1)
  return f'{value / 1000**power:.3g} {prefixes[power]}FLOP'


def seconds(value: float | None) -> str:
  """A duration in the unit that fits.

  >>> seconds(0.5), seconds(75.0), seconds(7200.0)
  ('0.5 s', '1.2 min', '2.0 h')
  """
  if value is None or not math.isfinite(value):
    return NONE
  if value < 60:
    return f'{value:.1f} s'
  return f'{value / 60:.1f} min' if value < 3600 else f'{value / 3600:.1f} h'
