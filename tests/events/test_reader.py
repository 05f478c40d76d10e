from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from np6_source.events import reader as reader_module
from np6_source.events.json_file import UnreadableAnswer
from np6_source.events.reader import AnswerContents, Counting, EventReader
from np6_source.sandbox import documented_samples
from np6_source.schema import EVENT_TABLES, EXPECTED_VALUES, TABLES
from np6_source.windows import Window

SAMPLES = documented_samples()
"""The documented samples of the reference, as they are."""

EVERYTHING = Window(-62_135_596_800_000, 253_402_300_800_000)
REQUESTED = 1_700_000_000_000
BIG = 10**30

Rows = dict[str, list[dict[str, Any]]]


def utc(ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=ms)


@pytest.fixture(scope="module")
def spool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("spool")


@pytest.fixture(scope="module")
def experienced(spool: Path) -> Iterator[EventReader]:
    """A reader that every test of this file shares, so that it has seen many shapes."""
    reader = EventReader(spool)
    yield reader
    reader.close()


@pytest.fixture
def reader(spool: Path) -> Iterator[EventReader]:
    """A reader that has seen nothing."""
    reader = EventReader(spool)
    yield reader
    reader.close()


def rows_of(
    reader: EventReader,
    spool: Path,
    payload: str | bytes | list[Any],
    window: Window = EVERYTHING,
    contents: AnswerContents | None = None,
    **options: Any,
) -> Rows:
    """All rows of an answer, by table."""
    file = spool / "answer.json"
    if isinstance(payload, list):
        payload = json.dumps(payload, ensure_ascii=False)
    file.write_bytes(payload.encode() if isinstance(payload, str) else payload)
    found: Rows = {}
    batches = reader.read(file, window, REQUESTED, contents or AnswerContents(), **options)
    for tables in batches:
        for name, table in tables.items():
            assert table.num_rows
            found.setdefault(name, []).extend(table.to_pylist())
    return found


def sorted_rows(rows: Rows) -> dict[str, list[str]]:
    return {name: sorted(map(repr, table)) for name, table in rows.items()}


def event(sample: str = "hit.redirection", **changes: Any) -> dict[str, Any]:
    """A sample with changes; ``a__b`` names the value at a.b, None there removes nothing."""
    result = copy.deepcopy(SAMPLES[sample])
    for name, value in changes.items():
        *parents, key = name.split("__")
        node = result
        for parent in parents:
            node = node.setdefault(parent, {})
        node[key] = value
    return result


def of_event(row: dict[str, Any]) -> dict[str, Any]:
    """A row's values without those that are NULL."""
    return {name: value for name, value in row.items() if value is not None}


# --- The documented samples ---

CONTACT = {
    "contact_type": "footprint",
    "contact_id": "000R4M0T",
    "contact_unicity": "example@np6.com",
    "contact_hash": "0441619ab4631d18548aa8835dd2c28b",
}
EMAIL = {
    "channel": "email",
    "agency": "DEMO",
    "customer": "028",
    "action_id": "000PE4",
    "action_kind": "message",
    "message_stamped_at": utc(1614089576625),
    "requested_at": utc(REQUESTED),
}
ANDROID = {
    "client_type": "web",
    "client_ip_version": "v4",
    "client_ip": "10.1.1.1",
    "user_agent_type": "parsed",
    "user_agent": (
        "Mozilla/5.0 (Linux; Android 10; SM-A125F Build/QP1A.190711.020; wv) AppleWebKit/537.36"
        " (KHTML, like Gecko) Version/4.0 Chrome/89.0.4389.86 Mobile Safari/537.36"
    ),
    "browser_type": "Mobile browser",
    "browser_name": "Android webview",
    "browser_vendor": "Google Inc.",
    "os_name": "Android 10",
    "os_family": "Android",
    "os_vendor": "Google Inc.",
    "device_type": "Smartphone",
}
HUAWEI = {
    "client_type": "web",
    "client_ip_version": "v4",
    "client_ip": "10.1.1.1",
    "user_agent_type": "parsed",
    "user_agent": (
        "Mozilla/5.0 (Linux; Android 9; AMN-LX9) AppleWebKit/537.36 (KHTML, like Gecko)"
        " Chrome/91.0.4472.88 Mobile Safari/537.36"
    ),
    "browser_type": "Mobile browser",
    "browser_name": "Chrome Mobile",
    "browser_version": "91.0.4472.88",
    "browser_vendor": "Google Inc.",
    "os_name": "Android 9.0 Pie",
    "os_family": "Android",
    "os_vendor": "Google Inc.",
    "device_type": "Smartphone",
    "device_name": "Y5 (2019)",
    "device_brand": "Huawei",
}
FOO_AND_BAR = [
    {"key": "foo", "value": "1", "value_type": "integer"},
    {"key": "bar", "value": "2", "value_type": "integer"},
]
GOLDEN: dict[str, tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]] = {
    "hit.mirror": (
        {
            "id": "08531d18-152f-4337-892c-3fc967b65082",
            "type": "hit",
            "subtype": "mirror",
            "timestamp": utc(1623673176622),
            "recipient": "example@np6.com",
            "message_id": "b967f2f1-2c49-4592-8027-77504af1cc7e",
            "message_thread_id": "e8c56c7f-66b7-4787-bdb3-59611efeebeb",
            **CONTACT,
        },
        {
            "events__hits": [
                {
                    "link_type": "mirror",
                    "link_label": "mirror page",
                    "link_source": "html",
                    **ANDROID,
                }
            ]
        },
    ),
    "hit.form": (
        {
            "id": "ec2d644a-f16c-4f1c-8e69-ceab0d1dd043",
            "type": "hit",
            "subtype": "form",
            "timestamp": utc(1623673176622),
            "recipient": "example@np6.com",
            "message_id": "007a1274-0952-42f8-a85b-1230352c8d2b",
            "message_thread_id": "feed3692-1b39-46fc-91be-8ae827cace32",
            **CONTACT,
        },
        {
            "events__hits": [
                {
                    "link_type": "form",
                    "link_label": "start",
                    "link_source": "html",
                    "link_value": "0000F1",
                    **ANDROID,
                }
            ]
        },
    ),
    "hit.redirection": (
        {
            "id": "d6d3af4e-762d-4c8b-bbe3-578ad5925f02",
            "type": "hit",
            "subtype": "redirection",
            "timestamp": utc(1623673176622),
            "recipient": "example@np6.com",
            "message_id": "d52055cd-e854-4177-8ef5-b10fd8d568a7",
            "message_thread_id": "a3078b19-b379-4bc2-b29a-e8229a9c9332",
            **CONTACT,
        },
        {
            "events__hits": [
                {
                    "link_type": "redirection",
                    "link_label": "homepage",
                    "link_source": "html",
                    "link_destination": "https://www.np6.fr",
                    **HUAWEI,
                }
            ]
        },
    ),
    "bounce.soft": (
        {
            "id": "968e9b7b-ca77-4795-9159-6e1af3566e18",
            "type": "bounce",
            "subtype": "soft",
            "timestamp": utc(1614089582000),
            "recipient": "example@np6.com",
            "contact_type": "id",
            "contact_id": "0013KDC0",
            "message_id": "7bb105bd-e548-402b-bcd8-8fb30b5e6cf4",
            "message_thread_id": "98a5918d-b1c4-4dc6-9222-57719ccd5bc8",
        },
        {
            "events__bounces": [
                {
                    "status_type": "sync",
                    "status_code_enhanced": "5.4.4",
                    "diagnostic": "unable to route: no mail hosts for domain",
                    "mta": "",
                    "verdict": "soft",
                    "subject_type": "other or undefined status",
                }
            ]
        },
    ),
    "bounce.hard": (
        {
            "id": "14d3d192-bd40-4c0b-9048-4469ab3a981c",
            "type": "bounce",
            "subtype": "hard",
            "timestamp": utc(1614089593000),
            "recipient": "example@blabla.com",
            "contact_type": "id",
            "contact_id": "0013KDC8",
            "message_id": "4d3eb218-1887-4c43-b287-cac59acec5ea",
            "message_thread_id": "671d5989-3bdb-41fc-96c4-7acbdcb8de5e",
        },
        {
            "events__bounces": [
                {
                    "status_type": "sync",
                    "status_code_enhanced": "5.1.2",
                    "diagnostic": "bad destination system: no such domain",
                    "mta": "",
                    "verdict": "hard",
                    "subject_type": "address",
                    "subject_detail_type": "bad destination system address",
                }
            ]
        },
    ),
    "execution": (
        {
            "id": "b794a047-b15a-498c-9e46-8762d009bfb1",
            "type": "execution",
            "timestamp": utc(1614089576718),
            "message_id": "340adff4-c193-427e-9e14-6a27633b77f6",
            "message_thread_id": "73b43cda-527a-4de7-911a-b4550dabc571",
            **CONTACT,
        },
        {"events__execution_data": FOO_AND_BAR},
    ),
    "activation": (
        {
            "id": "d436cfcb-8dda-4b12-a174-bf6519b50dd1",
            "type": "activation",
            "timestamp": utc(1614089582000),
            "recipient": "example@np6.com",
            "message_id": "d52055cd-e854-4177-8ef5-b10fd8d568a7",
            "message_thread_id": "a3078b19-b379-4bc2-b29a-e8229a9c9332",
            **CONTACT,
        },
        {},
    ),
    "cancellation.user defined policy": (
        {
            "id": "84b10b69-6761-434f-be85-d56ddfaf0f20",
            "type": "cancellation",
            "subtype": "user defined policy",
            "timestamp": utc(1614089582000),
            "message_id": "d52055cd-e854-4177-8ef5-b10fd8d568a7",
            "message_thread_id": "a3078b19-b379-4bc2-b29a-e8229a9c9332",
            **CONTACT,
        },
        {
            "events__cancellations": [
                {
                    "cancellation_type": "user defined policy",
                    "value_type": "render",
                    "value_message": "Lorem ipsum dolor sit amet...",
                }
            ],
            "events__execution_data": FOO_AND_BAR,
        },
    ),
    "cancellation.redlisted target": (
        {
            "id": "ed715f1b-cc57-43b8-9bbe-e18b58d7e38c",
            "type": "cancellation",
            "subtype": "redlisted target",
            "timestamp": utc(1614089593000),
            "message_id": "40e7f10f-9f96-4891-a340-bccc49b13155",
            "message_thread_id": "cbce7a1c-793e-45fb-baa1-5bfcb8998a36",
            **CONTACT,
        },
        {"events__cancellations": [{"cancellation_type": "redlisted target"}]},
    ),
}


