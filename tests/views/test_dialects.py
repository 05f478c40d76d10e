"""The views in other dialects than DuckDB's: read by each, and run by PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from typing import Any

import duckdb
import pytest
import sqlglot
from sqlglot import exp
from sqlglot.errors import ErrorLevel

from np6_source.views import statements, views
from np6_source.views.translation import FUNCTIONS, Names, plain_names, translated
from tests.support import PostgresDataset
from tests.views.accounts import STORIES
from tests.views.reading import compared, load

FUNCTION_NAMES = {"UTC_DAY", "SECONDS_BETWEEN", "NOW_UTC"}
ALLOWED = (exp.Select, exp.Union, exp.Subquery, exp.CTE, exp.With)


@pytest.mark.parametrize("dialect", sorted(FUNCTIONS))
def test_every_statement_is_sql_of_the_dialect(dialect: str) -> None:
    made = dict(statements(plain_names(dialect, "np6")))

    assert len(made) == len(views())
    for name, statement in made.items():
        parsed = sqlglot.parse_one(
            statement.removesuffix(" WITH NO SCHEMA BINDING"),
            read=dialect,
            error_level=ErrorLevel.RAISE,
        )
        assert isinstance(parsed, exp.Create), name
        left = {f.name.upper() for f in parsed.find_all(exp.Anonymous)} & FUNCTION_NAMES
        assert not left, name


@pytest.mark.parametrize("dialect", sorted(FUNCTIONS))
def test_every_name_is_quoted_and_in_the_destinations_case(dialect: str) -> None:
    names = plain_names(dialect, "NP6")
    upper = Names(dialect, lambda n: ["NP6", n.upper()], str.upper, names.present)
    for view in views():
        parsed = sqlglot.parse_one(translated(view.query, upper), read=dialect)
        # ClickHouse's setting is no name; an empty table's one column is nobody's.
        own = {"join_use_nulls", "one", "nothing"}
        found = [i for i in parsed.find_all(exp.Identifier) if i.name not in own]
        assert all(i.args.get("quoted") for i in found), view.name
        assert all(i.name == i.name.upper() for i in found), view.name


@pytest.mark.parametrize("view", views(), ids=lambda view: view.name)
def test_files_keep_to_what_every_dialect_has(view: Any) -> None:
    query = view.query
    assert not list(query.find_all(exp.Star, exp.Filter, exp.Lambda, exp.Array)) or all(
        isinstance(star.parent, exp.Count) for star in query.find_all(exp.Star)
    ), "no SELECT *"
    assert {j.side or j.kind for j in query.find_all(exp.Join)} <= {"LEFT", "CROSS"}
    assert not [j for j in query.find_all(exp.Join) if j.args.get("using")]
    assert all(column.table for column in query.find_all(exp.Column)), "columns are qualified"
    assert view.description.startswith("One row per "), "the grain stands at the top"


def test_the_three_performance_views_share_their_formulas() -> None:
    def formulas(name: str) -> dict[str, str]:
        (view,) = [view for view in views() if view.name == name]
        selects = [s for select in view.query.find_all(exp.Select) for s in select.selects]
        return {s.alias: s.this.sql() for s in selects if isinstance(s, exp.Alias)}

    whole = formulas("action_performance")
    daily, campaign = formulas("action_performance_daily"), formulas("campaign_performance")
    shared = {n for n in whole if n.startswith("count_") or "_rate" in n}
    assert len(shared) > 30
    assert {n: daily[n] for n in shared} == {n: whole[n] for n in shared}
    assert {n: campaign[n] for n in shared} == {n: whole[n] for n in shared}


@pytest.mark.parametrize(
    "name",
    [
        "generated",
        "every channel",
        "own execution stamps",
        "executions by action and contact",
        "executions of few contacts",
        "empty",
    ],
)
def test_postgresql_gives_the_same_cells(
    postgres_dataset: Callable[[str], PostgresDataset],
    name: str,
    record_property: Callable[[str, object], None],
) -> None:
    story = STORIES[name]()
    pipeline = postgres_dataset(f"np6_figures_{abs(hash(name)) % 10**8}").pipeline
    load(pipeline, story)

    cells = compared(pipeline, story, record=record_property)

    assert len(cells) == 22
    if name == "generated":
        assert compared(pipeline, story, "America/Los_Angeles", record_property) == cells


MOMENTS = {
    "2025-03-30T00:59:59.999": "2025-03-30",  # Paris changes to summer time at 01:00.
    "2025-03-30T01:00:00.000": "2025-03-30",
    "2025-03-29T23:59:59.999": "2025-03-29",
    "2025-03-30T00:00:00.000": "2025-03-30",
    "2025-03-09T09:59:59.999": "2025-03-09",  # Los Angeles at 10:00.
    "2025-03-09T10:00:00.000": "2025-03-09",
}


@pytest.fixture
def ask(request: pytest.FixtureRequest) -> Iterator[Callable[[str, str], tuple[Any, ...]]]:
    """Runs a query in a session of a time zone, on DuckDB or PostgreSQL."""
    if request.param == "duckdb":
        with duckdb.connect() as connection:

            def ask_duckdb(query: str, zone: str) -> tuple[Any, ...]:
                connection.execute(f"SET TimeZone = '{zone}'")
                return connection.execute(query).fetchall()[0]

            yield ask_duckdb
    else:
        import psycopg2

        socket = request.getfixturevalue("postgres_socket")
        postgres = psycopg2.connect(host=socket, user="postgres", dbname="postgres")
        try:

            def ask_postgres(query: str, zone: str) -> tuple[Any, ...]:
                with postgres.cursor() as cursor:
                    cursor.execute(f"SET TIME ZONE '{zone}'")
                    cursor.execute(query)
                    return tuple(cursor.fetchall()[0])

            yield ask_postgres
        finally:
            postgres.close()


@pytest.mark.parametrize("zone", ["UTC", "Europe/Paris", "America/Los_Angeles"])
@pytest.mark.parametrize("ask", ["duckdb", "postgres"], indirect=True)
def test_days_and_seconds_do_not_depend_on_the_session(
    ask: Callable[[str, str], tuple[Any, ...]], zone: str, request: pytest.FixtureRequest
) -> None:
    dialect = request.node.callspec.params["ask"]
    first = min(MOMENTS)
    for moment, day in MOMENTS.items():
        query = day_and_seconds(
            f"CAST('{first}+00' AS TIMESTAMPTZ)", f"CAST('{moment}+00' AS TIMESTAMPTZ)"
        )
        found = ask(translated(query, plain_names(dialect, "np6")), zone)
        seconds = (instant(moment) - instant(first)).total_seconds()
        assert (found[0].isoformat(), found[1]) == (day, pytest.approx(seconds, abs=1e-6))


def day_and_seconds(first: str, second: str) -> exp.Select:
    """The UTC day of a moment, and the seconds since another, as the views ask for them."""
    query = sqlglot.parse_one(
        "SELECT UTC_DAY(t.b) AS day, SECONDS_BETWEEN(t.a, t.b) AS seconds"
        f" FROM (SELECT {first} AS a, {second} AS b) AS t",
        read="duckdb",
    )
    assert isinstance(query, exp.Select)
    return query


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)
