"""One self-contained HTML page: no script, no font, no image from elsewhere.

The page carries a content security policy that forbids all three, so that a
corpus which gets past the escaping still cannot load or run anything.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from jaxcurate.report import artefacts, findings, plotting, style, text

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
_SHOWN = 5  # excerpts per side before the rest is folded away

esc = text.escape


class Section(NamedTuple):
  """One part of the page.

  Attributes:
    anchor: target of the link at the top.
    title: its heading.
    body: HTML.
  """

  anchor: str
  title: str
  body: str


def page(
  title: str,
  subtitle: str,
  found: Sequence[findings.Sentence],
  sections: Sequence[Section],
  footer: str,
) -> str:
  """The whole document.

  Args:
    title: plain text.
    subtitle: plain text.
    found: findings, shown first.
    sections: parts with a body, in order.
    footer: plain text.

  Returns:
    HTML.
  """
  judged = any(line.verdict for line in found)
  first = [line for line in found if line.verdict or not judged]
  rest = [line for line in found if line not in first]
  links = ''.join(
    f'<a href="#{part.anchor}">{esc(part.title)}</a>' for part in sections
  )
  bodies = ''.join(
    f'<section id="{part.anchor}"><h2>{esc(part.title)}</h2>{part.body}'
    '</section>\n'
    for part in sections
  )
  return (
    '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
    f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
    '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
    f'<title>{esc(title)}</title>\n<style>{style.CSS}</style></head>\n'
    f'<body><header><h1>{esc(title)}</h1><p class="soft">{esc(subtitle)}</p>\n'
    f'{_list("findings", first)}{_list("rest", rest)}'
    f'<nav>{links}</nav></header>\n'
    f'<main>{bodies}</main>\n<footer>{esc(footer)}</footer></body></html>\n'
  )


def _list(kind: str, lines: Sequence[findings.Sentence]) -> str:
  """Findings as a list; nothing for none."""
  if not lines:
    return ''
  items = ''.join(
    f'<li>{esc(line.text)} {pill(line.verdict)}</li>' for line in lines
  )
  return f'<ul class="{kind}">{items}</ul>'.replace('95 %', '95&nbsp;%')


def pill(verdict: str) -> str:
  """A verdict as a coloured label; nothing for an empty one."""
  if not verdict:
    return ''
  kind = verdict if verdict in ('better', 'worse') else 'none'
  return f'<span class="pill {kind}">{esc(verdict)}</span>'


def figure(drawn: plotting.Figure) -> str:
  """A figure with its caption and the commands that made it."""
  commands = [command for command in drawn.commands if command]
  made = (
    f'<details><summary>Made by, and numbers: {esc(drawn.name)}.json'
    f'</summary><pre>{esc(chr(10).join(commands))}</pre></details>'
    if commands
    else ''
  )
  return (
    f'<figure><h3>{esc(drawn.title)}</h3>'
    f'<div class="scroll">{drawn.svg}</div>'
    f'<figcaption>{esc(drawn.caption)}</figcaption>{made}</figure>\n'
  )


def table(
  head: Sequence[str], rows: Sequence[Sequence[str]], note: str = ''
) -> str:
  """A table that scrolls sideways where the screen is narrow.

  Args:
    head: column titles, plain text.
    rows: cells, HTML.
    note: plain text below.

  Returns:
    HTML.
  """
  titles = ''.join(f'<th>{esc(name)}</th>' for name in head)
  lines = ''.join(
    '<tr>' + ''.join(f'<td>{cell}</td>' for cell in row) + '</tr>'
    for row in rows
  )
  below = f'<p class="note">{esc(note)}</p>' if note else ''
  return (
    f'<div class="scroll"><table><thead><tr>{titles}</tr></thead>'
    f'<tbody>{lines}</tbody></table></div>{below}\n'
  )


def cell(value: str, under: str = '') -> str:
  """A table cell: a value, and something smaller under it; plain text."""
  small = f'<span class="soft">{esc(under)}</span>' if under else ''
  return f'{esc(value)}{small}'


def examples(folders: Sequence[artefacts.Scores]) -> str:
  """Highest and lowest scored excerpts of every column."""
  parts = []
  for folder in folders:
    found: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for line in folder.examples:
      sides = found.setdefault(str(line.get('column', '')), {})
      sides.setdefault(str(line.get('side', '')), []).append(line)
    for column, sides in found.items():
      unit = folder.table.units.get(column, '')
      heading = f'{column} ({unit})' if unit else column
      parts.append(
        f'<h3>{esc(heading)}</h3><div class="sides">'
        + _side('Highest', 'high', sides.get('high', []))
        + _side('Lowest', 'low', sides.get('low', []))
        + '</div>'
      )
  return ''.join(parts)


def _side(title: str, side: str, lines: Sequence[Mapping[str, Any]]) -> str:
  """One column of excerpts, the first few open."""
  cards = [_card(side, line) for line in sorted(lines, key=_rank)]
  if not cards:
    return f'<div><h4>{title}</h4><p class="soft">none kept</p></div>'
  rest = cards[_SHOWN:]
  more = (
    f'<details><summary>{len(rest)} more</summary>{"".join(rest)}</details>'
    if rest
    else ''
  )
  return f'<div><h4>{title}</h4>{"".join(cards[:_SHOWN])}{more}</div>'


def _rank(line: Mapping[str, Any]) -> float:
  rank = line.get('rank')
  return float(rank) if isinstance(rank, int | float) else 0.0


def _card(side: str, line: Mapping[str, Any]) -> str:
  score = line.get('score')
  shown = text.number(float(score)) if isinstance(score, int | float) else ''
  domain = line.get('domain')
  meta = ' · '.join(
    f'<bdi>{esc(part, keep="")}</bdi>'
    for part in (shown, domain, line.get('id'))
    if part is not None
  )
  return (
    f'<article class="{side}"><div class="meta">{meta}</div>'
    f'<div class="text" dir="auto">{esc(line.get("text", ""))}</div></article>'
  )
