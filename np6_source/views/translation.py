"""A view's query in a destination's dialect, with the destination's names.

sqlglot translates between dialects; what it gets wrong is replaced here. The files use three
functions for what has no common form: ``UTC_DAY(t)``, ``SECONDS_BETWEEN(a, b)`` and ``NOW_UTC()``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.dialects.dialect import Dialect

from ..schema import TABLES
from .base_tables import BASE_TABLES, LOADS
from .definitions import tables_of


@dataclass(frozen=True)
class Functions:
    """The three functions, as SQL of one dialect over ``t``, or ``a`` and ``b``.

    Attributes:
        utc_day: The UTC day of a time, whatever the session's time zone.
        seconds_between: Seconds from a to b, as a double, exact across changes to summer time.
        now_utc: The time now.
    """

    utc_day: str
    seconds_between: str
    now_utc: str = "CURRENT_TIMESTAMP"


POSTGRES = Functions(
    "CAST(t AT TIME ZONE 'UTC' AS DATE)",
    "CAST(EXTRACT(EPOCH FROM b) - EXTRACT(EPOCH FROM a) AS DOUBLE PRECISION)",
)
FUNCTIONS: Mapping[str, Functions] = {
    "duckdb": Functions(
        "CAST(t AT TIME ZONE 'UTC' AS DATE)",
        "CAST(EPOCH_US(b) - EPOCH_US(a) AS DOUBLE) / 1000000",
    ),
    "postgres": POSTGRES,
    "redshift": POSTGRES,
    "bigquery": Functions(
        "DATE(t, 'UTC')", "TIMESTAMP_DIFF(b, a, MICROSECOND) / 1000000", "CURRENT_TIMESTAMP()"
    ),
    "snowflake": Functions(
        "CAST(CONVERT_TIMEZONE('UTC', t) AS DATE)",
        "CAST(DATEDIFF(MICROSECOND, a, b) AS DOUBLE) / 1000000",
        "CURRENT_TIMESTAMP()",
    ),
    "databricks": Functions(
        "CAST(TO_UTC_TIMESTAMP(t, CURRENT_TIMEZONE()) AS DATE)",
        "(UNIX_MICROS(b) - UNIX_MICROS(a)) / 1000000",
        "CURRENT_TIMESTAMP()",
    ),
    "clickhouse": Functions(
        "toDate(t, 'UTC')", "dateDiff('microsecond', a, b) / 1000000", "now64(6, 'UTC')"
    ),
}
"""By sqlglot's name of the dialect: the dialects that views can be written in."""

ENDINGS: Mapping[str, str] = {
    # Rows that a LEFT JOIN does not find are NULL, not empty texts.
    "clickhouse": " SETTINGS join_use_nulls = 1",
}
"""The end of a view's query."""

EVERYWHERE: Mapping[str, frozenset[str]] = {
    LOADS: frozenset(BASE_TABLES[LOADS]),
    **{table.name: frozenset(column.name for column in table.columns) for table in TABLES},
}
"""The columns of the tables that every dataset has."""

TYPES = {"text": "VARCHAR", "timestamp": "TIMESTAMPTZ", "bigint": "BIGINT", "bool": "BOOLEAN"}
"""DuckDB's types by dlt's."""


@dataclass(frozen=True)
class Names:
    """What a destination calls things, and what it has.

    Attributes:
        dialect: sqlglot's name of its dialect.
        path: The parts of a table's or view's full name.
        column: A column's name.
        present: Columns by base table, by their names here, of tables that are there.
    """

    dialect: str
    path: Callable[[str], list[str]]
    column: Callable[[str], str]
    present: Mapping[str, frozenset[str]]


def plain_names(dialect: str, dataset: str) -> Names:
    """The names in a dataset that has the events' tables, as they are called in the schema."""
    return Names(dialect, lambda name: [dataset, name], lambda name: name, EVERYWHERE)


