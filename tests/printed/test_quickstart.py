"""docs/quickstart.md: what it prints works as printed."""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pytest

from tests.printed.project import PATIENCE, Block, Project, blocks, normalized, project, runnable

PAGE = "docs/quickstart.md"
NOT_RUN: dict[str, str] = {}
"""Blocks that cannot run here, by their first line, with the reason."""


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with project(tmp_path_factory.mktemp("reader")) as machine:
        yield machine


DEMO = "make demo"


@pytest.fixture(scope="module")
def demo(reader: Project) -> str:
    """What the block that runs the demo prints."""
    (block,) = (block for block in runnable(PAGE) if block.first_line == DEMO)
    return reader.run(block)


@pytest.mark.timeout(PATIENCE)
def test_the_demo_prints_what_the_page_shows(demo: str) -> None:
    (shown,) = (block for block in blocks(PAGE) if block.language == "text")
    assert normalized(demo) == normalized(shown.text)


@pytest.mark.timeout(PATIENCE)
@pytest.mark.usefixtures("demo")
def test_the_readme_shows_what_its_query_gives_of_the_demo(reader: Project) -> None:
    (query,) = (block for block in blocks("README.md") if block.language == "sql")
    (shown,) = (block for block in blocks("README.md") if block.language == "text")
    with duckdb.connect(str(reader.folder / "demo.duckdb"), read_only=True) as connection:
        assert normalized(str(connection.sql(query.text))) == normalized(shown.text)


@pytest.mark.timeout(PATIENCE)
@pytest.mark.parametrize("block", runnable(PAGE), ids=str)
def test_a_block_works_as_printed(
    block: Block, reader: Project, request: pytest.FixtureRequest
) -> None:
    if block.first_line in NOT_RUN:
        pytest.skip(NOT_RUN[block.first_line])
    if block.first_line == DEMO:
        request.getfixturevalue("demo")
        return
    reader.run(block)
