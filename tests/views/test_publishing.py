"""Readers of the published file see whole states, and are never locked out."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from np6_source.errors import SettingError
from np6_source.loading import load
from np6_source.sandbox import Sandbox
from np6_source.views import publishing
from np6_source.views.publishing import PublishingFailed, publish
from tests.support import Warehouse, at, event

TMake = Callable[..., Any]
READER = """
import sys, pathlib, duckdb
file, stop = sys.argv[1], pathlib.Path(sys.argv[2])
reads, counts = 0, []
while True:
    ended = stop.exists()
    with duckdb.connect(file, read_only=True) as connection:
        count, hits, windows = connection.execute(
            "SELECT (SELECT count(*) FROM np6.events), (SELECT count(*) FROM np6.activations),"
            " (SELECT max(event_count) FROM np6.load_windows)"
        ).fetchone()
    assert count == hits, (count, hits)
    reads += 1
    print("read", flush=True)
    if not counts or counts[-1] != count:
        counts.append(count)
    if ended:
        break
print(reads, *counts)
"""


def test_a_reader_that_polls_during_loads_sees_whole_states_only(
    warehouse: Warehouse, serve: TMake, source_of: TMake, tmp_path: Path
) -> None:
    target, stop = tmp_path / "analysts.duckdb", tmp_path / "stop"
    events = [event(n, at("03-01") + n * 60_000) for n in range(400)]
    reader = None
    for number in range(1, 5):
        sandbox: Sandbox = serve(events[: 100 * number], now=at("03-03"))
        load(
            warehouse.pipeline,
            lambda sandbox=sandbox: source_of(sandbox, "actions_events", end="2024-03-02"),
        )
        publish(warehouse.pipeline, target)
        if reader is None:
            reader = subprocess.Popen(
                [sys.executable, "-c", READER, str(target), str(stop)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            assert reader.stdout is not None
            assert reader.stdout.readline() == "read\n"
    stop.touch()
    assert reader is not None
    output, errors = reader.communicate(timeout=60)

    assert reader.returncode == 0, errors
    reads, *counts = map(int, output.splitlines()[-1].split())
    assert reads >= len(counts) >= 2
    assert counts == sorted(counts)
    assert set(counts) <= {100, 200, 300, 400}
    assert (counts[0], counts[-1]) == (100, 400)
    assert sorted(p.name for p in tmp_path.glob("analysts*")) == ["analysts.duckdb"]


@pytest.fixture
def loaded(warehouse: Warehouse, serve: TMake, source_of: TMake) -> Warehouse:
    sandbox = serve([event(1, at("03-01T10:00"))], now=at("03-03"))
    load(warehouse.pipeline, lambda: source_of(sandbox, "actions_events"))
    return warehouse


def test_a_copy_that_fails_leaves_the_one_before(
    loaded: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "analysts.duckdb"
    publish(loaded.pipeline, target)
    before = target.read_bytes()

    def full(source: Path, copy: Path) -> None:
        copy.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(publishing, "_copy", full)
    with pytest.raises(PublishingFailed, match="No space left on device"):
        publish(loaded.pipeline, target)

    assert target.read_bytes() == before
    assert list(tmp_path.glob("*.tmp")) == []


def test_what_a_writing_reader_left_does_not_spoil_the_new_copy(
    loaded: Warehouse, tmp_path: Path
) -> None:
    target = tmp_path / "analysts.duckdb"
    left = target.with_name("analysts.duckdb.wal")
    left.write_bytes(b"of another file")

    publish(loaded.pipeline, target)

    assert not left.exists()
    assert Warehouse(tmp_path, database=target).query("SELECT count(*) FROM np6.messages") == [(1,)]


def test_the_copy_has_the_tables_and_views_and_no_staging(
    loaded: Warehouse, tmp_path: Path
) -> None:
    schemas = "SELECT schema_name FROM duckdb_schemas() WHERE NOT internal ORDER BY 1"
    loaded.execute(
        "CREATE SCHEMA np6_staging_of_0a1b",
        "CREATE TABLE np6_staging_of_0a1b.actions AS SELECT 1 AS id",
        "CREATE SCHEMA np6_own",
        "CREATE TABLE np6_own.mine AS SELECT 1 AS id",
    )
    target = tmp_path / "analysts' own.duckdb"

    publish(loaded.pipeline, target)

    copy = Warehouse(tmp_path, database=target)
    names = {name for (name,) in copy.query(schemas)} - {"main"}
    assert names == {"np6", "np6_own"}
    assert copy.query("SELECT count(*) FROM np6.messages") == [(1,)]
    assert "np6_staging_of_0a1b" in {name for (name,) in loaded.query(schemas)}
    assert list(tmp_path.glob("analysts*")) == [target]


@pytest.mark.parametrize(
    "target", ["events.duckdb", "nowhere/x.duckdb", "pipelines", "np6.duckdb", "NP6.v2.duckdb"]
)
def test_files_that_cannot_be_published_to(loaded: Warehouse, target: str) -> None:
    with pytest.raises(SettingError, match=r"^publish: "):
        publish(loaded.pipeline, loaded.folder / target)
