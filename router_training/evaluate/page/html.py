"""The page itself: sections, pictures and tables as one HTML file that loads nothing from anywhere.

Promise: every text is escaped; no script, no link to another file, pictures inline; a Content-Security-Policy in the
page forbids the rest. It follows the reader's light or dark setting and fits a phone: wide tables scroll on their own.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from router_training.evaluate.page.section import Picture, Section, TextTable

Images = Mapping[tuple[str, str], bytes]
"""PNG bytes by (picture name, theme name)."""

_STYLE = """
:root { color-scheme: light dark; --paper: #f4f5f7; --card: #ffffff; --ink: #1b1f24; --faint: #5b636d;
  --line: #e3e6ea; --accent: #0072b2; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #0f1216; --card: #171b21; --ink: #e8eaed; --faint: #a3abb6; --line: #2d343d; --accent: #56b4e9; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); line-height: 1.55;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2rem 1rem 4rem; }
h1 { font-size: 1.7rem; margin: 0; letter-spacing: -0.01em; }
h2 { font-size: 1.2rem; margin: 0 0 0.4rem; }
.under { color: var(--faint); margin: 0.3rem 0 1.4rem; overflow-wrap: anywhere; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: 0.7rem; }
.card, section, .notes { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
.card { padding: 0.8rem 0.9rem; }
.card b { display: block; font-size: 1.5rem; font-variant-numeric: tabular-nums; line-height: 1.25; }
.card span { display: block; color: var(--faint); font-size: 0.85rem; overflow-wrap: anywhere; }
.notes { margin: 0.9rem 0 0; padding: 0.7rem 1rem 0.7rem 2rem; border-left: 4px solid #e69f00; }
.notes li { overflow-wrap: anywhere; }
nav { margin: 1.2rem 0; display: flex; flex-wrap: wrap; gap: 0.4rem 1rem; font-size: 0.95rem; }
a { color: var(--accent); }
section { padding: 1.2rem 1.2rem 1rem; margin: 1rem 0; }
section > p { margin: 0 0 0.8rem; color: var(--faint); max-width: 50rem; overflow-wrap: anywhere; }
figure { margin: 0 0 0.8rem; text-align: center; }
figure img { max-width: 100%; height: auto; width: 46rem; }
details { border-top: 1px solid var(--line); padding: 0.5rem 0; }
summary { cursor: pointer; font-size: 0.95rem; }
.scroll { overflow-x: auto; margin: 0.5rem 0; }
table { border-collapse: collapse; font-size: 0.88rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.3rem 0.6rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top;
  white-space: nowrap; }
th { font-weight: 600; color: var(--faint); }
th:first-child, td:first-child { text-align: left; position: sticky; left: 0; background: var(--card); }
table.prose td, table.prose th { text-align: left; }
table.prose td:last-child { white-space: normal; min-width: 22rem; overflow-wrap: anywhere; }
footer { color: var(--faint); font-size: 0.85rem; overflow-wrap: anywhere; }
"""


@dataclass(frozen=True)
class Card:
    """One headline figure: what it is, its value and what to read it with."""

    label: str
    value: str
    remark: str = ""


def render_page(
    *,
    title: str,
    under: str,
    cards: Sequence[Card],
    notes: Sequence[str],
    sections: Sequence[Section],
    images: Images,
    footer: str,
) -> str:
    """The whole file."""
    links = "".join(f'<a href="#{_anchor(place)}">{escape(part.title)}</a>' for place, part in enumerate(sections))
    body = "\n".join(_section(place, part, images) for place, part in enumerate(sections))
    noted = f'<ul class="notes">{"".join(f"<li>{escape(note)}</li>" for note in notes)}</ul>' if notes else ""
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<h1>{escape(title)}</h1>
<p class="under">{escape(under)}</p>
<div class="cards">{"".join(_card(card) for card in cards)}</div>
{noted}
<nav>{links}</nav>
{body}
<footer>{escape(footer)}</footer>
</main>
</body>
</html>
"""


def _anchor(place: int) -> str:
    return f"section-{place + 1}"


def _card(card: Card) -> str:
    return (
        f'<div class="card"><span>{escape(card.label)}</span><b>{escape(card.value)}</b>'
        f"<span>{escape(card.remark)}</span></div>"
    )


def _section(place: int, section: Section, images: Images) -> str:
    figures = "".join(_figure(picture, images) for picture in section.pictures)
    # The first table is open: a page without its pictures still says what matters.
    tables = "".join(_table(table, is_open=index == 0) for index, table in enumerate(section.tables))
    return (
        f'<section id="{_anchor(place)}"><h2>{escape(section.title)}</h2><p>{escape(section.lead)}</p>'
        f"{figures}{tables}</section>"
    )


def _figure(picture: Picture, images: Images) -> str:
    light, dark = (_data_url(images[picture.name, theme]) for theme in ("light", "dark"))
    return (
        f'<figure><picture><source media="(prefers-color-scheme: dark)" srcset="{dark}">'
        f'<img src="{light}" alt="{escape(picture.description)}"></picture></figure>'
    )


def _data_url(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def _table(table: TextTable, *, is_open: bool) -> str:
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in table.header)
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    kind = ' class="prose"' if table.is_prose else ""
    return (
        f"<details{' open' if is_open else ''}><summary>{escape(table.title)}</summary>"
        f'<div class="scroll"><table{kind}><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div></details>'
    )
