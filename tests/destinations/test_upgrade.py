"""Each version loads on top of the one before, and the one before on top of it."""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from np6_source.loading import load
from np6_source.sandbox import Sandbox
from np6_source.schema import EVENTS, EXECUTION_DATA_TABLE, TABLES
from np6_source.upkeep.upgrading import fill_all_columns
from np6_source.windows import SECOND
from tests.destinations.stores import Store
from tests.support import ROOT, at, event

FIRST_VERSION = "4c84280"
REQUIRED_AT_FIRST = {
    "events": {"id", "requested_at", "timestamp"},
    "events__hits": {"event_id", "requested_at", "timestamp"},
    "events__bounces": {"event_id", "requested_at", "timestamp"},
    "events__cancellations": {"event_id", "requested_at", "timestamp"},
    "events__execution_data": {"event_id", "key", "requested_at", "timestamp"},
    "events__campaigns": {"campaign_id", "event_id", "requested_at", "timestamp"},
    "load_windows": {
        *("resource", "scope_id", "window_start", "window_end", "requested_at", "_dlt_load_id"),
    },
}
"""The columns of the first version's tables that may not be NULL."""

RUN = """
import json, sys
import dlt
from np6_source import np6_source

options = json.loads(sys.argv[1])
pipeline = dlt.pipeline(
    "np6_test", destination=options["destination"], dataset_name="np6",
    pipelines_dir=options["folder"],
)
pipeline.run(np6_source(**options["source"]).with_resources("actions_events"))
"""
HOUR = 3600 * SECOND


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_no_column_that_came_later_refuses_null(table: Any) -> None:
    """An earlier version does not fill it, and rows that are there have nothing in it."""
    if table.name in REQUIRED_AT_FIRST:
        required = {column.name for column in table.columns if not column.nullable}
        assert required <= REQUIRED_AT_FIRST[table.name]


