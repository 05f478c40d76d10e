"""What the contract does not know stays with its event."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from np6_source.events import drift
from np6_source.events.reader import EventReader, ResponseContents
from tests.events.support import (
    BIG,
    event,
    rows_of,
    unmapped_of,
    utc,
)


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
        contents = ResponseContents()

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
        contents = ResponseContents()
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
            pytest.param("NaN", "NaN", id="not a number"),
            pytest.param("-Infinity", "-Infinity", id="minus infinity"),
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

    @pytest.mark.parametrize(
        ("literal", "ms"),
        [("1709294399999.7", 1709294399999), ('"5.99"', 5), ("-0.5", -1), ("1e12", 10**12)],
    )
    def test_a_fraction_of_a_millisecond_is_cut_off(
        self, reader: EventReader, spool: Path, literal: str, ms: int
    ) -> None:
        payload = json.dumps([event(timestamp="@")]).replace('"@"', literal)

        (row,) = rows_of(reader, spool, payload)["events"]

        assert row["timestamp"] == utc(ms)
        assert json.loads(row["unmapped"]) == {"timestamp": json.loads(literal)}

    @pytest.mark.parametrize("literal", ["nan", "inf", "NaN"])
    def test_what_is_no_json_is_never_in_a_json_column(
        self, reader: EventReader, spool: Path, literal: str
    ) -> None:
        payload = json.dumps([event(surprise=["@"])]).replace('"@"', literal)

        (row,) = rows_of(reader, spool, payload)["events"]

        assert literal in row["unmapped"]
        json.loads(row["unmapped"], parse_constant=lambda name: pytest.fail(name))

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
from np6_source.events.json_file import UnreadableResponse
from np6_source.events.reader import ResponseContents, EventReader
from np6_source.events.rows import Origin
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
            for tables in reader.read(file, Origin(Window(0, 10), 0), ResponseContents()):
                kept = tables["events"].to_pylist()[0]["unmapped"] or ""
                if "events__execution_data" in tables:
                    kept += tables["events__execution_data"].to_pylist()[0]["value"]
                print("kept" if deep in kept.replace(chr(92), "") else "lost")
        except UnreadableResponse:
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


class TestCounts:
    def test_unknown_fields_are_counted_each_up_to_a_bound(
        self, reader: EventReader, spool: Path
    ) -> None:
        contents = ResponseContents()
        payload = [event(**{f"field{number}": 1}) for number in range(drift.MOST_PATHS + 500)]

        rows_of(reader, spool, payload, contents=contents)

        assert len(contents.unmapped) == drift.MOST_PATHS + 1
        assert sum(contents.unmapped.values()) == len(payload)
        assert contents.unmapped[drift.OTHER_PATHS] == 500

    def test_parts_of_a_response_are_counted_together_within_the_bound(self) -> None:
        whole = ResponseContents()
        for part in range(3):
            contents = ResponseContents()
            contents.unmapped.update({f"{part}-{n}": 2 for n in range(drift.MOST_PATHS)})
            whole.add(contents)

        assert len(whole.unmapped) == drift.MOST_PATHS + 1
        assert whole.unmapped[drift.OTHER_PATHS] == 2 * 2 * drift.MOST_PATHS

    def test_a_name_that_may_be_anything_is_not_shown(
        self, reader: EventReader, spool: Path
    ) -> None:
        contents = ResponseContents()

        names = ("x" * 10_000, "marie@example.com", "d41d8cd98f00b204e9800998ecf8427e", "+33 6")
        rows_of(reader, spool, [event(**dict.fromkeys(names, 1))], contents=contents)

        assert dict(contents.unmapped) == {"~": 1}  # Events, not names.
