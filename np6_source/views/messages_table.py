"""``messages`` as a table: kept by load package, equal to the view's query after every refresh.

``_np6_refreshes`` says which load packages are in it. A refresh makes anew every message that has
an event, or a robot's mark, requested since the earliest request of the packages that are not, in
whatever order packages committed. A later version of an event may name another message; that which
it was in before then has more events in the table than in ``events``, and is made anew too.
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
    yield noted(names)


def dropped(names: Names) -> Iterator[str]:
    """Statements that remove the table and what is noted about it."""
    for name in (TABLE, REFRESHES):
        yield f"DROP TABLE IF EXISTS {_full(name, names)}"


def filled_anew(view: View, names: Names) -> Iterator[str]:
    """Statements that make every row anew."""
    table = _full(TABLE, names)
    yield f"DELETE FROM {table}"
    yield f"INSERT INTO {table} {translated(view.query, names)}"
    yield noted(names)


def forgotten(names: Names) -> str:
    """A statement after which the next refresh makes every row anew."""
    return f"DELETE FROM {_full(REFRESHES, names)}"


def refreshed(view: View, names: Names, since: datetime) -> Iterator[str]:
    """Statements that make anew the messages of which something was requested.

    Afterwards, in the same transaction: ``left`` where ``moved`` finds something, and ``noted``.

    Args:
        view: The view ``messages``.
        names: The destination's names.
        since: The earliest request of the packages that are not in the table.
    """
    affected = _affected(since)
    return _made_anew(view, names, affected, affected)


def moved(view: View, names: Names) -> str:
    """SQL that finds a row where the table counts more or fewer events than there are.

    Two sums are cheap; which messages it is, ``left`` asks for each.

    Args:
        view: The view ``messages``.
        names: The destination's names.
    """
    found = _select(
        f"SELECT 1 AS one FROM (SELECT SUM(m.count_events) AS counted FROM {TABLE} AS m) AS a"
        " CROSS JOIN (SELECT COUNT(*) AS there FROM events AS e) AS b"
        " WHERE COALESCE(a.counted, 0) <> b.there"
    )
    (events,) = [s for s in found.find_all(exp.Select) if "there" in s.named_selects]
    events.where(_is_of_a_message(view), copy=False)
    return translated(found, names)


def left(view: View, names: Names) -> Iterator[str]:
    """Statements that make anew the messages that count other events than they have.

    Args:
        view: The view ``messages``.
        names: The destination's names.
    """
    counts = _select(
        "SELECT e.message_id, COUNT(*) AS count_events FROM events AS e GROUP BY e.message_id"
    ).where(_is_of_a_message(view), copy=False)
    wrong = _select(
        f"SELECT m.message_id FROM {TABLE} AS m LEFT JOIN counts AS h"
        " ON h.message_id = m.message_id WHERE COALESCE(h.count_events, 0) <> m.count_events"
    )
    (joined,) = [source for source in wrong.find_all(exp.Table) if source.name == "counts"]
    joined.replace(counts.subquery("h"))
    missing = _select(
        f"SELECT e.message_id FROM events AS e LEFT JOIN {TABLE} AS m"
        " ON m.message_id = e.message_id WHERE m.message_id IS NULL"
    )
    return _made_anew(view, names, wrong, missing)


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
        ") AS a WHERE a.message_id <> ''"
    )


def _made_anew(view: View, names: Names, removed: exp.Select, made: exp.Select) -> Iterator[str]:
    """Statements that remove some messages from the table, and put some into it by the view."""
    table, key = _full(TABLE, names), _column("message_id", names)
    yield f"DELETE FROM {table} WHERE {key} IN ({translated(removed, names)})"
    yield f"INSERT INTO {table} {translated(_of(view, made), names)}"


def _of(view: View, affected: exp.Select) -> exp.Select:
    """The view's query, for some messages only."""
    query = view.query
    collected = _collected(query)
    key = exp.column("message_id", table="e")
    collected.where(key.isin(query=affected.copy()), copy=False)
    return query


def _is_of_a_message(view: View) -> exp.Expression:
    """Whether an event ``e`` counts in a message, as the view has it."""
    condition: exp.Expression = _collected(view.query).args["where"].this
    return condition


def _collected(query: exp.Select) -> exp.Select:
    (collected,) = [cte.this for cte in query.find_all(exp.CTE) if cte.alias == "collected"]
    assert isinstance(collected, exp.Select)
    return collected


def noted(names: Names) -> str:
    """A statement that says of every load package that it is in the table."""
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
