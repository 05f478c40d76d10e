"""``np6-source erase`` and ``person`` on Delta tables: as in a database, and in no file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dlt
import pyarrow.parquet as pq
import pytest
from dlt.common.exceptions import TerminalException
from dlt.pipeline.exceptions import PipelineStepFailed

from np6_source import loading
from np6_source.__main__ import main
from np6_source.bookkeeping.erasures import ErasedMeanwhile, refuse_older
from np6_source.events.digests import DigestKey
from np6_source.lake import filesystem
from np6_source.open_tables import delta
from np6_source.runs import isolation
from np6_source.windows import to_ms
from tests.cli.test_erase import ALL, HERS, KEY, MARIE, OLD, account
from tests.support import Warehouse, at
from tests.test_clear_values import layers

pytestmark = pytest.mark.destinations

SECRET = KEY["SOURCES__NP6__PII_KEY"]
CLEAR = (MARIE, OLD, quote(MARIE, safe=""))
OF_LOADS = ("requested_at", "_dlt_load_id", "duration_ms", "request_id")


def plain(value: Any) -> Any:
    """A value as ``Warehouse.contents`` has it: times in milliseconds."""
    return to_ms(value) if isinstance(value, datetime) else value


class Lake:
    """A dataset of Delta tables, and the pipeline into it."""

    def __init__(self, folder: Path, name: str = "np6_lake") -> None:
        self.folder = folder
        self.name = name
        self.pipeline = self.beside(name)

    def beside(self, name: str) -> dlt.Pipeline:
        """A pipeline into the same dataset."""
        return dlt.pipeline(
            name,
            destination=filesystem((self.folder / "lake").as_uri()),
            dataset_name="np6",
            pipelines_dir=str(self.folder / "pipelines"),
        )

    @property
    def options(self) -> list[str]:
        return [
            *("--pipeline", self.name, "--destination", "filesystem"),
            *("--pipelines-dir", str(self.folder / "pipelines")),
        ]

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """The tables as Delta has them, without what differs from load to load."""
        from deltalake import DeltaTable

        found = {}
        for log in sorted((self.folder / "lake" / "np6").glob("*/_delta_log")):
            table = DeltaTable(str(log.parent)).to_pyarrow_table()
            rows = [
                {n: plain(v) for n, v in row.items() if v is not None and n not in OF_LOADS}
                for row in table.to_pylist()
            ]
            found[log.parent.name] = sorted(rows, key=str)
        return found

    def holding(self, *values: str) -> set[str]:
        """Files that have one of some values; Parquet decoded as well, and what is compressed."""
        found = set()
        for file in (path for path in self.folder.rglob("*") if path.is_file()):
            contents = [file.read_bytes()]
            if file.suffix == ".parquet":
                contents.append(str(pq.read_table(file).to_pylist()).encode())
            for layer in (layer.lower() for content in contents for layer in layers(content)):
                if any(value.lower().encode() in layer for value in values):
                    found.add(str(file.relative_to(self.folder)))
        return found

    def in_tables(self, *values: str) -> set[str]:
        """Files of the dataset that have one of some values."""
        return {file for file in self.holding(*values) if file.startswith("lake/")}


@pytest.fixture
def sandbox(serve: Any) -> Any:
    return serve(account(), now=at("03-02T03:00"))


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "files")


@pytest.fixture
def load(sandbox: Any, source_of: Any) -> Callable[..., Any]:
    """Loads into a lake, or a database; by contacts too."""

    def call(into: Any, *resources: str, **options: Any) -> Any:
        given = {"pii_key": SECRET, "on_error": "keep", **options}
        pipeline = into.pipeline if isinstance(into, Lake) else into
        if isinstance(into, Warehouse):
            return into.load(lambda: source_of(sandbox, *(resources or (ALL,)), **given))
        source = {"table_format": "delta", **given}
        return loading.load(pipeline, lambda: source_of(sandbox, *(resources or (ALL,)), **source))

    return call


@pytest.fixture
def run(command_line: Any, lake: Lake) -> Callable[..., Any]:
    """Runs a command on the lake."""

    def call(command: str, *options: str, **environment: str) -> Any:
        return command_line.run(
            *("-m np6_source", command, *lake.options, *options),
            DESTINATION__FILESYSTEM__BUCKET_URL=(lake.folder / "lake").as_uri(),
            **(KEY | environment),
        )

    return call


NAMES = (ALL, "target_events", "targets_events_hits_by_unicity")
IDS: dict[str, Any] = {"target_ids": ["M1", "P1"], "target_unicities": [MARIE]}


def as_in_a_database(warehouse: Warehouse) -> dict[str, list[dict[str, Any]]]:
    found = {
        name: [
            {n: v for n, v in row.items() if v is not None and n not in OF_LOADS} for row in rows
        ]
        for name, rows in warehouse.contents().items()
    }
    return {name: sorted(rows, key=str) for name, rows in found.items() if rows}


def test_her_values_go_from_all_files_and_rows_are_as_in_a_database(
    lake: Lake, run: Any, load: Any, warehouse: Warehouse, command_line: Any
) -> None:
    load(lake, *NAMES, **IDS)
    load(warehouse, *NAMES, **IDS)
    clear = (*CLEAR, '"m1"', "203.0.113.9")
    assert {file.split("/")[2] for file in lake.holding(*clear) if "lake/" in file} >= {
        *("events", "events__hits", "events__execution_data"),
    }
    before = lake.tables()

    planned = run("erase", "--contact", MARIE)

    assert planned.returncode == 3, planned.stderr
    assert f"events: {len(HERS)} rows would change" in planned.stdout
    assert lake.tables() == before

    ended = run("erase", "--contact", MARIE, "--yes", "--json")

    assert ended.returncode == 3, ended.stderr + ended.stdout
    result = json.loads(ended.stdout)["result"]
    assert (result["rewritten"], result["found_afterwards"]) == (True, [])
    assert not any(value in ended.stdout + ended.stderr for value in (MARIE, OLD))
    in_database = command_line.run(
        *("-m np6_source", "erase", *command_line.where(warehouse)),
        *("--contact", MARIE, "--yes"),
        **KEY,
    )
    assert in_database.returncode == 0, in_database.stderr
    after = lake.tables()
    erasures = after.pop("_np6_erasures")
    assert {row["erasure_id"] for row in erasures} == {result["erasure_id"]}
    assert all("rewritten_at" in row for row in erasures)
    expected = as_in_a_database(warehouse)
    assert {name: after[name] for name in expected if name in after} == {
        name: expected[name] for name in expected if name in after
    }
    assert {"events", "events__hits", "events__execution_data"} <= after.keys() & expected.keys()
    assert lake.holding(*clear) == set()


@pytest.fixture
def erase(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Erases in this process; returns the exit status."""
    for name, value in KEY.items():
        monkeypatch.setenv(name, value)

    def call(*options: str, of: Lake = lake) -> int:
        url = (of.folder / "lake").as_uri()
        monkeypatch.setenv("DESTINATION__FILESYSTEM__BUCKET_URL", url)
        return int(main(["erase", *of.options, *options]))

    return call


