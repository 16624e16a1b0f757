"""Lone surrogates, which JSON escapes can spell and UTF-8 cannot."""


def replaced(text: str) -> str:
  r"""The text with lone surrogates replaced by U+FFFD, pairs joined.

  >>> replaced('a\ud800'), replaced('\ud83d\ude00')
  ('a\ufffd', '😀')
  """
  try:
    text.encode()
  except UnicodeEncodeError:
    return text.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')
  return text
