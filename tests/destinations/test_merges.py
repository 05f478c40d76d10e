"""A merge is one unit on every destination: what stops it in between leaves the rows as they were.

And of two versions of an event the newer one stays, in whatever order their packages are loaded.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest
from dlt.pipeline.exceptions import PipelineStepFailed

from np6_source.loading import load
from np6_source.sandbox import Sandbox
from np6_source.schema import EVENTS, HITS
from tests.destinations.stores import DuckDBStore, Store
from tests.support import at, event

ALL = "actions_events"
FIFTY = [event(n, at("03-01T12:00") + n) for n in range(50)]
TMake = Callable[..., Any]

STOPPED = """
import json, os, signal, sys
import dlt
from dlt.destinations.sql_client import SqlClientBase
from np6_source import np6_source

options = json.loads(sys.argv[1])
destination = options["destination"]

def is_insert_of_a_merge(statement):
    is_merge = "_dlt_dedup_rn" in statement or "np6_rank" in statement
    return statement.lstrip().startswith("INSERT INTO") and is_merge

def one_by_one(self, statements, *arguments, **named):
    for statement in statements:
        if is_insert_of_a_merge(statement) and "events__" not in statement:
            os.kill(os.getpid(), signal.SIGKILL)
        self.execute_sql(statement, *arguments, **named)

SqlClientBase.execute_many = one_by_one
if destination.startswith("np6_source.lake"):
    # A merge into Delta is one commit: the kill comes after it, before dlt's note of it.
    import deltalake.table
    execute = deltalake.table.TableMerger.execute
    def killed(self):
        execute(self)
        os.kill(os.getpid(), signal.SIGKILL)
    deltalake.table.TableMerger.execute = killed
    import pyiceberg.io.pyarrow
    write = pyiceberg.io.pyarrow._dataframe_to_data_files
    def stopped(metadata, df, *arguments, **named):
        written = list(write(metadata, df, *arguments, **named))
        if "recipient" in df.column_names and df.num_rows:
            os.kill(os.getpid(), signal.SIGKILL)
        return written
    pyiceberg.io.pyarrow._dataframe_to_data_files = stopped

