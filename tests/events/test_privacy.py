"""Policies: which class becomes what, by preset, by floor, by value."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pytest

from np6_source.dimensions import dimension_tables
from np6_source.events.digests import DigestKey
from np6_source.events.privacy import (
    POLICIES,
    PRESETS,
    Privacy,
    UnknownPolicy,
    host_of,
    kept_in_spite,
    policies_of,
    truncated_ip,
    truncated_url,
)
from np6_source.events.reader import EventReader, ResponseContents
from np6_source.schema import EVENTS, TABLES, TPersonal
from np6_source.windows import Window
from tests.events.support import REQUESTED, event, rows_of

KEY = DigestKey("a key of the company's, 32 bytes or more")
HASH = "d41d8cd98f00b204e9800998ecf8427e"
DAY = Window(REQUESTED, REQUESTED + 86_400_000)
FOOTPRINT = {"type": "footprint", "id": "C1", "unicity": "Marie@Example.com", "hash": HASH}


def privacy(**named: str) -> Privacy:
    return Privacy(policies_of(named), KEY)


@pytest.fixture(params=["pseudonyms", "strict"])
def preset(request: pytest.FixtureRequest) -> Privacy:
    return Privacy(policies_of(PRESETS[request.param]), KEY)


@pytest.fixture
def masking(spool: Path, preset: Privacy) -> Iterator[EventReader]:
    reader = EventReader(spool, privacy=preset)
    yield reader
    reader.close()


def test_every_class_of_the_schema_has_policies() -> None:
    assert set(POLICIES) == set(get_args(TPersonal)) - {"no"}


@pytest.mark.parametrize("table", [*TABLES, *dimension_tables()], ids=lambda table: table.name)
def test_what_can_be_dropped_may_be_null_and_what_is_masked_is_text(table: pa.Table) -> None:
    for column in table.columns:
        policies = POLICIES.get(column.personal, ())
        assert column.nullable or "drop" not in policies, column.name
        assert column.data_type == "text" or len(policies) <= 1, column.name


def test_keys_of_tables_are_masked_by_digests_at_most() -> None:
    for table in (*TABLES, *dimension_tables()):
        for column in table.columns:
            if column.name in table.key and column.personal != "no":
                assert set(POLICIES[column.personal]) <= {"keep", "hmac"}


@pytest.mark.parametrize("address", ["hmac", "drop"])
def test_masking_addresses_masks_what_quotes_them(address: str) -> None:
    classes = policies_of({"address": address})

    assert classes["contact_hash"] == address
    assert (classes["free"], classes["url"]) == ("drop", "truncate")
    assert classes["ip"] == classes["contact_id"] == classes["domain"] == "keep"


def test_a_class_that_is_named_keeps_its_policy_and_that_is_told() -> None:
    classes = policies_of({"address": "hmac", "free": "keep", "url": "keep"})

    assert (classes["free"], classes["url"]) == ("keep", "keep")
    assert kept_in_spite(classes) == ["free", "url"]
    assert kept_in_spite(policies_of({"free": "keep"})) == []


@pytest.mark.parametrize(
    ("named", "problem"),
    [
        ({"adress": "hmac"}, "no class 'adress'"),
        ({"address": "mask"}, "address can be keep, hmac, drop"),
        ({"contact_id": "drop"}, "contact_id can be keep, hmac"),
        ({"record": "drop"}, "record can be keep"),
        ({"address": "hmac", "contact_hash": "keep"}, "weaker"),
        ({"address": "drop", "contact_hash": "hmac"}, "weaker"),
    ],
)
def test_what_cannot_be_a_policy_is_refused(named: dict[str, str], problem: str) -> None:
    with pytest.raises(UnknownPolicy, match=problem):
        policies_of(named)


def test_a_policy_is_recorded_by_what_it_masks_and_its_key() -> None:
    assert Privacy().recorded == ""
    assert Privacy(key=KEY).recorded == ""
    assert privacy(domain="drop").recorded == "domain=drop"
    assert privacy(ip="hmac", domain="drop").recorded == f"domain=drop ip=hmac key={KEY.id}"


@pytest.mark.parametrize(
    ("value", "network"),
    [
        ("203.0.113.77", "203.0.113.0"),
        ("2001:db8:aaaa:bbbb:cccc::1", "2001:db8:aaaa::"),
        ("fe80::1:2%eth0", "fe80::"),
        ("::ffff:203.0.113.77", "203.0.113.0"),
        ("203.0.113.77:8080", None),
        ("marie", None),
        ("", None),
    ],
)
def test_an_ip_address_becomes_its_network(value: str, network: str | None) -> None:
    assert truncated_ip(value) == network


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("https://shop.example/a/b?mail=x#y", "https://shop.example/a/b"),
        ("https://marie:pw@shop.example:8443/a", "https://shop.example:8443/a"),
        ("https://shop.example/u/marie@example.com/", "https://shop.example/u/*/"),
        ("https://shop.example/u/marie%40example.com", "https://shop.example/u/*"),
        ("https://shop.example/u/marie%252540example.com", "https://shop.example/u/*"),
        ("https://shop.example/u/marie%2525252540lab.fr", "https://shop.example/u/*"),
        ("https://shop.example/u/%2B33612345678/x", "https://shop.example/u/*/x"),
        ("https://shop.example/u/06%2012%2034%2056%2078", "https://shop.example/u/*"),
        ("https://shop.example/p/1234567890", "https://shop.example/p/1234567890"),
        (f"https://shop.example/{HASH}", "https://shop.example/*"),
        ("https://shop.example/a;to=marie@example.com/b", "https://shop.example/*/b"),
        ("https://shop.example", "https://shop.example"),
        ("mailto:marie@example.com", None),
        ("tel:+33612345678", None),
        ("https://[::1", None),
        ("marie@example.com", None),
        ("https://marie%40example.com/", None),
    ],
)
def test_a_url_loses_what_may_be_a_persons(value: str, kept: str | None) -> None:
    assert truncated_url(value) == kept


def test_of_a_url_the_host_may_be_all_that_stays() -> None:
    assert host_of("https://marie@Shop.example:8443/a?b#c") == "https://shop.example"
    assert host_of("mailto:marie@example.com") is None


def test_nothing_is_touched_where_nothing_is_masked() -> None:
    rows = EVENTS.arrow_schema.empty_table()

    assert Privacy(key=KEY).applied(EVENTS, rows) is rows


def test_rows_keep_their_number_order_types_and_whatever_is_no_persons() -> None:
    names = ["a@example.com", None, "b@example.com", "A@EXAMPLE.com", ""]
    rows = pa.table(
        [
            pa.array(names if column.name in ("recipient", "id") else [None] * 5, column.arrow_type)
            for column in EVENTS.columns
        ],
        names=[column.name for column in EVENTS.columns],
    )
    rows = pa.concat_tables([rows, rows])  # In several chunks, with a dictionary each.

    masked = privacy(address="hmac").applied(EVENTS, rows)

    assert masked.schema == rows.schema
    first, other = KEY.of("a@example.com", "address"), KEY.of("b@example.com", "address")
    assert masked["recipient"].to_pylist() == [first, None, other, first, ""] * 2
    assert masked["id"].to_pylist() == names * 2


def test_a_hit_is_masked_column_by_column(
    masking: EventReader, preset: Privacy, spool: Path
) -> None:
    hit = event(
        source__detail__activation__receiver=FOOTPRINT,
        source__detail__activation__recipient="marie@example.com",
        source__detail__link__destination="https://shop.example/a?mail=marie@example.com",
        source__detail__client={
            "type": "web",
            "ip": {"type": "v4", "value": "203.0.113.77"},
            "ua": {"type": "parsed", "ua": "Mozilla", "client": {"name": "Chrome"}},
        },
        oddity="marie@example.com",
    )

    found = rows_of(masking, spool, [hit])

    (row,), (detail,) = found["events"], found["events__hits"]
    is_strict = preset.classes["address"] == "drop"
    digest = KEY.of("marie@example.com", "address")
    assert row["contact_id"] == KEY.exact("C1")
    assert row["recipient"] == row["contact_unicity"] == (None if is_strict else digest)
    assert row["contact_hash"] == (None if is_strict else KEY.exact(HASH))
    assert row["recipient_domain"] == (None if is_strict else "example.com")
    assert row["unmapped"] is None
    assert detail["client_ip"] == (None if is_strict else KEY.exact("203.0.113.77"))
    assert detail["user_agent"] == (None if is_strict else KEY.exact("Mozilla"))
    assert detail["link_destination"] == (None if is_strict else "https://shop.example/a")
    assert detail["link_label"] is None
    assert detail["browser_name"] == "Chrome"


def test_keys_of_a_free_object_that_look_like_no_name_are_masked(
    masking: EventReader, spool: Path
) -> None:
    keys = ("marie@example.com", "+33612345678", f"h_{HASH}", "tel_33612345678")
    data = {"order_id": "7", **dict.fromkeys(keys, 1)}

    found = rows_of(masking, spool, [event("execution", source__detail__execution__data=data)])

    rows = {row["key"]: row for row in found["events__execution_data"]}
    odd = ["~" + KEY.exact(name)[:16] for name in keys]
    assert set(rows) == {"order_id", *odd}
    assert {row["value"] for row in rows.values()} == {None}
    assert rows["order_id"]["value_type"] == "string"


def test_without_a_policy_the_keys_of_a_free_object_stay(reader: EventReader, spool: Path) -> None:
    data = {"marie@example.com": 1}

    found = rows_of(reader, spool, [event("execution", source__detail__execution__data=data)])

    assert [row["key"] for row in found["events__execution_data"]] == ["marie@example.com"]


def test_unknown_fields_are_counted_by_their_digests(masking: EventReader, spool: Path) -> None:
    contents = ResponseContents()

    rows_of(masking, spool, [event(**{"marie@example.com": 1, "known_name": 2})], contents=contents)

    assert dict(contents.unmapped) == {
        "~" + KEY.exact("marie@example.com")[:16]: 1,
        "known_name": 1,
    }


def test_events_that_cannot_be_taken_are_kept_without_their_text(
    masking: EventReader, spool: Path
) -> None:
    text = json.dumps([event(id="", oddity="marie@example.com")])

    (row,) = rows_of(masking, spool, text, DAY, keep_bad_events=True)["rejected_events"]

    assert row["content"] is None
    assert row["reason"] == "no usable 'id'"


def test_a_large_event_that_cannot_be_taken_is_kept_without_its_text(
    spool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("np6_source.events.reader.LARGEST_EVENT", 2_000)
    reader = EventReader(spool, privacy=privacy(free="drop"))
    large = event(oddity="marie@example.com" * 200)

    rows = rows_of(reader, spool, [event(id="small"), large], DAY, keep_bad_events=True)
    reader.close()

    assert [row["content"] for row in rows["rejected_events"]] == [None]
