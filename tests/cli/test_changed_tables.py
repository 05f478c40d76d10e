"""What commands that look say of tables that somebody has changed, and of half a file."""

from __future__ import annotations

from typing import Any

import pytest

from np6_source.__main__ import main
from tests.support import Warehouse


@pytest.mark.parametrize(
    "command", [["status"], ["gaps", "--start", "2024-03-01", "--end", "2024-03-02"]]
)
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DROP TABLE np6.load_windows", "load_windows is gone from dataset 'np6'"),
        ("DROP TABLE np6.events", "events is gone from dataset 'np6'"),
        (
            "ALTER TABLE np6.load_windows DROP COLUMN event_count",
            "load_windows.event_count is gone from dataset 'np6'",
        ),
        (
            "ALTER TABLE np6.load_windows ALTER event_count TYPE VARCHAR",
            "load_windows.event_count (text, was bigint)",
        ),
    ],
)
def test_what_was_changed_is_named_with_what_to_do(
    loaded: Warehouse, command: list[str], change: str, said: str, capfd: Any
) -> None:
    loaded.execute(change)
    assert main([*command, *loaded.where]) == 1
    message = capfd.readouterr().err
    assert said in message
    assert "--reload" in message


@pytest.mark.parametrize("command", ["status", "load"])
@pytest.mark.parametrize("size", [0, 4096])
def test_half_a_file_is_refused_with_what_to_do(
    warehouse: Warehouse,
    command: str,
    size: int,
    capfd: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SOURCES__NP6__API_KEY", "key")
    monkeypatch.setenv("SOURCES__NP6__BASE_URL", "http://127.0.0.1:9/")
    warehouse.query("SELECT 1")
    half = warehouse.database.read_bytes()[:size]
    warehouse.database.write_bytes(half)
    assert main([command, *warehouse.where]) == 2
    assert f"{warehouse.database} is no DuckDB database, or not a whole one" in (
        capfd.readouterr().err
    )
    assert warehouse.database.read_bytes() == half
