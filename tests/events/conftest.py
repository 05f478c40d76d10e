from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from np6_source.events.reader import EventReader


@pytest.fixture(scope="module")
def spool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spool")


@pytest.fixture(scope="module")
def experienced(spool: Path) -> Iterator[EventReader]:
    """A reader that every test of this file shares, so that it has seen many shapes."""
    reader = EventReader(spool)
    yield reader
    reader.close()


@pytest.fixture
def reader(spool: Path) -> Iterator[EventReader]:
    """A reader that has seen nothing."""
    reader = EventReader(spool)
    yield reader
    reader.close()
