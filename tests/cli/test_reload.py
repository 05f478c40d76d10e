"""``load --reload``, and other calls whose report is about what was there before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import dlt
import pytest

from np6_source.__main__ import main
from np6_source.errors import SettingError
from np6_source.ledger import coverage
from np6_source.sandbox import Sandbox
from np6_source.windows import SECOND
from tests.support import Warehouse, at, event

TMake = Callable[..., Any]
HOUR = 3600 * SECOND
EVENTS = [event(n, at("03-01") + n * HOUR, action=f"000AA{n % 2}") for n in range(48)]
BY_ID = "action_events_activations"
ALSO_BY_ID = "action_events_bounces"


@pytest.fixture
def call(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> TMake:
    """Calls ``load`` against a sandbox; returns its status."""

    def call(sandbox: Sandbox, *words: str) -> int:
        monkeypatch.setenv("SOURCES__NP6__API_KEY", sandbox.key)
        monkeypatch.setenv("SOURCES__NP6__BASE_URL", sandbox.url)
        where = ["--pipeline", warehouse.name, "--duckdb-file", str(warehouse.database)]
        where += ["--pipelines-dir", str(warehouse.pipelines_dir), "--progress", "none"]
        return main(["load", *words, *where])

    return call


def test_a_reload_keeps_the_rows_of_an_id_that_np6_has_deleted_and_says_so(
    call: TMake, serve: TMake, warehouse: Warehouse, capsys: Any
) -> None:
    words = ("--start", "2024-03-01", "--action-ids", "000AA0,000AA1", "--resources", BY_ID)
    assert call(serve(EVENTS, now=at("03-03")), *words) == 0
    left = serve(EVENTS[2::2], now=at("03-03T01:00"))  # Without action 000AA1, and one event more.
    capsys.readouterr()
    assert call(left, *words, "--reload", "--yes") == 1
    said = capsys.readouterr()
    assert f"keeps its rows of before: {BY_ID} id 000AA1 (NP6 does not know it)." in said.err
    assert said.err.count("NotFound: ") == 1
    assert said.out.startswith("23 events loaded again into np6 of ")
    assert "new event" not in said.out
    assert warehouse.ids() == [one["id"] for one in EVENTS[1:]]


@pytest.mark.parametrize("left", [EVENTS[:0], EVENTS[:36]], ids=["empty arrays", "a day cut"])
def test_a_reload_to_which_np6_returns_far_fewer_events_removes_none_unless_told_to(
    call: TMake,
    serve: TMake,
    warehouse: Warehouse,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
    left: list[Any],
) -> None:
    words = ("--start", "2024-03-01", "--resources", "actions_events", "--views", "off")
    assert call(serve(EVENTS, now=at("03-03")), *words) == 0
    failing = serve(left, now=at("03-03T01:00"))
    capsys.readouterr()
    assert call(failing, *words, "--reload", "--yes") == 1
    said = capsys.readouterr().err
    assert said.count("FewerEvents: ") == 1
    assert f"{48 - len(left)} of 48 events again that are in the tables (2024-03-0" in said
    assert "No row was removed" in said
    assert warehouse.ids() == [one["id"] for one in EVENTS]

    assert call(failing, *words) == 0  # The schedule goes on, and the rows stay.
    assert warehouse.ids() == [one["id"] for one in EVENTS]
    monkeypatch.setenv("SOURCES__NP6__ACCEPT_FEWER_EVENTS", "true")
    assert call(failing, *words, "--reload", "--yes") == 0
    assert warehouse.ids() == [one["id"] for one in left]


def test_a_reload_into_files_removes_nothing_and_commands_that_ask_a_database_say_so(
    serve: TMake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    sandbox = serve(EVENTS, now=at("03-03"))
    monkeypatch.setenv("SOURCES__NP6__API_KEY", sandbox.key)
    monkeypatch.setenv("SOURCES__NP6__BASE_URL", sandbox.url)
    monkeypatch.setenv("DESTINATION__FILESYSTEM__BUCKET_URL", (tmp_path / "lake").as_uri())
    words = ["load", "--resources", "actions_events", "--progress", "none"]
    words += ["--destination", "filesystem", "--pipelines-dir", str(tmp_path / "pipelines")]
    assert main([*words, "--start", "2024-03-01"]) == 0
    sandbox.requests.clear()
    assert main([*words, "--reload", "--yes"]) == 0
    assert min(one.query["start"] for one in sandbox.requests).startswith("2024-03-01T00:00:00")
    assert "Nothing can be removed from files" in capsys.readouterr().err

    where = words[5:]
    for command in (["retain", "--retention", "2 years"], ["duplicates"]):
        assert main([*command, *where]) == 2
        assert f"{command[0]} reads load_windows in a database" in capsys.readouterr().err
    pipeline = dlt.pipeline(
        "np6_to_duckdb", destination="filesystem", pipelines_dir=str(tmp_path / "pipelines")
    )
    with pytest.raises(SettingError, match="the destination has files"):
        coverage(pipeline)


def test_an_id_of_several_resources_is_named_once(
    call: TMake, serve: TMake, warehouse: Warehouse, capsys: Any
) -> None:
    words = ("--action-ids", "000AA0,000AA1", "--resources", f"{BY_ID},{ALSO_BY_ID}")
    assert call(serve(EVENTS, now=at("03-03")), *words, "--start", "2024-03-02") == 0
    left = serve(EVENTS[::2], now=at("03-03T01:00"))
    assert call(left, *words, "--reload", "--yes") == 1
    assert (
        "keeps its rows of before: id 000AA1 (NP6 does not know it) in 2 resources"
        f" ({BY_ID}, {ALSO_BY_ID})."
    ) in capsys.readouterr().err


def test_an_earlier_start_names_the_options_that_load_it_before_anything_else(
    call: TMake, serve: TMake, capfd: Any
) -> None:
    sandbox = serve(EVENTS, now=at("03-03"))
    assert call(sandbox, "--start", "2024-03-02", "--resources", "actions_events") == 0
    capfd.readouterr()
    assert call(sandbox, "--start", "2024-03-01", "--resources", "actions_events") == 1
    said = capfd.readouterr()
    assert said.err.startswith(
        "EarlierStart: the start 2024-03-01T00:00:00Z lies before the first load's start"
    )
    span = "--start 2024-03-01T00:00:00Z --end 2024-03-02T00:00:00Z"
    assert f"Load it with {span}." in said.err
    assert call(sandbox, *span.split(), "--resources", "actions_events") == 0
