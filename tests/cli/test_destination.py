"""The pipeline that a command opens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import dlt
import pytest

from np6_source.cli.destination import DUCKDB_LIMITS, open_pipeline
from np6_source.cli.load import parse


def opened(folder: Path, *options: str) -> dlt.Pipeline:
    return open_pipeline(parse(["--pipelines-dir", str(folder), *options]))


def test_dlt_resolves_the_destination_once_for_all_clients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time takes 8 ms, and a load makes dozens of clients."""
    resolved = []
    resolve = dlt.destinations.duckdb.configuration

    def counted(self: Any, initial: Any, accept_partial: bool = False) -> Any:
        resolved.append(accept_partial)
        return resolve(self, initial, accept_partial)

    monkeypatch.setattr(dlt.destinations.duckdb, "configuration", counted)
    file = tmp_path / "a.duckdb"
    pipeline = opened(tmp_path, "--duckdb-file", str(file))
    for _ in range(3):
        with pipeline.sql_client() as client:
            assert client.credentials.database == str(file)
            ((memory, threads),) = client.execute_sql(
                "SELECT current_setting('memory_limit'), current_setting('threads')"
            )
    assert len([partial for partial in resolved if not partial]) == 1
    assert memory == "333.7 MiB"
    assert threads == DUCKDB_LIMITS["threads"]


def test_limits_that_are_configured_take_precedence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DESTINATION__DUCKDB__CREDENTIALS__GLOBAL_CONFIG", '{"threads": 2}')
    with opened(tmp_path, "--duckdb-file", str(tmp_path / "a.duckdb")).sql_client() as client:
        assert client.execute_sql("SELECT current_setting('threads')") == [(2,)]