class TestDocumentedSamples:
    @pytest.mark.parametrize("sample", GOLDEN)
    def test_every_value_is_in_its_column_and_nothing_is_left(
        self, reader: EventReader, spool: Path, sample: str
    ) -> None:
        expected, children = GOLDEN[sample]
        belongs = {
            "event_id": expected["id"],
            "timestamp": expected["timestamp"],
            "requested_at": utc(REQUESTED),
        }

        rows = rows_of(reader, spool, [SAMPLES[sample]])

        (row,) = rows.pop("events")
        assert of_event(row) == EMAIL | expected
        assert set(rows) == set(children)
        for name, table in children.items():
            found = {row.get("key"): of_event(row) for row in rows[name]}
            assert len(rows[name]) == len(table)
            assert found == {row.get("key"): belongs | row for row in table}

    def test_none_of_them_is_drift(self, reader: EventReader, spool: Path) -> None:
        contents = AnswerContents()

        rows = rows_of(reader, spool, list(SAMPLES.values()), contents=contents)

        assert contents.event_count == len(SAMPLES) == len(rows["events"])
        assert contents.unmapped == {}
        assert all(row["unmapped"] is None for row in rows["events"])

    def test_tables_have_the_columns_and_types_of_the_schema(
        self, reader: EventReader, spool: Path
    ) -> None:
        file = spool / "answer.json"
        file.write_text(json.dumps(list(SAMPLES.values())))
        by_name = {table.name: table for table in TABLES}

        for tables in reader.read(file, EVERYTHING, REQUESTED, AnswerContents(), campaign_id="c"):
            assert set(tables) == {table.name for table in EVENT_TABLES}
            for name, table in tables.items():
                assert table.schema == by_name[name].arrow_schema


# --- Kinds of payloads that are known without a sample ---


def contact_of(reader: EventReader, spool: Path, receiver: Any, sample: str = "activation") -> Any:
    key = "recipient" if sample == "execution" else "receiver"
    part = "execution" if sample == "execution" else "activation"
    payload = event(sample, **{f"source__detail__{part}__{key}": receiver})
    (row,) = rows_of(reader, spool, [payload])["events"]
    return {k: v for k, v in of_event(row).items() if k.startswith(("contact", "unmapped"))}


