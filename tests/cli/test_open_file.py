"""A DuckDB file that others have open: every command waits as a load does, then names them."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from np6_source import np6_source
from np6_source.__main__ import main
from np6_source.cli.progress import shown
from np6_source.dataset_lock import DatasetBusy, Patience, in_database_or_file
from np6_source.sandbox import Sandbox, account_from_events
from tests.support import Warehouse, at, event

TMake = Callable[..., Any]
SPAN = ("--start", "2024-03-01", "--end", "2024-03-02")
COMMANDS = {
    "gaps": ["gaps", *SPAN],
    "status": ["status", "--fail-on", "never"],
    "views": ["views"],
    "load": ["load", "--start", "2024-03-01", "--progress", "none"],
}
READING = COMMANDS | {
    "person": ["person", "--contact", "CON00001"],
}
OPENS = """
import sys, time, duckdb
connection = duckdb.connect(sys.argv[1])
print("ready", flush=True)
time.sleep(float(sys.argv[2]))
"""
READS = OPENS.replace("sys.argv[1])", "sys.argv[1], read_only=True)")
LOCKS = """
import sys, time, filelock
with filelock.FileLock(sys.argv[1]):
    print("ready", flush=True)
    time.sleep(float(sys.argv[2]))
"""


@contextmanager
def another_process(program: str, file: Path, seconds: float) -> Iterator[int]:
    """A process that has a file for some seconds; its id."""
    command = [sys.executable, "-c", program, str(file), str(seconds)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        try:
            yield process.pid
        finally:
            process.kill()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(account_from_events([event(1, at("03-01T10:00"))]), now=at("03-03")) as it:
        yield it


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory, sandbox: Sandbox) -> Warehouse:

    warehouse = Warehouse(tmp_path_factory.mktemp("loaded"))
    source = np6_source(sandbox.key, base_url=sandbox.url, start="2024-03-01")
    warehouse.run(source.with_resources("actions_events"))
    return warehouse


@pytest.fixture
def call(loaded: Warehouse, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> TMake:
    monkeypatch.setenv("SOURCES__NP6__API_KEY", sandbox.key)
    monkeypatch.setenv("SOURCES__NP6__BASE_URL", sandbox.url)

    def call(words: list[str], seconds: str) -> int:
        monkeypatch.setenv("SOURCES__NP6__FILE_WAIT", seconds)
        monkeypatch.setenv("SOURCES__NP6__LOCK_WAIT", seconds)
        where = ["--pipeline", loaded.name, "--duckdb-file", str(loaded.database)]
        return main([*words, *where, "--pipelines-dir", str(loaded.pipelines_dir)])

    return call


@pytest.mark.parametrize("name", COMMANDS)
def test_one_that_stays_open_ends_the_command_with_75_and_is_named(
    name: str, call: TMake, loaded: Warehouse, capsys: pytest.CaptureFixture[str]
) -> None:
    with another_process(OPENS, loaded.database, 60) as process:
        status = call(COMMANDS[name], "0.5")
    said = capsys.readouterr()
    assert (status, said.out) == (75, "")
    waiting, refused = said.err.splitlines()
    assert waiting.startswith("WARNING Waiting up to 0 s for DuckDB file events.duckdb: process ")
    assert f"DuckDB file events.duckdb is in use: process {process} (python" in refused
    assert "IO Error" not in said.err
    assert "Run it again later" in refused


@pytest.mark.parametrize("name", ["gaps", "status", "views"])
def test_one_that_is_closed_in_time_is_waited_for(
    name: str, call: TMake, loaded: Warehouse, capsys: pytest.CaptureFixture[str]
) -> None:
    with another_process(OPENS, loaded.database, 2):
        assert call(COMMANDS[name], "30") == 0
    assert "Waiting up to 30 s" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["gaps", "status", "person"])
def test_one_that_others_only_read_is_read_beside_them(
    name: str, call: TMake, loaded: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__NP6__PII_KEY", "a secret of thirty-two bytes or more")
    with another_process(READS, loaded.database, 60):
        assert call(READING[name], "0") == 0


@pytest.mark.parametrize("name", ["views", "load"])
def test_who_writes_waits_for_those_who_only_read_as_well(
    name: str, call: TMake, loaded: Warehouse, capsys: pytest.CaptureFixture[str]
) -> None:
    with another_process(READS, loaded.database, 60) as process:
        assert call(COMMANDS[name], "0.2") == 75
    assert f"is in use: process {process} (python" in capsys.readouterr().err


def test_reading_makes_no_file(call: TMake, loaded: Warehouse) -> None:
    lock = loaded.database.with_name(f"{loaded.database.name}.np6.lock")
    lock.unlink(missing_ok=True)
    assert call(COMMANDS["gaps"], "0") == 0
    assert not lock.exists()


def test_another_load_that_has_the_lock_is_named_as_well(
    call: TMake, loaded: Warehouse, capsys: pytest.CaptureFixture[str]
) -> None:
    lock = loaded.database.with_name(f"{loaded.database.name}.np6.lock")
    with another_process(LOCKS, lock, 60) as process:
        assert call(COMMANDS["gaps"], "0.5") == 75
    refused = capsys.readouterr().err.splitlines()[-1]
    assert f"events.duckdb is in use: process {process} (python" in refused
    assert "which loads or reads as well" in refused


def test_check_does_not_wait(
    call: TMake, loaded: Warehouse, capsys: pytest.CaptureFixture[str]
) -> None:
    with another_process(OPENS, loaded.database, 60) as process:
        assert call(["check", "--resources", "actions_events"], "300") == 75
    said = capsys.readouterr()
    assert f"The DuckDB file is in use: process {process} (python" in said.out + said.err
    assert "IO Error" not in said.out + said.err


def test_the_progress_line_says_what_a_load_waits_for(loaded: Warehouse) -> None:
    out = io.StringIO()
    usual = "waiting for the first response"

    def lines() -> list[str]:
        return [line.partition(" s: ")[2] for line in out.getvalue().splitlines()]

    def until(is_reached: Callable[[], bool]) -> None:
        most = time.monotonic() + 60
        while not is_reached():
            assert time.monotonic() < most, lines()
            time.sleep(0.01)

    with (
        another_process(OPENS, loaded.database, 300) as process,
        shown(lambda: {"actions_events": {}}, out, every=0.05),
    ):
        said = f"waiting for DuckDB file events.duckdb, 60 min at most: process {process} (python"

        def has_said_it() -> bool:
            return sum(line.startswith(said) for line in lines()) > 2

        wait = Patience(lock=50, file=3600, stop_when=has_said_it)
        until(lambda: lines()[:1] == [usual])
        with pytest.raises(DatasetBusy), in_database_or_file(loaded.pipeline, wait):
            pass
        until(lambda: lines()[-1] == usual)
    assert has_said_it()


def test_a_wait_in_the_middle_of_a_load_ends_when_it_is_asked_to_stop(
    loaded: Warehouse, sandbox: Sandbox, source_of: TMake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Extraction reads the ledger: somebody may have opened the file just before."""
    monkeypatch.setenv("SOURCES__NP6__FILE_WAIT", "100")
    stopping = threading.Event()
    others: list[Any] = []

    def make_source() -> Any:
        opened = another_process(OPENS, loaded.database, 60)
        opened.__enter__()
        others.append(opened)
        threading.Timer(1, stopping.set).start()
        return source_of(sandbox, "actions_events", on_error="keep", stop_when=stopping.is_set)

    began = time.monotonic()
    try:
        report = loaded.load(make_source, stop_when=stopping.is_set)
    finally:
        for opened in others:
            opened.__exit__(None, None, None)
    assert report.stopped
    assert time.monotonic() - began < 40


