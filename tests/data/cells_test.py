import numpy as np
import pytest

from jaxcurate.data.cells import Bad, invalid_utf8, string


@pytest.mark.parametrize(
  ('value', 'expected'),
  [
    ('é 😀', 'é 😀'),
    (b'caf\xc3\xa9', 'café'),
    ('', ''),
    (None, None),
    (-3, -3),
    (np.int64(5), 5),
    ('a\0', Bad('NUL byte', 'at character 1')),
    ('é\ud800', Bad('invalid unicode', 'lone surrogate U+D800 at character 1')),
    (b'ab\xe9', Bad('invalid UTF-8', 'byte 0xe9 at byte 2')),
    (True, Bad('text not a string', 'it is bool')),
    (0.5, Bad('text not a string', 'it is float')),
    (['a'], Bad('text not a string', 'it is list')),
  ],
)
def test_cells_by_hand(value, expected):
  assert string(value) == expected


def test_every_good_string_is_kept_and_encodes():
  codes = np.random.default_rng(0).integers(0, 0x11000, 3000)
  for code in map(int, codes):
    found = string(f'a{chr(code)}')
    if isinstance(found, Bad):
      assert code == 0 or 0xD800 <= code < 0xE000
    else:
      assert isinstance(found, str)
      assert found.encode().decode() == f'a{chr(code)}'


def test_invalid_utf8_names_the_byte():
  with pytest.raises(UnicodeDecodeError) as error:
    b'\xff'.decode()
  assert invalid_utf8(error.value).detail == 'byte 0xff at byte 0'