class TestContacts:
    @pytest.mark.parametrize("sample", ["activation", "execution"])
    @pytest.mark.parametrize("kind", ["id", "unicity", "hash"])
    def test_a_single_value_goes_to_the_column_of_its_kind(
        self, experienced: EventReader, spool: Path, kind: str, sample: str
    ) -> None:
        receiver = {"type": kind, "value": "0013KDC0"}

        assert contact_of(experienced, spool, receiver, sample) == {
            "contact_type": kind,
            f"contact_{kind}": "0013KDC0",
        }

    @pytest.mark.parametrize("sample", ["activation", "execution"])
    def test_a_footprint_inside_a_contact_is_unfolded(
        self, experienced: EventReader, spool: Path, sample: str
    ) -> None:
        footprint = {"type": "footprint", "id": "1", "unicity": "u", "hash": "h"}

        found = contact_of(experienced, spool, {"type": "contact", "value": footprint}, sample)

        assert found == {
            "contact_type": "contact",
            "contact_id": "1",
            "contact_unicity": "u",
            "contact_hash": "h",
        }

    def test_a_contact_of_another_kind_is_kept_with_its_kind(
        self, experienced: EventReader, spool: Path
    ) -> None:
        found = contact_of(
            experienced, spool, {"type": "contact", "value": {"type": "device", "id": "1"}}
        )

        assert found["contact_id"] == "1"
        assert json.loads(found["unmapped"]) == {
            "source": {"detail": {"activation": {"receiver": {"value": {"type": "device"}}}}}
        }

    @pytest.mark.parametrize(
        "receiver",
        [
            {"type": "phone", "value": "+33 1"},
            {"type": "footprint", "value": {"id": "7"}},
            {"type": "unicity", "value": ["a@b.fr"]},
            {"value": "0013KDC0"},
        ],
        ids=["unknown kind", "not a contact", "a list", "no kind"],
    )
    def test_a_value_that_no_kind_explains_is_kept(
        self, experienced: EventReader, spool: Path, receiver: dict[str, Any]
    ) -> None:
        found = contact_of(experienced, spool, receiver)
        kept = json.loads(found["unmapped"])["source"]["detail"]["activation"]["receiver"]

        assert kept == {"value": receiver["value"]}
        assert "contact_unicity" not in found

    @pytest.mark.parametrize("kind", ["id", "unicity", "hash"])
    def test_an_empty_object_for_a_value_is_no_contact(
        self, reader: EventReader, spool: Path, kind: str
    ) -> None:
        receiver = {"type": kind, "value": {}}

        for _ in range(2):
            assert contact_of(reader, spool, receiver) == {"contact_type": kind}

    def test_a_notification_has_numbers_for_ids_and_a_version(
        self, experienced: EventReader, spool: Path
    ) -> None:
        payload = {
            "type": "optout",
            "id": "14d3d192-bd40-4c0b-9048-4469ab3a981c",
            "timestamp": 1614089593000,
            "identity": {"type": "customer", "agency": "DEMO", "customer": "028"},
            "source": {
                "type": "notification",
                "detail": {
                    "activation": {
                        "id": 156,
                        "version": "ca0eeca3-49c7-4d0d-b814-9182571b6b70",
                        "kind": "application",
                        "receiver": {
                            "type": "contact",
                            "value": {"type": "footprint", "id": "000R4M0T"},
                        },
                        "stamp": {"time": 1614089576625, "id": "s", "thread": "t", "set": "g"},
                    }
                },
            },
        }

        rows = rows_of(experienced, spool, [payload])

        assert set(rows) == {"events"}
        assert of_event(rows["events"][0]) == {
            "id": "14d3d192-bd40-4c0b-9048-4469ab3a981c",
            "type": "optout",
            "timestamp": utc(1614089593000),
            "channel": "notification",
            "agency": "DEMO",
            "customer": "028",
            "action_id": "156",
            "action_kind": "application",
            "action_version": "ca0eeca3-49c7-4d0d-b814-9182571b6b70",
            "contact_type": "contact",
            "contact_id": "000R4M0T",
            "message_id": "s",
            "message_thread_id": "t",
            "message_set_id": "g",
            "message_stamped_at": utc(1614089576625),
            "requested_at": utc(REQUESTED),
        }


class TestExecutionData:
    @pytest.mark.parametrize(
        ("literal", "value", "value_type"),
        [
            ('"text"', "text", "string"),
            ('""', "", "string"),
            ('"1"', "1", "string"),
            ('"null"', "null", "string"),
            (r'"a \"quote\" \\ é \ud83d\ude00"', 'a "quote" \\ é \U0001f600', "string"),
            ("1", "1", "integer"),
            ("-7", "-7", "integer"),
            ("9223372036854775808", "9223372036854775808", "integer"),
            (str(BIG), str(BIG), "integer"),
            ("1.5", "1.5", "number"),
            ("1.0", "1.0", "number"),
            ("true", "true", "boolean"),
            ("null", None, "null"),
            ('{"a":{"b":[1,null]}}', '{"a":{"b":[1,null]}}', "object"),
            ("[1,[2]]", "[1,[2]]", "array"),
            ("{}", "{}", "object"),
            ("[]", "[]", "array"),
            # A double is all that JSON promises of a fraction: further digits are not kept.
            ("0.1000000000000000055511151231257827", "0.1", "number"),
        ],
    )
    def test_every_value_is_text_with_its_type(
        self,
        experienced: EventReader,
        spool: Path,
        literal: str,
        value: str | None,
        value_type: str,
    ) -> None:
        payload = json.dumps([event("execution", source__detail__execution__data={"k": "@"})])

        rows = rows_of(experienced, spool, payload.replace('"@"', literal))

        (row,) = rows["events__execution_data"]
        assert (row["key"], row["value"], row["value_type"]) == ("k", value, value_type)
        assert rows["events"][0]["unmapped"] is None

    @pytest.mark.parametrize("key", ["", "a.b", "$", "$.a", '"', "'", "é", "a b", "[0]", "\\", "*"])
    def test_any_key_will_do(self, experienced: EventReader, spool: Path, key: str) -> None:
        payload = event("execution", source__detail__execution__data={key: "v", "other": 1})

        rows = rows_of(experienced, spool, [payload])["events__execution_data"]

        assert {row["key"]: row["value"] for row in rows} == {key: "v", "other": "1"}

    def test_an_empty_object_has_no_rows(self, experienced: EventReader, spool: Path) -> None:
        rows = rows_of(experienced, spool, [event("execution", source__detail__execution__data={})])

        assert "events__execution_data" not in rows
        assert rows["events"][0]["unmapped"] is None

    @pytest.mark.parametrize("data", ["text", 1, ["a"], []], ids=repr)
    def test_what_is_no_object_is_unmapped(
        self, experienced: EventReader, spool: Path, data: Any
    ) -> None:
        rows = rows_of(
            experienced, spool, [event("execution", source__detail__execution__data=data)]
        )

        assert "events__execution_data" not in rows
        assert json.loads(rows["events"][0]["unmapped"]) == {
            "source": {"detail": {"execution": {"data": data}}}
        }

    def test_of_a_repeated_key_the_first_counts_and_all_are_kept(
        self, experienced: EventReader, spool: Path
    ) -> None:
        payload = json.dumps([event("execution", source__detail__execution__data={"k": "@"})])

        rows = rows_of(experienced, spool, payload.replace('"@"', '"first","k":"second"'))

        assert [row["value"] for row in rows["events__execution_data"]] == ["first"]
        assert "second" in rows["events"][0]["unmapped"]

    def test_rows_belong_to_their_events(self, experienced: EventReader, spool: Path) -> None:
        payload = [
            event("execution", id=name, source__detail__execution__data={"k": name})
            for name in ("one", "two", "three")
        ]

        rows = rows_of(experienced, spool, payload)["events__execution_data"]

        assert {(row["event_id"], row["value"]) for row in rows} == {
            ("one", "one"),
            ("two", "two"),
            ("three", "three"),
        }


