"""Delta and Iceberg tables into which a schedule loads for years: few files, nothing lost."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from dlt.common.destination.exceptions import DestinationUndefinedEntity

from np6_source.open_tables import compaction, maintenance
from np6_source.schema import EVENTS
from tests.destinations.schedule import Schedule, as_stored, files_in
from tests.destinations.stores import FileStore, Store
from tests.support import ROOT

pytestmark = [pytest.mark.destinations, pytest.mark.timeout(300)]

AT_ONCE = {"deltalake_configuration": {"delta.deletedFileRetentionDuration": "interval 0 seconds"}}
"""Has Delta remove what no version names at once, and not a week later."""

PACE: Mapping[str, Any] = {
    "compaction.FILES_JOINED": 4,
    "maintenance.SNAPSHOTS_KEPT": 5,
    "maintenance.KEPT_FOR": timedelta(0),
    "maintenance.VACUUM_EVERY": 10,
}
"""What takes 16 files, 100 snapshots and hours in life takes a few loads here."""


@pytest.fixture
def _at_a_test_s_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PACE.items():
        monkeypatch.setattr(f"np6_source.open_tables.{name}", value)


def schedule_of(kind: str, folder: Path, **options: Any) -> Schedule:
    made = Schedule(kind, folder, options=AT_ONCE, **options)
    made.begin()
    return made


@pytest.fixture(params=["delta", "iceberg"])
def schedule(request: pytest.FixtureRequest, tmp_path: Path) -> Schedule:
    return schedule_of(request.param, tmp_path)


@pytest.fixture
def iceberg(tmp_path: Path) -> Schedule:
    return schedule_of("iceberg", tmp_path)


@pytest.mark.usefixtures("_at_a_test_s_pace")
def test_thirty_loads_leave_as_many_files_as_ten(schedule: Schedule) -> None:
    seen = []
    for run in range(30):
        if run % 3:  # What a merge does not touch it does not join, either.
            schedule.forget()
        schedule.run(1)
        data, metadata = files_in(schedule.table)
        seen.append((schedule.live_files(), len(data), len(metadata)))
    assert schedule.stored() == schedule.expected
    live, data_files, metadata_files = (max(counts) for counts in zip(*seen[20:], strict=True))
    assert live <= 5
    assert data_files <= (20 if schedule.kind == "iceberg" else 10)
    if schedule.kind == "iceberg":  # Delta's log bounds itself, by days.
        assert metadata_files <= 50


@pytest.mark.usefixtures("_at_a_test_s_pace")
def test_who_opened_a_table_before_reads_it_to_the_end(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ages as they are in life: what was there this morning stays.
    monkeypatch.setattr(maintenance, "KEPT_FOR", timedelta(hours=6))
    for kind in ("delta", "iceberg"):
        schedule = Schedule(kind, tmp_path / kind)
        schedule.folder.mkdir()
        schedule.begin()
        schedule.run(3)
        expected, opened = dict(schedule.expected), schedule.opened()
        schedule.run(12)
        assert as_stored(opened) == expected
        assert schedule.stored() == schedule.expected


def test_an_old_table_with_many_files_is_tidied_up(
    schedule: Schedule, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(compaction, "FILES_JOINED", 1_000)
        append(schedule, 20)
    before = schedule.live_files()
    schedule.run(1)
    assert before >= 20
    assert schedule.live_files() <= 4
    assert schedule.stored() == schedule.expected


def append(schedule: Schedule, count: int) -> None:
    """Loads of which none has an event that was there: each leaves a file in a Delta table too."""
    for _ in range(count):
        schedule.forget()
        schedule.run(1)


KILLED = """
import itertools, json, os, signal, sys, threading
from pathlib import Path
from np6_source.open_tables import compaction, maintenance
from tests.destinations.schedule import Schedule

def kill(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)

kind, folder, moment, file = json.loads(sys.argv[1])
schedule = Schedule(kind, Path(folder), name="killed", seed=2)
schedule.begin()
compaction.FILES_JOINED = 1_000
for _ in range(6):
    schedule.forget()
    schedule.run(1)
