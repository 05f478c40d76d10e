"""docs/operate.md: what it prints works as printed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from np6_source.sandbox import Fault
from tests.printed.project import (
    PATIENCE,
    Block,
    Project,
    blocks,
    normalized,
    project,
    runnable,
)

PAGE = "docs/operate.md"
NOT_RUN: dict[str, str] = {
    "ATTACH 'made-with-2.0.duckdb' AS made (READ_ONLY);": "needs a DuckDB of each version"
}
"""Blocks that cannot run here, by their first line, with the reason."""


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    # `gaps` ends with 3 where something is missing, which here is so.
    found = {"06-01      # what was never loaded": "06-01 || test $? -eq 3"}
    with project(tmp_path_factory.mktemp("reader"), found) as machine:
        machine.command(["bash", "-e"], "make run")
        yield machine


@pytest.mark.timeout(PATIENCE)
@pytest.mark.parametrize("block", runnable(PAGE), ids=str)
def test_a_block_works_as_printed(block: Block, reader: Project) -> None:
    if block.first_line in NOT_RUN:
        pytest.skip(NOT_RUN[block.first_line])
    reader.run(block)


def test_check_prints_what_the_page_shows(reader: Project) -> None:
    """With the key's user not permitted to read reactivities, before the first load."""
    (page,) = (block for block in blocks(PAGE) if block.first_line.startswith("versions"))
    with reader.sandbox.faults.during(Fault("status", 403, path="/actions/reactivities")):
        shown = reader.command(
            ["bash", "-u"],
            "np6-source check --pipeline first --duckdb-file first.duckdb; test $? -eq 1",
        )
    assert _columns(shown) == _columns(page.text)


@pytest.mark.timeout(PATIENCE)
def test_plan_prints_lines_as_the_page_shows_them(reader: Project) -> None:
    (page,) = (block for block in blocks(PAGE) if block.text.startswith("actions_events  2024"))
    shown = reader.command(["bash", "-eu"], "np6-source plan --resources actions_events")

    def words(output: str) -> list[str]:
        return [word for word in re.findall(r"[a-z_]+:?", output) if word in PLANNED]

    assert set(words(shown)) == set(words(page.text)) == PLANNED


@pytest.mark.timeout(PATIENCE)
def test_probe_prints_lines_as_the_page_shows_them(reader: Project) -> None:
    (page,) = (block for block in blocks(PAGE) if block.text.startswith("confirmed     filter"))
    shown = reader.command(["bash", "-eu"], "np6-source probe --only filter bounds unknown-id")
    questions = {line for line in page.text.splitlines() if line.startswith("confirmed")}
    results = {line for line in shown.splitlines() if line[:1] not in (" ", "")}
    assert {line[14:] for line in questions} == {line[14:] for line in results if ";" not in line}
    assert "confirmed     unknown-id" in shown


PLANNED = {
    *("actions_events", "sampled:", "events", "bytes", "requests", "time", "disk", "load"),
}


def _columns(output: str) -> list[tuple[str, str]]:
    """What each line is about and its verdict, without what differs between two machines."""
    verdicts = (" ok", " problem")
    words = [line.split() for line in output.splitlines() if line.endswith(verdicts)]
    return [(line[0], line[-1]) for line in words]


def test_the_command_in_the_cron_line_works(reader: Project) -> None:
    (line,) = (block for block in blocks(PAGE) if block.language == "cron")
    command = line.text.partition("cd /srv/np6 && ")[2]
    assert command
    reader.command(["bash", "-e"], command)


def test_the_command_in_the_systemd_unit_works(reader: Project) -> None:
    (line,) = (
        line
        for block in blocks(PAGE)
        if block.language == "ini"
        for line in block.text.splitlines()
        if line.startswith("ExecStart=")
    )
    command = line.removeprefix("ExecStart=").replace("/srv/np6/", "")
    reader.command(["bash", "-e"], command)


@pytest.mark.timeout(PATIENCE)
def test_status_recheck_and_reconcile_print_what_is_printed_here(tmp_path: Path) -> None:
    every = blocks(PAGE)
    at = next(n for n, block in enumerate(every) if block.text.strip() == "np6-source status")
    with project(tmp_path) as machine:
        machine.command(["bash", "-e"], "make run")
        printed = machine.run(every[at])
        recheck = next(n for n, b in enumerate(every) if b.text.startswith("np6-source recheck"))
        again = machine.run(every[recheck])
        reconcile = next(n for n, b in enumerate(every) if b.text.strip() == "np6-source reconcile")
        compared = machine.run(every[reconcile])
    assert normalized(compared) == normalized(every[reconcile + 1].text)
    assert "No day is due." in again
    lines = normalized("\n".join(again.splitlines()[-2:]))
    assert lines == normalized(every[recheck + 1].text)
    shown = [re.sub(r"\b0 (s|min)\b", "0", line) for line in normalized(every[at + 1].text)]
    assert [re.sub(r"\b0 (s|min)\b", "0", line) for line in normalized(printed)] == shown
