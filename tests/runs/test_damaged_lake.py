"""A lake of which a table, or a file, is gone or damaged, or that lies elsewhere now."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from dlt.pipeline.exceptions import PipelineStepFailed

from np6_source.errors import SettingError, TableMissing
from np6_source.loading import load
from np6_source.open_tables.whole_files import WholeFiles
from np6_source.sandbox import Sandbox
from tests.runs.lakes import Lake, TMake
from tests.support import at, event

FORMATS = [
    pytest.param("delta", marks=pytest.mark.destinations),
    pytest.param("iceberg", marks=pytest.mark.destinations),
]
OF_FORMAT = {"delta": "_delta_log", "iceberg": "metadata"}
"""The folder that makes a folder of files a table."""


@pytest.fixture
def make_lake(tmp_path: Path, serve: TMake, source_of: TMake) -> Callable[[str | None], Lake]:
    """Makes a lake that has the first of two events; the account has both."""

    def make(table_format: str | None) -> Lake:
        days = (at("03-01"), at("03-03"))
        sandbox: Sandbox = serve((event(n, d) for n, d in enumerate(days)), now=at("03-02"))
        options = {"table_format": table_format} if table_format else {}
        lake = Lake(tmp_path, sandbox, source_of, **options)
        lake.load()
        lake.load()
        sandbox.now = at("03-04")
        sandbox.requests.clear()
        return lake

    return make


def is_refused(lake: Lake, kind: type[Exception], said: str) -> None:
    """A load is refused, and so is a run of dlt's, before anything is requested."""
    with pytest.raises((kind, PipelineStepFailed), match=said):
        lake.load()
    with pytest.raises(PipelineStepFailed, match=said):
        lake.run()
    assert lake.sandbox.requests == []
    assert not lake.pipeline().has_pending_data


@pytest.mark.parametrize("table_format", [None, *FORMATS])
def test_a_table_whose_folder_is_gone_is_missed_and_made_anew_by_a_reload(
    make_lake: Callable[[str | None], Lake], table_format: str | None
) -> None:
    lake = make_lake(table_format)
    shutil.rmtree(lake.files / "np6/events")
    is_refused(lake, TableMissing, "events is gone from dataset 'np6'")
    lake.load(reload=True)
    assert lake.ids() == {"event-00000", "event-00001"}


def test_tables_that_a_pending_package_will_make_are_not_missed(
    tmp_path: Path, serve: TMake, source_of: TMake
) -> None:
    sandbox = serve((event(n, at(f"03-0{2 * n + 1}")) for n in range(2)), now=at("03-02"))
    lake = Lake(tmp_path, sandbox, source_of)
    for now in ("03-02", "03-04"):
        sandbox.now = at(now)
        pipeline = lake.pipeline()
        pipeline.extract(lake.source())
        pipeline.normalize()
    pipeline.load()
    assert lake.ids() == {"event-00000", "event-00001"}


@pytest.mark.parametrize("table_format", FORMATS)
def test_a_table_that_has_files_alone_is_missed_as_well(
    make_lake: Callable[[str | None], Lake], table_format: str
) -> None:
    lake = make_lake(table_format)
    shutil.rmtree(lake.files / "np6/events" / OF_FORMAT[table_format])
    is_refused(lake, TableMissing, "events is gone from dataset 'np6'")
    lake.load(reload=True)
    assert lake.ids() == {"event-00000", "event-00001"}


@pytest.mark.parametrize("table_format", FORMATS)
def test_of_a_damaged_table_a_load_says_which_it_is_and_what_to_do(
    make_lake: Callable[[str | None], Lake], table_format: str
) -> None:
    lake = make_lake(table_format)
    folder = lake.files / "np6/events"
    newest = max((folder / OF_FORMAT[table_format]).glob("*.json"))
    os.truncate(newest, 50)
    is_refused(lake, TableMissing, "Table events of dataset 'np6' cannot be opened")
    shutil.rmtree(folder)
    lake.load(reload=True)
    assert lake.ids() == {"event-00000", "event-00001"}


