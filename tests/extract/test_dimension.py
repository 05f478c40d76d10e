"""Names for ids, loaded: whole or not at all, and never what is secret."""

from __future__ import annotations

import itertools
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import duckdb
import psycopg2
import pytest
from dlt.pipeline.exceptions import PipelineStepFailed

from np6_source import SettingError, np6_source
from np6_source.dimensions import DIMENSIONS, dimension_tables
from np6_source.loading import load
from np6_source.sandbox import (
    Account,
    Fault,
    Sandbox,
    account_from_events,
    generated_account,
    sample_account,
)
from tests.support import PostgresDataset, Warehouse

LISTS = [row.name for row in DIMENSIONS if row.ids is None]


def actions(count: int, version: int = 1) -> list[dict[str, Any]]:
    return [{"id": f"{n:06d}", "name": f"Action {n} of version {version}"} for n in range(count)]


@pytest.fixture(scope="module")
def account() -> Account:
    return generated_account(1000, seed=5)


@pytest.fixture
def described() -> Account:
    account = account_from_events([])
    account.describe("actions", actions(3))
    return account


def pushed_contact(account: Account) -> tuple[str, str, str]:
    """Id, unicity and hash of a contact that got a push notification."""
    cursor = account.connection.cursor()
    cursor.execute(
        "SELECT contact_id, contact_unicity, contact_hash FROM events"
        " WHERE channel = 'notification' ORDER BY ALL LIMIT 1"
    )
    contact: tuple[str, str, str] = cursor.fetchall()[0]
    return contact


class TestSelection:
    def test_none_is_loaded_unless_asked_for(self) -> None:
        assert not set(np6_source("some-key").selected_resources) & set(LISTS)

    def test_those_that_are_named_are_selected_beside_the_events(self) -> None:
        source = np6_source("some-key", dimensions=["actions", "categories"])
        selected = set(source.selected_resources)
        assert selected == {"actions_events", "actions_reactivities", "actions", "categories"}

    def test_all_are_those_that_can_be_asked_for_but_contacts(self) -> None:
        selected = set(np6_source("some-key", dimensions=True).selected_resources)
        account_wide = set(LISTS) - {"redlist_mail", "redlist_sms"}
        assert selected == {"actions_events", "actions_reactivities"} | account_wide
        ids = {"campaign_ids": ["c"], "target_ids": ["t"]}
        by_id = set(np6_source("some-key", dimensions="all", **ids).selected_resources)  # type: ignore[arg-type]
        assert "campaign" in by_id
        assert not by_id & {"target", "action", "target_subscriptions"}

    def test_an_unknown_name_is_refused(self) -> None:
        with pytest.raises(SettingError, match=r"no colours; there are actions, action, .*"):
            np6_source("some-key", dimensions=["colours"])

    def test_one_over_ids_wants_them(self) -> None:
        with pytest.raises(SettingError, match="target loads by id; give target_ids"):
            np6_source("some-key", dimensions=["target"])


