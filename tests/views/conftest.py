"""The closing lines: how many cells of the views were compared with figures of plain Python."""

from __future__ import annotations

from typing import Any

from tests.views.reading import CELLS, DIFFERENT


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Adds up what the tests have recorded, and prints it where there is something."""
    totals = dict.fromkeys((CELLS, DIFFERENT), 0)
    comparisons = 0
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, ()):
            for name, value in getattr(report, "user_properties", ()):
                comparisons += name == CELLS
                if name in totals:
                    totals[name] += value
    if comparisons:
        terminalreporter.write_line(
            f"{totals[CELLS]:,} cells of views compared with figures computed in Python, in"
            f" {comparisons} comparisons of whole accounts: {totals[DIFFERENT]:,} differ."
        )
