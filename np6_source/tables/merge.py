"""The SQL that dlt's merge needs, as one transaction that leaves newer rows alone.

dlt 1.31 writes ``DELETE FROM table WHERE {destination_scope};`` and then the INSERT of the staged
rows, a file that it cuts at semicolons. The condition adds what dlt does not do:

- On DuckDB, MotherDuck and DuckLake it runs the statements one by one, unless the SQL has a word
  like CREATE: then it opens a transaction. The comment at the end has it. A merge that is stopped
  between DELETE and INSERT would otherwise take the rows with it.
- A row that was requested earlier and is loaded later would replace the newer one: staged rows that
  are older than the table's are deleted from staging first.
- Operations return more or less of the same event. Rows with the same key and ``timestamp`` are of
  one version: what one of them has, none of the others makes NULL. Of two values the one requested
  later stays. Where the timestamps differ, the whole row requested later stays.
- An event that no longer has rows has one in staging that says so: it goes before the INSERT.
- Two merges into one PostgreSQL table at once would each see nothing to delete, and insert the same
  event twice: the table is locked until the transaction ends. Readers are not held up.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from ..destinations import CLOCK_NOISE, Destination
from ..schema import REQUESTED_AT, TIMESTAMP, TOMBSTONE, Table

IN_ONE_TRANSACTION = "/* CREATE nothing: this word makes dlt open a transaction */"
"""Makes dlt 1.31 run a merge in a transaction (``SqlLoadJob.maybe_transaction``)."""

TName = Callable[[str], str]
"""A column's name as the destination's SQL has it."""


def filled_columns(table: Table, absent: Collection[str] = ()) -> list[str]:
    """Columns in which a row of the same version, with a value, stands in for one without.

    Args:
        table: The table. None where rows go all together: a version has all its keys.
        absent: Columns that the destination does not have, or that the policy for personal data
            does not keep: a value of before the policy must not come back.
    """
    if table.replaced_by or table.disposition != "merge":
        return []
    apart = {*table.key, TIMESTAMP.name, REQUESTED_AT.name, *absent}
    return [c.name for c in table.columns if c.nullable and c.name not in apart]


def destination_scope(
    table: Table,
    destination: Destination,
    timestamps_are_final: bool,
    name: TName = str,
    absent: Collection[str] = (),
) -> str | None:
    """The value of dlt's merge option ``destination_scope``.

    Args:
        table: The table.
        destination: Where it is.
        timestamps_are_final: A newer version of a row has the same timestamp.
        name: Gives a column's name as the destination's SQL has it.
        absent: Columns that are not to be completed, see ``filled_columns``.

    Returns:
        SQL with dlt's placeholders ``{table}`` and ``{staging_table}``, in one line. None where
        dlt's own way, by the keys, is as good.
    """
    columns = [
        name(column) for column in ((table.replaced_by,) if table.replaced_by else table.key)
    ]
    scope = _replaced(columns)
    after = _tombstones(name(TOMBSTONE.column)) if table.replaced_by else ""
    if destination.replaces == "scope":
        return f"{scope}{after}" if table.replaced_by else None
    if destination.replaces != "versions":
        return None
    if destination.skips_by_time and timestamps_are_final:
        scope = f"{scope} AND {in_range_of_time(name(TIMESTAMP.name), name(TIMESTAMP.name))}"
    before = [f"DELETE FROM {{staging_table}} WHERE {_stale(columns, name(REQUESTED_AT.name))}"]
    if filled := [name(column) for column in filled_columns(table, absent)]:
        times = name(TIMESTAMP.name), name(REQUESTED_AT.name)
        before = [*_fills(columns, filled, *times), *before]
    if destination.lock_table:
        before.insert(0, destination.lock_table)
    return (
        "; ".join(("1 = 0", *before, f"DELETE FROM {{table}} WHERE {scope} {IN_ONE_TRANSACTION}"))
        + after
    )


def snapshot_scope(
    columns: tuple[str, ...], destination: Destination, name: TName = str
) -> str | None:
    """The same for a table of which a response replaces all rows of its kind.

    Args:
        columns: The columns by whose values rows go.
        destination: Where the table is.
        name: Gives a column's name as the destination's SQL has it.

    Returns:
        SQL as ``destination_scope`` gives it. None where dlt's merge key does it.
    """
    scope = _replaced([name(column) for column in columns])
    if destination.replaces == "scope":
        return scope
    if destination.replaces != "versions":
        return None
    before = [destination.lock_table] if destination.lock_table else []
    return "; ".join(
        ("1 = 0", *before, f"DELETE FROM {{table}} WHERE {scope} {IN_ONE_TRANSACTION}")
    )


def _fills(key: list[str], filled: list[str], timestamp: str, requested_at: str) -> list[str]:
    """Statements that complete staged rows from others of the same version.

    First those that are older than the table's row but have more: they become the table's row with
    what it lacks. Then the others, from each other and from the table's rows.
    """
    version = [*key, timestamp]

    def fill(source: str, condition: str, values: Mapping[str, str], lacks: str) -> str:
        same = " AND ".join(f"t.{column} = s.{column}" for column in version)
        return (
            f"UPDATE {{staging_table}} AS s SET"
            f" {', '.join(f'{column} = {value}' for column, value in values.items())}"
            f" FROM {source} AS t WHERE {same}{condition} AND ({lacks})"
        )

    from_table = f" AND {in_range_of_time(f't.{timestamp}', timestamp)}"
    newer = f"t.{requested_at} > s.{requested_at} + {CLOCK_NOISE}"
    any_newer = (
        f"t.{requested_at} > (SELECT min({requested_at}) FROM {{staging_table}}) + {CLOCK_NOISE}"
    )
    staged_lacks = " OR ".join(f"s.{c} IS NULL AND t.{c} IS NOT NULL" for c in filled)
    table_lacks = " OR ".join(f"t.{c} IS NULL AND s.{c} IS NOT NULL" for c in filled)
    own = {column: f"COALESCE(s.{column}, t.{column})" for column in filled}
    others = {column: f"COALESCE(t.{column}, s.{column})" for column in filled}
    keys = ", ".join(version)
    newest = ", ".join(
        f"(array_agg({c} ORDER BY {requested_at} DESC) FILTER (WHERE {c} IS NOT NULL))[1] AS {c}"
        for c in filled
    )
    repeated = (
        f"(SELECT {keys}, {newest} FROM {{staging_table}} WHERE {_tuple(key)} IN"
        f" (SELECT {', '.join(key)} FROM {{staging_table}} GROUP BY {', '.join(key)}"
        f" HAVING count(*) > 1) GROUP BY {keys})"
    )
    return [
        fill(
            "{table}",
            f"{from_table} AND {newer} AND {any_newer}",
            others | {requested_at: f"t.{requested_at}"},
            table_lacks,
        ),
        fill(repeated, "", own, staged_lacks),
        fill("{table}", from_table, own, staged_lacks),
    ]


def _tombstones(column: str) -> str:
    """A further statement: what only says that an event has no rows is not inserted."""
    return f"; DELETE FROM {{staging_table}} WHERE {column} = '{TOMBSTONE.value}'"


def _replaced(columns: list[str]) -> str:
    """The rows of the table that staged ones replace."""
    key = ", ".join(columns)
    return f"{_tuple(columns)} IN (SELECT {key} FROM {{staging_table}})"


def in_range_of_time(column: str, of: str, rows: str = "{staging_table}") -> str:
    """Condition that a column is in the range that another has in some rows."""
    least, most = (f"(SELECT {f}({of}) FROM {rows})" for f in ("min", "max"))
    return f"{column} BETWEEN {least} AND {most}"


def _stale(columns: list[str], requested_at: str) -> str:
    """The staged rows of which the table has newer ones.

    Nothing in the table is newer than the oldest staged row, but where two processes load at once:
    the last condition lets the destination skip nearly all of the table.
    """
    same = " AND ".join(f"t.{column} = s.{column}" for column in columns)
    pairs = ", ".join(f"s.{column}" for column in (*columns, requested_at))
    return (
        f"{_tuple([*columns, requested_at])} IN (SELECT {pairs} FROM {{staging_table}} s"
        f" JOIN {{table}} t ON {same} WHERE t.{requested_at} > s.{requested_at} + {CLOCK_NOISE}"
        f" AND t.{requested_at} > (SELECT min({requested_at}) FROM {{staging_table}})"
        f" + {CLOCK_NOISE})"
    )


def _tuple(columns: list[str]) -> str:
    return columns[0] if len(columns) == 1 else f"({', '.join(columns)})"
