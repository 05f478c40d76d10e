"""``messages`` as a table is the view's query, whatever was loaded in whatever order."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import dlt
import pytest

from np6_source import views
from np6_source.loading import load
from np6_source.views import base_tables, making, messages_table
from np6_source.views.message_keys import with_key
from np6_source.views.translation import translated
from tests.support import ROOT, at
from tests.views.accounts import robots_of, small
from tests.views.reading import mark, query

TMake = Callable[..., Any]
END = "2025-03-10"
MESSAGES = "SELECT * FROM messages ORDER BY message_id"
WAITING = "SELECT count_packages_not_in_messages FROM freshness"


def differences(pipeline: dlt.Pipeline, message_key: views.TMessageKey = "stamp") -> int:
    """Rows of the table that the query has not, and the other way round."""
    (view,) = [view for view in views.views() if view.name == "messages"]
    with making.connected(pipeline) as target:
        assert target is not None
        keyed = with_key(view, message_key)
        sql = f"SELECT * FROM ({translated(keyed.query, target.names)}) AS q"
    columns = ", ".join(f'"{name}"' for name in view.columns)
    table = f"SELECT {columns} FROM messages_table"
    return len(query(pipeline, f"({table} EXCEPT ALL {sql}) UNION ALL ({sql} EXCEPT ALL {table})"))


@pytest.fixture
def load_held(pipeline: dlt.Pipeline, serve: TMake, source_of: TMake) -> TMake:
    """Loads what an account holds at a moment; takes ``load``'s options too."""

    def call(
        events: list[dict[str, Any]],
        now: str = "2025-03-11",
        start: str = "2025-01-06",
        end: str = END,
        window: int = 100 * 86_400,
        **options: Any,
    ) -> None:
        sandbox = serve(events, now=at(now))
        load(
            pipeline,
            lambda: source_of(sandbox, "actions_events", start=start, end=end, window=window),
            **options,
        )

    return call


