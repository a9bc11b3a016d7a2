"""A report's blocks as Markdown and HTML."""

from __future__ import annotations

import re

from img2loc.evaluation.report.document import Grid, Paragraph, to_html, to_markdown
from img2loc.evaluation.report.figures import error_map
from img2loc.evaluation.report.grids import km_text
from tests.paths import ROOT


def test_an_empty_map_and_odd_texts():
    assert error_map([], []).endswith("</svg>")
    blocks = [Paragraph("a*b_c <i>\nd|e"), Grid(("x",), (("1|2",),), frozenset({0}))]
    assert to_markdown("#t", blocks) == ("# \\#t\n\na\\*b\\_c \\<i\\> d\\|e\n\n| x |\n|---|\n| **1\\|2** |\n")
    assert "&lt;i&gt;" in to_html("t", blocks)


def test_plain_text_has_ordinary_spaces_and_html_keeps_numbers_together():
    grid = Grid(("run", "median", "position"), (("vote, 16", f"{km_text(996.4)} (775, 1,663)", "48.85840, -2.29450"),))
    assert "| vote, 16 | 996 km (775, 1,663) | 48.85840, -2.29450 |" in to_markdown("t", [grid])
    assert "<td>996&nbsp;km (775,&nbsp;1,663)</td><td>48.85840,&nbsp;-2.29450</td>" in to_html("t", [grid])
    for folder in (ROOT / "docs", ROOT / "img2loc" / "prompts"):
        for file in [*folder.glob("*.md"), *folder.glob("*.txt")]:
            assert not re.search("[\u00a0\u2007-\u200a\u202f]", file.read_text(encoding="utf-8")), file