@pytest.fixture(scope="module")
def first_version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of the first version."""
    folder = tmp_path_factory.mktemp("first-version")
    archive = subprocess.run(
        ["git", "archive", FIRST_VERSION, "np6_source"], cwd=ROOT, capture_output=True, check=False
    )
    if archive.returncode:
        pytest.skip(f"commit {FIRST_VERSION} is not here: no clone of the repository")
    with tarfile.open(fileobj=BytesIO(archive.stdout)) as files:
        files.extractall(folder, filter="data")
    return folder


@pytest.fixture(
    params=[
        "duckdb",
        *(
            pytest.param(name, marks=pytest.mark.destinations)
            for name in ("postgres", "ducklake", "delta-local", "iceberg-local")
        ),
    ]
)
def store(request: pytest.FixtureRequest, make_store: Callable[[str], Store]) -> Store:
    return make_store(request.param)


@pytest.fixture(params=["duckdb", "postgres"])
def database(request: pytest.FixtureRequest, make_store: Callable[[str], Store]) -> Store:
    return make_store(request.param)


def load_with(package: Path, store: Store, sandbox: Sandbox) -> None:
    options = {
        "source": {
            "api_key": sandbox.key,
            "base_url": sandbox.url,
            "start": "2024-03-01",
            **store.source_options,
        },
    }
    finished = store.run(RUN, options, package)
    assert finished.returncode == 0, finished.stderr[-3000:]


def execution(number: int) -> dict[str, Any]:
    detail = {"execution": {"id": "000AA1", "data": {"a": number, "b": "x"}}}
    return {
        "type": "execution",
        "id": f"execution-{number}",
        "timestamp": at("03-01T00:30") + number * 12 * HOUR,
        "source": {"type": "email", "detail": detail},
    }


@pytest.mark.timeout(300)
def test_the_versions_take_turns(
    store: Store, first_version: Path, serve: Callable[..., Sandbox]
) -> None:
    events = [event(n, at("03-01") + n * 6 * HOUR, type="hit") for n in range(20)]
    sandbox = serve([*events, *(execution(n) for n in range(10))], now=at("03-01T12:00"))
    for day, package in enumerate((first_version, ROOT, first_version, ROOT), 1):
        sandbox.now = at(f"03-0{day + 1}T00:10")
        load_with(package, store, sandbox)
        found = [row["id"] for row in store.rows(EVENTS)]
        expected = [f"event-{n:05d}" for n in range(4 * day + 1)]
        assert found == [*expected, *(f"execution-{n}" for n in range(2 * day))]
    assert len(store.rows(EXECUTION_DATA_TABLE)) == 2 * 8
    columns = store.columns(EVENTS)
    assert set(columns) == {column.name for column in EVENTS.columns}


ADDRESSES = {
    "Anna@Example.COM": "example.com",
    "of.two@ats@np6.com": "np6.com",
    "dot@np6.com.": "np6.com",
    "line\nbreak@np6.com": "np6.com",
    "+33600000000": None,
    "nowhere@": "",
    "É@Écoles.fr": "écoles.fr",
}


def sent_to(number: int, address: str, timestamp: int) -> dict[str, Any]:
    made: dict[str, Any] = event(number, timestamp)
    made["source"]["detail"]["activation"]["recipient"] = address
    return made


@pytest.mark.timeout(300)
def test_a_dataset_of_the_first_version_has_the_domains_and_views_of_this_one(
    database: Store, first_version: Path, serve: Callable[..., Sandbox], source_of: Any
) -> None:
    def days(first: int, start: str) -> list[dict[str, Any]]:
        return [
            sent_to(first + n, address, at(start) + n * SECOND)
            for n, address in enumerate(ADDRESSES)
        ]

    sandbox = serve([*days(0, "03-01"), *days(100, "03-02")], now=at("03-01T12:00"))
    load_with(first_version, database, sandbox)
    assert "recipient_domain" not in database.columns(EVENTS)
    before = {row["id"] for row in database.rows(EVENTS)}
    sandbox.now = at("03-02T12:00")
    sandbox.requests.clear()

    report = load(database.pipeline, lambda: source_of(sandbox, "actions_events"))

    assert report.failures == []
    rows = database.rows(EVENTS)
    assert len(before) == len(ADDRESSES)
    assert before < {row["id"] for row in rows}
    assert {row["recipient"]: row["recipient_domain"] for row in rows} == ADDRESSES
    assert all(row["recipient_domain"] == ADDRESSES[row["recipient"]] for row in rows)
    assert min(request.query["start"] for request in sandbox.requests) > "2024-03-01T11:00"
    with database.pipeline.sql_client() as client:
        found = client.execute_sql("SELECT SUM(count_sent) FROM action_performance") or ()
        assert [int(row[0]) for row in found] == [2 * len(ADDRESSES)]
        domains = client.execute_sql(
            "SELECT recipient_domain, SUM(count_sent) FROM deliverability_daily GROUP BY 1"
        )
    assert {row[0]: int(row[1]) for row in domains or ()} == {
        domain: 2 * [*ADDRESSES.values()].count(domain) for domain in ADDRESSES.values()
    }


@pytest.mark.timeout(300)
def test_the_command_for_views_fills_what_a_project_of_its_own_has_added(
    first_version: Path, make_store: Callable[[str], Store], serve: Any
) -> None:
    store = make_store("duckdb")
    both = [sent_to(1, "anna@np6.com", at("03-01")), sent_to(2, "bea@np6.com", at("03-02"))]
    sandbox = serve(both, now=at("03-01T12:00"))
    load_with(first_version, store, sandbox)
    sandbox.now = at("03-02T12:00")
    load_with(ROOT, store, sandbox)
    assert [row["recipient_domain"] for row in store.rows(EVENTS)] == [None, "np6.com"]

    pipeline = store.pipeline
    pipeline.sync_destination()
    fill_all_columns(pipeline)

    assert [row["recipient_domain"] for row in store.rows(EVENTS)] == ["np6.com", "np6.com"]


@pytest.mark.timeout(300)
def test_a_policy_that_leaves_domains_out_is_kept(
    database: Store, serve: Callable[..., Sandbox], source_of: Any
) -> None:
    sandbox = serve([sent_to(1, "anna@np6.com", at("03-01"))], now=at("03-02"))
    pii = {"domain": "drop"}
    load(database.pipeline, lambda: source_of(sandbox, "actions_events", pii=pii))

    assert [row["recipient_domain"] for row in database.rows(EVENTS)] == [None]
