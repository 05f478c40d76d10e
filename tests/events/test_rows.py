"""Which rows an event makes, in which tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from np6_source.events.reader import EventReader, ResponseContents
from np6_source.events.rows import Origin
from np6_source.schema import EVENT_TABLES, TABLES
from tests.events.support import (
    BIG,
    EVERYTHING,
    REQUESTED,
    SAMPLES,
    event,
    of_event,
    rows_of,
    utc,
)

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
            "recipient_domain": "np6.com",
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
            "recipient_domain": "np6.com",
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
            "recipient_domain": "np6.com",
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
            "recipient_domain": "np6.com",
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
            "recipient_domain": "blabla.com",
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
            "recipient_domain": "np6.com",
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
        contents = ResponseContents()

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

        origin = Origin(EVERYTHING, REQUESTED, campaign_id="c", robot_class="mpp")
        for tables in reader.read(file, origin, ResponseContents()):
            assert set(tables) == {table.name for table in EVENT_TABLES}
            for name, table in tables.items():
                assert table.schema == by_name[name].arrow_schema


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
            {"type": "id", "value": ["0013KDC0"]},
            {"value": "0013KDC0"},
        ],
        ids=["unknown kind", "not a contact", "a list of ids", "no kind"],
    )
    def test_a_value_that_no_kind_explains_is_kept(
        self, experienced: EventReader, spool: Path, receiver: dict[str, Any]
    ) -> None:
        found = contact_of(experienced, spool, receiver)
        kept = json.loads(found["unmapped"])["source"]["detail"]["activation"]["receiver"]

        assert kept == {"value": receiver["value"]}
        assert "contact_unicity" not in found

    @pytest.mark.parametrize("sample", ["activation", "execution"])
    @pytest.mark.parametrize("kind", ["id", "unicity", "hash"])
    def test_a_contact_may_hold_a_single_value(
        self, experienced: EventReader, spool: Path, kind: str, sample: str
    ) -> None:
        receiver = {"type": "contact", "value": {"type": kind, "value": "v"}}

        assert contact_of(experienced, spool, receiver, sample) == {
            "contact_type": "contact",
            f"contact_{kind}": "v",
        }

    @pytest.mark.parametrize(
        ("unicity", "column"),
        [(["a@b.fr"], "a@b.fr"), (["a@b.fr", 'é"2'], '["a@b.fr","é\\"2"]')],
        ids=["one", "two"],
    )
    @pytest.mark.parametrize(
        "receiver",
        [
            {"type": "unicity", "value": "@"},
            {"type": "footprint", "id": "1", "unicity": "@", "hash": "h"},
            {"type": "contact", "value": {"type": "unicity", "value": "@"}},
            {"type": "contact", "value": {"type": "footprint", "unicity": "@"}},
        ],
        ids=["unicity", "footprint", "contact", "footprint in a contact"],
    )
    @pytest.mark.parametrize("sample", ["activation", "execution"])
    def test_a_unicity_of_several_fields_is_a_list(
        self,
        reader: EventReader,
        spool: Path,
        sample: str,
        receiver: dict[str, Any],
        unicity: list[str],
        column: str,
    ) -> None:
        as_list = json.loads(json.dumps(receiver).replace('"@"', json.dumps(unicity)))

        for _ in range(2):
            found = contact_of(reader, spool, as_list, sample)
            assert found["contact_unicity"] == column
            assert "unmapped" not in found

    @pytest.mark.parametrize("unicity", [[], [1], ["a", None], [["a"]], [{"a": "b"}]], ids=repr)
    def test_a_list_of_anything_but_texts_is_kept(
        self, reader: EventReader, spool: Path, unicity: list[Any]
    ) -> None:
        contact_of(reader, spool, {"type": "unicity", "value": ["seen before"]})

        found = contact_of(reader, spool, {"type": "unicity", "value": unicity})

        assert "contact_unicity" not in found
        assert json.loads(found["unmapped"])["source"]["detail"]["activation"]["receiver"] == {
            "value": unicity
        }

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


class TestExecutionDataThatIsNoJson:
    @pytest.mark.parametrize(
        ("literal", "value", "value_type"),
        [
            ('{"a":NaN,"b":[-Infinity,"NaN"]}', {"a": "NaN", "b": ["-Infinity", "NaN"]}, "object"),
            ('{"a":"nan and inf"}', {"a": "nan and inf"}, "object"),
        ],
    )
    def test_objects_are_json_whatever_is_in_them(
        self, experienced: EventReader, spool: Path, literal: str, value: Any, value_type: str
    ) -> None:
        payload = json.dumps([event("execution", source__detail__execution__data={"k": "@"})])

        (row,) = rows_of(experienced, spool, payload.replace('"@"', literal))[
            "events__execution_data"
        ]

        def refused(constant: str) -> Any:
            raise AssertionError(constant)

        assert json.loads(row["value"], parse_constant=refused) == value
        assert row["value_type"] == value_type


class TestRecipientDomain:
    @pytest.mark.parametrize(
        ("recipient", "domain"),
        [
            ("someone@Example.COM", "example.com"),
            ('"a@b"@example.org', "example.org"),
            ("someone@example.com.", "example.com"),
            ("+33612345678", None),
            ("", None),
            (None, None),
            ("a\nb@c.d", "c.d"),
        ],
    )
    def test_it_is_what_follows_the_last_at_sign(
        self, experienced: EventReader, spool: Path, recipient: str | None, domain: str | None
    ) -> None:
        payload = event("activation", source__detail__activation__recipient=recipient)

        (row,) = rows_of(experienced, spool, [payload])["events"]

        assert (row["recipient"], row["recipient_domain"]) == (recipient, domain)


class TestRobots:
    def test_hits_of_a_requested_class_are_marked(
        self, experienced: EventReader, spool: Path
    ) -> None:
        payload = [event(id="a"), event("activation", id="b")]

        rows = rows_of(experienced, spool, payload, robot_class="mpp")

        assert rows["events__robots"] == [
            {
                "event_id": "a",
                "robot_class": "mpp",
                "timestamp": utc(1623673176622),
                "requested_at": utc(REQUESTED),
            }
        ]
        assert {row["id"] for row in rows["events"]} == {"a", "b"}

    def test_a_hit_without_a_class_is_not_marked(
        self, experienced: EventReader, spool: Path
    ) -> None:
        assert "events__robots" not in rows_of(experienced, spool, [event()])
