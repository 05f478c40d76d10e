"""What brings those back who were erased, and what says so."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from np6_source.bookkeeping.erasures import ErasedMeanwhile
from np6_source.cli.forgetting import forget_files
from tests.persons.test_finding import ALL, KEY, about, erased, footprint
from tests.support import Warehouse, at

GONE = "_np6_erasures does not list them any more"


@pytest.fixture
def source(serve: Any, source_of: Any) -> Callable[[], Any]:
    events = [
        about(1, footprint("M1", "marie@lab.example")),
        about(2, footprint("P1", "pierre@lab.example")),
    ]
    sandbox = serve(events, now=at("03-02T03:00"))

    return lambda: source_of(sandbox, ALL, on_error="keep", pii_key=KEY)


@pytest.fixture
def load(warehouse: Warehouse, source: Callable[[], Any]) -> Callable[[], None]:
    def call() -> None:
        warehouse.load(source)

    return call


class TestADatabaseThatWasPutBack:
    @pytest.fixture
    def put_back(self, load: Any, warehouse: Warehouse) -> None:
        """A backup of before; the pipeline has loaded since the erasure."""
        load()
        backup = warehouse.database.read_bytes()
        erased(warehouse, "M1")
        load()
        warehouse.database.write_bytes(backup)

    def test_the_next_load_says_that_they_are_in_it_again(
        self, load: Any, put_back: None, caplog: pytest.LogCaptureFixture
    ) -> None:
        with caplog.at_level(logging.WARNING):
            load()
        assert GONE in caplog.text

        caplog.clear()
        load()
        assert GONE not in caplog.text

    def test_one_whose_list_is_whole_is_not_spoken_of(
        self, load: Any, warehouse: Warehouse, caplog: pytest.LogCaptureFixture
    ) -> None:
        load()
        erased(warehouse, "M1")
        load()
        erased(warehouse, "P1")
        with caplog.at_level(logging.WARNING):
            load()
        assert GONE not in caplog.text


@pytest.mark.parametrize("hours", [-1, 1], ids=["behind", "ahead"])
def test_a_package_is_told_by_what_it_knew_of_and_not_by_the_clocks_of_two_machines(
    load: Any, source: Any, warehouse: Warehouse, new_warehouse: Any, hours: int
) -> None:
    load()
    other = new_warehouse(name="other_pipeline", database=warehouse.database).pipeline
    other.extract(source())
    other.normalize()
    erased(warehouse, "M1")
    warehouse.execute(f"UPDATE np6._np6_erasures SET erased_at = now() + INTERVAL '{hours} hours'")

    with pytest.raises(ErasedMeanwhile, match="nothing of it was loaded"):
        other.load()

    other.abort_packages()
    other.extract(source())  # It knows of the erasure.
    other.normalize()
    other.load(raise_on_failed_jobs=True)
    assert {row["contact_id"] for row in warehouse.rows("events")} == {None, "P1"}


def test_erasing_removes_what_killed_parts_have_left(
    load: Any, warehouse: Warehouse, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    load()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left = tmp_path / "np6_part_of_a_kill"
    left.mkdir()
    (left / "in_use.lock").touch()
    (left / "response.json").write_text("marie@lab.example")

    forget_files(warehouse.pipeline)

    assert not left.exists()
