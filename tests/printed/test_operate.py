"""docs/operate.md: what it prints works as printed."""

from __future__ import annotations

import re
from collections.abc import Iterator

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


PRINTS = ("np6-source status", "np6-source recheck", "np6-source reconcile")
"""Blocks whose output the page shows in the block that follows."""


def printing(command: str) -> tuple[Block, Block]:
    """A block, and the one with its output."""
    every = blocks(PAGE)
    at = next(n for n, block in enumerate(every) if block.first_line.startswith(command))
    return every[at], every[at + 1]


@pytest.fixture(scope="module")
def printed(reader: Project) -> dict[str, str]:
    """What the blocks of ``PRINTS`` print, right after the first load."""
    return {command: reader.run(printing(command)[0]) for command in PRINTS}


@pytest.mark.timeout(PATIENCE)
def test_status_prints_what_the_page_shows(printed: dict[str, str]) -> None:
    command = PRINTS[0]

    def lines(output: str) -> list[str]:
        return [re.sub(r"\b0 (s|min)\b", "0", line) for line in normalized(output)]

    assert lines(printed[command]) == lines(printing(command)[1].text)


@pytest.mark.timeout(PATIENCE)
def test_recheck_prints_what_the_page_shows(printed: dict[str, str]) -> None:
    command = PRINTS[1]
    assert "No day is due." in printed[command]
    *_, again, lateness = printed[command].splitlines()
    shown = normalized(printing(command)[1].text)
    # In the first hour of a UTC day the day before was first read within a day.
    in_time = "Lateness: no event came later than 1 day; no day is old enough to tell."
    assert normalized(again) == shown[:1]
    assert normalized(lateness) in (shown[1:], normalized(in_time))


@pytest.mark.timeout(PATIENCE)
def test_reconcile_prints_what_the_page_shows(printed: dict[str, str]) -> None:
    command = PRINTS[2]
    assert normalized(printed[command]) == normalized(printing(command)[1].text)


@pytest.mark.timeout(PATIENCE)
@pytest.mark.parametrize("block", runnable(PAGE), ids=str)
def test_a_block_works_as_printed(
    block: Block, reader: Project, request: pytest.FixtureRequest
) -> None:
    if block.first_line in NOT_RUN:
        pytest.skip(NOT_RUN[block.first_line])
    if block.first_line.startswith(PRINTS):
        request.getfixturevalue("printed")
        return
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
