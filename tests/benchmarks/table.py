"""Tables for the terminal and for the README."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence

from targets import Check


def say(text: str = "") -> None:
    """Prints a line."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def as_text(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in columns; the first and last are flush left, the others flush right."""
    cells = [[re.sub(r"[*`]", "", cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(header))]
    last = len(header) - 1

    def line(row: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if place in (0, last) else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join(padded).rstrip()

    return "\n".join(
        [line(cells[0]), line(["-" * width for width in widths]), *map(line, cells[1:])]
    )


def as_markdown(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """The same as Markdown."""
    last = len(header) - 1
    rule = ["---" if place in (0, last) else "---:" for place in range(len(header))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (header, rule, *rows))


def say_checks(checks: Iterable[Check]) -> None:
    """Prints targets beside what was measured."""
    words = {True: "met", False: "MISSED", None: "-"}
    rows = [(check.text, check.measured, words[check.met]) for check in checks]
    if rows:
        say()
        say(as_text(("target", "measured", ""), rows))