pipeline = dlt.pipeline(
    "np6_stopped", destination=destination, dataset_name="np6", pipelines_dir=options["folder"]
)
pipeline.run(np6_source(**options["source"]).with_resources("actions_events"))
"""


@pytest.fixture(
    params=[
        "duckdb",
        "direct",
        "postgres",
        *(
            pytest.param(name, marks=pytest.mark.destinations)
            for name in ("ducklake", "delta-local", "iceberg-local")
        ),
    ]
)
def store(request: pytest.FixtureRequest, make_store: Callable[[str], Store]) -> Store:
    return make_store(request.param)


def ids(store: Store) -> list[str]:
    return [row["id"] for row in store.rows(EVENTS)]


class TestStopped:
    @pytest.mark.parametrize("timestamps_are_final", [True, False], ids=["final", "not final"])
    def test_a_kill_between_delete_and_insert_leaves_the_rows(
        self, store: Store, serve: TMake, make: TMake, timestamps_are_final: bool
    ) -> None:
        sandbox: Sandbox = serve(
            [event(n, at("03-01T12:00") + n) for n in range(50)], now=at("03-02T00:10")
        )
        options = {"timestamps_are_final": timestamps_are_final, **store.source_options}
        load(store.pipeline, lambda: make(sandbox, ALL)(**options))
        before = store.rows(EVENTS)
        assert len(before) == 50
        self.stop(store, sandbox, options)
        assert store.rows(EVENTS) == before
        # A different call: that of the schedule, which has nothing to do with the killed one.
        sandbox.now = at("03-02T01:00")
        load(store.pipeline, lambda: make(sandbox, ALL)(**options))
        assert ids(store) == [f"event-{n:05d}" for n in range(50)]

    def stop(self, store: Store, sandbox: Sandbox, options: dict[str, Any]) -> None:
        """A plain run of another pipeline that loads the same range and is killed in its merge."""
        given = {
            "folder": str(store.folder / "stopped"),
            "source": {
                "api_key": sandbox.key,
                "base_url": sandbox.url,
                "start": "2024-03-01",
                "end": "2024-03-02",
                **options,
            },
        }
        finished = store.run(STOPPED, given)
        assert finished.returncode == -signal.SIGKILL, finished.stderr[-4000:]

    def test_a_column_dropped_by_hand_leaves_the_rows(
        self, store: Store, serve: TMake, make: TMake
    ) -> None:
        if not isinstance(store, DuckDBStore) and store.script_name != "postgres":
            pytest.skip("a table format of files has no ALTER TABLE by hand")
        sandbox: Sandbox = serve(
            [event(n, at("03-01T12:00") + n) for n in range(50)], now=at("03-02T00:10")
        )
        make_source = lambda: make(sandbox, ALL)(overlap=24 * 3600)  # noqa: E731
        load(store.pipeline, make_source)
        store.execute("ALTER TABLE np6.events DROP COLUMN unmapped")
        sandbox.now = at("03-02T01:00")
        with pytest.raises(PipelineStepFailed):
            load(store.pipeline, make_source)
        assert ids(store) == [f"event-{n:05d}" for n in range(50)]
        store.execute(f"ALTER TABLE np6.events ADD COLUMN unmapped {store.text_type}")
        load(store.pipeline, make_source)
        assert ids(store) == [f"event-{n:05d}" for n in range(50)]


def changed(action: str) -> dict[str, Any]:
    made: dict[str, Any] = event(1, at("03-01T12:00"), action=action)
    return made


class TestOrder:
    def test_a_package_requested_earlier_and_loaded_later_leaves_the_newer_rows(
        self, store: Store, serve: TMake, make: TMake
    ) -> None:
        others = [event(n, at("03-01") + n) for n in range(2, 30)]
        span = {"start": at("03-01"), "end": at("03-02"), **store.source_options}
        slow = store.named("np6_slow")
        older = serve([*others[:20], changed("OLD001")], now=at("03-03"))
        slow.extract(make(older, ALL)(**span))
        newer = serve([*others, changed("NEW001")], now=at("03-03T01:00"))
        load(store.pipeline, lambda: make(newer, ALL)(**span))
        newest = store.rows(EVENTS)
        slow.normalize()
        slow.load()
        assert store.rows(EVENTS) == newest
        assert [row["action_id"] for row in newest if row["id"] == "event-00001"] == ["NEW001"]

    def test_what_it_alone_has_is_loaded(self, store: Store, serve: TMake, make: TMake) -> None:
        span = {"start": at("03-01"), "end": at("03-02"), **store.source_options}
        slow = store.named("np6_slow")
        older = serve([changed("OLD001"), event(2, at("03-01") + 2)], now=at("03-03"))
        slow.extract(make(older, ALL)(**span))
        newer = serve([changed("NEW001"), event(3, at("03-01") + 3)], now=at("03-03T01:00"))
        load(store.pipeline, lambda: make(newer, ALL)(**span))
        slow.normalize()
        slow.load()
        found = {row["id"]: row["action_id"] for row in store.rows(EVENTS)}
        assert found == {
            "event-00001": "NEW001",
            "event-00002": "000AA1",
            "event-00003": "000AA1",
        }

    def test_an_event_that_comes_with_another_timestamp_stands_once(
        self, store: Store, serve: TMake, make: TMake
    ) -> None:
        span = {"start": at("03-01"), "end": at("03-06"), **store.source_options}
        for day in ("03-01T12:00", "03-05T12:00"):
            events = [event(1, at(day), type="hit"), event(2, at("03-01"))]
            sandbox = serve(events, now=at("03-06T01:00"))
            load(store.pipeline, lambda s=sandbox: make(s, ALL)(**span))  # type: ignore[misc]
        assert [row["timestamp"] // 1000 for row in store.rows(EVENTS)] == [
            at("03-05T12:00"),
            at("03-01"),
        ]


SAYS_MORE = {"recipient": "a@x.example", "stamp": {"id": "message-1", "thread": "thread-1"}}


def told(**activation: Any) -> dict[str, Any]:
    """The same event, as an operation tells about it."""
    made: dict[str, Any] = event(1, at("03-01T12:00"), type="hit")
    given = made["source"]["detail"]["activation"]
    given.pop("recipient", None)
    given.pop("stamp", None)
    given.update(activation)
    return made


class TestOperationsThatTellLess:
    """Columns that one filled are not blanked by another, in whatever order they are loaded."""

    @pytest.mark.parametrize("order", ["more first", "less first", "in one load", "late"])
    def test_a_version_has_what_any_of_them_says(
        self, store: Store, serve: TMake, make: TMake, order: str
    ) -> None:
        span = {"start": at("03-01"), "end": at("03-02"), **store.source_options}
        # Another load has made the table.
        other = serve([event(2, at("03-01"))], now=at("03-03"))
        load(store.pipeline, lambda: make(other, ALL)(**span))
        more, less = told(**SAYS_MORE), told()
        more["source"]["detail"]["link"] = {"type": "open", "label": "a link"}
        if order == "in one load":
            both = serve([less, more], now=at("03-03"))
            load(store.pipeline, lambda: make(both, ALL)(**span))
        elif order == "late":
            slow = store.named("np6_slow")
            slow.extract(make(serve([more], now=at("03-03")), ALL)(**span))
            load(store.pipeline, lambda: make(serve([less], now=at("03-03T01:00")), ALL)(**span))
            slow.normalize()
            slow.load()
        else:
            for body in (more, less) if order == "more first" else (less, more):
                sandbox = serve([body], now=at("03-03"))
                load(store.pipeline, lambda s=sandbox: make(s, ALL)(**span))  # type: ignore[misc]
        (found,) = (row for row in store.rows(EVENTS) if row["id"] == "event-00001")
        assert found["recipient"] == "a@x.example"
        assert found["recipient_domain"] == "x.example"
        assert (found["message_id"], found["message_thread_id"]) == ("message-1", "thread-1")
        (hit,) = store.rows(HITS)
        assert (hit["link_type"], hit["link_label"]) == ("open", "a link")

    def test_a_newer_version_is_taken_as_a_whole(
        self, store: Store, serve: TMake, make: TMake
    ) -> None:
        span = {"start": at("03-01"), "end": at("03-02"), **store.source_options}
        newer = told() | {"timestamp": at("03-01T13:00")}
        for body in (told(**SAYS_MORE), newer):
            sandbox = serve([body], now=at("03-03"))
            load(store.pipeline, lambda s=sandbox: make(s, ALL)(**span))  # type: ignore[misc]
        (found,) = store.rows(EVENTS)
        assert found["timestamp"] // 1000 == at("03-01T13:00")
        assert (found["recipient"], found["message_id"]) == (None, None)
