"""Every load leaves the views as they should be, and no view is in the way of a load."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import dlt
import pytest

from np6_source import views
from np6_source.loading import load
from np6_source.sandbox import Sandbox
from tests.support import CommandLine, Warehouse, at, event
from tests.views.reading import query

ALL = "actions_events"
NAMES = {view.name for view in views.views()}
TMake = Callable[..., Any]


@pytest.fixture
def sandbox(serve: TMake) -> Sandbox:
    sandbox: Sandbox = serve(
        [event(n, at("03-01") + n * 3_600_000) for n in range(24)], now=at("03-03")
    )
    return sandbox


@pytest.fixture
def make(sandbox: Sandbox, source_of: TMake) -> TMake:
    return lambda: source_of(sandbox, ALL, on_error="keep")


def test_a_load_makes_them(pipeline: dlt.Pipeline, make: TMake) -> None:
    report = load(pipeline, make)

    assert report.failures == []
    assert query(pipeline, "SELECT count_sent FROM action_performance") == [(24,)]
    assert not views.make(pipeline).changed


def test_a_reload_with_views_in_place_ends_with_views(pipeline: dlt.Pipeline, make: TMake) -> None:
    load(pipeline, make)
    report = load(pipeline, make, reload=True)

    assert report.failures == []
    assert query(pipeline, "SELECT count_sent FROM action_performance") == [(24,)]
    assert not views.make(pipeline).changed


def test_somebody_elses_view_on_ours_lives_through_a_reload(
    pipeline: dlt.Pipeline, make: TMake
) -> None:
    load(pipeline, make)
    query(pipeline, "CREATE VIEW my_own AS SELECT message_id FROM messages")
    assert load(pipeline, make, reload=True).failures == []
    assert len(query(pipeline, "SELECT * FROM my_own")) == 24
    query(pipeline, "DROP VIEW my_own")


def test_a_name_that_is_taken_is_a_warning_and_the_events_are_there(
    warehouse: Warehouse, make: TMake, caplog: pytest.LogCaptureFixture
) -> None:
    load(warehouse.pipeline, make, views="off")
    query(warehouse.pipeline, "CREATE TABLE messages AS SELECT 1 AS mine")

    with caplog.at_level(logging.WARNING):
        report = load(warehouse.pipeline, make)

    assert report.failures == []
    assert "The load is complete, but the views are not up to date" in caplog.text
    assert "has messages already" in caplog.text
    assert len(warehouse.ids()) == 24


def test_who_requires_views_learns_that_there_are_none(warehouse: Warehouse, make: TMake) -> None:
    load(warehouse.pipeline, make, views="off")
    assert (
        query(warehouse.pipeline, "SELECT view_name FROM duckdb_views() WHERE NOT internal") == []
    )
    query(warehouse.pipeline, "CREATE TABLE messages AS SELECT 1 AS mine")

    (failure,) = load(warehouse.pipeline, make, views="require").failures

    assert failure["kind"] == "ViewsFailed"
    assert "The load is complete" in failure["message"]
    assert len(warehouse.ids()) == 24


def test_load_and_views_make_publish_and_drop_the_views(
    sandbox: Sandbox, warehouse: Warehouse, command_line: CommandLine
) -> None:
    environment = {"SOURCES__NP6__API_KEY": sandbox.key, "SOURCES__NP6__BASE_URL": sandbox.url}
    where = command_line.where(warehouse)
    start = ("--start", "2024-03-01", "--resources", ALL)
    published = warehouse.folder / "for_analysts.duckdb"

    def run(*arguments: str, **more: str) -> Any:
        return command_line.run("-m np6_source", *arguments, **more)

    loaded = run("load", *start, *where, "--views", "off", **environment)
    assert loaded.returncode == 0, loaded.stderr
    made = run("views", *where, "--publish", str(published))
    assert (made.returncode, made.stdout.splitlines()[0]) == (0, f"{len(NAMES)} views made.")
    again = run("views", *where)
    assert again.stdout.strip() == f"{len(NAMES)} views are up to date."
    copy = Warehouse(warehouse.folder, database=published)
    assert copy.query("SELECT count_sent FROM np6.action_performance") == [(24,)]

    dropped = run("views", "--drop", *where)
    assert dropped.stdout.startswith(f"{len(NAMES)} views dropped")
    warehouse.execute("CREATE TABLE np6.hits AS SELECT 1 AS mine")
    refused = run("views", *where)
    assert refused.returncode == 1
    assert "has hits already" in refused.stderr
    required = run("load", *start, *where, "--views", "require", **environment)
    assert required.returncode == 1, required.stdout
    assert "The load is complete" in required.stderr
    assert run("load", *start, *where, **environment).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["views", "--dialect", "postgres"], "--dialect goes with --print or --dbt"),
        (["views", "--print", "--drop"], "not allowed with argument"),
        (["load", "--publish", "nowhere/file.duckdb"], "the folder nowhere does not exist"),
        (["views", "--publish", "{database}"], "is the loader's own file"),
    ],
)
def test_options_that_cannot_be_used(
    warehouse: Warehouse, command_line: CommandLine, arguments: list[str], message: str
) -> None:
    given = [argument.format(database=warehouse.database) for argument in arguments]
    result = command_line.run(
        "-m np6_source", *given, *command_line.where(warehouse), SOURCES__NP6__API_KEY="k"
    )

    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert not warehouse.database.exists()


def test_printed_statements_make_the_views(
    warehouse: Warehouse, make: TMake, command_line: CommandLine
) -> None:
    load(warehouse.pipeline, make, views="off")

    printed = command_line.run("-m np6_source", "views", "--print", "--dataset", "np6").stdout
    warehouse.execute(*filter(None, printed.split(";\n")))

    assert warehouse.query("SELECT count_sent FROM np6.action_performance") == [(24,)]
    for name in NAMES:
        warehouse.query(f"FROM np6.{name}")
