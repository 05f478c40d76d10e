"""Runs that are killed under a policy leave clear values to their owner alone, then none at all.

Each kill is SIGKILL, on the command, at another moment. DuckDB writes texts as they are here: its
compression would hide an address from a search for its bytes.
"""

from __future__ import annotations

import random
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.support import at
from tests.test_clear_values import (
    ADDRESS,
    CLEAR,
    ID,
    RESOURCES,
    SECRET,
    UNKNOWN_ID,
    contents,
    persons,
    places,
)

KILLS = 10


@pytest.fixture
def load(command_line: Any, serve: Any) -> Iterator[Callable[..., Any]]:
    """Starts the command under a policy, against an account of persons that answers slowly."""
    sandbox = serve(persons(), now=at("03-02"))

    def start(warehouse: Any, pii: str | None) -> Any:
        policy = {"SOURCES__NP6__PII": pii, "SOURCES__NP6__PII_KEY": SECRET} if pii else {}
        return command_line.start(
            *("-m np6_source", "load", "--debug", *command_line.where(warehouse)),
            *("--base-url", sandbox.url, "--start", "2024-03-01"),
            *("--resources", *RESOURCES),
            *("--target-ids", ID, UNKNOWN_ID, "--target-unicities", ADDRESS),
            SOURCES__NP6__API_KEY=sandbox.key,
            SOURCES__NP6__BAD_EVENTS="keep",
            **policy,
        )

    with sandbox.faults.during("stall_body=0.2"):
        yield start


def open_to_others(folder: Path) -> set[str]:
    """Files with clear values that others than their owner can open."""
    found = set()
    for where, _ in places(iter([(str(f), f.read_bytes()) for f in files(folder)])):
        path = Path(where)
        parents = [parent for parent in path.parents if folder in (parent, *parent.parents)]
        is_private = any(not stat.S_IMODE(p.stat().st_mode) & 0o077 for p in (path, *parents))
        if not is_private:
            found.add(where)
    return found


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("pii", ["pseudonyms", "strict", None])
def test_ten_kills_and_one_more_run_leave_no_clear_value(
    pii: str | None, load: Callable[..., Any], command_line: Any, warehouse: Any
) -> None:
    began = time.monotonic()
    command_line.end_of(load(warehouse, pii))
    whole = time.monotonic() - began
    warehouse.database.unlink()
    chance = random.Random(7)
    were_running = 0
    for _ in range(KILLS):
        process = load(warehouse, pii)
        time.sleep(whole * chance.uniform(0.3, 1.0))
        were_running += process.poll() is None
        process.kill()
        process.communicate()
        if pii is not None:
            assert open_to_others(warehouse.folder) == set()

    ended = command_line.end_of(load(warehouse, pii))

    assert were_running >= KILLS // 2
    assert len(warehouse.ids()) == 4, ended.stderr
    raw = warehouse.folder / "raw.duckdb"
    with duckdb.connect(config={"force_compression": "uncompressed"}) as connection:
        connection.execute(f"ATTACH '{warehouse.database}' AS loaded (READ_ONLY)")
        connection.execute(f"ATTACH '{raw}' AS raw")
        connection.execute("COPY FROM DATABASE loaded TO raw")
    said = [("printed", (ended.stdout + ended.stderr).encode())]
    found = places(iter([*contents(warehouse.folder, warehouse.database), *said]))
    if pii is None:
        assert {value for where, value in found if where == str(raw)} >= {ADDRESS, ID}
        assert {value for _, value in found} == set(CLEAR)
    else:
        assert found == set()
