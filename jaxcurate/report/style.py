"""The look of the report page: system fonts, light and dark, prints well."""

CSS = """
:root {
  color-scheme: light dark;
  --ink: #1b1f25; --soft: #5c6470; --line: #d9dde3; --paper: #ffffff;
  --card: #f6f7f9; --good: #177a4b; --bad: #b3362f; --even: #5c6470;
  --accent: #2f6fbf;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e6e9ee; --soft: #9aa3af; --line: #343a43; --paper: #14171b;
    --card: #1c2026; --good: #55c78e; --bad: #f0857d; --even: #9aa3af;
    --accent: #7db1f2;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, 'Segoe UI', sans-serif;
  overflow-wrap: anywhere;
}
main, header { max-width: 62rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 2.5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 {
  font-size: 1.3rem; margin: 3rem 0 .8rem; padding-top: .9rem;
  border-top: 1px solid var(--line);
}
h3 { font-size: 1.02rem; margin: 1.8rem 0 .5rem; }
p { margin: .5rem 0; }
.soft, figcaption, .note { color: var(--soft); font-size: .88rem; }
a { color: var(--accent); }
nav { margin: 1.1rem 0 0; font-size: .92rem; }
nav a { margin-right: 1.1rem; text-decoration: none; white-space: nowrap; }
nav a:hover { text-decoration: underline; }
ul.findings {
  list-style: none; margin: 1.4rem 0 0; padding: .4rem 1.1rem;
  background: var(--card); border: 1px solid var(--line); border-radius: 10px;
}
ul.findings li { padding: .5rem 0; border-bottom: 1px solid var(--line); }
ul.findings li:last-child { border-bottom: 0; }
ul.rest { margin: 1rem 0 0; padding-left: 1.2rem; font-size: .92rem; }
ul.rest li { padding: .12rem 0; }
.pill {
  display: inline-block; padding: 0 .6em; border-radius: 1em;
  border: 1px solid currentColor; font-size: .8rem; font-weight: 600;
  white-space: nowrap; margin-left: .35rem;
}
.better { color: var(--good); } .worse { color: var(--bad); }
.none { color: var(--even); }
.scroll { overflow-x: auto; margin: .8rem 0; }
table {
  border-collapse: collapse; font-size: .9rem; min-width: 50%;
  font-variant-numeric: tabular-nums;
}
th, td {
  text-align: right; padding: .38rem .75rem; vertical-align: top;
  border-bottom: 1px solid var(--line);
}
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th, td { overflow-wrap: normal; }
td { white-space: nowrap; }
td:first-child {
  white-space: normal; min-width: 9rem; overflow-wrap: anywhere;
}
thead th { color: var(--soft); font-weight: 600; vertical-align: bottom; }
td .soft { display: block; font-size: .82rem; }
figure { margin: 1.2rem 0 1.8rem; }
figure svg { width: 100%; height: auto; display: block; margin: .4rem 0; }
figure .scroll { margin: 0; }
figcaption { max-width: 48rem; }
details { margin: .4rem 0; }
summary { cursor: pointer; color: var(--soft); font-size: .88rem; }
code, pre {
  font: .82rem/1.5 ui-monospace, 'SF Mono', Menlo, Consolas, monospace;
}
pre {
  white-space: pre-wrap; background: var(--card); padding: .7rem .9rem;
  border: 1px solid var(--line); border-radius: 8px; margin: .4rem 0;
}
.sides { display: grid; grid-template-columns: 1fr 1fr; gap: 0 1.4rem; }
.sides > div { min-width: 0; }
@media (max-width: 44rem) { .sides { grid-template-columns: 1fr; } }
.sides h4 { margin: .6rem 0 .3rem; font-size: .92rem; }
article {
  border: 1px solid var(--line); border-left-width: 4px; border-radius: 6px;
  padding: .5rem .75rem; margin: .5rem 0; font-size: .86rem; overflow: hidden;
}
article.high { border-left-color: var(--good); }
article.low { border-left-color: var(--bad); }
article .meta { color: var(--soft); font-size: .8rem; }
article .text {
  white-space: pre-wrap; unicode-bidi: isolate; max-height: 11rem;
  overflow: auto; margin-top: .25rem;
}
footer {
  max-width: 62rem; margin: 3rem auto 2rem; padding: 0 1.25rem;
  color: var(--soft); font-size: .85rem;
}
@media print {
  nav { display: none; } article .text { max-height: none; }
  figure, article { break-inside: avoid; }
}
"""