def test_after_every_load_in_any_order_it_is_the_query(
    pipeline: dlt.Pipeline, load_held: TMake
) -> None:
    """Late events, ranges in no order, loads without views in between, and robots' marks."""
    events = small(events=600).events()
    chance = random.Random(7)
    held = chance.sample(events, len(events) // 2)
    days = [("2025-02-03", "2025-02-20"), ("2025-01-06", "2025-02-10"), ("2025-01-20", END)]
    for number, (start, end) in enumerate([*days, ("2025-01-06", END)]):
        if number == 3:
            held = events
        load_held(
            held,
            start=start,
            end=end,
            views="off" if number == 1 else "auto",
            materialize=None if number else True,
        )
        if number != 1:
            assert differences(pipeline) == 0, number
            assert query(pipeline, "SELECT count_packages_not_in_messages FROM freshness") == [(0,)]
    assert query(pipeline, "SELECT count(*) FROM messages")[0][0] > 100


def test_a_package_of_many_requests_counts_from_its_first(
    pipeline: dlt.Pipeline, load_held: TMake
) -> None:
    """Later versions that differ in what a message shows alone, not in how many events it has."""
    events = small(events=300).events()
    load_held(events, materialize=True)
    later = [{**event, "source": {**event["source"], "type": "sms"}} for event in events]
    load_held(later, now="2025-03-12", window=86_400)

    assert query(pipeline, "SELECT DISTINCT channel FROM messages") == [("sms",)]
    assert differences(pipeline) == 0


def in_another_message(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Some events as NP6 has them later: of the next one's message, of a new one, or of none."""
    chosen = [event for event in events if "activation" in event["source"]["detail"]][::20]
    later: list[dict[str, Any]] = json.loads(json.dumps(chosen[:-1]))
    for number, (event, other) in enumerate(zip(later, chosen[1:], strict=True)):
        stamp = event["source"]["detail"]["activation"]["stamp"]
        theirs = other["source"]["detail"]["activation"]["stamp"]["id"]
        stamp["id"] = (theirs, f"{stamp['id']}-later", "")[number % 3]
    return later


def test_an_event_whose_later_version_is_of_another_message_counts_in_that_one_only(
    pipeline: dlt.Pipeline, load_held: TMake
) -> None:
    """The later versions come alone: nothing else of the messages they were in is requested."""
    events = small(events=300).events()
    later = in_another_message(events)
    assert len(later) > 6
    for held, now, mode in (
        (events, "2025-03-11", "auto"),
        (later[::2], "2025-03-12", "auto"),
        (later[1::2], "2025-03-13", "off"),
    ):
        load_held(held, now=now, views=mode, materialize=True)
        assert (differences(pipeline) == 0) == (mode == "auto")

    before = query(pipeline, MESSAGES)
    for statements in (2, 3, 4):  # Before, between and after those for the messages left.
        assert killed_after(pipeline, statements)
        assert query(pipeline, MESSAGES) == before
        assert query(pipeline, WAITING) == [(1,)]
    assert not killed_after(pipeline, -1)
    assert differences(pipeline) == 0
    assert query(pipeline, WAITING) == [(0,)]


def test_by_action_and_contact_it_is_that_query_until_the_stamp_is_asked_for(
    pipeline: dlt.Pipeline, load_held: TMake
) -> None:
    """An activation comes a load later than its execution: that message is another's then."""
    events = small(events=300, execution_stamps="own").events()
    late = [event for event in events if event["type"] == "activation"][::2]
    for held, now, key in (
        ([event for event in events if event not in late], "2025-03-11", "action_contact"),
        (late, "2025-03-12", None),
    ):
        load_held(held, now=now, materialize=None if key is None else True, message_key=key)
        assert differences(pipeline, "action_contact") == 0
        assert differences(pipeline) > 0
        assert query(pipeline, WAITING) == [(0,)]
    joined = "SELECT count(*) FROM messages WHERE was_executed AND is_activation_loaded"
    assert query(pipeline, joined)[0][0] > 10
    assert views.standing(pipeline) == "up to date"
    assert not views.make(pipeline).changed

    assert views.make(pipeline, message_key="stamp").changed
    assert differences(pipeline) == 0
    assert query(pipeline, joined) == [(0,)]
    assert not views.make(pipeline).changed


KILLED = """
import json, os, signal, sys
import dlt
from np6_source import views
from np6_source.views import making

options = json.loads(sys.argv[1])
destination = getattr(dlt.destinations, options["kind"])(options["where"])
pipeline = dlt.pipeline(
    options["name"], destination=destination, dataset_name=options["dataset"],
    pipelines_dir=options["folder"],
)

def one_by_one(target, statements):
    # As making._execute does at once, in the same transaction.
    for statement in statements:
        if options["statements"] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        options["statements"] -= 1
        target.client.sql_client.execute_sql(statement)

making._execute = one_by_one
views.make(pipeline, materialize=True)
print("done")
"""


def killed_after(pipeline: dlt.Pipeline, statements: int) -> bool:
    """Makes the table in a process that is killed after some statements; tells whether it was."""
    credentials = pipeline.destination_client().config.credentials
    is_duckdb = pipeline.destination.destination_type.endswith("duckdb")
    options = {
        "kind": "duckdb" if is_duckdb else "postgres",
        "where": credentials.database if is_duckdb else credentials.to_native_representation(),
        "name": pipeline.pipeline_name,
        "dataset": pipeline.dataset_name,
        "folder": pipeline.pipelines_dir,
        "statements": statements,
    }
    ended = subprocess.run(
        [sys.executable, "-c", KILLED, json.dumps(options)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ended.returncode in (0, -signal.SIGKILL), ended.stderr
    assert (ended.returncode == 0) == (ended.stdout == "done\n")
    return ended.returncode != 0


def test_a_kill_while_it_is_made_leaves_nothing_of_it(
    pipeline: dlt.Pipeline, serve: TMake, source_of: TMake
) -> None:
    sandbox = serve(small(events=100).events(), now=at("2025-03-11"))
    load(pipeline, lambda: source_of(sandbox, "actions_events", start="2025-01-06"), views="off")

    for statements in (1, 40):
        assert killed_after(pipeline, statements)
        for name in (messages_table.TABLE, base_tables.REFRESHES, "messages"):
            with pytest.raises(Exception, match=name):
                query(pipeline, f"SELECT 1 FROM {name}")
    assert not killed_after(pipeline, -1)
    assert differences(pipeline) == 0
    assert query(pipeline, WAITING) == [(0,)]


def test_a_kill_while_it_is_refreshed_leaves_the_state_before_and_the_next_call_mends_it(
    pipeline: dlt.Pipeline, load_held: TMake
) -> None:
    events = small(events=300).events()
    for held, mode in ((events[::2], "auto"), (events, "off")):
        load_held(held, views=mode, materialize=True)
    before = query(pipeline, MESSAGES)

    # Behind the removal of what has changed, behind its return, before that is noted.
    for statements in (1, 2):
        assert killed_after(pipeline, statements)
        assert query(pipeline, MESSAGES) == before
        assert query(pipeline, WAITING) == [(1,)]
    assert not killed_after(pipeline, -1)
    assert differences(pipeline) == 0
    assert query(pipeline, WAITING) == [(0,)]
    assert query(pipeline, MESSAGES) != before


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [1, 2])
def test_parts_marks_and_late_events_in_any_order_end_as_the_query(
    pipeline: dlt.Pipeline, load_held: TMake, seed: int
) -> None:
    """Ranges that commit in no order, some without views, some marks between, some events late."""
    chance = random.Random(seed)
    account = small(events=500)
    events = account.events()
    weeks = ["2025-01-06", "2025-01-27", "2025-02-17", END]
    parts = [*pairwise(weeks), *pairwise(weeks)]
    chance.shuffle(parts)
    robots = robots_of(account)
    for number, (start, end) in enumerate(parts):
        share = len(events) if number >= len(parts) // 2 else len(events) // 2
        load_held(
            chance.sample(events, share),
            start=start,
            end=end,
            views=chance.choice(["auto", "off"]) if number else "auto",
            materialize=None if number else True,
        )
        if chance.random() < 0.4:
            mark(pipeline, dict(chance.sample(sorted(robots.items()), len(robots) // 2)))
            views.forget_messages(pipeline)
    views.make(pipeline)
    assert differences(pipeline) == 0
    assert query(pipeline, WAITING) == [(0,)]


def test_a_package_that_was_requested_before_a_refresh_and_commits_after_it_comes_in(
    pipeline: dlt.Pipeline, serve: TMake, source_of: TMake, tmp_path: Path
) -> None:
    """As workers of a backfill do, each with a pipeline of its own into one dataset."""
    sandbox = serve(small(events=300).events(), now=at("2025-03-11"))
    middle = "2025-02-01"

    def part(start: str, end: str) -> Any:
        return source_of(sandbox, "actions_events", start=start, end=end, window=100 * 86_400)

    load(pipeline, lambda: part("2025-01-06", "2025-01-07"), materialize=True)
    other = dlt.pipeline(
        "np6_other",
        destination=pipeline.destination,
        dataset_name=pipeline.dataset_name,
        pipelines_dir=str(tmp_path / "other"),
    )
    other.extract(part("2025-01-06", middle))
    other.normalize()
    load(pipeline, lambda: part(middle, END))
    assert differences(pipeline) == 0
    before = query(pipeline, MESSAGES)

    other.load()
    assert query(pipeline, WAITING) == [(1,)]
    assert not views.make(pipeline).changed
    assert differences(pipeline) == 0
    assert query(pipeline, WAITING) == [(0,)]
    assert len(query(pipeline, MESSAGES)) > len(before)


def test_what_is_not_in_it_shows_and_comes_with_the_next_refresh(
    pipeline: dlt.Pipeline, load_held: TMake
) -> None:
    events = small(events=300).events()
    for held, mode in ((events[:100], "auto"), (events, "off")):
        load_held(held, views=mode, materialize=True)
    assert differences(pipeline) > 0
    assert query(pipeline, "SELECT count_packages_not_in_messages FROM freshness") == [(1,)]

    assert not views.make(pipeline).changed
    assert differences(pipeline) == 0

    assert views.make(pipeline, materialize=False).changed
    assert query(pipeline, "SELECT count(*) FROM messages")[0][0] > 0
    with pytest.raises(Exception, match="messages_table"):
        query(pipeline, "SELECT 1 FROM messages_table")


def test_after_a_reload_nothing_of_before_is_left(
    pipeline: dlt.Pipeline, serve: TMake, source_of: TMake
) -> None:
    events = small(events=300).events()
    # The time goes on: a reload that cannot read up to where the load has been removes nothing.
    for held, now, reload in (
        (events, at("2025-03-11"), False),
        (events[:50], at("2025-03-11T01:00"), True),
    ):
        sandbox = serve(held, now=now)
        load(
            pipeline,
            lambda sandbox=sandbox: source_of(
                sandbox,
                "actions_events",
                start="2025-01-06",
                window=100 * 86_400,
                accept_fewer_events=True,
            ),
            reload=reload,
            materialize=True,
        )
        assert differences(pipeline) == 0
    assert 0 < query(pipeline, "SELECT count(*) FROM messages")[0][0] <= 50


def test_somebody_elses_table_of_that_name_stays(
    pipeline: dlt.Pipeline, serve: TMake, source_of: TMake
) -> None:
    sandbox = serve(small(events=60).events(), now=at("2025-03-11"))
    load(pipeline, lambda: source_of(sandbox, "actions_events", start="2025-01-06"), views="off")
    query(pipeline, "CREATE TABLE messages_table AS SELECT 1 AS mine")

    with pytest.raises(views.ViewsFailed, match="has messages_table already"):
        views.make(pipeline, materialize=True)
    assert views.make(pipeline).changed
    assert not views.make(pipeline).changed
    views.drop(pipeline)
    assert query(pipeline, "SELECT mine FROM messages_table") == [(1,)]
