"""``messages`` as a table: kept by load package, equal to the view's query after every refresh.

``_np6_refreshes`` says which load packages are in it. A refresh makes anew every message that has
an event, or a robot's mark, requested since the earliest request of the packages that are not: it
may do too much, never too little, in whatever order packages committed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import sqlglot
from sqlglot import exp

from .base_tables import LOADS, REFRESHES
from .definitions import View
from .translation import Names, quoted, translated

TABLE = "messages_table"
DIALECTS = ("duckdb", "postgres")
"""The dialects this was run in."""


def view_of_table(view: View) -> exp.Select:
    """The query of the view ``messages`` where it reads the table."""
    return exp.select(*(exp.column(name, table="m") for name in view.columns)).from_(
        exp.alias_(exp.to_table(TABLE), "m", table=True)
    )


def created(view: View, names: Names) -> Iterator[str]:
    """Statements that make the table and fill it with everything."""
    table, refreshes = _full(TABLE, names), _full(REFRESHES, names)
    yield f"CREATE TABLE {table} AS {translated(view.query, names)}"
    if names.dialect == "postgres":
        yield f"CREATE UNIQUE INDEX ON {table} ({_column('message_id', names)})"
    yield (
        f"CREATE TABLE {refreshes} ({_column('load_id', names)} VARCHAR,"
        f" {_column('refreshed_at', names)} TIMESTAMP WITH TIME ZONE)"
    )
    yield _noted(names)


def dropped(names: Names) -> Iterator[str]:
    """Statements that remove the table and what is noted about it."""
    for name in (TABLE, REFRESHES):
        yield f"DROP TABLE IF EXISTS {_full(name, names)}"


def filled_anew(view: View, names: Names) -> Iterator[str]:
    """Statements that make every row anew."""
    table = _full(TABLE, names)
    yield f"DELETE FROM {table}"
    yield f"INSERT INTO {table} {translated(view.query, names)}"
    yield _noted(names)


def forgotten(names: Names) -> str:
    """A statement after which the next refresh makes every row anew."""
    return f"DELETE FROM {_full(REFRESHES, names)}"


def refreshed(view: View, names: Names, since: datetime | None) -> Iterator[str]:
    """Statements that bring the table up to date.

    Args:
        view: The view ``messages``.
        names: The destination's names.
        since: The earliest request of the packages that are not in the table; None where they
            have none, and so no events.
    """
    if since is not None:
        table = _full(TABLE, names)
        affected = _affected(since)
        key = _column("message_id", names)
        yield f"DELETE FROM {table} WHERE {key} IN ({translated(affected, names)})"
        yield f"INSERT INTO {table} {translated(_of(view, affected), names)}"
    yield _noted(names)


WAITING = f"""SELECT p.load_id, MIN(w.requested_at) AS since
FROM {LOADS} AS p
LEFT JOIN {REFRESHES} AS r ON r.load_id = p.load_id
LEFT JOIN load_windows AS w ON w._dlt_load_id = p.load_id
WHERE p.status = 0 AND r.load_id IS NULL
GROUP BY p.load_id"""
"""The packages that are not in the table, and the earliest request of each."""


def waiting(names: Names) -> str:
    """SQL of ``WAITING`` for a destination."""
    return translated(_select(WAITING), names)


def earliest(rows: Sequence[Sequence[Any]]) -> datetime | None:
    """The earliest request of the packages that ``waiting`` found."""
    return min((since for _, since in rows if since is not None), default=None)


def _affected(since: datetime) -> exp.Select:
    moment = f"CAST('{since.isoformat()}' AS TIMESTAMPTZ)"
    return _select(
        "SELECT a.message_id FROM ("
        f"SELECT e.message_id FROM events AS e WHERE e.requested_at >= {moment}"
        " UNION ALL SELECT e.message_id FROM events__robots AS r"
        f" LEFT JOIN events AS e ON e.id = r.event_id WHERE r.requested_at >= {moment}"
        ") AS a WHERE a.message_id IS NOT NULL"
    )


def _of(view: View, affected: exp.Select) -> exp.Select:
    """The view's query, for some messages only."""
    query = view.query
    (collected,) = [cte.this for cte in query.find_all(exp.CTE) if cte.alias == "collected"]
    key = exp.column("message_id", table="e")
    collected.where(key.isin(query=affected.copy()), copy=False)
    return query


def _noted(names: Names) -> str:
    packages = _select(
        "SELECT p.load_id, NOW_UTC() AS refreshed_at"
        f" FROM {LOADS} AS p LEFT JOIN {REFRESHES} AS r ON r.load_id = p.load_id"
        " WHERE p.status = 0 AND r.load_id IS NULL"
    )
    own = Names(
        names.dialect,
        names.path,
        names.column,
        {**names.present, REFRESHES: frozenset({"load_id", "refreshed_at"})},
    )
    columns = ", ".join(_column(name, names) for name in ("load_id", "refreshed_at"))
    return f"INSERT INTO {_full(REFRESHES, names)} ({columns}) {translated(packages, own)}"


def _select(sql: str) -> exp.Select:
    parsed = sqlglot.parse_one(sql, read="duckdb")
    assert isinstance(parsed, exp.Select)
    return parsed


def _full(name: str, names: Names) -> str:
    return quoted(names.path(name), names.dialect)


def _column(name: str, names: Names) -> str:
    return quoted([names.column(name)], names.dialect)