# --- What the contract does not know ---


def unmapped_of(reader: EventReader, spool: Path, *payload: Any) -> list[Any]:
    """What is left over of each event, read between events that are clean."""
    clean = event(id="clean")
    text = json.dumps([clean, *payload, clean], ensure_ascii=False)
    first, *rows, last = rows_of(reader, spool, text)["events"]
    assert first["unmapped"] is last["unmapped"] is None
    return [json.loads(row["unmapped"]) if row["unmapped"] else None for row in rows]


class TestUnknownFields:
    @pytest.mark.parametrize("value", ["x", 1, 1.5, True, None, {}, [], {"a": [{}]}], ids=repr)
    @pytest.mark.parametrize(
        "path", ["surprise", "source__surprise", "source__detail__client__ua__os__surprise"]
    )
    def test_a_new_field_is_kept_as_it_is(
        self, experienced: EventReader, spool: Path, path: str, value: Any
    ) -> None:
        expected: Any = value
        for key in reversed(path.split("__")):
            expected = {key: expected}

        assert unmapped_of(experienced, spool, event(**{path: value})) == [expected]

    @pytest.mark.parametrize("key", ["", "a.b", "$", '"', "'", "Type", "type ", "é", "~2", "*"])
    def test_any_key_will_do(self, experienced: EventReader, spool: Path, key: str) -> None:
        assert unmapped_of(experienced, spool, event() | {key: "x"}) == [{key: "x"}]

    @pytest.mark.parametrize(
        ("key", "value"),
        [
            ("source.type", "x"),
            ("identity.agency", "x"),
            ("source.detail", {"link": {"type": "x"}}),
            ("source.detail.execution.data", {"k": "v"}),
        ],
    )
    def test_a_key_that_looks_like_a_known_path_is_kept(
        self, experienced: EventReader, spool: Path, key: str, value: Any
    ) -> None:
        payload = event("execution") | {key: value}

        assert unmapped_of(experienced, spool, payload) == [{key: value}]

    def test_an_event_of_an_unknown_type_is_kept_whole(
        self, experienced: EventReader, spool: Path
    ) -> None:
        payload = event("activation", type="delivery", source__detail__delivery={"mta": "m"})
        contents = AnswerContents()

        rows = rows_of(experienced, spool, [payload], contents=contents)

        assert set(rows) == {"events"}
        assert rows["events"][0]["type"] == "delivery"
        assert json.loads(rows["events"][0]["unmapped"]) == {
            "source": {"detail": {"delivery": {"mta": "m"}}}
        }
        assert contents.unmapped == {"source.detail.delivery": 1}

    def test_unknown_fields_are_counted_by_their_path(
        self, experienced: EventReader, spool: Path
    ) -> None:
        contents = AnswerContents()
        payload = [event(surprise=1), event(surprise=2, source__new={"a": 1, "b": 2}), event()]

        rows_of(experienced, spool, payload, contents=contents)

        assert contents.unmapped == {"surprise": 2, "source.new": 1}

    def test_known_fields_without_a_value_are_not_drift(
        self, experienced: EventReader, spool: Path
    ) -> None:
        payload = event(
            identity=None,
            source__type=None,
            source__detail__client={},
            source__detail__activation__stamp={"time": None},
        )

        assert unmapped_of(experienced, spool, payload) == [None]

    def test_another_identity_is_kept(self, experienced: EventReader, spool: Path) -> None:
        assert unmapped_of(experienced, spool, event(identity__type="partner")) == [
            {"identity": {"type": "partner"}}
        ]

    def test_an_activation_beside_an_execution_is_kept(
        self, experienced: EventReader, spool: Path
    ) -> None:
        payload = event("activation", source__detail__execution={"id": "other", "kind": "message"})

        assert unmapped_of(experienced, spool, payload) == [
            {"source": {"detail": {"execution": {"id": "other", "kind": "message"}}}}
        ]


class TestWrongTypes:
    @pytest.mark.parametrize("value", [{"a": 1}, [1], [], {}], ids=repr)
    def test_an_object_in_place_of_a_text_leaves_the_column_empty(
        self, experienced: EventReader, spool: Path, value: Any
    ) -> None:
        payload = event(source__detail__activation__kind=value)

        rows = rows_of(experienced, spool, [payload])["events"]

        assert rows[0]["action_kind"] is None
        assert json.loads(rows[0]["unmapped"]) == {
            "source": {"detail": {"activation": {"kind": value}}}
        }

    @pytest.mark.parametrize("value", ["text", 5, True, [], ["a"]], ids=repr)
    @pytest.mark.parametrize("path", ["identity", "source__detail__client__ip"])
    def test_a_value_in_place_of_an_object_is_kept_whatever_came_before(
        self, reader: EventReader, spool: Path, path: str, value: Any
    ) -> None:
        absent, empty, wrong = event(**{path: None}), event(**{path: {}}), event(**{path: value})
        expected: Any = value
        for key in reversed(path.split("__")):
            expected = {key: expected}

        assert unmapped_of(reader, spool, absent, empty, wrong) == [None, None, expected]

    @pytest.mark.parametrize(
        ("literal", "text"),
        [("true", "true"), ("156", "156"), ("-1", "-1"), ("18446744073709551615", None)],
    )
    def test_a_simple_value_in_place_of_a_text_is_its_text(
        self, reader: EventReader, spool: Path, literal: str, text: str | None
    ) -> None:
        payload = json.dumps(
            [
                event(id="before", source__detail__activation__id=1),
                event(id="itself", source__detail__activation__id="@"),
            ]
        )

        row = rows_of(reader, spool, payload.replace('"@"', literal))["events"][1]

        assert row["action_id"] == literal
        assert row["unmapped"] is None or (text is None and literal in row["unmapped"])

    def test_a_fraction_in_place_of_a_text_is_kept_exactly(
        self, experienced: EventReader, spool: Path
    ) -> None:
        payload = event(source__detail__link__value=1.5)

        rows = rows_of(experienced, spool, [payload])

        assert float(rows["events__hits"][0]["link_value"]) == 1.5
        assert json.loads(rows["events"][0]["unmapped"])["source"]["detail"] == {
            "link": {"value": 1.5}
        }

    @pytest.mark.parametrize(
        ("literal", "kept"),
        [
            pytest.param(str(BIG), str(BIG), id="past 128 bits"),
            pytest.param(str(2**63), str(2**63), id="past 63 bits"),
            pytest.param(str(-(2**63) - 1), str(-(2**63) - 1), id="past minus 63 bits"),
            pytest.param("1e400", "1e400", id="past a double"),
            pytest.param("-1e400", "-1e400", id="past minus a double"),
            pytest.param("1e-400", "1e-400", id="below a double"),
            pytest.param(f"1e-{'9' * 20}", f"1e-{'9' * 20}", id="exponent past 64 bits"),
            pytest.param(f"0e{'9' * 20}", f"0e{'9' * 20}", id="zero with a huge exponent"),
            pytest.param("0.1234567890123456789", "0.1234567890123456789", id="more digits"),
            pytest.param(str(2**63 - 1), 2**63 - 1, id="63 bits"),
            pytest.param("1.25", 1.25, id="a double"),
        ],
    )
    def test_a_number_that_fits_nothing_is_kept_as_text(
        self, experienced: EventReader, spool: Path, literal: str, kept: Any
    ) -> None:
        payload = json.dumps([event(surprise={"n": ["@"]})]).replace('"@"', literal)

        rows = rows_of(experienced, spool, payload)["events"]

        assert json.loads(rows[0]["unmapped"]) == {"surprise": {"n": [kept]}}

    @pytest.mark.parametrize(
        ("literal", "stamped_at"),
        [
            pytest.param("true", None, id="boolean"),
            pytest.param("{}", None, id="object"),
            pytest.param("[1]", None, id="array"),
            pytest.param('"yesterday"', None, id="words"),
            pytest.param("253402300800000", None, id="year 10000"),
            pytest.param("-62135596800001", None, id="year 0"),
            pytest.param(str(2**63), None, id="past 63 bits"),
            pytest.param('"1614089576625"', utc(1614089576625), id="text of digits"),
            pytest.param("1614089576625.0", utc(1614089576625), id="fraction"),
        ],
    )
    def test_what_is_no_date_is_kept_beside_the_column(
        self, experienced: EventReader, spool: Path, literal: str, stamped_at: datetime | None
    ) -> None:
        payload = json.dumps([event(source__detail__activation__stamp__time="@")])

        (row,) = rows_of(experienced, spool, payload.replace('"@"', literal))["events"]

        assert row["message_stamped_at"] == stamped_at
        kept = json.loads(row["unmapped"])["source"]["detail"]["activation"]["stamp"]["time"]
        assert kept == json.loads(literal) or str(kept) == literal

    @pytest.mark.parametrize("ms", [-62_135_596_800_000, -1, 0, 253_402_300_799_999], ids=str)
    def test_every_instant_of_the_calendar_is_a_date(
        self, experienced: EventReader, spool: Path, ms: int
    ) -> None:
        payload = event(source__detail__activation__stamp__time=ms)

        (row,) = rows_of(experienced, spool, [payload])["events"]

        assert (row["message_stamped_at"], row["unmapped"]) == (utc(ms), None)

    def test_only_the_event_concerned_loses_its_column(
        self, reader: EventReader, spool: Path
    ) -> None:
        payload = [
            event(id=str(i), source__detail__activation__kind={"a": i} if i % 3 == 1 else "k")
            for i in range(9)
        ]

        rows = rows_of(reader, spool, payload)["events"]

        assert [row["action_kind"] for row in rows] == ["k", None, "k"] * 3
        assert [row["unmapped"] is None for row in rows] == [True, False, True] * 3


