"""Every cell of every view equals what plain Python makes of the events as served."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dlt
import pytest

from tests.support import Warehouse
from tests.views.accounts import STORIES, Story
from tests.views.reading import compared, load


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[dlt.Pipeline, Story]]:
    """Gives a story and the pipeline that loaded it, once."""
    made: dict[str, tuple[dlt.Pipeline, Story]] = {}

    def tell(name: str) -> tuple[dlt.Pipeline, Story]:
        if name not in made:
            folder: Path = tmp_path_factory.mktemp("story")
            story = STORIES[name]()
            pipeline = Warehouse(folder).pipeline
            load(pipeline, story)
            made[name] = pipeline, story
        return made[name]

    return tell


@pytest.mark.parametrize("name", STORIES)
def test_every_cell_is_what_was_served(
    told: Callable[[str], tuple[dlt.Pipeline, Story]],
    name: str,
    record_property: Callable[[str, object], None],
) -> None:
    pipeline, story = told(name)

    cells = compared(pipeline, story, record=record_property)

    assert len(cells) == 22
    assert name == "empty" or cells["messages"]


@pytest.mark.parametrize("time_zone", ["Europe/Paris", "America/Los_Angeles"])
def test_figures_are_the_same_in_every_time_zone(
    told: Callable[[str], tuple[dlt.Pipeline, Story]],
    time_zone: str,
    record_property: Callable[[str, object], None],
) -> None:
    pipeline, story = told("generated")

    assert compared(pipeline, story, time_zone, record_property).total() > 10_000