compaction.FILES_JOINED = 4
rows = schedule.rows()
Path(file).write_text(json.dumps({id: at.isoformat() for id, at in schedule.expected.items()}))
if kind == "iceberg":
    import pyiceberg.io.pyarrow
    from np6_source.open_tables import folder_catalog
    compact = maintenance.compact_iceberg
    make = pyiceberg.io.pyarrow._dataframe_to_data_files
    def killed_after_a_file(*arguments):
        next(iter(make(*arguments)))
        kill()
    def compact_until_killed(table):
        if moment == "a file is written":
            pyiceberg.io.pyarrow._dataframe_to_data_files = killed_after_a_file
        elif moment == "the commit begins":
            folder_catalog.create_file = kill
        else:
            os.link = kill
        compact(table)
        kill()
    maintenance.compact_iceberg = compact_until_killed
else:
    from deltalake.table import TableOptimizer
    compact = TableOptimizer.compact
    def compact_until_killed(optimizer, **options):
        if moment == "it is done":
            compact(optimizer, **options)
            kill()
        threading.Timer(float(moment), kill).start()
        compact(optimizer, **options)
        threading.Event().wait()
    TableOptimizer.compact = compact_until_killed
schedule.load(rows)
"""


@pytest.mark.parametrize(
    ("kind", "moment"),
    [
        *(("iceberg", moment) for moment in ("a file is written", "the commit begins", "it ends")),
        *(("delta", moment) for moment in ("0", "0.003", "0.01", "it is done")),
    ],
)
def test_one_that_is_killed_while_it_joins_files_loses_nothing(
    kind: str, moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = tmp_path / "expected.json"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, json.dumps([kind, str(tmp_path), moment, str(expected)])],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=100,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    schedule = Schedule(kind, tmp_path, options=AT_ONCE, name="killed", seed=3)
    schedule.expected |= {
        event_id: datetime.fromisoformat(text)
        for event_id, text in json.loads(expected.read_text()).items()
    }
    assert schedule.stored() == schedule.expected
    monkeypatch.setattr(compaction, "FILES_JOINED", 4)
    schedule.run(1)
    assert schedule.stored() == schedule.expected
    assert schedule.live_files() <= 3


@pytest.mark.usefixtures("_at_a_test_s_pace")
class TestIceberg:
    def test_the_hundred_thousandth_version_is_newer_than_the_one_before(
        self, iceberg: Schedule
    ) -> None:
        iceberg.run(1)
        folder = iceberg.table / "metadata"
        newest = max(folder.glob("*.metadata.json"))
        newest.rename(folder / f"99998{newest.name[5:]}")
        iceberg.run(6)
        assert max(file.name for file in folder.glob("*.metadata.json")).startswith("9999")
        assert list(folder.glob("10000?-*.metadata.json"))
        assert iceberg.stored() == iceberg.expected

    def test_one_that_was_removed_is_made_anew(self, iceberg: Schedule) -> None:
        iceberg.run(1)
        with iceberg.pipeline.destination_client() as client:
            opened: Any = client
            opened.load_open_table("iceberg", "events")
            shutil.rmtree(iceberg.table)
            with pytest.raises(DestinationUndefinedEntity):
                opened.load_open_table("iceberg", "events")
            assert not opened.get_open_table_catalog("iceberg").list_tables("np6")
        iceberg.expected.clear()
        iceberg.run(1)
        assert iceberg.stored() == iceberg.expected

    def test_snapshots_with_a_name_and_young_ones_stay(self, iceberg: Schedule) -> None:
        iceberg.run(1)
        opened, expected = iceberg.opened(), dict(iceberg.expected)
        opened.manage_snapshots().create_tag(
            opened.current_snapshot().snapshot_id, "before"
        ).commit()
        iceberg.run(12)
        tagged = iceberg.opened()
        old = tagged.snapshot_by_name("before")
        found = tagged.scan(snapshot_id=old.snapshot_id).to_arrow().select(["id", "requested_at"])
        kept = {row["id"]: row["requested_at"] for row in found.to_pylist()}
        assert kept.keys() == expected.keys()
        assert len(tagged.snapshots()) <= 2 * 5 + 3

    def test_the_table_s_own_properties_say_how_long_snapshots_stay(
        self, iceberg: Schedule
    ) -> None:
        iceberg.run(1)
        with iceberg.opened().transaction() as transaction:
            transaction.set_properties({"history.expire.max-snapshot-age-ms": "86400000"})
        iceberg.run(12)
        assert len(iceberg.opened().snapshots()) > 12

    def test_what_killed_loads_left_goes_after_days_and_nothing_else(
        self, iceberg: Schedule
    ) -> None:
        iceberg.run(1)
        long_ago = (datetime.now(timezone.utc) - timedelta(days=4)).timestamp()
        left = [iceberg.table / name for name in ("data/left.parquet", "metadata/left.avro")]
        young = iceberg.table / "data" / "young.parquet"
        others = iceberg.table / "metadata" / "version-hint.text"
        for file in (*left, young, others):
            file.write_bytes(b"left")
        for file in iceberg.table.rglob("*"):
            if file.is_file() and file != young:
                os.utime(file, (long_ago, long_ago))
        iceberg.run(12)
        assert [file.exists() for file in (*left, young, others)] == [False, False, True, True]
        assert iceberg.stored() == iceberg.expected

    def test_files_that_cannot_be_compared_stay(self) -> None:
        old = datetime(2024, 3, 1, tzinfo=timezone.utc)
        listed = [("data/1.parquet", old), ("data/2.parquet", old)]
        left = maintenance.left_by_killed_loads
        assert left("s3://b/t", {"s3://b/t/data/1.parquet"}, listed) == ["s3://b/t/data/2.parquet"]
        assert left("s3a://b/t", {"s3://b/t/data/1.parquet"}, listed) == []
        assert left("s3://b/t", {"s3://elsewhere/data/1.parquet"}, listed) == []


WRITER = """
import json, sys
from pathlib import Path
from np6_source.lake import filesystem
from np6_source.open_tables import compaction
from tests.destinations.schedule import Schedule