class TestRepeatedKeys:
    def test_the_first_value_counts_and_the_others_are_kept(
        self, experienced: EventReader, spool: Path
    ) -> None:
        payload = json.dumps([event()]).replace(
            '"label": "homepage"', '"label": "homepage", "label": "second", "label": "third"'
        )

        rows = rows_of(experienced, spool, payload)

        assert rows["events__hits"][0]["link_label"] == "homepage"
        assert json.loads(rows["events"][0]["unmapped"]) == {
            "source": {"detail": {"link": {"label~2": "second", "label~3": "third"}}}
        }

    def test_a_key_that_is_named_like_a_repetition_is_kept_too(
        self, experienced: EventReader, spool: Path
    ) -> None:
        payload = json.dumps([event(x=1)]).replace('"x": 1', '"x": 1, "x": 2, "x~2": 3, "x~2": 4')

        (row,) = rows_of(experienced, spool, payload)["events"]

        assert sorted(json.loads(row["unmapped"]).values()) == [1, 2, 3, 4]

    def test_an_object_that_stands_twice_is_kept(
        self, experienced: EventReader, spool: Path
    ) -> None:
        payload = json.dumps([event()])[:-2] + ', "source": {"type": "sms"}}]'

        (row,) = rows_of(experienced, spool, payload)["events"]

        assert row["channel"] == "email"
        assert json.loads(row["unmapped"]) == {"source~2": {"type": "sms"}}


DEEP = """
import sys
from pathlib import Path
from np6_source.events.json_file import UnreadableAnswer
from np6_source.events.reader import AnswerContents, EventReader
from np6_source.windows import Window

file, levels = Path(sys.argv[1]) / "deep.json", int(sys.argv[2])
reader = EventReader(file.parent)
fields = {
    "unknown": '"surprise": %s',
    "text": '"type": %s',
    "container": '"source": %s',
    "data": '"source": {"detail": {"execution": {"data": {"k": %s}}}}',
}
for deep in ("[" * levels + "]" * levels, '{"a":' * levels + "1" + "}" * levels):
    for place, field in fields.items():
        file.write_text('[{"id": "1", "timestamp": 5, ' + field % deep + "}]")
        try:
            for tables in reader.read(file, Window(0, 10), 0, AnswerContents()):
                kept = tables["events"].to_pylist()[0]["unmapped"] or ""
                if "events__execution_data" in tables:
                    kept += tables["events__execution_data"].to_pylist()[0]["value"]
                print("kept" if deep in kept.replace(chr(92), "") else "lost")
        except UnreadableAnswer:
            print("refused")
"""


class TestDeepNesting:
    @pytest.mark.parametrize(
        ("levels", "allowed"),
        [(500, {"kept"}), (3_000, {"kept"}), (100_000, {"kept", "refused"})],
        ids=["500 levels", "3000 levels", "100000 levels"],
    )
    def test_it_is_kept_or_refused_but_never_ends_the_process(
        self, tmp_path: Path, levels: int, allowed: set[str]
    ) -> None:
        done = subprocess.run(
            [sys.executable, "-c", DEEP, str(tmp_path), str(levels)],
            capture_output=True,
            text=True,
            timeout=60,
        )

        assert done.returncode == 0, done.stderr[-500:]
        results = done.stdout.split()
        assert len(results) == 8
        assert set(results) <= allowed


# --- What an answer must be ---


