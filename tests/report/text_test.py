import math

import pytest

from jaxcurate.report import text


@pytest.mark.parametrize(
  'hostile, shown',
  [
    ('a\x00b', 'a⟨U+0000⟩b'),
    ('\u202eevil\u202c', '⟨U+202E⟩evil⟨U+202C⟩'),
    ('\u2066x\u2069', '⟨U+2066⟩x⟨U+2069⟩'),
    ('\ud800', '⟨U+D800⟩'),
    ('zero\u200bwidth\ufeff', 'zero⟨U+200B⟩width⟨U+FEFF⟩'),
    ('\x1b[31mred', '⟨U+001B⟩[31mred'),
    ('line\u2028break', 'line⟨U+2028⟩break'),
    ('\U000e0041', '⟨U+E0041⟩'),
    ('tab\tand\nline', 'tab\tand\nline'),
    ('carriage\rreturn', 'carriage⟨U+000D⟩return'),
  ],
)
def test_clean_writes_hidden_characters_out(hostile, shown):
  assert text.clean(hostile) == shown
  text.clean(hostile).encode('utf-8')


@pytest.mark.parametrize(
  'ordinary',
  ['', 'naïve café', '日本語', 'שלום', 'क्\u200dष', '👩\u200d🚀', 'é', '1 < 2'],
)
def test_clean_leaves_ordinary_text_alone(ordinary):
  assert text.clean(ordinary) == ordinary


def test_clean_cuts_stacks_of_combining_marks():
  assert text.clean('a' + '\u0301' * 50 + 'b') == 'a' + '\u0301' * 3 + 'b'


def test_clean_takes_anything():
  assert text.clean(None) == 'None'
  assert text.clean(3.5) == '3.5'


def test_escape_covers_every_html_character():
  assert text.escape('<a href="x">\'&') == (
    '&lt;a href=&quot;x&quot;&gt;&#x27;&amp;'
  )


def test_label_is_one_short_line():
  assert text.label('a\nb') == 'a⟨U+000A⟩b'
  long = text.label('x' * 20 + 'middle' + 'y' * 20)
  assert len(long) == 28
  assert long.startswith('xxx')
  assert long.endswith('yyy')
  assert text.label('short') == 'short'


@pytest.mark.parametrize(
  'value, shown',
  [
    (0.0, '0.000'),
    (-0.021, '−0.021'),
    (1e6, '1,000,000.000'),
    (math.inf, '∞'),
    (-math.inf, '−∞'),
    (math.nan, '–'),
    (None, '–'),
  ],
)
def test_number(value, shown):
  assert text.number(value) == shown


def test_signed_and_interval():
  assert text.signed(0.5, 1) == '+0.5'
  assert text.signed(0.0, 1) == '0.0'
  assert text.signed(None) == '–'
  assert text.interval(1.0, 2.0, 1) == '1.0..2.0'
  assert text.interval(math.nan, 2.0) == '–'
  assert text.interval(None, None) == '–'


@pytest.mark.parametrize(
  'value, shown',
  [
    (0.5, '0.5 FLOP'),
    (999.0, '999 FLOP'),
    (1000.0, '1 kFLOP'),
    (2.5e9, '2.5 GFLOP'),
    (1e30, '1e+06 YFLOP'),
    (math.inf, '–'),
    (None, '–'),
  ],
)
def test_flops(value, shown):
  assert text.flops(value) == shown


def test_shares_and_seconds():
  assert text.share(0.5) == '50.0 %'
  assert text.share(math.nan) == '–'
  assert text.seconds(59.94) == '59.9 s'
  assert text.seconds(3600.0) == '1.0 h'
  assert text.seconds(None) == '–'