class TestLoaded:
    def test_every_operation_of_a_made_up_account(
        self, account: Account, warehouse: Warehouse, serve: Any, source_of: Any
    ) -> None:
        sandbox = serve(account)
        contact = pushed_contact(account)
        source = source_of(
            sandbox,
            *(row.name for row in DIMENSIONS),
            action_ids=account.example_ids("action_id", 3),
            campaign_ids=account.example_ids("campaign_id", 2),
            target_ids=[contact[0]],
            target_unicities=[contact[1]],
            target_hashes=[contact[2]],
            account="028",
        )
        warehouse.run(source)
        tables = {table.name: warehouse.rows(table.name) for table in dimension_tables()}
        assert all(tables.values()), [name for name, rows in tables.items() if not rows]
        assert {row["account"] for rows in tables.values() for row in rows} == {"028"}
        served = {
            name: account.descriptions[name]
            for name in ("actions", "categories", "segments", "fields", "value_lists")
        } | {name: account.descriptions[name] for name in ("notifications", "campaigns")}
        for name, elements in served.items():
            assert {(row["id"], row["name"]) for row in tables[name]} == {
                (element["id"], element["name"]) for element in elements
            }
        assert {
            (r["value_list_id"], r["index"], r["value"]) for r in tables["value_lists__values"]
        } == {
            (element["id"], value["index"], value["value"])
            for element in served["value_lists"]
            for value in element["values"]
        }
        details = {element["id"]: element for element in account.descriptions["action"]}
        assert len(tables["action"]) == 3
        for row in tables["action"]:
            content = details[row["id"]]["content"]
            assert row["subject"] == content.get("subject")
        assert len(tables["campaign"]) == 2
        # Three ways to ask for one contact: one row.
        assert [row["id"] for row in tables["targets"]] == [contact[0]]
        assert {r["field_id"]: r["value"] for r in tables["targets__fields"]}["1"] == json.dumps(
            contact[1]
        )
        assert [row["contact_id"] for row in tables["subscriptions"]] == [contact[0]]
        redlisted = {(row["channel"], row["origin"]) for row in tables["redlist"]}
        assert ("mail", 4) in redlisted

    def test_names_join_the_events(
        self, account: Account, warehouse: Warehouse, serve: Any, source_of: Any
    ) -> None:
        sandbox = serve(account)
        source = source_of(
            sandbox, "actions_events", "actions", "categories", account="028", start="2025-01-01"
        )
        warehouse.run(source)
        (without_name,) = warehouse.query(
            "SELECT count(*) FROM np6.events AS e LEFT JOIN np6.actions AS a"
            " ON a.id = e.action_id AND a.account IN ('', e.customer)"
            " LEFT JOIN np6.categories AS c ON c.id = a.category_id AND c.account = a.account"
            " WHERE e.channel IN ('email', 'sms') AND (a.name IS NULL OR c.name IS NULL)"
        )
        assert without_name == (0,)

    def test_documented_samples(self, warehouse: Warehouse, serve: Any, source_of: Any) -> None:
        source = source_of(
            serve(sample_account()), *LISTS, "targets_by_hash", target_hashes=["string"]
        )
        warehouse.run(source)
        assert [row["name"] for row in warehouse.rows("actions")] == [
            "Test Campaign",
            "Test Message",
        ]
        assert [row["parent_id"] for row in warehouse.rows("segments")] == [None, 41]
        assert [row["value"] for row in warehouse.rows("value_lists__values")] == ["Football"]
        assert [(r["origin"], r["form_id"]) for r in warehouse.rows("redlist")] == [(3, "0000GH")]
        assert [row["id"] for row in warehouse.rows("targets")] == ["string"]

    def test_five_hundred_actions_in_one_call(
        self, warehouse: Warehouse, serve: Any, source_of: Any
    ) -> None:
        account = account_from_events([])
        account.describe("actions", actions(500))
        account.describe("action", [element | {"description": "d"} for element in actions(500)])
        sandbox = serve(account)
        ids = [element["id"] for element in actions(500)]
        warehouse.run(source_of(sandbox, "actions", "action", action_ids=ids))
        assert warehouse.query("SELECT count(*) FROM np6.actions") == [(500,)]
        assert warehouse.query("SELECT count(*), count(DISTINCT id) FROM np6.action") == [
            (500, 500)
        ]
        assert [request.path for request in sandbox.requests].count("/actions") == 1

    def test_no_secret_reaches_a_file_or_a_log(
        self,
        account: Account,
        warehouse: Warehouse,
        serve: Any,
        source_of: Any,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        caplog.set_level(logging.DEBUG)
        contact = pushed_contact(account)[1]
        sandbox = serve(account)
        resources = ("applications", "targets_subscriptions_by_unicity")
        warehouse.run(source_of(sandbox, *resources, target_unicities=[contact]))
        assert warehouse.rows("subscriptions")
        assert warehouse.rows("applications")
        warehouse.execute("CHECKPOINT")
        held = b"".join(f.read_bytes() for f in warehouse.folder.rglob("*") if f.is_file())
        assert b"Example shop" in held
        assert b"secret-" not in held
        assert "secret-" not in caplog.text
        assert contact not in caplog.text


class TestNewerNames:
    def test_replace_the_earlier_ones_and_what_vanished_goes(
        self, described: Account, warehouse: Warehouse, serve: Any, source_of: Any
    ) -> None:
        sandbox = serve(described)
        warehouse.run(source_of(sandbox, "actions"))
        described.describe("actions", actions(2, version=2))
        warehouse.run(source_of(sandbox, "actions"))
        assert [row["name"] for row in warehouse.rows("actions")] == [
            "Action 0 of version 2",
            "Action 1 of version 2",
        ]

    def test_children_that_vanished_go(
        self, warehouse: Warehouse, serve: Any, source_of: Any
    ) -> None:
        account = account_from_events([], ids={"action_id": ["A", "B"]})
        sandbox = serve(account)

        def describe(values: list[str], segments: list[int]) -> None:
            listed = [{"index": place, "value": value} for place, value in enumerate(values)]
            account.describe("value_lists", [{"id": 1, "values": listed}])
            scheduler = {"segments": {"selected": segments}}
            account.describe("action", [{"id": name, "scheduler": scheduler} for name in "AB"])

        for values, segments in ((["x", "y", "z"], [1, 2]), (["x", "new"], [2])):
            describe(values, segments)
            warehouse.run(source_of(sandbox, "value_lists", "action", action_ids=["A", "B"]))
        assert [row["value"] for row in warehouse.rows("value_lists__values")] == ["x", "new"]
        pairs = [(r["action_id"], r["segment_id"]) for r in warehouse.rows("action__segments")]
        assert pairs == [("A", 2), ("B", 2)]
        # A run over one id leaves the others alone.
        describe([], [3])
        warehouse.run(source_of(sandbox, "action", action_ids=["A"]))
        pairs = [(r["action_id"], r["segment_id"]) for r in warehouse.rows("action__segments")]
        assert sorted(pairs) == [("A", 3), ("B", 2)]

    def test_leave_another_accounts_alone(
        self, described: Account, warehouse: Warehouse, serve: Any, source_of: Any
    ) -> None:
        warehouse.run(source_of(serve(described), "actions", account="028"))
        other = account_from_events([])
        other.describe("actions", [{"id": "000000", "name": "Theirs"}])
        sandbox = serve(other)
        for _ in range(2):
            warehouse.run(source_of(sandbox, "actions", account="031"))
        found = [(row["account"], row["name"]) for row in warehouse.rows("actions")]
        assert found == [
            *(("028", f"Action {n} of version 1") for n in range(3)),
            ("031", "Theirs"),
        ]

    def test_an_empty_array_is_no_answer(
        self,
        described: Account,
        warehouse: Warehouse,
        serve: Any,
        source_of: Any,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        sandbox = serve(described)
        warehouse.run(source_of(sandbox, "actions"))
        described.describe("actions", [])
        warehouse.run(source_of(sandbox, "actions"))
        assert len(warehouse.rows("actions")) == 3
        assert "empty array, which is ignored: actions keeps" in caplog.text

    @pytest.mark.parametrize(
        "fault",
        [
            "cut_event=2",
            "cut_comma=1",
            "cut_byte=40",
            "empty",
            "html",
            "object",
            "raw=[1]",
            "raw=[{}]",
        ],
    )
    def test_what_is_not_one_whole_array_changes_nothing(
        self, fault: str, described: Account, warehouse: Warehouse, serve: Any, source_of: Any
    ) -> None:
        sandbox = serve(described)
        warehouse.run(source_of(sandbox, "actions"))
        before = warehouse.rows("actions")
        described.describe("actions", actions(3, version=2))
        with sandbox.faults.during(f"{fault},path=/actions"):
            with pytest.raises(PipelineStepFailed, match="Nothing was changed") as raised:
                warehouse.run(source_of(sandbox, "actions"))
            assert "[actions, status 200, x-request-id " in str(raised.value)
            report = load(
                warehouse.pipeline,
                lambda: source_of(sandbox, "actions", "actions_events", on_error="keep"),
            )
        assert warehouse.rows("actions") == before
        assert [failure["kind"] for failure in report.failures] == ["BadAnswer"]
        assert report.windows["actions_events"] > 0

    def test_text_that_is_not_unicode_is_visible_and_said(
        self,
        warehouse: Warehouse,
        serve: Any,
        source_of: Any,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        sandbox = serve([])
        body = b'[{"id":"A","name":"x\\ud800y\\u0000"}]'
        with sandbox.faults.during(Fault("raw", body, path="/actions")):
            warehouse.run(source_of(sandbox, "actions"))
        assert [row["name"] for row in warehouse.rows("actions")] == [
            "x\ufffd[U+D800]y\ufffd[U+0000]"
        ]
        assert "U+FFFD" in caplog.text


class TestNotThere:
    @pytest.mark.parametrize("status", [403, 404, 405, 410])
    def test_an_operation_is_left_out_with_a_warning(
        self,
        status: int,
        described: Account,
        warehouse: Warehouse,
        serve: Any,
        source_of: Any,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        described.describe("categories", [{"id": 1, "name": "News"}])
        sandbox = serve(described)
        resources = ("actions", "categories")
        warehouse.run(source_of(sandbox, *resources))
        with sandbox.faults.during(Fault("status", status, path="/actions")):
            described.describe("categories", [{"id": 1, "name": "Newer"}])
            report = load(warehouse.pipeline, lambda: source_of(sandbox, *resources))
        assert report.failures == []
        assert len(warehouse.rows("actions")) == 3
        assert [row["name"] for row in warehouse.rows("categories")] == ["Newer"]
        expected = (
            "may not request actions" if status == 403 else "NP6 has no /actions for this account"
        )
        assert expected in caplog.text
        assert "actions keeps what an earlier load brought" in caplog.text
        assert f"status {status}" in caplog.text

    def test_an_unknown_id_does_not_stop_the_others(
        self,
        warehouse: Warehouse,
        serve: Any,
        source_of: Any,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        account = account_from_events([])
        account.describe("action", [{"id": "A", "name": "Mine"}])
        ids = ["unknown", "A", "unknown2"]
        warehouse.run(source_of(serve(account), "action", action_ids=ids))
        assert [row["id"] for row in warehouse.rows("action")] == ["A"]
        assert caplog.text.count("NP6 does not know this id") == 2

    def test_an_outage_is_a_failure(
        self, described: Account, warehouse: Warehouse, serve: Any, source_of: Any
    ) -> None:
        sandbox = serve(described)
        warehouse.run(source_of(sandbox, "actions"))
        with sandbox.faults.during(Fault("status", 503, path="/actions")):
            report = load(
                warehouse.pipeline,
                lambda: source_of(sandbox, "actions", on_error="keep", attempts=2),
            )
        assert len(report.failures) == 1
        assert len(warehouse.rows("actions")) == 3

    def test_a_failure_that_ends_the_run_ends_it_for_names_too(
        self, described: Account, warehouse: Warehouse, serve: Any, source_of: Any
    ) -> None:
        sandbox = serve(described)
        ids = [f"{number:06d}" for number in range(300)]
        resources = ("actions_events", "action", "categories")
        with sandbox.faults.during(Fault("status", 401, path="/actions/events")):
            report = load(
                warehouse.pipeline,
                lambda: source_of(sandbox, *resources, action_ids=ids, on_error="keep"),
            )
        assert [failure["kind"] for failure in report.failures] == ["Unauthorized"]
        assert {request.path for request in sandbox.requests} == {"/actions/events"}


@contextmanager
def polling(read: Callable[[], Any]) -> Iterator[list[Any]]:
    """Reads again and again in a thread; what was read, or why it could not be."""
    seen: list[Any] = []
    stopping = threading.Event()

    def poll() -> None:
        while not stopping.is_set():
            try:
                seen.append(read())
            except Exception as error:
                seen.append(repr(error))
            time.sleep(0.001)

    thread = threading.Thread(target=poll)
    thread.start()
    try:
        yield seen
    finally:
        stopping.set()
        thread.join()


STATE = "count(*) AS rows, count(DISTINCT version) AS versions, count(DISTINCT id) AS ids"
VERSIONS = "(SELECT id, split_part(name, ' ', 5) AS version FROM np6.{}) AS names"


class TestReaders:
    """Who reads while names are loaded finds the old or the new ones, never none, never both."""

    TABLES = ("actions", "fields")

    def load_again(
        self, account: Account, make_source: Any, pipeline: Any, is_enough: Callable[[], bool]
    ) -> None:
        for version in itertools.count(2):
            for table in self.TABLES:
                account.describe(table, self.elements(table, version))
            pipeline().run(make_source())
            if is_enough():
                return

    def elements(self, table: str, version: int) -> list[dict[str, Any]]:
        listed = actions(200, version)
        return listed if table == "actions" else [e | {"id": int(e["id"])} for e in listed]

    def load_until_read(self, account: Account, make_source: Any, pipeline: Any, read: Any) -> None:
        """Loads while somebody reads, until six loads and twenty readings have met."""
        loads = itertools.count(1)
        with polling(read) as seen:
            self.load_again(
                account, make_source, pipeline, lambda: next(loads) >= 6 and len(seen) > 20
            )
        assert set(seen) == {(200, 1, 200)}

    @pytest.mark.parametrize("table", TABLES)
    def test_readers_on_duckdb_see_whole_tables(
        self, table: str, warehouse: Warehouse, serve: Any, source_of: Any
    ) -> None:
        account = account_from_events([])
        sandbox: Sandbox = serve(account)
        given = account, lambda: source_of(sandbox, *self.TABLES), lambda: warehouse.pipeline
        self.load_again(*given, lambda: True)
        with duckdb.connect(str(warehouse.database)) as connection:
            query = f"SELECT {STATE} FROM {VERSIONS.format(table)}"
            cursor = connection.cursor()
            self.load_until_read(*given, lambda: cursor.execute(query).fetchone())

    @pytest.mark.parametrize("table", TABLES)
    def test_readers_of_a_view_on_postgresql_see_whole_tables(
        self,
        table: str,
        postgres_dataset: Callable[[str], PostgresDataset],
        serve: Any,
        source_of: Any,
    ) -> None:
        account = account_from_events([])
        sandbox: Sandbox = serve(account)
        dataset = postgres_dataset(f"np6_{table}")
        given = account, lambda: source_of(sandbox, *self.TABLES), lambda: dataset.pipeline
        self.load_again(*given, lambda: True)
        with closing(psycopg2.connect(dataset.url)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                view = f"{dataset.name}.seen"
                names = VERSIONS.format(table).replace("np6.", f"{dataset.name}.")
                cursor.execute(f"CREATE VIEW {view} AS SELECT {STATE} FROM {names}")

                def read() -> Any:
                    cursor.execute(f"SELECT * FROM {view}")
                    return cursor.fetchone()

                self.load_until_read(*given, read)