class TestRefusals:
    @pytest.mark.parametrize(
        ("bad", "message"),
        [
            pytest.param({"timestamp": 5}, "event 3 .* no usable 'id'", id="no id"),
            pytest.param({"id": "", "timestamp": 5}, "event 3 .* 'id'", id="empty id"),
            pytest.param({"id": None, "timestamp": 5}, "event 3 .* 'id'", id="null id"),
            pytest.param({"id": {"a": 1}, "timestamp": 5}, "event 3 .* 'id'", id="object as id"),
            pytest.param({"id": ["a"], "timestamp": 5}, "event 3 .* 'id'", id="array as id"),
            pytest.param({"id": "x"}, "event 3 .* 'timestamp'", id="no timestamp"),
            pytest.param(
                {"id": "x", "timestamp": None}, "event 3 .* 'timestamp'", id="null timestamp"
            ),
            pytest.param(
                {"id": "x", "timestamp": "now"}, "event 3 .* 'timestamp'", id="words as timestamp"
            ),
            pytest.param(
                {"id": "x", "timestamp": True}, "event 3 .* 'timestamp'", id="boolean as timestamp"
            ),
            pytest.param(
                {"id": "x", "timestamp": {}}, "event 3 .* 'timestamp'", id="object as timestamp"
            ),
            pytest.param(
                {"id": "x", "timestamp": 10**18}, "event 3 .* 'timestamp'", id="beyond the calendar"
            ),
            pytest.param("text", "event 3", id="a text among events"),
            pytest.param(None, "event 3", id="null among events"),
            pytest.param(5, "event 3", id="a number among events"),
            pytest.param([event()], "event 3", id="an array among events"),
            pytest.param({}, "event 3", id="an empty object among events"),
        ],
    )
    def test_an_event_that_cannot_be_placed_is_refused_with_its_position(
        self, experienced: EventReader, spool: Path, bad: Any, message: str
    ) -> None:
        with pytest.raises(UnreadableAnswer, match=message):
            rows_of(experienced, spool, [event(), event(), bad, event()])

    def test_the_position_counts_over_batches(
        self, experienced: EventReader, spool: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reader_module, "BATCH_ROWS", 2_048)
        payload = [{"id": str(i), "timestamp": i} for i in range(9_000)]
        payload[8_999] = {"id": "last"}

        with pytest.raises(UnreadableAnswer, match="event 9000 of the answer"):
            rows_of(experienced, spool, payload)

    @pytest.mark.parametrize(
        "text",
        [
            pytest.param('[{"id": "1", "timestamp": 5}, {"id": "2"', id="cut inside an event"),
            pytest.param('[{"id": "1", "timestamp": 5},', id="cut behind a comma"),
            pytest.param('[{"id": "1", "timestamp": 5, "x": [1]', id="cut behind a nested array"),
            pytest.param('[{"id": "1", "timestamp": 5}] []', id="two arrays"),
            pytest.param('[{"id": "1", "timestamp": 5}]]', id="a bracket too many"),
            pytest.param('[[{"id": "1", "timestamp": 5}]', id="a bracket too few"),
            pytest.param('[{"id": "1", "timestamp": 5} {"id": "2"}]', id="no comma"),
            pytest.param('[{"id": "1", "timestamp": NaN}]', id="not a number"),
            pytest.param("[{'id': '1', 'timestamp': 5}]", id="other quotes"),
            pytest.param('[{"id": "1", "timestamp": 5} error]', id="text inside"),
            pytest.param("", id="empty"),
            pytest.param('{"id": "1", "timestamp": 5}', id="an object"),
            pytest.param('[{"id": "\\ud800", "timestamp": 5}]', id="a lone surrogate"),
            pytest.param(b'[{"id": "\xff", "timestamp": 5}]', id="a byte that is not UTF-8"),
        ],
    )
    def test_what_is_no_array_of_events_is_refused(
        self, experienced: EventReader, spool: Path, text: str | bytes
    ) -> None:
        with pytest.raises(UnreadableAnswer):
            rows_of(experienced, spool, text)

    def test_the_body_is_not_quoted(self, experienced: EventReader, spool: Path) -> None:
        with pytest.raises(UnreadableAnswer) as caught:
            rows_of(experienced, spool, '[{"id": "example@np6.com" oops}]')

        assert "example" not in str(caught.value)
        assert str(spool) not in str(caught.value)
        assert caught.value.__cause__ is None

    def test_a_reader_that_refused_an_answer_reads_the_next(
        self, reader: EventReader, spool: Path
    ) -> None:
        with pytest.raises(UnreadableAnswer):
            rows_of(reader, spool, [{}])

        assert len(rows_of(reader, spool, [event()])["events"]) == 1

    def test_an_event_that_is_too_large_is_named(
        self, experienced: EventReader, spool: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reader_module, "LARGEST_EVENT", 1024 * 1024)

        with pytest.raises(UnreadableAnswer, match="an event is larger than 1 MB"):
            rows_of(experienced, spool, [event(surprise="x" * 40_000_000)])