@pytest.mark.parametrize("table_format", FORMATS)
def test_of_a_data_file_that_is_gone_a_load_says_what_to_do_as_well(
    make_lake: Callable[[str | None], Lake], table_format: str
) -> None:
    lake = make_lake(table_format)
    folder = lake.files / "np6/events"
    for file in folder.rglob("*.parquet"):
        file.unlink()
    again = partial(lake.source, start=at("03-01"), end=at("03-02"), on_error="keep")
    said = r"(?s)A file of table events of dataset 'np6' is gone .* --reload"
    with pytest.raises(PipelineStepFailed, match=said):
        load(lake.pipeline(), again)
    shutil.rmtree(folder)
    lake.load(reload=True)
    assert lake.ids() == {"event-00000", "event-00001"}


@pytest.mark.destinations
def test_a_copy_of_an_iceberg_table_changes_nothing_where_it_came_from(
    make_lake: Callable[[str | None], Lake],
) -> None:
    lake = make_lake("iceberg")
    original, before = lake.files, files_in(lake.files)
    lake.files = lake.folder / "copy"
    shutil.copytree(original, lake.files)
    is_refused(lake, SettingError, "was moved or copied: by its metadata its files are in")
    with pytest.raises((SettingError, PipelineStepFailed), match="was moved or copied"):
        lake.load(reload=True)
    assert files_in(original) == before
    shutil.rmtree(lake.files)
    lake.files.symlink_to(original)
    lake.load()
    lake.files = original
    assert lake.ids() == {"event-00000", "event-00001"}


@pytest.mark.destinations
def test_a_delta_table_may_be_moved(make_lake: Callable[[str | None], Lake]) -> None:
    lake = make_lake("delta")
    lake.files = lake.files.rename(lake.folder / "moved")
    lake.load()
    assert lake.ids() == {"event-00000", "event-00001"}


@pytest.mark.parametrize("name", ["_dlt_loads", "_dlt_pipeline_state", "_dlt_version"])
def test_dlt_s_own_folders_are_made_again(
    make_lake: Callable[[str | None], Lake], name: str
) -> None:
    lake = make_lake(None)
    shutil.rmtree(lake.files / "np6" / name)
    lake.load()
    lake.load()
    assert lake.ids() == {"event-00000", "event-00001"}
    assert list((lake.files / "np6" / name).glob("*.jsonl"))


def test_a_dataset_s_folder_that_a_kill_left_empty_is_taken(
    make_lake: Callable[[str | None], Lake],
) -> None:
    lake = make_lake(None)
    shutil.rmtree(lake.files / "np6")
    (lake.files / "np6").mkdir()
    lake.load()
    assert lake.ids() == {"event-00000", "event-00001"}


def test_a_file_has_its_name_once_it_is_whole(
    make_lake: Callable[[str | None], Lake], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = make_lake(None)
    before = files_in(lake.files)

    def half(source: str, target: str) -> None:
        Path(target).write_bytes(Path(source).read_bytes()[:20])
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(shutil, "copyfile", half)
        with pytest.raises(PipelineStepFailed, match="No space left"):
            lake.run()
    assert files_in(lake.files) == before
    lake.load()
    assert lake.ids() == {"event-00000", "event-00001"}


def test_what_a_kill_left_without_a_name_goes_after_a_day(tmp_path: Path) -> None:
    young, old, other = (tmp_path / name for name in (".1.np6-new", ".2.np6-new", "3.np6-new"))
    for file in (young, old, other):
        file.touch()
    for file in (old, other):
        os.utime(file, (0, 0))
    WholeFiles(str(tmp_path)).write_text(str(tmp_path / "table" / "file"), "text")
    assert files_in(tmp_path) == {young: b"", other: b"", tmp_path / "table" / "file": b"text"}


def files_in(folder: Path) -> dict[Path, bytes]:
    """The files of tables, and what is in them."""
    return {
        path: path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(".lock")
    }
