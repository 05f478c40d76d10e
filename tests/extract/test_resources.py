"""Every operation of the catalogue as a resource: its requests, and what arrives in the tables."""

from __future__ import annotations

import re
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import dlt
import pytest
from dlt.pipeline.exceptions import PipelineStepFailed

from np6_source import ENDPOINTS, Endpoint, SettingError, np6_source
from np6_source.dimensions import DIMENSIONS
from np6_source.endpoints import CAMPAIGN_EVENT_TYPES, HIT_SUBTYPES, WINDOW_PARAMETERS
from np6_source.sandbox import (
    SAMPLE_CAMPAIGN_ID,
    RecordedRequest,
    Sandbox,
    account_from_events,
    documented_samples,
    sample_account,
)
from np6_source.windows import Window, merged, to_ms

TMake = Callable[..., Any]
TAt = Callable[[str], int]

ODD = "a/b ?é&c=%41#"
"""An id with everything that a path or a query could mistake for its own."""

ODD_IDS = {
    "action_ids": [ODD],
    "campaign_ids": [ODD],
    "target_ids": [ODD],
    "target_unicities": ["odd+address@example.com"],
    "target_hashes": ["0441619ab4631d18548aa8835dd2c28b"],
    "notification_ids": [156],
    "display_content_ids": [ODD],
}
SAMPLE_IDS = {
    "action_ids": ["000PE4"],
    "campaign_ids": [SAMPLE_CAMPAIGN_ID],
    "target_ids": ["000R4M0T", "0013KDC0", "0013KDC8"],
    "target_unicities": ["example@np6.com"],
    "target_hashes": ["0441619ab4631d18548aa8835dd2c28b"],
    "notification_ids": [156],
    "display_content_ids": ["banner"],
}
START, END = "2021-02-23T00:00:00Z", "2021-06-15T00:00:00Z"

by_name = pytest.mark.parametrize("row", ENDPOINTS, ids=lambda row: row.name)


def quoted(text: str) -> str:
    """The text percent-encoded, every byte of it that is not unreserved."""
    return re.sub(
        rb"[^A-Za-z0-9._~-]", lambda byte: b"%%%02X" % ord(byte[0]), text.encode()
    ).decode()


@pytest.fixture(scope="module")
def raw_requests() -> list[str]:
    """What goes over the line for one window of every resource, with odd ids."""
    from tests.support import RawServer, Warehouse, http_answer

    server = RawServer(lambda _: http_answer())
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        tempfile.TemporaryDirectory() as folder,
    ):
        server.port = listener.getsockname()[1]
        thread = threading.Thread(target=server.serve_forever, args=(listener,))
        thread.start()
        source = np6_source(
            server.key,
            base_url=server.url,
            start=START,
            end=END,
            window=86_400 * 365,
            classification="mpp,gsr",
            **ODD_IDS,  # type: ignore[arg-type]
        ).with_resources(*(row.name for row in ENDPOINTS))
        Warehouse(Path(folder)).pipeline.extract(source)
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    return server.requests


def raw_target(row: Endpoint) -> str:
    """The request's path as it must stand in the request line."""
    if row.ids is None or row.id_query:
        return row.path
    return row.path.replace("{id}", quoted(str(ODD_IDS[str(row.ids)][0])))


def raw_request_of(row: Endpoint, requests: list[str]) -> tuple[dict[str, list[str]], str]:
    found = []
    for request in requests:
        method, target, _ = request.split(" ", 2)
        parts = urlsplit(target)
        query = parse_qs(parts.query, strict_parsing=True)
        if (method, parts.path) != (row.method, raw_target(row)):
            continue
        ids = {name for name in ("id", "unicity", "hash") if name in query}
        if ids == ({row.id_query} if row.id_query else set()):
            found.append((query, request))
    by_class = {query["classification"][0] for query, _ in found if row.takes_classification}
    assert by_class == ({"mpp", "gsr"} if row.takes_classification else set())
    assert len(found) == max(1, len(by_class)), (row.name, raw_target(row), found)
    return found[0]


