"""The table of docs/reliability.md, from what is kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

BEGIN, END = "<!-- begin: trouble -->", "<!-- end: trouble -->"
SIGKILL = "-9"


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """The table and the sentence below it."""
    lines = [
        "| trouble | injected | events lost | events twice | exit status | what is said |",
        "|---|---|---|---|---|---|",
    ]
    for row in sorted(results, key=lambda row: row["rule"]):
        says = f"`{row['says']}`" if row["says"] else ""
        lines.append(
            f"| {row['kind'].strip()} | {row['injected']} | {row['lost']} | {row['twice']}"
            f" | {_statuses(row['statuses'])} | {says} |"
        )
    calls, leaks = (sum(row[name] for row in results) for name in ("calls", "leaks"))
    times = sum(row["injected"] for row in results)
    lines += [
        "",
        f"{times:,} injections. Of {calls:,} calls all output was searched for the key and for"
        " addresses, and where a kind is about them, so were other servers' requests and files:"
        f" {leaks} had one.",
    ]
    return "\n".join(lines)


def _statuses(counts: Mapping[str, int]) -> str:
    shown = {("killed" if status == SIGKILL else status): n for status, n in counts.items()}
    if len(shown) == 1:
        return next(iter(shown))
    return ", ".join(f"{status} ({count})" for status, count in shown.items())


def written(page: str, results: Sequence[Mapping[str, Any]]) -> str:
    """A page with the table in its place."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table(results)}\n{END}{after}"