def without_ledger(lake: Lake) -> dict[str, list[dict[str, Any]]]:
    """The tables that do not grow with every run."""
    own = ("load_windows", "_np6_erasures")
    return {name: rows for name, rows in lake.tables().items() if name not in own}


def test_nothing_brings_her_back_until_it_is_lifted(
    lake: Lake, erase: Any, load: Any, sandbox: Any
) -> None:
    load(lake)
    full = without_ledger(lake)
    assert erase("--contact", "M1", "--yes") == 3
    erased = without_ledger(lake)
    sandbox.now = at("03-02T06:00")

    load(lake, overlap=86_400)
    load(lake, start="2024-03-01", end="2024-03-02")
    load(lake.beside("another"), ALL, "actions_reactivities")

    assert without_ledger(lake) == erased != full
    assert lake.holding(MARIE, OLD) == set()
    with pytest.raises(Exception, match="contacts were erased from this dataset"):
        load(lake, pii_key=None)

    (listed,) = {row["erasure_id"] for row in lake.tables()["_np6_erasures"]}
    assert erase("--lift", listed) == 0
    load(lake, start="2024-03-01", end="2024-03-02")

    assert without_ledger(lake)["events"] == full["events"]


def test_what_was_extracted_before_is_not_loaded_after(
    lake: Lake, erase: Any, load: Any, sandbox: Any, source_of: Any
) -> None:
    load(lake)
    waiting = lake.beside("another")
    waiting.extract(source_of(sandbox, ALL, table_format="delta", pii_key=SECRET))
    waiting.normalize()
    assert erase("--contact", MARIE, "--yes") == 3
    erased = without_ledger(lake)

    with pytest.raises(ErasedMeanwhile, match="nothing of it was loaded"):
        waiting.load()

    # A kill may have left the package with some of its rows committed.
    assert not any("rewritten_at" in row for row in lake.tables()["_np6_erasures"])
    assert without_ledger(lake) == erased
    assert load(waiting).failures == []
    assert without_ledger(lake) == erased
    assert all("rewritten_at" in row for row in lake.tables()["_np6_erasures"])


@pytest.mark.parametrize("fails", [False, True])
def test_what_a_load_commits_after_it_goes_again(
    lake: Lake,
    erase: Any,
    load: Any,
    sandbox: Any,
    monkeypatch: pytest.MonkeyPatch,
    fails: bool,
) -> None:
    from np6_source.open_tables.jobs import DeltaJob

    load(lake)
    sandbox.now = at("03-02T06:00")
    merge = DeltaJob.merge

    def then_she_is_erased(pipeline: dlt.Pipeline, packages: Any) -> None:
        refuse_older(pipeline, packages)
        assert erase("--contact", MARIE, "--yes") == 3

    def merged(job: Any, how: Any) -> None:
        if fails and job.load_table_name == "events__hits":
            raise TerminalException("a job fails")
        merge(job, how)

    other = lake.beside("another")
    with monkeypatch.context() as patch:
        patch.setattr(isolation, "refuse_older", then_she_is_erased)
        patch.setattr(DeltaJob, "merge", merged)
        if fails:
            with pytest.raises(PipelineStepFailed):
                load(other, overlap=86_400)
            assert lake.in_tables(MARIE, OLD)
            assert not all("rewritten_at" in row for row in lake.tables()["_np6_erasures"])
        else:
            assert load(other, overlap=86_400).failures == []
    if fails:
        load(lake)

    assert lake.in_tables(MARIE, OLD) == set()
    assert all("rewritten_at" in row for row in lake.tables()["_np6_erasures"])


