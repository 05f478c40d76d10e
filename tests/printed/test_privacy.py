"""docs/privacy.md: what it prints works as printed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.printed.project import PATIENCE, Block, Project, project, runnable

PAGE = "docs/privacy.md"
NOT_RUN: dict[str, str] = {}
"""Blocks that cannot run here, by their first line, with the reason."""

KEY = "a key of the reader's own, long enough"


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    filled_in = {'pii_key = "..."': f'pii_key = "{KEY}"', "pads(key)": f'pads("{KEY}")'}
    with project(tmp_path_factory.mktemp("reader"), filled_in) as machine:
        yield machine


@pytest.mark.timeout(PATIENCE)
@pytest.mark.parametrize("block", runnable(PAGE), ids=str)
def test_a_block_works_as_printed(block: Block, reader: Project) -> None:
    reader.run(block)


@pytest.mark.timeout(PATIENCE)
def test_a_load_with_the_printed_configuration_stores_no_address(reader: Project) -> None:
    reader.command(["bash", "-e"], "make run")
    shown = reader.query("SELECT DISTINCT recipient FROM np6.events WHERE recipient IS NOT NULL")
    assert shown
    assert "@" not in shown