given = json.loads(sys.argv[1])
compaction.FILES_JOINED = 4
schedule = Schedule(
    given["kind"],
    Path(given["folder"]),
    lambda: filesystem(given["url"], given["credentials"]),
    name=given["name"],
    seed=given["seed"],
)
schedule.begin()
schedule.run(given["count"])
print(json.dumps({id: at.isoformat() for id, at in schedule.expected.items()}))
"""
WRITERS, LOADS = 3, 4


@pytest.mark.parametrize("where", ["delta-local", "iceberg-local", "iceberg-s3"])
def test_writers_at_once_that_join_files_meanwhile_lose_nothing(
    where: str, make_store: Callable[[str], Store], tmp_path: Path
) -> None:
    store = make_store(where)
    assert isinstance(store, FileStore)
    processes = []
    for number in range(WRITERS):
        folder = tmp_path / f"writer-{number}"
        folder.mkdir()
        given = {
            "kind": where.partition("-")[0],
            "folder": str(folder),
            "url": store.url,
            "credentials": store.bucket and store.bucket.credentials,
            "name": f"writer_{number}",
            "seed": number,
            "count": LOADS,
        }
        processes.append(
            subprocess.Popen(
                [sys.executable, "-c", WRITER, json.dumps(given)],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    printed = [process.communicate(timeout=250)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * WRITERS
    expected = {
        event_id: datetime.fromisoformat(text)
        for one in printed
        for event_id, text in json.loads(one.splitlines()[-1]).items()
    }
    found = store.stored(EVENTS)
    assert found is not None
    rows = {row["id"]: row["requested_at"] for row in found.to_pylist()}
    assert rows == expected
    assert found.num_rows == len(rows)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_three_thousand_loads(
    schedule: Schedule, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Years at the pace of life, but that snapshots and old files go at once."""
    monkeypatch.setattr(maintenance, "KEPT_FOR", timedelta(0))
    seen = []

    def look(run: int) -> None:
        if run % 100 == 0:
            data, metadata = files_in(schedule.table)
            seen.append((schedule.live_files(), len(data), len(metadata)))
            with capsys.disabled():
                sys.stdout.write(f"{schedule.kind} {run} {seen[-1]}\n")

    schedule.run(3_000, look)
    assert schedule.stored() == schedule.expected
    live, data, metadata = (max(counts) for counts in zip(*seen, strict=True))
    assert live <= 2 * compaction.FILES_JOINED
    assert data <= 500
    assert metadata <= (700 if schedule.kind == "iceberg" else 4_000)