class Killed(BaseException):
    """In place of a kill: nothing catches it."""


@pytest.mark.parametrize("table_format", [None, "iceberg"])
def test_where_files_are_only_read_it_is_refused_and_they_are_named(
    lake: Lake, erase: Any, load: Any, table_format: str | None, capsys: Any
) -> None:
    load(lake, *NAMES, **IDS, table_format=table_format)
    before = {file for file in lake.holding(*CLEAR) if file.endswith(".parquet")}
    assert {file.split("/")[2] for file in before} >= {"events", "events__hits"}
    capsys.readouterr()

    assert erase("--contact", MARIE, "--yes") == 1

    said = capsys.readouterr().err
    assert "not on filesystem: nothing was done" in said
    named = said.partition("Files that hold the person (")[2].partition("): ")
    count, paths = int(named[0]), named[2].rstrip(".\n").split(", ")
    assert count == len(paths) > 0
    assert {str(Path(path).relative_to(lake.folder)) for path in paths} >= before
    assert MARIE not in said
    assert {file for file in lake.holding(*CLEAR) if file.endswith(".parquet")} == before
    assert erase("--contact", "unknown@else.example", "--yes") == 1
    assert "Files that hold" not in capsys.readouterr().err


@pytest.mark.timeout(600)
def test_killed_at_any_commit_the_next_load_ends_it(
    lake: Lake,
    erase: Any,
    load: Any,
    sandbox: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load(lake, *NAMES, **IDS)
    steps: list[str] = []
    killed_at = 10**6

    def counted(name: str) -> Callable[..., None]:
        act = getattr(delta, name)

        def call(*given: Any) -> None:
            if len(steps) == killed_at:
                raise Killed
            steps.append(name)
            act(*given)

        return call

    for name in ("change", "forget_versions"):
        monkeypatch.setattr(delta, name, counted(name))
    whole = Lake(Path(shutil.copytree(lake.folder, tmp_path / "whole")))
    assert erase("--contact", MARIE, "--yes", of=whole) == 3
    expected = whole.tables() | {"_np6_erasures": []}
    order = steps[:]
    assert (order.index("forget_versions"), order[-1]) == (order.count("change") - 1, "change")
    kills = {*range(order.index("forget_versions") + 1), len(order) - 2, len(order) - 1}

    for kill in sorted(kills):
        one = Lake(Path(shutil.copytree(lake.folder, tmp_path / f"killed-{kill}")))
        steps.clear()
        killed_at = kill
        with pytest.raises(Killed):
            erase("--contact", MARIE, "--yes", of=one)
        killed_at = 10**6

        assert loading.finish_on_files(one.pipeline, DigestKey(SECRET))

        assert one.tables() | {"_np6_erasures": []} == expected, kill
        assert one.holding(MARIE, OLD) == set(), kill
        assert all("rewritten_at" in row for row in one.tables()["_np6_erasures"]), kill
        shutil.rmtree(one.folder)

    steps.clear()
    killed_at = 2
    with pytest.raises(Killed):
        erase("--contact", MARIE, "--yes")
    killed_at = 10**6
    sandbox.now = at("03-02T06:00")
    assert lake.holding(MARIE, OLD) != set()
    assert load(lake, overlap=86_400).failures == []
    assert lake.in_tables(MARIE, OLD) == set()
    assert lake.tables()["events"] == expected["events"]


def test_person_collects_what_a_database_would(
    lake: Lake, run: Any, load: Any, warehouse: Warehouse, command_line: Any
) -> None:
    load(lake, *NAMES, **IDS)
    load(warehouse, *NAMES, **IDS)

    on_delta = run("person", "--contact", MARIE, "--json")

    in_database = command_line.run(
        *("-m np6_source", "person", *command_line.where(warehouse)),
        *("--contact", MARIE, "--json"),
        **KEY,
    )
    assert (on_delta.returncode, in_database.returncode) == (0, 0), on_delta.stderr
    found, expected = (json.loads(one.stdout)["result"] for one in (on_delta, in_database))
    same = ("identifiers", "others_at_address", "mentions_elsewhere", "policy", "holds_digests")
    assert {name: found[name] for name in same} == {name: expected[name] for name in same}
    assert [event["id"] for event in found["events"]] == [
        f"event-{number:05d}" for number in sorted(HERS)
    ]
    assert bare(found["events"]) == bare(expected["events"])
    assert found["tables"].keys() == expected["tables"].keys() == {"load_windows"}


def bare(value: Any) -> Any:
    """JSON without what differs from load to load."""
    if isinstance(value, dict):
        return {name: bare(one) for name, one in value.items() if name not in OF_LOADS}
    return [bare(one) for one in value] if isinstance(value, list) else value