def translated(query: exp.Select, names: Names, pretty: bool = False) -> str:
    """A query's SQL for a destination.

    Args:
        query: The query, as a view's file has it; it is changed.
        names: The destination's names.
        pretty: Over many lines, for people.
    """
    tables = [(table, table.name) for table in tables_of(query)]
    for identifier in query.find_all(exp.Identifier):
        identifier.set("this", names.column(identifier.name))
    for table, name in tables:
        table.replace(_source(name, table.args.get("alias"), names))
    first = Dialect.get_or_raise(names.dialect).NULL_ORDERING == "nulls_are_small"
    for ordered in query.find_all(exp.Ordered):
        # No NULL is ordered: what the dialect does with them without being told is right.
        ordered.set("nulls_first", first)
    if names.dialect == "clickhouse":
        _suit_clickhouse(query)
    for function in reversed(list(query.find_all(exp.Anonymous))):  # The innermost first.
        function.replace(_replaced(function, names.dialect))
    sql = query.sql(names.dialect, identify=True, comments=False, pretty=pretty)
    return sql + ENDINGS.get(names.dialect, "")


def _suit_clickhouse(query: exp.Select) -> None:
    """What ClickHouse does otherwise.

    Its COUNT has no sign and mixes with no other integer; ``e.x`` of a join is called so; and the
    MAX of no rows is 1970 where the column cannot be NULL.
    """
    for extreme in list(query.find_all(exp.Min, exp.Max)):
        select = extreme.find_ancestor(exp.Select)
        is_of_a_group = select is not None and select.args.get("group")
        if not is_of_a_group and not isinstance(extreme.parent, exp.Window):
            name = f"{extreme.key}OrNull"
            extreme.replace(exp.AnonymousAggFunc(this=name, expressions=[extreme.this]))
    for count in list(query.find_all(exp.Count)):
        count.replace(exp.cast(count.copy(), "BIGINT"))
    for select in query.find_all(exp.Select):
        for column in select.selects:
            if isinstance(column, exp.Column):
                column.replace(exp.alias_(column.copy(), column.name))


def quoted(path: list[str], dialect: str) -> str:
    """A full name in a dialect, quoted."""
    return _table(path).sql(dialect, identify=True)


def _table(path: list[str]) -> exp.Table:
    parts = [exp.to_identifier(part, quoted=True) for part in reversed(path)]
    return exp.Table(**dict(zip(("this", "db", "catalog"), parts, strict=False)))


def _source(name: str, alias: exp.Expression | None, names: Names) -> exp.Expression:
    """What is read as a table: it, or a query with the columns it should have."""
    columns = BASE_TABLES.get(name)
    present = names.present.get(name)
    if columns is None or (present is not None and present >= columns.keys()):
        source: exp.Expression = _table(names.path(name))
    else:
        source = _completed(columns, names, present or frozenset()).subquery()
        rows = source.this
        if present is not None:
            rows.from_(_table(names.path(name)), copy=False)
        else:
            # Not every dialect has WHERE without FROM.
            one = exp.select(exp.Literal.number(1).as_("one")).subquery("nothing")
            rows.from_(one, copy=False).where(exp.column("one").eq(0), copy=False)
    source.set("alias", alias)
    return source


def _completed(columns: Mapping[str, str], names: Names, present: frozenset[str]) -> exp.Select:
    """The columns, as NULL of their type where they are not there."""
    return exp.select(
        *(
            exp.column(names.column(name))
            if name in present
            else exp.cast(exp.null(), TYPES[kind], dialect="duckdb").as_(names.column(name))
            for name, kind in columns.items()
        )
    )


def _replaced(node: exp.Anonymous, dialect: str) -> exp.Expression:
    """One of the three functions, as the dialect has it."""
    functions = FUNCTIONS[dialect]
    arguments = node.expressions
    if node.name == "UTC_DAY":
        return _filled(functions.utc_day, dialect, t=arguments[0])
    if node.name == "SECONDS_BETWEEN":
        return _filled(functions.seconds_between, dialect, a=arguments[0], b=arguments[1])
    assert node.name == "NOW_UTC", node.name
    return _filled(functions.now_utc, dialect)


def _filled(template: str, dialect: str, **arguments: exp.Expression) -> exp.Expression:
    """A template with expressions in place of its columns, in parentheses."""
    parsed = sqlglot.parse_one(template, read=dialect)

    def fill(node: exp.Expression) -> exp.Expression:
        if isinstance(node, exp.Column) and node.name in arguments:
            return arguments[node.name].copy()
        return node

    return exp.paren(parsed.transform(fill))
