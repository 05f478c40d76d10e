"""docs/quickstart.md: what it prints works as printed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.printed.project import PATIENCE, Block, Project, blocks, normalized, project, runnable

PAGE = "docs/quickstart.md"
NOT_RUN: dict[str, str] = {}
"""Blocks that cannot run here, by their first line, with the reason."""


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with project(tmp_path_factory.mktemp("reader")) as machine:
        yield machine


@pytest.mark.timeout(PATIENCE)
@pytest.mark.parametrize("block", runnable(PAGE), ids=str)
def test_a_block_works_as_printed(block: Block, reader: Project) -> None:
    if block.first_line in NOT_RUN:
        pytest.skip(NOT_RUN[block.first_line])
    reader.run(block)


@pytest.mark.timeout(PATIENCE)
def test_the_demo_prints_what_the_page_shows(reader: Project) -> None:
    (shown,) = (block for block in blocks(PAGE) if block.language == "text")
    printed = reader.command(["bash", "-e"], "make demo")
    assert normalized(printed) == normalized(shown.text)