class TestRequests:
    """The request line and headers as sent."""

    @by_name
    def test_method_path_and_query(self, row: Endpoint, raw_requests: list[str]) -> None:
        query, request = raw_request_of(row, raw_requests)
        start, end = WINDOW_PARAMETERS[row.window]
        expected = {start: [START], end: [END], "sort": ["asc"]}
        if row.id_query:
            expected[row.id_query] = [str(ODD_IDS[str(row.ids)][0])]
        if row.takes_classification:
            expected["classification"] = ["mpp"]
        assert query == expected
        assert "odd+address" not in request
        lines = request.split("\r\n")
        assert lines.count("X-Key: raw-server-key") == 1
        assert sum("raw-server-key" in line for line in lines) == 1
        assert "Accept-Encoding: gzip" in lines
        assert "Accept: application/json" in lines

    def test_every_row_is_asked_once_and_those_of_hits_once_for_each_class_of_robots(
        self, raw_requests: list[str]
    ) -> None:
        of_hits = sum(row.takes_classification for row in ENDPOINTS)
        assert len(raw_requests) == len(ENDPOINTS) + of_hits

    def test_exactly_the_documented_operations_carry_the_robot_classes(
        self, raw_requests: list[str]
    ) -> None:
        with_it = {urlsplit(r.split(" ")[1]).path for r in raw_requests if "classification=" in r}
        assert with_it == {
            f"/actions/{quoted(ODD)}/events/hits/mirror",
            f"/targets/{quoted(ODD)}/events/hits/open",
            f"/targets/{quoted(ODD)}/events/hits/form",
            "/targets/events/hits",
        }


class Loaded:
    """The documented samples, loaded through every operation."""

    def __init__(self, sandbox: Sandbox, warehouse: Any) -> None:
        self.sandbox = sandbox
        self.warehouse = warehouse
        self.events = {row["id"]: row for row in warehouse.rows("events")}

    def requests(self, row: Endpoint) -> list[RecordedRequest]:
        """The requests of one row."""
        pattern = re.escape(row.path).replace(r"\{id\}", "[^/]+")
        return [
            request
            for request in self.sandbox.requests
            if re.fullmatch(pattern, request.path)
            and {"id", "unicity", "hash"} & set(request.query)
            == ({row.id_query} if row.id_query else set())
        ]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Loaded]:
    from tests.support import Warehouse

    account = sample_account()
    account.add_ids("notification_id", ["156"])
    account.add_ids("display_content_id", ["banner"])
    with Sandbox(account) as sandbox:
        source = np6_source(
            sandbox.key,
            base_url=sandbox.url,
            start=START,
            end=END,
            window=86_400 * 365,
            **SAMPLE_IDS,  # type: ignore[arg-type]
        ).with_resources(*(row.name for row in ENDPOINTS))
        warehouse = Warehouse(tmp_path_factory.mktemp("samples"))
        warehouse.run(source)
        yield Loaded(sandbox, warehouse)


class TestSamples:
    """The nine complete samples of the reference, through all operations at once."""

    @by_name
    def test_every_operation_answers_and_its_window_is_in_the_ledger(
        self, row: Endpoint, loaded: Loaded
    ) -> None:
        ids = [str(i) for i in SAMPLE_IDS[str(row.ids)]] if row.ids else [""]
        requests = loaded.requests(row)
        assert len(requests) == len(ids)
        assert {request.status for request in requests} == {200}
        ledger = [r for r in loaded.warehouse.rows("load_windows") if r["resource"] == row.name]
        assert len(ledger) == len(ids)
        assert {r["request_id"] for r in ledger} == {r.request_id for r in requests}
        assert sum(r["event_count"] for r in ledger) == sum(r.event_count for r in requests)
        assert sum(r["byte_count"] for r in ledger) == sum(r.byte_count for r in requests)
        for r in ledger:
            assert (r["window_start"], r["window_end"]) == (ms(START), ms(END))
            assert r["duration_ms"] >= 0
        if row.ids_are_personal:
            assert all(re.fullmatch("sha256:[0-9a-f]{16}", r["scope_id"]) for r in ledger)
        else:
            assert sorted(r["scope_id"] for r in ledger) == sorted(ids)

    def test_every_sample_is_one_row(self, loaded: Loaded) -> None:
        samples = documented_samples()
        assert sorted(loaded.events) == sorted(sample["id"] for sample in samples.values())
        for sample in samples.values():
            row = loaded.events[sample["id"]]
            assert row["type"] == sample["type"]
            assert row["timestamp"] == sample["timestamp"]
            assert (row["agency"], row["customer"]) == ("DEMO", "028")
            assert (row["channel"], row["action_id"]) == ("email", "000PE4")
            assert row["unmapped"] is None

    def test_children_are_where_their_kind_is(self, loaded: Loaded) -> None:
        samples = documented_samples()
        kinds = {sample["id"]: sample["type"] for sample in samples.values()}
        for table, kind in (
            ("events__hits", "hit"),
            ("events__bounces", "bounce"),
            ("events__cancellations", "cancellation"),
        ):
            rows = loaded.warehouse.rows(table)
            assert sorted(r["event_id"] for r in rows) == sorted(
                i for i, found in kinds.items() if found == kind
            )
        hit = samples["hit.mirror"]
        (row,) = [r for r in loaded.warehouse.rows("events__hits") if r["event_id"] == hit["id"]]
        assert (row["link_type"], row["link_label"]) == ("mirror", "mirror page")
        assert (row["client_ip"], row["browser_version"]) == ("10.1.1.1", None)

    def test_execution_data_has_a_row_per_key(self, loaded: Loaded) -> None:
        rows = loaded.warehouse.rows("events__execution_data")
        assert {(r["key"], r["value"], r["value_type"]) for r in rows} == {
            ("foo", "1", "integer"),
            ("bar", "2", "integer"),
        }
        assert len({r["event_id"] for r in rows}) == 2

    def test_what_came_through_a_campaign_says_so(self, loaded: Loaded) -> None:
        rows = loaded.warehouse.rows("events__campaigns")
        assert {r["campaign_id"] for r in rows} == {SAMPLE_CAMPAIGN_ID}
        assert sorted(r["event_id"] for r in rows) == sorted(loaded.events)

    def test_no_address_is_in_the_ledger_or_the_state(self, loaded: Loaded) -> None:
        assert "example@np6.com" not in str(loaded.warehouse.rows("load_windows"))
        assert "example@np6.com" not in loaded.warehouse.state()
        assert "0441619ab4631d18548aa8835dd2c28b" not in loaded.warehouse.state()

    def test_the_campaign_operations_post_the_likely_types_by_default(self, loaded: Loaded) -> None:
        bodies = [r.body for r in loaded.sandbox.requests if r.method == "POST"]
        assert len(bodies) == 2
        for body in bodies:
            assert list(body) == ["itemsEvents"]
            assert [entry["type"] for entry in body["itemsEvents"]] == ["email", "sms"]
            for entry in body["itemsEvents"]:
                assert "items" not in entry
                assert {e["type"] for e in entry["events"]} == set(CAMPAIGN_EVENT_TYPES)
                (hits,) = [e for e in entry["events"] if e["type"] == "hit"]
                assert hits["subtypes"] == list(HIT_SUBTYPES)
        assert all(r.body is None for r in loaded.sandbox.requests if r.method == "GET")


