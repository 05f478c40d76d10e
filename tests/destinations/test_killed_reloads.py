"""A reload that is killed in its load step loses nothing, whatever call comes next."""

from __future__ import annotations

import signal
from collections.abc import Callable
from typing import Any

import pytest

from np6_source.loading import load
from np6_source.schema import EVENTS, HITS
from tests.destinations.stores import Store
from tests.support import at, event

ALL = "actions_events"
TMake = Callable[..., Any]

RELOAD = """
import json, os, signal, sys
import dlt
from dlt.destinations.sql_client import SqlClientBase
from np6_source import np6_source
from np6_source.loading import load

options = json.loads(sys.argv[1])

def killed_at(statement):
    words = statement.lstrip().split()[:2]
    if words == ["DELETE", "FROM"] and "_staging" not in statement.split("WHERE")[0]:
        is_merge = "staging" in statement or "np6_" in statement
        return "merge" if is_merge else "end"

def checked(original):
    def execute(self, given, *arguments, **named):
        for statement in [given] if isinstance(given, str) else given:
            if killed_at(statement) == options["at"] and "events" in statement:
                os.kill(os.getpid(), signal.SIGKILL)
        return original(self, given, *arguments, **named)
    return execute

if options["kind"] == "postgres":
    from dlt.destinations.impl.postgres.sql_client import Psycopg2SqlClient as Client
else:
    from dlt.destinations.impl.duckdb.sql_client import DuckDbSqlClient as Client
def one_by_one(self, statements, *arguments, **named):
    for statement in statements:
        self.execute_sql(statement, *arguments, **named)

Client.execute_many = one_by_one
Client.execute_sql = checked(Client.execute_sql)

pipeline = dlt.pipeline(
    "np6_test", destination=options["destination"], dataset_name="np6",
    pipelines_dir=options["folder"],
)
make = lambda **more: np6_source(**options["source"], **more).with_resources("actions_events")
load(pipeline, make, reload=True)
"""


@pytest.fixture(params=["direct", "postgres"])
def store(request: pytest.FixtureRequest, make_store: Callable[[str], Store]) -> Store:
    return make_store(request.param)


@pytest.mark.parametrize("moment", ["merge", "end"])
def test_a_killed_reload_is_a_reload_again(
    store: Store, serve: TMake, make: TMake, moment: str
) -> None:
    events = [event(n, at("03-01T12:00") + n, type="hit") for n in range(50)]
    gone = event(77, at("03-01T12:30"), type="hit")
    for one in (*events, gone):
        one["source"]["detail"]["link"] = {"type": "open"}
    load(store.pipeline, make(serve([*events, gone], now=at("03-02T00:10")), ALL))
    assert len(store.rows(EVENTS)) == 51
    sandbox = serve(events, now=at("03-02T01:00"))
    kind = "postgres" if store.script_name == "postgres" else "duckdb"
    given = {
        "at": moment,
        "kind": kind,
        "source": {
            "api_key": sandbox.key,
            "base_url": sandbox.url,
            "start": "2024-01-01",
            "on_error": "keep",
            "same_account": True,
        },
    }
    finished = store.run(RELOAD, given)
    assert finished.returncode == -signal.SIGKILL, finished.stderr[-4000:]
    assert {f"event-{n:05d}" for n in range(50)} <= {row["id"] for row in store.rows(EVENTS)}
    # A different call: that of the schedule.
    sandbox.now = at("03-02T02:00")
    load(store.pipeline, make(sandbox, ALL, same_account=True))
    expected = [f"event-{n:05d}" for n in range(50)]
    assert [row["id"] for row in store.rows(EVENTS)] == expected
    assert [row["event_id"] for row in store.rows(HITS)] == expected
