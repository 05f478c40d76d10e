"""An account of a few days, what a scheduler finds in its environment, and databases to load."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from np6_source.sandbox import Sandbox, StoredAccount, generated_account

PIPELINES = Path(__file__).parents[2] / "pipelines"
KEY = "k3y-that-must-never-be-seen"
TMake = Callable[..., Any]


def pytest_configure() -> None:
    # Where Airflow is installed, dlt would ask its database for the tests' own loads, too.
    os.environ["PROVIDERS__ENABLE_AIRFLOW_SECRETS"] = "false"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.orchestrators)


@pytest.fixture(scope="session")
def account() -> StoredAccount:
    """Five days of everything; the hits are answered by two operations."""
    return generated_account(events=1_500, seed=11, start="2024-03-01", end="2024-03-06")


@pytest.fixture
def sandbox(serve: TMake, account: StoredAccount) -> Sandbox:
    sandbox: Sandbox = serve(account, key=KEY, now="2024-03-10T00:00:00Z")
    return sandbox


@dataclass
class Scheduled:
    """What a scheduler's processes find in their environment.

    Attributes:
        sandbox: The API.
        folder: Where the scheduler, dlt and temporary files may write.
        database: The DuckDB file.
        variables: The environment.
    """

    sandbox: Sandbox
    folder: Path
    database: Path
    variables: dict[str, str]


@pytest.fixture
def scheduled(tmp_path: Path, sandbox: Sandbox) -> Scheduled:
    database = tmp_path / "warehouse.duckdb"
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    variables = {
        "SOURCES__NP6__API_KEY": KEY,
        "SOURCES__NP6__BASE_URL": sandbox.url,
        "SOURCES__NP6__START": "2024-03-01",
        "SOURCES__NP6__BACKOFF": "0.01",
        "DESTINATION__NP6_WAREHOUSE__DESTINATION_TYPE": "duckdb",
        "DESTINATION__NP6_WAREHOUSE__CREDENTIALS": str(database),
        "RUNTIME__DLTHUB_TELEMETRY": "false",
        "TMPDIR": str(temporary),
    }
    return Scheduled(sandbox, tmp_path, database, variables)


@pytest.fixture
def loaded_at_once(new_warehouse: TMake, source_of: TMake, sandbox: Sandbox) -> TMake:
    """What one undisturbed load of a range puts into the tables."""

    def load(start: str, end: str, **options: Any) -> Any:
        warehouse = new_warehouse("at-once")
        warehouse.run(source_of(sandbox, start=start, end=end, **options))
        return warehouse.contents()

    return load


@pytest.fixture
def found(scheduled: Scheduled, warehouse_in: TMake) -> Callable[[], Any]:
    """Gives what the scheduler has loaded into the DuckDB file."""
    return lambda: warehouse_in(scheduled.folder, database=scheduled.database).contents()


@pytest.fixture(scope="session")
def postgres(postgres_socket: str) -> Any:
    # Its driver is not there where these tests are collected only.
    from tests.orchestrators.postgres_server import Postgres

    return Postgres(postgres_socket)