def ms(text: str) -> int:
    return to_ms(datetime.fromisoformat(text.replace("Z", "+00:00")))


def test_the_campaign_body_can_be_replaced_whole(
    warehouse: Any, serve: TMake, source_of: TMake
) -> None:
    sandbox = serve(sample_account())
    body = [{"type": "email", "events": [{"type": "bounce"}], "items": ["000PE4"]}]
    source = source_of(
        sandbox,
        "campaign_events",
        campaign_ids=[SAMPLE_CAMPAIGN_ID],
        campaign_items_events=body,
        start=START,
        end=END,
        window=86_400 * 365,
    )
    warehouse.run(source)
    (request,) = sandbox.requests
    assert request.body == {"itemsEvents": body}
    assert {row["type"] for row in warehouse.rows("events")} == {"bounce"}


def test_a_missing_type_is_filled_from_the_operation(
    warehouse: Any, serve: TMake, source_of: TMake, event: TMake, at: TAt
) -> None:
    nameless = event(1, at("03-01T12:00"))
    del nameless["type"]
    sandbox = serve([nameless], now=at("03-02"))
    warehouse.run(source_of(sandbox, "action_events_activations", action_ids=["000AA1"]))
    assert [row["type"] for row in warehouse.rows("events")] == ["activation"]


def test_the_second_spelling_of_classification_can_be_sent(
    warehouse: Any, raw_server: TMake, source_of: TMake
) -> None:
    server = raw_server()
    source = source_of(
        server,
        "targets_events_hits_by_id",
        target_ids=["x"],
        classification="mpp",
        classification_parameter="classifications",
        end="2024-03-02",
    )
    warehouse.pipeline.extract(source)
    assert all(
        "&classifications=mpp&" in f"&{r.split(' ')[1]}&".replace("?", "&") for r in server.requests
    )
    assert not any("classification=" in request for request in server.requests)


def test_bounds_can_be_sent_as_milliseconds(
    warehouse: Any, raw_server: TMake, source_of: TMake, at: TAt
) -> None:
    server = raw_server()
    source = source_of(server, "actions_events", timestamp_format="ms", end="2024-03-02")
    warehouse.pipeline.extract(source)
    (request,) = server.requests
    query = parse_qs(urlsplit(request.split(" ")[1]).query)
    assert (query["start"], query["end"]) == ([str(at("03-01"))], [str(at("03-02"))])