class TestReading:
    @pytest.mark.parametrize("text", ["[]", " [ ] \n", "\ufeff[]"])
    def test_no_event_no_table(self, experienced: EventReader, spool: Path, text: str) -> None:
        contents = AnswerContents()

        assert rows_of(experienced, spool, text, contents=contents) == {}
        assert (contents.event_count, contents.outside) == (0, 0)

    def test_a_byte_order_mark_is_no_matter(self, experienced: EventReader, spool: Path) -> None:
        rows = rows_of(experienced, spool, "\ufeff" + json.dumps([event()]))

        assert len(rows["events"]) == 1

    def test_events_outside_the_window_are_left_out_and_counted(
        self, experienced: EventReader, spool: Path
    ) -> None:
        contents = AnswerContents()
        payload = [event("execution", id=str(ms), timestamp=ms) for ms in (9, 10, 15, 19, 20, 99)]

        rows = rows_of(experienced, spool, payload, Window(10, 20), contents)

        assert [row["id"] for row in rows["events"]] == ["10", "15", "19"]
        assert {row["event_id"] for row in rows["events__execution_data"]} == {"10", "15", "19"}
        assert (contents.event_count, contents.outside) == (3, 3)

    def test_what_is_left_over_stays_with_its_event_when_others_are_left_out(
        self, experienced: EventReader, spool: Path
    ) -> None:
        payload = [event(id=str(i), timestamp=i, surprise=i) for i in range(10)]

        rows = rows_of(experienced, spool, payload, Window(3, 6))["events"]

        assert [(row["id"], json.loads(row["unmapped"])["surprise"]) for row in rows] == [
            ("3", 3),
            ("4", 4),
            ("5", 5),
        ]

    def test_an_answer_with_nothing_inside_the_window_has_no_tables(
        self, experienced: EventReader, spool: Path
    ) -> None:
        contents = AnswerContents()

        assert rows_of(experienced, spool, [event()], Window(0, 1), contents) == {}
        assert (contents.event_count, contents.outside) == (0, 1)

    @pytest.mark.parametrize("type_", ["@absent", None, {"a": 1}], ids=repr)
    def test_a_missing_type_is_filled_from_the_operation(
        self, experienced: EventReader, spool: Path, type_: Any
    ) -> None:
        payload = {"id": "1", "timestamp": 5, "type": type_}
        if type_ == "@absent":
            del payload["type"]

        rows = rows_of(experienced, spool, [payload], event_type="hit")

        assert rows["events"][0]["type"] == "hit"
        assert len(rows["events__hits"]) == 1

    def test_a_type_that_is_said_stays(self, experienced: EventReader, spool: Path) -> None:
        rows = rows_of(experienced, spool, [event("activation")], event_type="hit")

        assert rows["events"][0]["type"] == "activation"
        assert "events__hits" not in rows

    @pytest.mark.parametrize(
        ("type_", "table"),
        [
            ("hit", "events__hits"),
            ("bounce", "events__bounces"),
            ("cancellation", "events__cancellations"),
        ],
    )
    def test_an_event_without_detail_has_its_row(
        self, experienced: EventReader, spool: Path, type_: str, table: str
    ) -> None:
        rows = rows_of(experienced, spool, [{"id": "1", "timestamp": 5, "type": type_}])

        assert set(rows) == {"events", table}

    def test_detail_of_an_unknown_type_has_its_row(
        self, experienced: EventReader, spool: Path
    ) -> None:
        rows = rows_of(experienced, spool, [event(type="click")])

        assert rows["events__hits"][0]["link_label"] == "homepage"

    def test_events_of_a_campaign_are_tied_to_it(
        self, experienced: EventReader, spool: Path
    ) -> None:
        rows = rows_of(experienced, spool, [event(id="a"), event(id="b")], campaign_id="c1")

        assert rows["events__campaigns"] == [
            {
                "event_id": name,
                "campaign_id": "c1",
                "timestamp": utc(1623673176622),
                "requested_at": utc(REQUESTED),
            }
            for name in "ab"
        ]

    def test_other_events_have_no_campaign(self, experienced: EventReader, spool: Path) -> None:
        assert "events__campaigns" not in rows_of(experienced, spool, [event()])

    def test_every_row_says_when_it_was_asked_for(
        self, experienced: EventReader, spool: Path
    ) -> None:
        rows = rows_of(experienced, spool, list(SAMPLES.values()), campaign_id="c1")

        assert set(rows) == {table.name for table in EVENT_TABLES}
        asked = {row["requested_at"] for table in rows.values() for row in table}
        assert asked == {utc(REQUESTED)}

    def test_events_are_counted_per_bucket_in_the_spans_only(
        self, experienced: EventReader, spool: Path
    ) -> None:
        contents = AnswerContents()
        moments = [5, 10, 19, 20, 25, 39, 40, 70, 99]
        payload = [event(id=str(ms), timestamp=ms) for ms in moments]
        counting = Counting((Window(10, 40), Window(70, 100)), width=10)

        rows_of(experienced, spool, payload, Window(0, 95), contents, counting=counting)

        assert contents.buckets == {1: 2, 2: 2, 3: 1, 7: 1}

    def test_order_is_kept_over_batches(
        self, reader: EventReader, spool: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reader_module, "BATCH_ROWS", 2_048)
        payload = [
            {"id": str(i), "timestamp": i} | ({"odd": i} if i % 5 == 0 else {})
            for i in range(5_000)
        ]

        rows = rows_of(reader, spool, payload)["events"]

        assert [row["id"] for row in rows] == [str(i) for i in range(5_000)]
        kept = {row["id"]: json.loads(row["unmapped"]) for row in rows if row["unmapped"]}
        assert kept == {str(i): {"odd": i} for i in range(0, 5_000, 5)}

    def test_a_few_odd_events_among_many_are_found_where_they_are(
        self, reader: EventReader, spool: Path
    ) -> None:
        odd = {0, 511, 512, 700, 4_095, 4_096, 5_000, 5_999}
        payload = [
            copy.deepcopy(SAMPLES["hit.form"])
            | {"id": str(i), "timestamp": i}
            | ({"odd": i} if i in odd else {})
            for i in range(6_000)
        ]

        tables = rows_of(reader, spool, payload)

        assert [row["id"] for row in tables["events"]] == [str(i) for i in range(6_000)]
        kept = {int(row["id"]): row["unmapped"] for row in tables["events"] if row["unmapped"]}
        assert {number: json.loads(text) for number, text in kept.items()} == {
            number: {"odd": number} for number in odd
        }
        assert {row["link_value"] for row in tables["events__hits"]} == {"0000F1"}

    def test_a_file_in_which_all_is_known_is_read_once(
        self, reader: EventReader, spool: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def again(_file: str, _largest_event: int) -> str:
            raise AssertionError("it is read again")

        monkeypatch.setattr(reader_module, "select_events", again)
        payload = [SAMPLES["hit.form"] | {"id": str(i), "timestamp": i} for i in range(10_000)]

        assert len(rows_of(reader, spool, payload)["events"]) == 10_000

    def test_shapes_beyond_those_remembered_are_read_the_same(
        self, reader: EventReader, spool: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        payload = [*SAMPLES.values(), event(id="odd", surprise=1)]
        before = rows_of(reader, spool, payload)
        monkeypatch.setattr(reader_module, "MOST_SHAPES", 2)
        forgetful = EventReader(spool)

        assert sorted_rows(rows_of(forgetful, spool, payload)) == sorted_rows(before)
        assert sorted_rows(rows_of(forgetful, spool, payload)) == sorted_rows(before)
        forgetful.close()


# --- Nothing is lost ---

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
KEYS = (
    st.sampled_from(
        [
            "", "a.b", "$", '"', "'", "type", "id", "value", "data", "source", "detail", "ip",
            "activation", "execution", "receiver", "recipient", "stamp", "time", "identity",
            "source.type", "source.detail", "identity.agency", "source.detail.link", "type~2",
            "timestamp ", "hash", "unicity", "link", "client", "ua", "set", "version",
        ]
    )
    | TEXTS
)  # fmt: skip
SCALARS = (
    st.sampled_from(
        [
            None, True, False, 0, -1, 1614089576625, 2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63),
            -(2**63) - 1, BIG, 253_402_300_799_999, 253_402_300_800_000, -62_135_596_800_001,
            1.5, -0.0, 1e300, 5e-324, "", "null", "{}", "1", "true", "contact", "footprint", "id",
            "unicity", "hash", "customer",
        ]
    )
    | TEXTS
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
OPERATIONS = st.sampled_from(["replace", "replace", "add", "add", "remove", "look-alike"])


def nodes(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of everything below a value."""
    items = value.items() if isinstance(value, dict) else ()
    for key, below in items:
        yield (*path, key)
        yield from nodes(below, (*path, key))


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    """A sample after some changes anywhere but in its id and timestamp."""
    payload: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(list(SAMPLES.values()))))
    for _ in range(draw(st.integers(0, 4))):
        paths = [path for path in nodes(payload) if path not in {("id",), ("timestamp",)}]
        operation = draw(OPERATIONS)
        path = draw(st.sampled_from(paths)) if paths else ()
        if operation == "add" or not path:
            target = at(payload, path)
            node = target if isinstance(target, dict) else payload
            key = draw(KEYS)
            if node is not payload or key not in ("id", "timestamp"):
                node[key] = draw(VALUES)
        elif operation == "remove":
            del at(payload, path[:-1])[path[-1]]
        elif operation == "look-alike":
            payload[".".join(path)] = copy.deepcopy(at(payload, path))
        else:
            at(payload, path[:-1])[path[-1]] = draw(VALUES)
    return payload


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every value that is no object, and every empty object, with its path."""
    if isinstance(value, dict) and value:
        for key, below in value.items():
            yield from leaves(below, (*path, key))
    else:
        yield path, value


COLUMNS_AT: dict[tuple[str, ...], list[tuple[str, str, tuple[str, str] | None]]] = {}
for _table in EVENT_TABLES:
    for _column in _table.columns:
        for _path in _column.paths:
            COLUMNS_AT.setdefault(tuple(_path.path.split(".")), []).append(
                (_table.name, _column.name, _path.when)
            )
KNOWN_PATHS = {path[:depth] for path in COLUMNS_AT for depth in range(1, len(path) + 1)}
KNOWN_PATHS |= {tuple(path.path.split(".")) for path, _ in EXPECTED_VALUES}
KNOWN_PATHS |= {("source", "detail", "execution", "data")}
DATA = ("source", "detail", "execution", "data")
KNOWN_OBJECTS = {path[:-1] for path in KNOWN_PATHS}


def same(kept: Any, value: Any) -> bool:
    """Whether a value was kept; numbers may have become text."""
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return type(kept) is type(value) and kept == value
    if isinstance(value, (int, float)):
        if isinstance(kept, bool) or not isinstance(kept, (int, float, str)):
            return False
        return Decimal(str(kept)) == Decimal(repr(value))
    if isinstance(value, list):
        return isinstance(kept, list) and len(kept) == len(value) and all(map(same, kept, value))
    return (
        isinstance(kept, dict)
        and kept.keys() == value.keys()
        and all(same(kept[key], value[key]) for key in value)
    )


def found_at(value: Any, path: tuple[str, ...]) -> tuple[bool, Any]:
    for key in path:
        if not isinstance(value, dict) or key not in value:
            return False, None
        value = value[key]
    return True, value


def is_in_a_column(payload: Any, rows: Rows, path: tuple[str, ...], value: Any) -> bool:
    for table, column, when in COLUMNS_AT.get(path, []):
        if when is not None and found_at(payload, tuple(when[0].split("."))) != (True, when[1]):
            continue
        for row in rows.get(table, []):
            held = row[column]
            if isinstance(value, bool):
                is_held = held == str(value).lower()
            elif isinstance(value, int) and isinstance(held, datetime):
                is_held = held == utc(value) if abs(value) < 10**15 else False
            else:
                is_held = isinstance(value, (str, int)) and held == str(value)
            if is_held:
                return True
    return False


def is_in_the_data(rows: Rows, path: tuple[str, ...], value: Any) -> bool:
    below = path[len(DATA) :]
    if path[: len(DATA)] != DATA:
        return False
    if not below:
        return value == {}
    for row in rows.get("events__execution_data", []):
        if row["key"] != below[0]:
            continue
        if row["value_type"] in ("object", "array"):
            is_there, kept = found_at(json.loads(row["value"]), below[1:])
            return is_there and same(kept, value)
        if row["value_type"] == "null":
            return value is None and row["value"] is None
        if row["value_type"] in ("integer", "number"):
            return not isinstance(value, str) and same(row["value"], value)
        return same(row["value"], str(value).lower() if isinstance(value, bool) else value)
    return False


def missing(payload: dict[str, Any], rows: Rows) -> list[tuple[tuple[str, ...], Any]]:
    """Values of an event that are in none of its rows."""
    unmapped = json.loads(rows["events"][0]["unmapped"] or "{}")
    lost = []
    for path, value in leaves(payload):
        says_nothing = path in KNOWN_PATHS and (
            value is None or (value == {} and path in KNOWN_OBJECTS)
        )
        is_constant = any(
            path == tuple(known.path.split("."))
            and value == constant
            and (
                known.when is None
                or found_at(payload, tuple(known.when[0].split("."))) == (True, known.when[1])
            )
            for known, constant in EXPECTED_VALUES
        )
        is_there, kept = found_at(unmapped, path)
        if not (
            says_nothing
            or is_constant
            or (is_there and same(kept, value))
            or is_in_a_column(payload, rows, path, value)
            or is_in_the_data(rows, path, value)
        ):
            lost.append((path, value))
    return lost


def rows_by_event(rows: Rows) -> dict[str, Rows]:
    result: dict[str, Rows] = {}
    for name, table in rows.items():
        for row in table:
            event_id = row["id" if name == "events" else "event_id"]
            result.setdefault(event_id, {}).setdefault(name, []).append(row)
    return result


@pytest.fixture(scope="module")
def read(experienced: EventReader, spool: Path) -> Callable[[list[Any]], Rows]:
    return lambda payload: rows_of(experienced, spool, payload)


class TestNothingIsLost:
    @settings(
        max_examples=25,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(payload=st.lists(mutated(), min_size=1, max_size=10))
    def test_every_value_is_in_its_column_or_unmapped(
        self, read: Callable[[list[Any]], Rows], payload: list[dict[str, Any]]
    ) -> None:
        for number, one in enumerate(payload):
            one["id"] = str(number)

        found = rows_by_event(read(payload))

        assert {one["id"]: missing(one, found[one["id"]]) for one in payload} == {
            one["id"]: [] for one in payload
        }

    @settings(
        max_examples=6,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(payload=st.lists(mutated(), min_size=1, max_size=5))
    @example(
        payload=[
            event(source__detail__client__ip=None),
            event(source__detail__client__ip="10.1.1.1"),
        ]
    )
    @example(
        payload=[
            event(source__detail__activation__id=1),
            event(source__detail__activation__id=2**64 - 1),
        ]
    )
    def test_what_a_reader_has_seen_before_changes_nothing(
        self, spool: Path, read: Callable[[list[Any]], Rows], payload: list[dict[str, Any]]
    ) -> None:
        for number, one in enumerate(payload):
            one["id"] = str(number)
        fresh = EventReader(spool)
        try:
            alone: Rows = {}
            for one in reversed(payload):
                new = EventReader(spool)
                for name, table in rows_of(new, spool, [one]).items():
                    alone.setdefault(name, []).extend(table)
                new.close()
            together = rows_of(fresh, spool, payload)
            again = rows_of(fresh, spool, payload[::-1])
        finally:
            fresh.close()

        expected = sorted_rows(alone)
        assert sorted_rows(together) == expected
        assert sorted_rows(again) == expected
        assert sorted_rows(read(payload)) == expected

    def test_the_check_itself_sees_what_is_lost(
        self, experienced: EventReader, spool: Path
    ) -> None:
        payload = event("execution", surprise={"a": [1, {}]})
        rows = rows_of(experienced, spool, [payload])
        assert missing(payload, rows) == []
        changed = copy.deepcopy(payload)
        changed["surprise"]["a"][0] = True
        changed["identity"]["agency"] = "OTHER"
        changed["source"]["detail"]["execution"]["data"]["foo"] = 3
        changed["new"] = None

        assert [path for path, _ in missing(changed, rows)] == [
            ("identity", "agency"),
            ("source", "detail", "execution", "data", "foo"),
            ("surprise", "a"),
            ("new",),
        ]
