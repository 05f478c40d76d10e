"""A lake that is put back from a backup, beside a newer working folder of dlt's."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dlt
import pyarrow.dataset as ds
import pytest
from dlt.pipeline.exceptions import PipelineStepFailed

from np6_source.errors import SettingError
from np6_source.lake import filesystem
from np6_source.loading import load
from np6_source.sandbox import Sandbox
from tests.support import at, event

ALL = "actions_events"
FIRST, SECOND, THIRD = (at(f"03-0{day}") for day in (1, 3, 5))
TMake = Callable[..., Any]


class Lake:
    """A lake with a pipeline's working folder, an account that grows, and a backup of the lake."""

    def __init__(self, folder: Path, sandbox: Sandbox, source_of: TMake, **options: Any) -> None:
        self.folder, self.sandbox, self.options = folder, sandbox, options
        self.files, self.backup = folder / "lake", folder / "backup"
        self.source_of = source_of

    def pipeline(self, name: str = "np6_test") -> dlt.Pipeline:
        """The pipeline, as a new process would find it."""
        return dlt.pipeline(
            name,
            destination=filesystem(f"file://{self.files}"),
            dataset_name="np6",
            pipelines_dir=str(self.folder / "pipelines"),
        )

    def source(self, **options: Any) -> Any:
        return self.source_of(self.sandbox, ALL, overlap=1, **self.options, **options)

    def run(self, name: str = "np6_test") -> None:
        """A run of dlt's, which extracts no more than has settled in the account."""
        self.pipeline(name).run(self.source())

    def load(self) -> None:
        """What ``np6-source load`` does."""
        report = load(self.pipeline(), lambda **more: self.source(on_error="keep", **more))
        assert not report.failures

    def back_up(self) -> None:
        shutil.copytree(self.files, self.backup)

    def put_back(self) -> None:
        shutil.rmtree(self.files)
        shutil.copytree(self.backup, self.files)

    def ids(self) -> set[str]:
        """The events in the lake."""
        folder = self.files / "np6" / "events"
        if self.options.get("table_format") == "delta":
            import deltalake

            rows = deltalake.DeltaTable(str(folder)).to_pyarrow_table()
        elif self.options.get("table_format") == "iceberg":
            from pyiceberg.table import StaticTable

            newest = max((folder / "metadata").glob("*.metadata.json"))
            rows = StaticTable.from_metadata(str(newest)).scan().to_arrow()
        else:
            rows = ds.dataset(sorted(folder.glob("*.parquet"))).to_table()
        found: list[str] = rows["id"].to_pylist()
        assert not self.options or len(found) == len(set(found))
        return set(found)


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
