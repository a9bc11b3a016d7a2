"""A document of a few kinds of block, as Markdown and as one HTML page that needs nothing from elsewhere."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# How files begin that we wrote, so that no other is ever replaced.
MARKDOWN_HEAD: Final = "<!-- Written by Img2Loc -->"
HTML_HEAD: Final = (
    '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="generator" content="Img2Loc">'
)
_MARKDOWN: Final = re.compile(r"([\\`*_\[\]<>|#~$&])")
_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1f2933; --paper: #fff; --line: #cbd2d9; --faint: #f3f5f7; --quiet: #52606d; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e7eb; --paper: #14191f; --line: #3e4c59; --faint: #1f2730; --quiet: #9aa5b1; }
}
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, sans-serif; }
h1, h2, h3 { line-height: 1.25; margin: 2rem 0 .6rem; }
p, li { max-width: 48rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .9rem; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .7rem; text-align: left; vertical-align: top; }
thead th { border-bottom: 2px solid var(--line); }
tbody th { min-width: 8rem; }
tr.strong > * { font-weight: 650; background: var(--faint); }
figure { margin: 1rem 0; overflow-x: auto; }
figcaption { color: var(--quiet); font-size: .9rem; max-width: 48rem; }
svg { width: 100%; min-width: 36rem; height: auto; color: var(--ink); }
"""


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of level 2 or 3."""

    text: str
    level: int = 2


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Plain text."""

    text: str


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list of plain texts."""

    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of plain texts.

    Args:
        header: The columns' names.
        rows: As many cells each.
        strong: Numbers of the rows that stand out, from 0.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    strong: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing.

    Args:
        svg: Its markup, with every text in it escaped.
        caption: Plain text.
    """

    svg: str
    caption: str


Block = Heading | Paragraph | Bullets | Grid | Figure


def to_markdown(title: str, blocks: Sequence[Block], *, page: str = "") -> str:
    """Write a document as Markdown.

    Args:
        title: Plain text.
        blocks: What it says. Of a figure only the caption is written.
        page: The name of the HTML page that holds the figures, where there is one. Then this is a file of its own, and
            begins with MARKDOWN_HEAD.
    """
    parts = [f"# {_plain(title)}"]
    if page:
        parts.insert(0, MARKDOWN_HEAD)
    for block in blocks:
        match block:
            case Heading():
                parts.append(f"{'#' * block.level} {_plain(block.text)}")
            case Paragraph():
                parts.append(_plain(block.text))
            case Bullets():
                parts.append("\n".join(f"- {_plain(item)}" for item in block.items))
            case Grid():
                parts.append(_markdown_table(block))
            case Figure():
                where = f" Drawn in [{_plain(page)}]({page})." if page else ""
                parts.append(f"*{_plain(block.caption)}*{where}")
    return "\n\n".join(parts) + "\n"


def to_html(title: str, blocks: Sequence[Block]) -> str:
    """Write a document as one HTML page: no scripts, no requests.

    Args:
        title: Plain text.
        blocks: What it says.
    """
    body = "\n".join(_html_block(block) for block in blocks)
    return (
        f"{HTML_HEAD}\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{html.escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{html.escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def _plain(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return _MARKDOWN.sub(r"\\\1", re.sub("[ \\t\\r\\n]+", " ", text.strip()))


def _markdown_table(grid: Grid) -> str:
    def line(cells: Sequence[str], *, strong: bool = False) -> str:
        texts = [_plain(cell) for cell in cells]
        return "| " + " | ".join(f"**{text}**" if strong and text else text for text in texts) + " |"

    rows = [line(row, strong=number in grid.strong) for number, row in enumerate(grid.rows)]
    return "\n".join([line(grid.header), "|" + "---|" * len(grid.header), *rows])


def _html_block(block: Block) -> str:
    match block:
        case Heading():
            return f"<h{block.level}>{html.escape(block.text)}</h{block.level}>"
        case Paragraph():
            return f"<p>{html.escape(block.text)}</p>"
        case Bullets():
            return "<ul>" + "".join(f"<li>{html.escape(item)}</li>" for item in block.items) + "</ul>"
        case Grid():
            return _html_table(block)
        case Figure():
            return f"<figure>{block.svg}<figcaption>{html.escape(block.caption)}</figcaption></figure>"


def _html_table(grid: Grid) -> str:
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in grid.header)
    rows = []
    for number, (first, *others) in enumerate(grid.rows):
        cells = "".join(f"<td>{html.escape(cell)}</td>" for cell in others)
        mark = ' class="strong"' if number in grid.strong else ""
        rows.append(f'<tr{mark}><th scope="row">{html.escape(first)}</th>{cells}</tr>')
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>\n<tbody>'
        + "\n".join(rows)
        + "</tbody></table></div>"
    )
