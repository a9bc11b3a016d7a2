"""A document of a few kinds of block, as Markdown and as one HTML page that loads nothing from elsewhere."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Final

# The beginnings of files that we wrote, by which we know which we may replace.
MARKDOWN_HEAD: Final = "<!-- Written by Img2Loc -->"
HTML_HEAD: Final = (
    '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<meta name="generator" content="Img2Loc">'
)
_UNBROKEN: Final = re.compile(r"(?<=[\d,]) (?=km\b|[-+]?\d)")  # within a number and its unit, or a pair of numbers
_MARKDOWN: Final = re.compile(r"([\\`*_\[\]<>|#~$&])")


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
    """A bulleted list of plain texts."""

    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of plain texts."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]  # a cell for each column
    strong: frozenset[int] = frozenset()  # numbers of the highlighted rows, from 0


@dataclass(frozen=True, slots=True)
class Figure:
    """A drawing."""

    svg: str  # its markup, with every text in it escaped
    caption: str


Block = Heading | Paragraph | Bullets | Grid | Figure


def to_markdown(title: str, blocks: Sequence[Block], *, page: str = "") -> str:
    """Write a document as Markdown, with only the captions of figures.

    Args:
        title: Plain text.
        blocks: The content.
        page: The file name of the HTML page with the figures. If given, the text begins with MARKDOWN_HEAD.
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
    """Write a document as one HTML page, without scripts or requests."""
    style = (resources.files("img2loc") / "data" / "report.css").read_text(encoding="utf-8")
    body = "\n".join(_html_block(block) for block in blocks)
    return (
        f"{HTML_HEAD}\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
        f"<title>{html.escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"<h1>{html.escape(title)}</h1>\n{body}\n</body>\n</html>\n"
    )


def _plain(text: str) -> str:
    """Escape a text so that Markdown shows it unchanged, on one line."""
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
        cells = "".join(f"<td>{_UNBROKEN.sub('&nbsp;', html.escape(cell))}</td>" for cell in others)
        mark = ' class="strong"' if number in grid.strong else ""
        rows.append(f'<tr{mark}><th scope="row">{html.escape(first)}</th>{cells}</tr>')
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>\n<tbody>'
        + "\n".join(rows)
        + "</tbody></table></div>"
    )