class TestSelection:
    """Which resources a source loads without being told."""

    def selected(self, **ids: Any) -> set[str]:
        return set(np6_source("some-key", **ids).selected_resources)

    def test_without_ids_it_is_the_two_account_wide_mixtures(self) -> None:
        assert self.selected() == {"actions_events", "actions_reactivities"}
        assert len(np6_source("some-key").resources) == len(ENDPOINTS) + len(DIMENSIONS)

    @pytest.mark.parametrize("argument", sorted(SAMPLE_IDS))
    def test_ids_select_the_resources_over_them(self, argument: str) -> None:
        selected = self.selected(**{argument: SAMPLE_IDS[argument]})
        assert selected == {r.name for r in ENDPOINTS if r.ids == argument and r.confirmed}
        assert self.selected(**{argument: []}) == self.selected()

    def test_the_account_is_loaded_beside_ids_where_it_is_named(self) -> None:
        names = ("actions_events", "action_events_bounces")
        source = np6_source("some-key", action_ids=["000PE4"]).with_resources(*names)
        assert set(source.selected_resources) == set(names)

    def test_an_operation_of_ones_own_is_selected_beside_ids(self) -> None:
        row = Endpoint("/actions/events/bounces", event_type="bounce")
        assert row.name in self.selected(action_ids=["000PE4"], endpoints=[row])

    def test_a_resource_over_ids_without_ids_says_which_to_give(
        self, warehouse: Any, serve: TMake, source_of: TMake
    ) -> None:
        sandbox = serve([])
        with pytest.raises(PipelineStepFailed, match="loads by id: give action_ids") as raised:
            warehouse.run(source_of(sandbox, "action_events_bounces"))
        assert isinstance(raised.value.__cause__.__cause__, SettingError)  # type: ignore[union-attr]
        assert sandbox.requests == []

    def test_all_names_are_the_promised_ones(self) -> None:
        assert {"display_content_events_activations", "targets_events_hits_by_hash"} <= set(
            np6_source("some-key").resources
        )


class TestOwnEndpoints:
    """Rows that a caller passes."""

    def test_they_load_like_the_catalogue_s(
        self, warehouse: Any, serve: TMake, source_of: TMake, event: TMake, at: TAt
    ) -> None:
        rows = (
            Endpoint("/actions/reactivities/bounces", window="reactivities", event_type="bounce"),
            Endpoint("/actions/{id}/events/executions", ids=("000AA1",), event_type="execution"),
            Endpoint("/actions/{id}/events", ids="action_ids", name="everything_of_an_action"),
        )
        sandbox = serve(
            [
                event(1, at("03-01T12:00"), type="bounce"),
                event(2, at("03-01T12:00"), type="execution"),
                event(3, at("03-01T12:00"), action="000AA2"),
            ],
            endpoints=(*ENDPOINTS, *rows),
            now=at("03-02"),
        )
        source = source_of(sandbox, endpoints=rows, action_ids=["000AA2"])
        names = [
            "actions_reactivities_bounces",
            "action_events_executions",
            "everything_of_an_action",
        ]
        assert set(names) <= set(source.selected_resources)
        warehouse.run(source.with_resources(*names))
        assert warehouse.ids() == [f"event-{n:05d}" for n in (1, 2, 3)]
        counts = {
            (row["resource"], row["scope_id"]): row["event_count"]
            for row in warehouse.rows("load_windows")
            if row["event_count"]
        }
        assert counts == {
            ("actions_reactivities_bounces", ""): 1,
            ("action_events_executions", "000AA1"): 1,
            ("everything_of_an_action", "000AA2"): 1,
        }

    def test_one_of_an_unknown_kind_of_ids_is_explained(self) -> None:
        row = Endpoint("/things/{id}/events", ids="thing_ids")
        with pytest.raises(SettingError, match="thing_ids"):
            np6_source("some-key", endpoints=[row])


def test_tables_are_there_before_any_event_is(
    warehouse: Any, serve: TMake, source_of: TMake, at: TAt
) -> None:
    from np6_source.schema import TABLES

    warehouse.run(source_of(serve(account_from_events([]), now=at("03-02")), "actions_events"))
    for table in TABLES:
        described = warehouse.query(f"DESCRIBE np6.{table.name}")
        assert [row[0] for row in described] == [column.name for column in table.columns]
        kinds = {row[0]: row[1] for row in described}
        for column in table.columns:
            expected = {"timestamp": "TIMESTAMP WITH TIME ZONE", "bigint": "BIGINT"}
            assert kinds[column.name] == expected.get(column.data_type, "VARCHAR")
    assert merged(warehouse.windows("actions_events")) != []
    assert isinstance(warehouse.windows("actions_events")[0], Window)
    schema = dlt.attach(pipeline_name=warehouse.name, pipelines_dir=str(warehouse.pipelines_dir))
    described_columns = schema.default_schema.tables["events"]["columns"]
    assert all(column.get("description") for column in described_columns.values())
