"""docs/operate.md: what it prints works as printed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

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
NOT_RUN: dict[str, str] = {}
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
def test_status_prints_what_is_printed_here(tmp_path: Path) -> None:
    every = blocks(PAGE)
    at = next(n for n, block in enumerate(every) if block.text.strip() == "np6-source status")
    with project(tmp_path) as machine:
        machine.command(["bash", "-e"], "make run")
        printed = machine.run(every[at])
    shown = [re.sub(r"\b0 (s|min)\b", "0", line) for line in normalized(every[at + 1].text)]
    assert [re.sub(r"\b0 (s|min)\b", "0", line) for line in normalized(printed)] == shown
