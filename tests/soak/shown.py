"""What a browser would make of a piece of HTML: its elements, and the words that it shows."""

from __future__ import annotations

from html.parser import HTMLParser

TEMPLATE_SIGNS = set("{$`\\")  # gr.HTML takes its content for a template of JavaScript and of Handlebars


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, ...]] = []
        self.addresses: list[str] = []
        self.words: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, *sorted(name for name, _ in attrs)))
        self.addresses += [value or "" for name, value in attrs if name in ("href", "src", "data-street")]

    def handle_endtag(self, tag: str) -> None:
        self.elements.append((f"/{tag}",))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_comment(self, data: str) -> None:
        self.elements.append(("comment",))

    def handle_decl(self, decl: str) -> None:
        self.elements.append(("declaration",))

    def handle_pi(self, data: str) -> None:
        self.elements.append(("instruction",))

    def unknown_decl(self, data: str) -> None:
        self.elements.append(("declaration",))


def _read(html: str) -> _Reader:
    reader = _Reader()
    reader.feed(html)
    reader.close()
    return reader


def elements(html: str) -> list[tuple[str, ...]]:
    """The elements in their order, each with the names of its attributes."""
    return _read(html).elements


def addresses(html: str) -> list[str]:
    """Whatever the page links to or would fetch."""
    return _read(html).addresses


def words(html: str) -> str:
    """The words that are seen."""
    return "".join(_read(html).words)
