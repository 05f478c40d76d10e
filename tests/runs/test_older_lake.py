"""A lake that is put back from a backup, beside a newer working folder of dlt's."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from dlt.pipeline.exceptions import PipelineStepFailed

from np6_source.errors import SettingError
from np6_source.sandbox import Sandbox
from tests.runs.lakes import Lake, TMake
from tests.support import at, event

FIRST, SECOND, THIRD = (at(f"03-0{day}") for day in (1, 3, 5))


@pytest.fixture
def sandbox(serve: TMake) -> Sandbox:
    """An account with an event on each of three days; the clock is after the first."""
    sandbox: Sandbox = serve(
        (event(n, day) for n, day in enumerate((FIRST, SECOND, THIRD))), now=at("03-02")
    )
    return sandbox


def ids(count: int) -> set[str]:
    return {f"event-{n:05}" for n in range(count)}


def put_back(lake: Lake) -> Lake:
    """Has loaded the first event, then the second; the lake is that of the first."""
    lake.run()
    lake.back_up()
    lake.sandbox.now = at("03-04")
    lake.run()
    assert lake.ids() == ids(2)
    lake.put_back()
    assert lake.ids() == ids(1)
    return lake


@pytest.fixture(
    params=[
        None,
        pytest.param("delta", marks=pytest.mark.destinations),
        pytest.param("iceberg", marks=pytest.mark.destinations),
    ]
)
def older(request: Any, tmp_path: Path, sandbox: Sandbox, source_of: TMake) -> Lake:
    options = {"table_format": request.param} if request.param else {}
    return put_back(Lake(tmp_path, sandbox, source_of, **options))


@pytest.fixture
def lake(tmp_path: Path, sandbox: Sandbox, source_of: TMake) -> Lake:
    """A lake of plain files into which nothing is loaded yet."""
    return Lake(tmp_path, sandbox, source_of)


SAID = "The lake does not have what pipeline np6_test has loaded last"


@pytest.mark.parametrize("how", ["run", "load"])
def test_what_was_loaded_since_is_read_again(
    older: Lake, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    getattr(older, how)()
    assert older.ids() == ids(2)
    assert caplog.text.count(SAID) == 1
    older.sandbox.now = at("03-06")
    getattr(older, how)()
    assert older.ids() == ids(3)
    assert caplog.text.count(SAID) == 1


def test_a_source_that_is_made_before_its_pipeline_does_the_same(lake: Lake) -> None:
    put_back(lake)
    source = lake.source()
    lake.pipeline().run(source)
    assert lake.ids() == ids(2)


def test_a_run_that_fails_first_does_not_forget(lake: Lake) -> None:
    put_back(lake)
    with lake.sandbox.faults.during("status=503"), pytest.raises(PipelineStepFailed):
        lake.pipeline().run(lake.source(attempts=1))
    lake.run()
    assert lake.ids() == ids(2)


def test_a_lake_of_before_the_first_load_is_loaded_from_the_start(
    lake: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    lake.run("another")
    lake.back_up()
    lake.run()
    lake.sandbox.now = at("03-04")
    lake.run()
    lake.put_back()
    lake.run()
    assert lake.ids() == ids(2)
    assert "from the beginning, as the lake has no state of it" in caplog.text
    lake.sandbox.now = at("03-06")
    lake.load()
    assert lake.ids() == ids(3)
    assert caplog.text.count(SAID) == 1


@pytest.mark.parametrize("kept", [(), ("init",)], ids=["removed", "emptied"])
def test_a_lake_without_files_is_loaded_from_the_start(lake: Lake, kept: tuple[str, ...]) -> None:
    lake.run()
    lake.sandbox.now = at("03-04")
    lake.run()
    for found in (lake.files / "np6").iterdir():
        if found.is_dir():
            shutil.rmtree(found)
    if not kept:
        shutil.rmtree(lake.files)
    assert [one.name for one in lake.files.glob("np6/*")] == [*kept]
    lake.run()
    assert lake.ids() == ids(2)


def test_another_pipeline_into_the_lake_sets_nothing_back(
    lake: Lake, caplog: pytest.LogCaptureFixture
) -> None:
    lake.run()
    lake.run("another")
    lake.run()
    lake.load()
    assert "The lake does not have" not in caplog.text


class TestWithPackagePending:
    """What is extracted and not loaded, while the lake is put back or not."""

    @pytest.fixture
    def pending(self, lake: Lake) -> Lake:
        lake.run()
        lake.back_up()
        lake.sandbox.now = at("03-04")
        lake.run()
        lake.sandbox.now = at("03-06")
        pipeline = lake.pipeline()
        pipeline.extract(lake.source())
        pipeline.normalize()
        lake.put_back()
        return lake

    def test_a_load_gives_it_up_and_reads_all_again(self, pending: Lake) -> None:
        pending.load()
        assert pending.ids() == ids(3)

    @pytest.mark.filterwarnings("ignore:The 'warn' method:DeprecationWarning")  # dlt 1.31
    def test_a_run_of_dlt_s_refuses_it_and_says_what_to_do(self, pending: Lake) -> None:
        with pytest.raises(SettingError, match=r"abort_packages\(\)"):
            pending.run()
        assert pending.ids() == ids(1)
        pipeline = pending.pipeline()
        pending.source()  # What a project's process does before it aborts.
        pipeline.abort_packages()
        pipeline.sync_destination()
        pending.run()
        assert pending.ids() == ids(3)

    @pytest.mark.filterwarnings("ignore:The 'warn' method:DeprecationWarning")  # dlt 1.31
    def test_it_is_loaded_where_the_lake_was_not_put_back(
        self, lake: Lake, caplog: pytest.LogCaptureFixture
    ) -> None:
        lake.run()
        lake.sandbox.now = at("03-04")
        lake.pipeline().extract(lake.source())
        lake.run()
        assert lake.ids() == ids(2)
        assert "put back" not in caplog.text
