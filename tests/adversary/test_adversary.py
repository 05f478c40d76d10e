"""Whatever happens to a pipeline, status 0 means that what was asked for is there, once."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import dlt
import pytest
from dlt.destinations._adbc_jobs import AdbcParquetCopyJob

from np6_source.api import pieces
from np6_source.duck import duckdb as without_staging
from np6_source.extract import known_pieces, spool
from tests.adversary.databases import DuckDbFile, PostgresDatabase
from tests.adversary.driver import FOREIGN, KEYS, Driver
from tests.adversary.server import Fact, serving
from tests.support import CommandLine

SECONDS = float(os.environ.get("NP6_ADVERSARY_SECONDS", "900"))
"""How long the soak goes on with new seeds."""
STEPS = int(os.environ.get("NP6_ADVERSARY_STEPS", "15"))
"""Of a sequence of ``test_neither_do_files_of_tables_and_known_pieces``."""
FIRST_SEED = int(os.environ.get("NP6_ADVERSARY_SEED", "1000"))


def play(
    seed: int,
    folder: Path,
    steps: int,
    kills: bool,
    database: DuckDbFile | None = None,
) -> Driver:
    """Plays a seed to its end; the assertions are the driver's."""
    account: list[Fact] = []
    with serving({KEYS[0]: account, KEYS[1]: account, FOREIGN: []}) as api:
        command_line = CommandLine(folder)
        driver = Driver(seed, api, database or DuckDbFile(folder, "adversary"), command_line)
        for _ in range(steps):
            driver.step(kills)
        driver.end()
    return driver


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_few_sequences_lose_and_repeat_nothing(seed: int, tmp_path: Path) -> None:
    play(seed, tmp_path, steps=8, kills=False)


@pytest.mark.soak
def test_sequences_with_kills_lose_and_repeat_nothing(tmp_path: Path) -> None:
    deadline, seed = time.monotonic() + SECONDS, FIRST_SEED
    while time.monotonic() < deadline:
        play(seed, tmp_path / str(seed), steps=20, kills=True)
        seed += 1


@pytest.mark.soak
@pytest.mark.parametrize("destination", [dlt.destinations.duckdb, without_staging])
def test_neither_do_files_of_tables_and_known_pieces(
    destination: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = {"files": 0, "known pieces": 0}
    known_contents, files_of = known_pieces.KnownPiece.contents, spool.TableStash.files

    def counted_contents(piece: Any, number: int) -> Any:
        used["known pieces"] += 1
        return known_contents(piece, number)

    def counted_files(stash: Any) -> Any:
        files = files_of(stash)
        used["files"] += len(files)
        return files

    monkeypatch.setattr(known_pieces.KnownPiece, "contents", counted_contents)
    monkeypatch.setattr(spool.TableStash, "files", counted_files)
    # As responses of hundreds of megabytes are: every table is a file, every response has pieces.
    monkeypatch.setattr(spool, "IN_MEMORY", 0)
    monkeypatch.setattr(spool, "FEWEST_IMPORTED", 1)
    monkeypatch.setattr(known_pieces, "FEWEST", 1)
    monkeypatch.setattr(pieces, "SMALLEST_BY_CONTENT", 2_000)
    monkeypatch.setattr(pieces, "EVENTS_BY_CONTENT", 4)
    # Killed are scripts, with the sizes of their own.
    overlaps = []
    for seed in (FIRST_SEED, FIRST_SEED + 1):
        folder = tmp_path / str(seed)
        folder.mkdir()
        database = DuckDbFile(folder, "adversary", destination=destination)
        driver = play(seed, folder, steps=STEPS, kills=True, database=database)
        overlaps.append(driver.overlap)
    assert used["files"] > 0
    # A sequence may have no two calls in this process that read the same.
    assert used["known pieces"] > 0 or min(overlaps) < 60


@pytest.mark.soak
@pytest.mark.parametrize("seed", [FIRST_SEED, FIRST_SEED + 1])
def test_neither_does_copy_into_postgresql(
    seed: int, postgres_socket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = []
    run = AdbcParquetCopyJob.run

    def noted(job: Any) -> None:
        copied.append(job)
        run(job)

    monkeypatch.setattr(AdbcParquetCopyJob, "run", noted)
    database = PostgresDatabase(tmp_path, "adversary", postgres_socket, f"adversary_{seed}")
    play(seed, tmp_path, steps=STEPS, kills=True, database=database)
    assert copied
