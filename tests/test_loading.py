"""``loading.load``: one call that leaves nothing behind, whatever the call before left."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dlt
import pytest
from dlt.common.storages import LoadStorage
from dlt.pipeline.exceptions import PipelineStepFailed
from filelock import FileLock

from np6_source import SettingError, duck, loading
from np6_source.errors import Incomplete
from np6_source.loading import AlreadyRunning, TableMissing, TypeChanged, load
from np6_source.sandbox import Fault, Sandbox
from np6_source.upkeep.reloading import plan_reload
from np6_source.windows import SECOND, Window, merged
from tests.adversary.server import Fact, serving

ALL = "actions_events"
HOUR = 3600 * SECOND
TMake = Callable[..., Any]
TAt = Callable[[str], int]


@pytest.fixture
def sandbox(serve: TMake, event: TMake, at: TAt) -> Sandbox:
    """48 events in two days, all of them readable."""
    sandbox: Sandbox = serve((event(n, at("03-01") + n * HOUR) for n in range(48)), now=at("03-03"))
    return sandbox


@pytest.fixture
def make(sandbox: Sandbox, source_of: TMake) -> TMake:
    """Makes a maker of sources, as ``load`` wants it."""

    def make(*names: str, **options: Any) -> Callable[[], Any]:
        settings = {"on_error": "keep", "window": 6 * 3600, "concurrency": 1} | options
        return lambda: source_of(sandbox, *(names or (ALL,)), **settings)

    return make


EVERY_ID = [f"event-{n:05d}" for n in range(48)]


class TestCheckpoints:
    def test_one_call_commits_several_packages_and_catches_up(
        self, warehouse: Any, make: TMake, at: TAt
    ) -> None:
        report = warehouse.load(make(largest_load=20))
        assert report.packages >= 2
        assert not report.stopped
        assert report.failures == []
        assert warehouse.ids() == EVERY_ID
        (covered,) = merged(warehouse.windows(ALL))
        assert covered.start == at("03-01")
        assert report.cursors == {ALL: covered.end}
        # A window that meets midnight, or the progress, has several rows; the first has its size.
        rows = warehouse.rows("load_windows")
        assert report.windows[ALL] == sum(row["byte_count"] > 0 for row in rows)
        assert report.rows["events"] >= 48

    def test_the_files_of_old_packages_go_and_those_of_the_newest_stay(
        self, warehouse: Any, make: TMake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(loading, "KEPT_PACKAGES", 2)
        packages = warehouse.load(make(largest_load=5)).packages
        assert packages > 4
        loads = [name for (name,) in warehouse.query("SELECT load_id FROM np6._dlt_loads")]
        assert len(loads) == packages
        kept = warehouse.pipeline.list_completed_load_packages()
        assert sorted(kept) == sorted(loads)[-2:]
        assert warehouse.ids() == EVERY_ID

    def test_a_crash_between_two_checkpoints_loses_nothing(
        self, warehouse: Any, make: TMake
    ) -> None:
        calls = 0

        def crash() -> bool:
            nonlocal calls
            calls += 1
            raise RuntimeError("the machine went away")

        with pytest.raises(RuntimeError, match="went away"):
            warehouse.load(make(largest_load=5), stop_when=crash)
        assert calls == 1
        loaded = warehouse.ids()
        assert 0 < len(loaded) < 48
        assert loaded == EVERY_ID[: len(loaded)]
        warehouse.load(make())
        assert warehouse.ids() == EVERY_ID

    def test_a_checkpoint_smaller_than_the_overlap_s_events_still_gets_on(
        self, warehouse: Any, event: TMake, at: TAt, serve: TMake, source_of: TMake
    ) -> None:
        # The overlap of ten minutes holds twenty events, in windows of one minute.
        begin = at("03-01")
        sandbox = serve(
            (event(n, begin + n * 30 * SECOND) for n in range(40)),
            now=begin + 21 * 60 * SECOND,
        )
        make_source = lambda: source_of(  # noqa: E731
            sandbox, ALL, window=60, largest_load=14, concurrency=1, on_error="keep"
        )
        calls = iter(range(100))
        # More than two events are too many for an answer: the windows stay narrow.
        with sandbox.faults.during("oversize=2"):
            report = warehouse.load(make_source, stop_when=lambda: next(calls) > 10)
        assert not report.stopped
        assert len(warehouse.ids()) == 40

    def test_stop_when_of_the_source_ends_a_run_between_windows(
        self, warehouse: Any, make: TMake, sandbox: Sandbox
    ) -> None:
        asked = sandbox.requests
        report = warehouse.load(
            make(stop_when=lambda: len(asked) >= 2), stop_when=lambda: len(asked) >= 2
        )
        assert report.stopped
        loaded = warehouse.ids()
        assert 0 < len(loaded) < 48
        assert loaded == EVERY_ID[: len(loaded)]
        assert merged(warehouse.windows(ALL))[0].end == warehouse.places(ALL)["places"][""]["until"]
        warehouse.load(make())
        assert warehouse.ids() == EVERY_ID

    def test_a_failure_ends_the_call_with_what_is_complete(
        self, warehouse: Any, make: TMake, sandbox: Sandbox
    ) -> None:
        with sandbox.faults.during(Fault("status", 429, after=1, retry_after=9_000)):
            report = warehouse.load(make(largest_load=5))
        (failure,) = report.failures
        assert failure["kind"] == "TryAgainLater"
        assert failure["resume_at"].startswith("2024-03-03T02:30:0")
        assert warehouse.ids() == EVERY_ID[: len(warehouse.ids())]
        assert 0 < len(warehouse.ids()) < 48
        assert warehouse.load(make()).failures == []
        assert warehouse.ids() == EVERY_ID


class TestPendingPackages:
    @pytest.fixture
    def begun(self, warehouse: Any, make: TMake, sandbox: Sandbox, at: TAt) -> Any:
        """A warehouse with twelve events, before a run that is cut short at 2 March."""
        sandbox.now = at("03-01T12:00") - SECOND
        warehouse.load(make())
        sandbox.now = at("03-02") - SECOND
        return warehouse

    @pytest.mark.parametrize("steps", [["extract"], ["extract", "normalize"]], ids=" ".join)
    def test_one_left_behind_is_loaded_and_the_same_call_extracts(
        self, begun: Any, make: TMake, sandbox: Sandbox, at: TAt, caplog: Any, steps: list[str]
    ) -> None:
        begun.pipeline.extract(make()())
        if "normalize" in steps:
            begun.pipeline.normalize()
        assert begun.ids() == EVERY_ID[:12]
        sandbox.now = at("03-03")
        sandbox.requests.clear()
        with caplog.at_level(logging.WARNING, "np6_source"):
            begun.load(make())
        assert "left a package behind; it is loaded now" in caplog.text
        assert min(r.query["start"] for r in sandbox.requests).startswith("2024-03-01T23:")
        assert begun.ids() == EVERY_ID
        assert len(merged(begun.windows(ALL))) == 1

    def test_a_package_whose_job_was_interrupted_is_extracted_again(
        self, begun: Any, make: TMake, sandbox: Sandbox, caplog: Any
    ) -> None:
        pipeline = begun.pipeline
        pipeline.extract(make()())
        pipeline.normalize()
        (load_id,) = pipeline.list_normalized_load_packages()
        # What a kill leaves: a job that was started, perhaps with its rows in the destination.
        package = begun.pipelines_dir / begun.name / "load" / "normalized" / load_id
        (job,) = (package / "new_jobs").glob("load_windows.*")
        job.rename(package / "started_jobs" / job.name)
        sandbox.requests.clear()
        with caplog.at_level(logging.WARNING, "np6_source"):
            begun.load(make())
        assert "was interrupted while loading" in caplog.text
        assert min(r.query["start"] for r in sandbox.requests).startswith("2024-03-01T11:")
        assert begun.ids() == EVERY_ID[:24]
        starts = [window.start for window in begun.windows(ALL)]
        assert len(starts) == len(set(starts))

    @pytest.mark.filterwarnings("ignore:The .warn. method is deprecated")  # dlt 1.31
    @pytest.mark.parametrize("is_load", [True, False], ids=["load", "run"])
    def test_one_that_a_kill_left_loaded_but_in_its_place_is_put_away(
        self,
        begun: Any,
        make: TMake,
        sandbox: Sandbox,
        at: TAt,
        monkeypatch: pytest.MonkeyPatch,
        is_load: bool,
    ) -> None:
        def killed(self: LoadStorage, load_id: str, *_: Any) -> None:
            self.normalized_packages.complete_loading_package(load_id, "loaded")
            raise KeyboardInterrupt

        with monkeypatch.context() as patched:
            patched.setattr(LoadStorage, "complete_load_package", killed)
            with pytest.raises(PipelineStepFailed, match="KeyboardInterrupt"):
                begun.pipeline.run(make()())
        assert len(begun.pipeline.list_normalized_load_packages()) == 1
        sandbox.now = at("03-03")
        if is_load:
            begun.load(make())
        else:
            for _ in range(2):  # dlt's own loads what is pending, and nothing else.
                begun.pipeline.run(make()())
        assert begun.ids() == EVERY_ID
        assert not begun.pipeline.list_normalized_load_packages()

    def test_one_left_behind_by_the_first_run_ever_is_not_needed(
        self, warehouse: Any, make: TMake
    ) -> None:
        warehouse.pipeline.extract(make()())
        warehouse.load(make())
        assert warehouse.ids() == EVERY_ID


class TestOneAtATime:
    def test_a_second_process_says_so_and_changes_nothing(
        self, warehouse: Any, make: TMake, sandbox: Sandbox
    ) -> None:
        with (
            FileLock(warehouse.pipelines_dir / f"{warehouse.name}.np6.lock"),
            pytest.raises(AlreadyRunning, match=f"running pipeline '{warehouse.name}'"),
        ):
            warehouse.load(make())
        assert sandbox.requests == []
        assert not warehouse.database.exists()

    def test_the_lock_holds_while_a_load_runs_and_is_free_after_it(
        self, warehouse: Any, make: TMake, sandbox: Sandbox
    ) -> None:
        refused: list[BaseException] = []

        def second() -> bool:
            def run() -> None:
                try:
                    warehouse.load(make())
                except AlreadyRunning as error:
                    refused.append(error)

            other = threading.Thread(target=run)
            other.start()
            other.join()
            return False

        warehouse.load(make(), stop_when=second)
        assert len(refused) == 1
        assert warehouse.ids() == EVERY_ID


class TestLostThings:
    """What was loaded went away: tables, dataset, file, working folder."""

    @pytest.fixture
    def expected(self, warehouse: Any, make: TMake, sandbox: Sandbox, at: TAt) -> Any:
        sandbox.now = at("03-02") - SECOND
        warehouse.load(make())
        before = warehouse.ids()
        assert before == EVERY_ID[:24]
        sandbox.now = at("03-03")
        return EVERY_ID

    @pytest.mark.parametrize("table", ["events", "load_windows", "events__hits"])
    def test_a_dropped_table_is_explained_and_a_reload_recovers(
        self, warehouse: Any, make: TMake, expected: list[str], table: str
    ) -> None:
        warehouse.execute(f"DROP TABLE np6.{table}")
        state = warehouse.state()
        with pytest.raises(TableMissing, match=f"{table} is gone .*--reload"):
            warehouse.load(make())
        assert warehouse.state() == state
        warehouse.load(make(), reload=True)
        assert warehouse.ids() == expected
        assert merged(warehouse.windows(ALL))[0].start == 1709251200000

    @pytest.mark.parametrize("column", ["events.agency", "load_windows.table_counts"])
    def test_a_dropped_column_is_explained_and_a_reload_recovers(
        self, warehouse: Any, make: TMake, expected: list[str], column: str
    ) -> None:
        table, name = column.split(".")
        warehouse.execute(f"ALTER TABLE np6.{table} DROP COLUMN {name}")
        state = warehouse.state()
        with pytest.raises(TableMissing, match=f"{column} is gone .*--reload"):
            warehouse.load(make())
        assert warehouse.state() == state
        warehouse.load(make(), reload=True)
        assert warehouse.ids() == expected
        assert all(row["agency"] for row in warehouse.rows("events"))
        assert merged(warehouse.windows(ALL))[0].start == 1709251200000

    def test_a_dropped_column_that_no_row_can_be_without_says_to_drop_the_table(
        self, warehouse: Any, make: TMake, expected: list[str]
    ) -> None:
        warehouse.execute("ALTER TABLE np6.events DROP COLUMN requested_at")
        with pytest.raises(TableMissing, match=r"events\.requested_at is gone .* drop events, as"):
            warehouse.load(make())
        warehouse.execute("DROP TABLE np6.events")
        warehouse.load(make(), reload=True)
        assert warehouse.ids() == expected

    @pytest.mark.parametrize("table", ["_dlt_loads", "_dlt_pipeline_state"])
    def test_a_dropped_table_of_dlt_is_made_again(
        self, warehouse: Any, make: TMake, expected: list[str], caplog: Any, table: str
    ) -> None:
        warehouse.execute(f"DROP TABLE np6.{table}")
        warehouse.load(make())
        assert f"{table} is gone from the dataset, and is made again" in caplog.text
        assert warehouse.ids() == expected
        assert merged(warehouse.windows(ALL))[0].start == 1709251200000

    @pytest.mark.parametrize(
        ("column", "other"),
        [("load_windows.event_count", "VARCHAR"), ("events.message_stamped_at", "BOOLEAN")],
    )
    def test_a_column_of_another_type_is_explained_and_a_reload_recovers(
        self, warehouse: Any, make: TMake, expected: list[str], column: str, other: str
    ) -> None:
        table, name = column.split(".")
        warehouse.execute(f"ALTER TABLE np6.{table} ALTER {name} TYPE {other} USING NULL")
        for reload in (False, True):
            with pytest.raises(TypeChanged, match=rf"{column} \(.*type back, or .*--reload"):
                warehouse.load(make(), reload=reload)
        warehouse.execute(f"ALTER TABLE np6.{table} DROP COLUMN {name}")
        warehouse.load(make(), reload=True)
        assert warehouse.ids() == expected
        assert merged(warehouse.windows(ALL))[0].start == 1709251200000

    def test_a_dropped_dataset_recovers_by_itself(
        self, warehouse: Any, make: TMake, expected: list[str]
    ) -> None:
        warehouse.execute("DROP SCHEMA np6 CASCADE", "DROP SCHEMA IF EXISTS np6_staging CASCADE")
        warehouse.load(make())
        assert warehouse.ids() == expected

    def test_a_deleted_database_recovers_by_itself(
        self, warehouse: Any, make: TMake, expected: list[str], caplog: Any
    ) -> None:
        warehouse.database.unlink()
        warehouse.load(make())
        assert "loaded from 2024-03-01T00:00:00Z on: all of it is loaded again" in caplog.text
        assert warehouse.ids() == expected
        assert merged(warehouse.windows(ALL))[0].start == 1709251200000

    def test_a_wiped_working_folder_goes_on_from_the_destination(
        self, warehouse: Any, make: TMake, sandbox: Sandbox, expected: list[str]
    ) -> None:
        shutil.rmtree(warehouse.pipelines_dir)
        sandbox.requests.clear()
        warehouse.load(make())
        assert warehouse.ids() == expected
        assert min(r.query["start"] for r in sandbox.requests).startswith("2024-03-01T23:")
        assert len(merged(warehouse.windows(ALL))) == 1

    def test_a_reload_drops_what_is_no_longer_there(
        self, warehouse: Any, make: TMake, expected: list[str]
    ) -> None:
        # Requested before the reload, by the clock of the server, like all rows.
        warehouse.execute(
            "INSERT INTO np6.events (id, timestamp, requested_at)"
            " SELECT 'stray', max(timestamp), min(requested_at) - INTERVAL 1 MINUTE FROM np6.events"
        )
        warehouse.load(make(), reload=True)
        assert warehouse.ids() == expected


def test_an_error_of_the_source_ends_the_call_and_the_next_goes_on(
    warehouse: Any, make: TMake, sandbox: Sandbox
) -> None:
    with (
        sandbox.faults.during(Fault("html", after=1)),
        pytest.raises(PipelineStepFailed, match="a page of HTML"),
    ):
        warehouse.load(make(on_error="raise"))
    assert warehouse.rows("load_windows") == []
    warehouse.load(make())
    assert warehouse.ids() == EVERY_ID
    assert isinstance(merged(warehouse.windows(ALL))[0], Window)


BY_ID = "action_events_activations"
KILLED_AT = """
import os, signal, sys
from dlt.destinations.impl.duckdb.sql_client import DuckDbSqlClient