@pytest.mark.parametrize("more", [[], ["--json"]], ids=["text", "json"])
@pytest.mark.parametrize("has_loaded", [False, True], ids=["first load", "later load"])
def test_a_signal_ends_the_wait_of_a_load_which_says_that_nothing_was_loaded(
    has_loaded: bool,
    more: list[str],
    loaded: Warehouse,
    sandbox: Sandbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SOURCES__NP6__API_KEY", sandbox.key)
    monkeypatch.setenv("SOURCES__NP6__BASE_URL", sandbox.url)
    warehouse = loaded if has_loaded else Warehouse(tmp_path)
    lock = warehouse.database.with_name(f"{warehouse.database.name}.np6.lock")
    where = ["--pipeline", warehouse.name, "--duckdb-file", str(warehouse.database)]

    def end_the_wait(record: logging.LogRecord) -> bool:
        if "Waiting up to" in record.getMessage():
            os.kill(os.getpid(), signal.SIGTERM)
        return True

    waits = logging.getLogger("np6_source.dataset_lock")
    waits.addFilter(end_the_wait)
    try:
        with another_process(LOCKS, lock, 60):
            status = main(
                [*COMMANDS["load"], *where, "--pipelines-dir", str(warehouse.pipelines_dir), *more]
            )
    finally:
        waits.removeFilter(end_the_wait)
    assert status == 143
    printed = capsys.readouterr()
    if more:
        assert json.loads(printed.out)["exit_status"] == 143
    else:
        assert "Nothing was loaded into np6 of" in printed.out + printed.err
