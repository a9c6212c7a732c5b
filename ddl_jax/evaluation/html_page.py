"""Parts of a page that works offline: no script, nothing to fetch, light and dark."""

from __future__ import annotations

import base64
import html
import io
import re
from collections.abc import Mapping, Sequence

from etils import epath
from PIL import Image

_BROAD = 600  # pixels: a picture that is wider has a row for itself, and scrolls on a phone

_STYLE = """
:root { color-scheme: light dark; --ink: #1d1d1f; --soft: #5c5f66; --page: #fff; --line: #d9dbe0;
  --raised: #f5f6f8; --link: #0b57d0; --better: #0a6b3d; --worse: #a8320b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e9ec; --soft: #a6a9b2; --page: #16181c;
  --line: #3a3d45; --raised: #21242a; --link: #8ab4f8; --better: #6fd09a; --worse: #ff9d7a; } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
  max-width: 72rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; } h3 { font-size: 1.05rem; margin: 1.5rem 0 .5rem; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 .75rem; padding-top: .75rem;
  border-top: 1px solid var(--line); }
a { color: var(--link); } p { max-width: 46rem; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; list-style: none; padding: 0; }
nav a { display: inline-block; padding: .3rem 0; }
.wide { overflow-x: auto; margin: .5rem 0 1rem; }
table { border-collapse: collapse; font-size: .95rem; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem; text-align: right; vertical-align: top;
  border-bottom: 1px solid var(--line); white-space: nowrap; overflow-wrap: normal; }
thead th { vertical-align: bottom; }
th:first-child { text-align: left; padding-left: 0; font-weight: 400; position: sticky; left: 0;
  background: var(--page); }
thead th, thead th:first-child { font-weight: 600; }
td small { display: block; color: var(--soft); font-size: .8rem; }
td small.better { color: var(--better); font-weight: 600; }
td small.worse { color: var(--worse); font-weight: 600; }
td.none { color: var(--soft); font-style: italic; font-size: .85rem; }
.pictures { display: flex; flex-wrap: wrap; gap: 0 2rem; align-items: flex-start; }
figure { margin: .5rem 0 1rem; flex: 0 1 33rem; min-width: 0; max-width: 100%; }
figure.broad { flex-basis: 100%; }
figcaption, footer, .note { color: var(--soft); font-size: .9rem; }
figure .wide { margin: 0; } figure.broad img { min-width: 38rem; }
figure img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
footer { margin-top: 2.5rem; border-top: 1px solid var(--line); padding-top: .75rem; }
details { margin: .5rem 0 1rem; } summary { cursor: pointer; padding: .3rem 0; }
details dl, section > dl { background: var(--raised); padding: .75rem 1rem; border-radius: 6px; }
dt { font-weight: 600; } dd { margin: 0 0 .5rem; }
.faces { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1rem;
  padding: 0; list-style: none; }
.faces img { width: 47%; border-radius: 4px; }
@media (max-width: 40rem) { th, td { padding: .3rem .5rem; } th:first-child { max-width: 9.5rem;
  white-space: normal; } .faces { grid-template-columns: 1fr 1fr; gap: .75rem; } }
@media print { body { max-width: none; } .wide { overflow: visible; } }
"""


def page(title: str, parts: Sequence[str]) -> bytes:
    """A whole page of finished parts, below its title."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{_STYLE}</style></head>\n<body>\n<main>\n"
        f"<h1>{text(title)}</h1>\n" + "\n".join(parts) + "\n</main>\n</body></html>\n"
    ).encode()


def contents(sections: Sequence[str]) -> str:
    """Links to the sections of these titles."""
    links = (f'<li><a href="#{anchor(title)}">{text(title)}</a></li>' for title in sections)
    return f'<nav aria-label="Contents"><ul>{"".join(links)}</ul></nav>'


def section(title: str, parts: Sequence[str]) -> str:
    """A headed section that `contents` links to."""
    name = anchor(title)
    return (
        f'<section id="{name}" aria-labelledby="{name}-title"><h2 id="{name}-title">{text(title)}'
        f"</h2>\n" + "\n".join(parts) + "</section>"
    )


def table(head: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], name: str) -> str:
    """A table that scrolls sideways where it is too wide; cells are finished, titles plain text."""
    first, *others = head
    titles = f"<th>{text(first)}</th>" + "".join(f'<th scope="col">{text(t)}</th>' for t in others)
    body = "".join(
        f'<tr><th scope="row">{text(title)}</th>{"".join(cells)}</tr>' for title, cells in rows
    )
    return (
        f'<div class="wide" role="region" aria-label="{text(name)}" tabindex="0"><table>'
        f"<thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def figures(pictures: Mapping[str, epath.PathLike]) -> str:
    """PNGs by their captions, put into the page itself; two in a row where there is room."""
    found = (_figure(caption, picture) for caption, picture in pictures.items())
    return f'<div class="pictures">{"".join(found)}</div>'


def _figure(caption: str, picture: epath.PathLike) -> str:
    content = epath.Path(picture).read_bytes()
    width = Image.open(io.BytesIO(content)).width // 2  # drawn with two dots a pixel
    kind = ' class="broad"' if width > _BROAD else ""
    return (
        f'<figure{kind}><div class="wide"><img alt="{text(caption)}" width="{width}" '
        f'src="data:image/png;base64,{base64.b64encode(content).decode()}"></div>'
        f"<figcaption>{text(caption)}</figcaption></figure>"
    )


def items(card: Mapping[str, object]) -> str:
    """Names and values below each other."""
    found = (f"<dt>{text(key)}</dt><dd>{text(_plain(value))}</dd>" for key, value in card.items())
    return f"<dl>{''.join(found)}</dl>"


def text(value: object) -> str:
    """Plain text as HTML."""
    return html.escape(str(value))


def anchor(title: str) -> str:
    """The name that links to a section have."""
    return "s-" + re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _plain(value: object) -> object:
    """Lists and mappings of a card as text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {item}" for key, item in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return value