execute = DuckDbSqlClient.execute_query
seen = 0


def kill_at(self, query, *arguments, **options):
    global seen
    text = query if isinstance(query, str) else str(query)
    seen += any(word in text for word in ("DELETE", "INSERT", "COMMIT", "CREATE"))
    if seen == int(os.environ["KILL_AT"]):
        os.kill(os.getpid(), signal.SIGKILL)
    return execute(self, query, *arguments, **options)


DuckDbSqlClient.execute_query = kill_at
sys.path.insert(0, os.environ["HERE"])
import dlt
from np6_source import np6_source
from np6_source.loading import load

pipeline = dlt.pipeline(
    "np6_test",
    destination=dlt.destinations.duckdb(os.environ["DATABASE"]),
    dataset_name="np6",
    pipelines_dir=os.environ["PIPELINES"],
)
load(
    pipeline,
    lambda **more: np6_source(
        os.environ["KEY"], base_url=os.environ["URL"], start="2024-03-01", on_error="keep", **more
    ).with_resources("actions_events"),
    reload=True,
)
"""


class TestReload:
    """Everything is read again; at no moment is anything less there than before."""

    @pytest.fixture
    def loaded(self, warehouse: Any, make: TMake, sandbox: Sandbox, at: TAt) -> Any:
        warehouse.load(make())
        assert warehouse.ids() == EVERY_ID
        warehouse.execute(
            "INSERT INTO np6.events (id, timestamp, requested_at)"
            " VALUES ('stray', '2024-03-01T12:00:00Z', '2024-03-02T00:00:00Z')"
        )
        # Later than the first load's requests: with a clock that stands still they look alike.
        sandbox.now = at("03-03T01:00")
        return warehouse

    def test_it_begins_at_the_earliest_start_that_is_known(
        self, loaded: Any, make: TMake, sandbox: Sandbox
    ) -> None:
        # As without --start: of the last 30 days, there are no events any more.
        loaded.load(make(start="2024-03-02T12:00"), reload=True)
        assert loaded.ids() == EVERY_ID
        (covered,) = merged(loaded.windows(ALL))
        assert covered.start == 1709251200000

    def test_after_a_backfill_alone_it_begins_at_the_start_that_is_set(
        self, warehouse: Any, make: TMake
    ) -> None:
        warehouse.load(make(start="2024-03-01T12:00", end="2024-03-01T18:00"))
        report = warehouse.load(make(start="2024-03-01"), reload=True)
        assert report.failures == []
        assert warehouse.ids() == EVERY_ID

    def test_rows_of_a_load_beside_it_stay(
        self, warehouse: Any, make: TMake, sandbox: Sandbox, at: TAt
    ) -> None:
        """They may have been requested up to five seconds earlier, and merged later."""
        warehouse.load(make())
        warehouse.execute(
            "INSERT INTO np6.events (id, timestamp, requested_at)"
            " VALUES ('beside', '2024-03-01T12:00:00Z', '2024-03-03T00:00:02Z')"
        )
        for second, is_there in (5, True), (10, False):
            sandbox.now = at("03-03") + second * SECOND
            assert warehouse.load(make(), reload=True).failures == []
            assert ("beside" in warehouse.ids()) is is_there

    def test_it_begins_where_it_is_told_to(self, loaded: Any, make: TMake, at: TAt) -> None:
        loaded.load(make(), reload=True, reload_start="2024-03-02")
        assert loaded.ids() == EVERY_ID[24:]
        assert merged(loaded.windows(ALL))[0].start == at("03-02")

    def test_what_goes_is_told_beforehand(self, loaded: Any, make: TMake) -> None:
        planned = plan_reload(loaded.pipeline, make()(), start="2024-03-02")
        assert "Reads actions_events again, all of it from 2024-03-02T00:00:00Z." in str(planned)
        assert "events (49 rows)" in str(planned)
        assert "Everything from before 2024-03-02T00:00:00Z goes: the history begins at" in str(
            planned
        )
        assert len(loaded.ids()) == 49

    @pytest.mark.parametrize("fault", [Fault("status", 401), Fault("status", 503)])
    def test_with_a_wrong_key_or_the_api_down_nothing_changes(
        self, loaded: Any, make: TMake, sandbox: Sandbox, fault: Fault
    ) -> None:
        state, contents = loaded.state(), loaded.contents()
        with (
            sandbox.faults.during(fault),
            pytest.raises(Incomplete, match="has not begun and nothing was changed"),
        ):
            loaded.load(make(attempts=2), reload=True)
        assert (loaded.state(), loaded.contents()) == (state, contents)

    def test_one_that_would_leave_out_a_resource_is_refused(self, loaded: Any, make: TMake) -> None:
        loaded.load(make(BY_ID, action_ids=["000AA1"]))
        state = loaded.state()
        with pytest.raises(SettingError, match=f"{BY_ID} loaded into the same tables"):
            loaded.load(make(), reload=True)
        assert loaded.state() == state
        loaded.load(make(ALL, BY_ID, action_ids=["000AA1"]), reload=True)
        assert loaded.ids() == EVERY_ID
        assert loaded.windows(BY_ID, "000AA1")

    def test_a_resource_that_never_loaded_anything_may_be_left_out(
        self, loaded: Any, make: TMake
    ) -> None:
        loaded.load(make(BY_ID, action_ids=["000ZZZ"]))
        loaded.load(make(), reload=True)
        assert loaded.ids() == EVERY_ID

    def test_ids_that_are_left_out_keep_their_events(
        self, loaded: Any, make: TMake, caplog: Any
    ) -> None:
        loaded.load(make(BY_ID, action_ids=["000AA1"]))
        loaded.load(make(ALL, BY_ID, action_ids=["000AA2"]), reload=True)
        assert f"keeps its rows of before: {BY_ID} id 000AA1." in caplog.text
        assert loaded.ids() == EVERY_ID  # Without the stray, which is of no id.
        assert loaded.windows(BY_ID, "000AA1")

    @pytest.mark.parametrize("names", [(BY_ID,), (ALL, BY_ID)])
    def test_an_id_that_np6_has_deleted_keeps_its_rows_and_all_else_is_reloaded(
        self,
        names: tuple[str, ...],
        new_warehouse: TMake,
        make: TMake,
        event: TMake,
        at: TAt,
        serve: TMake,
        source_of: TMake,
        caplog: Any,
    ) -> None:
        days = [
            event(n, at("03-01") + n * HOUR, action=f"000AA{n % 3 + 1}", type="activation")
            for n in range(48)
        ]
        ids = ["000AA1", "000AA2", "000AA3"]

        def make_of(api: Sandbox, *names: str) -> Callable[[], Any]:
            # What was requested in the same millisecond is kept as well.
            apart = {"concurrency": 1, "requests_per_minute": 3000}
            return lambda: source_of(api, *names, action_ids=ids, on_error="keep", **apart)

        warehouse = new_warehouse()
        before = serve(days, now=at("03-03"))
        for name in names:
            warehouse.load(make_of(before, name))
        assert warehouse.ids() == EVERY_ID
        progress = warehouse.places(BY_ID)["places"]["000AA3"]
        # Action 000AA3 is deleted, and an event of 000AA1 as well.
        left = [one for number, one in enumerate(days) if number % 3 < 2 and number != 6]
        after = serve(left, now=at("03-03T01:00"))
        report = warehouse.load(make_of(after, *names), reload=True)
        assert {(one["kind"], one["id"]) for one in report.failures} == {("NotFound", "000AA3")}
        assert warehouse.ids() == [one for one in EVERY_ID if one != "event-00006"]
        assert f"{BY_ID} id 000AA3 (NP6 does not know it)" in caplog.text
        assert "reload" not in warehouse.pipeline.state["sources"]["np6"]
        # Where NP6 knows it again, it goes on from where it was.
        kept = warehouse.places(BY_ID)["places"]["000AA3"]
        assert (kept["start"], kept["until"]) == (progress["start"], progress["until"])
        # A reload once more, without the id, changes nothing.
        ids.remove("000AA3")
        assert warehouse.load(make_of(after, *names), reload=True).failures == []
        assert warehouse.ids() == [one for one in EVERY_ID if one != "event-00006"]

    def test_one_that_is_stopped_goes_on_with_the_next_call(
        self, loaded: Any, make: TMake, sandbox: Sandbox
    ) -> None:
        report = loaded.load(make(largest_load=10), stop_when=lambda: True, reload=True)
        assert report.stopped
        assert set(loaded.ids()) >= set(EVERY_ID)
        loaded.load(make(start="2024-03-02T12:00"))
        assert loaded.ids() == EVERY_ID
        assert merged(loaded.windows(ALL))[0].start == 1709251200000
        assert "reload" not in loaded.pipeline.state["sources"]["np6"]

    @pytest.mark.parametrize(
        ("destination", "behind"),
        [(dlt.destinations.duckdb, 20.0), (duck.duckdb, 20.0), (duck.duckdb, 1.5)],
        ids=["staged", "direct", "direct, a little"],
    )
    def test_rows_that_count_as_newer_than_what_was_read_again_stay(
        self, new_warehouse: TMake, source_of: TMake, at: TAt, destination: Any, behind: float
    ) -> None:
        """Servers of one API need not have one clock: the merge leaves the reload's rows out."""
        warehouse = new_warehouse(destination=destination)
        account = [
            Fact(f"event-{n:05d}", at("03-01") + n * HOUR, "000AA1", "activation")
            for n in range(48)
        ]
        with serving({"a-key": account}) as api:
            api.now = at("03-03")
            asked = SimpleNamespace(url=api.url, key="a-key")

            def make_source() -> Any:
                return source_of(asked, ALL, on_error="keep", window=12 * 3600, settle=0)

            def with_a_clock_behind(path: str, rows: list[Any]) -> None:
                api.clock = 0.0 if "start=2024-03-02T12" in path else -behind

            warehouse.load(make_source)
            api.respond = with_a_clock_behind
            report = warehouse.load(make_source, reload=True)
        assert report.failures == []
        assert "reload" not in warehouse.pipeline.state["sources"]["np6"]
        assert warehouse.ids() == EVERY_ID

    def test_a_pipeline_made_with_refresh_is_reloaded_once(self, loaded: Any, make: TMake) -> None:
        pipeline = loaded.pipeline
        pipeline.refresh = "drop_sources"
        report = load(pipeline, make(largest_load=10))
        assert report.packages > 2
        assert loaded.ids() == EVERY_ID

    @pytest.mark.parametrize("statement", [1, 4, 7, 8, 9, 10, 11, 12, 13, 14])
    def test_a_kill_at_any_statement_loses_nothing_and_any_call_ends_it(
        self, loaded: Any, make: TMake, sandbox: Sandbox, statement: int, tmp_path: Path
    ) -> None:
        killed = subprocess.run(
            [sys.executable, "-c", KILLED_AT],
            cwd=tmp_path,
            env={
                **os.environ,
                "KILL_AT": str(statement),
                "HERE": str(Path(__file__).parents[1]),
                "DATABASE": str(loaded.database),
                "PIPELINES": str(loaded.pipelines_dir),
                "KEY": sandbox.key,
                "URL": sandbox.url,
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert killed.returncode in (0, -signal.SIGKILL), killed.stderr[-2000:]
        if killed.returncode == 0:
            assert statement > 10
        assert set(loaded.ids()) >= set(EVERY_ID)
        # Whatever is called next is the reload again: it reads all, and what is old goes.
        loaded.load(make(start="2024-03-02T12:00"))
        assert loaded.ids() == EVERY_ID
        (covered,) = merged(loaded.windows(ALL))
        assert covered.start == 1709251200000
