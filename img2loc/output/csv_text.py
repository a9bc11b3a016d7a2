"""The one place that writes CSV: quoting, empty cells, and no text that a spreadsheet takes for a formula."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence

Cell = str | float | None

# Where a spreadsheet would begin a formula; some read the full-width signs as the plain ones.
# Source: https://owasp.org/www-community/attacks/CSV_Injection
_SIGNS = "=+\\-@\uff1d\uff0b\uff0d\uff20"
_FORMULA = re.compile(rf"^(?=[{_SIGNS}\t\r\n])|(?<=[;\t\r\n])(?=[{_SIGNS}])")


def csv_text(
    columns: Sequence[str],
    rows: Iterable[Mapping[str, Cell]],
    *,
    header: bool = True,
    line_end: str = "\n",
    exact: bool = False,
) -> str:
    """Write rows as CSV. None, or a column that a row lacks, gives an empty cell.

    Args:
        columns: Their names, in order.
        rows: A cell for each column.
        header: Whether the first line has the columns' names.
        line_end: What ends each line.
        exact: Keep every text as it is, for a file that programs compare with others. By default a text that a
            spreadsheet would take for a formula gets an apostrophe in front.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator=line_end)
    if header:
        writer.writeheader()
    for row in rows:
        writer.writerow(row if exact else {name: no_formula(cell) for name, cell in row.items()})
    return text.getvalue()


def no_formula(cell: Cell) -> Cell:
    """Put an apostrophe where a spreadsheet would begin a formula, whichever character it separates cells by."""
    return _FORMULA.sub("'", cell) if isinstance(cell, str) else cell
