"""The views, as their SQL files define them."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache
from graphlib import TopologicalSorter
from importlib import resources

import sqlglot
from sqlglot import exp

from .base_tables import BASE_TABLES
from .descriptions import KEYS


@dataclass(frozen=True)
class View:
    """One view.

    Attributes:
        name: Its name, also its file's.
        description: One row per what; the comment at the top of its file.
        key: Columns that identify a row. NULL is a value of its own in them.
        columns: Its columns, in order.
        reads: Names of the tables and views it reads.
        parsed: Its query.
    """

    name: str
    description: str
    key: tuple[str, ...]
    columns: tuple[str, ...]
    reads: frozenset[str]
    parsed: exp.Select = field(repr=False, compare=False)

    @property
    def query(self) -> exp.Select:
        """A copy of the query, to change as one likes."""
        return self.parsed.copy()


@cache
def texts() -> dict[str, str]:
    """The files' texts by view."""
    folder = resources.files(__package__)
    return {
        file.name.removesuffix(".sql"): file.read_text("utf-8")
        for file in sorted(folder.iterdir(), key=lambda file: file.name)
        if file.name.endswith(".sql")
    }


@cache
def views() -> tuple[View, ...]:
    """All views, each after those it reads."""
    found = {name: _parsed(name, text) for name, text in texts().items()}
    reads = {name: view.reads - BASE_TABLES.keys() for name, view in found.items()}
    return tuple(found[name] for name in TopologicalSorter(reads).static_order())


def tables_of(query: exp.Select) -> list[exp.Table]:
    """The tables and views that a query reads, as it names them; CTEs are none."""
    named = {cte.alias for cte in query.find_all(exp.CTE)}
    return [table for table in query.find_all(exp.Table) if table.name not in named]


def _parsed(name: str, text: str) -> View:
    comment = [line.removeprefix("--").strip() for line in text.splitlines() if line[:2] == "--"]
    parsed = sqlglot.parse_one(text, read="duckdb")
    assert isinstance(parsed, exp.Select), name
    return View(
        name=name,
        description=" ".join(comment),
        key=KEYS[name],
        columns=tuple(parsed.named_selects),
        reads=frozenset(table.name for table in tables_of(parsed)),
        parsed=parsed,
    )
