"""What a response must be, and which of its events are read."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from np6_source.events import drift
from np6_source.events import reader as reader_module
from np6_source.events.json_file import UnreadableResponse
from np6_source.events.lateness import Histogram
from np6_source.events.reader import EventReader, ResponseContents
from np6_source.schema import EVENT_TABLES
from np6_source.windows import Window
from tests.events.support import (
    REQUESTED,
    SAMPLES,
    event,
    rows_of,
    sorted_rows,
    utc,
)

LATE = 1_700_000_000_000


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
        with pytest.raises(UnreadableResponse, match=message):
            rows_of(experienced, spool, [event(), event(), bad, event()])

    @pytest.mark.parametrize("position", [0, 1, 600, 1_199])
    @pytest.mark.parametrize(
        ("bad", "reason"),
        [
            ({"timestamp": 5, "recipient": "a"}, "no usable 'id'"),
            ({"id": "", "timestamp": 5}, "no usable 'id'"),
            ({"id": "x"}, "no usable 'timestamp'"),
            ({"id": "x", "timestamp": "now"}, "no usable 'timestamp'"),
            ({"id": "x", "timestamp": 10**18}, "no usable 'timestamp'"),
            ("text", "no usable 'id'"),
            (None, "no usable 'id'"),
            ([event()], "no usable 'id'"),
        ],
        ids=repr,
    )
    def test_it_is_kept_beside_the_others_where_that_is_asked_for(
        self, experienced: EventReader, spool: Path, bad: Any, reason: str, position: int
    ) -> None:
        payload: list[Any] = [event(id=str(number)) for number in range(1_199)]
        payload.insert(position, bad)
        contents = ResponseContents()

        rows = rows_of(
            experienced,
            spool,
            payload,
            Window(0, LATE),
            contents,
            keep_bad_events=True,
            resource="r",
            scope="s",
        )

        (row,) = rows["rejected_events"]
        assert json.loads(row.pop("content")) == bad
        assert row == {
            "resource": "r",
            "scope_id": "s",
            "window_start": utc(0),
            "window_end": utc(LATE),
            "reason": reason,
            "requested_at": utc(REQUESTED),
        }
        assert [row["id"] for row in rows["events"]] == [str(number) for number in range(1_199)]
        assert (contents.event_count, contents.rejected) == (1_199, 1)

    def test_an_event_that_is_too_large_is_kept_by_its_beginning(
        self, experienced: EventReader, spool: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reader_module, "LARGEST_EVENT", 1024 * 1024)
        contents = ResponseContents()
        payload = [event(id="a"), event(id="large", surprise="x" * 3_000_000), event(id="b")]

        rows = rows_of(experienced, spool, payload, Window(0, LATE), contents, keep_bad_events=True)

        assert [row["id"] for row in rows["events"]] == ["a", "b"]
        (row,) = rows["rejected_events"]
        assert row["reason"].startswith("larger than 1 MB: 3001")
        assert '"id": "large"' in row["content"]
        assert len(row["content"]) == 1024 * 1024
        assert (contents.event_count, contents.rejected) == (2, 1)

    def test_the_position_counts_over_batches(
        self, experienced: EventReader, spool: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reader_module, "BATCH_ROWS", 2_048)
        payload = [{"id": str(i), "timestamp": i} for i in range(9_000)]
        payload[8_999] = {"id": "last"}

        with pytest.raises(UnreadableResponse, match="event 9000 of the response"):
            rows_of(experienced, spool, payload)

    @pytest.mark.parametrize(
        "text",
        [
            pytest.param('[{"id": "1", "timestamp": 5}, {"id": "2"', id="cut inside an event"),
            pytest.param('[{"id": "1", "timestamp": 5},', id="cut after a comma"),
            pytest.param('[{"id": "1", "timestamp": 5, "x": [1]', id="cut after a nested array"),
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
        with pytest.raises(UnreadableResponse):
            rows_of(experienced, spool, text)

    def test_the_body_is_not_quoted(self, experienced: EventReader, spool: Path) -> None:
        with pytest.raises(UnreadableResponse) as caught:
            rows_of(experienced, spool, '[{"id": "example@np6.com" oops}]')

        assert "example" not in str(caught.value)
        assert str(spool) not in str(caught.value)
        assert caught.value.__cause__ is None

    def test_a_reader_that_refused_a_response_reads_the_next(
        self, reader: EventReader, spool: Path
    ) -> None:
        with pytest.raises(UnreadableResponse):
            rows_of(reader, spool, [{}])

        assert len(rows_of(reader, spool, [event()])["events"]) == 1

    def test_an_event_that_is_too_large_is_named(
        self, experienced: EventReader, spool: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(reader_module, "LARGEST_EVENT", 1024 * 1024)

        with pytest.raises(UnreadableResponse, match="an event is larger than 1 MB"):
            rows_of(experienced, spool, [event(surprise="x" * 40_000_000)])


class TestReading:
    @pytest.mark.parametrize("text", ["[]", " [ ] \n", "\ufeff[]"])
    def test_no_event_no_table(self, experienced: EventReader, spool: Path, text: str) -> None:
        contents = ResponseContents()

        assert rows_of(experienced, spool, text, contents=contents) == {}
        assert (contents.event_count, contents.outside) == (0, 0)

    def test_a_byte_order_mark_is_no_matter(self, experienced: EventReader, spool: Path) -> None:
        rows = rows_of(experienced, spool, "\ufeff" + json.dumps([event()]))

        assert len(rows["events"]) == 1

    def test_events_outside_the_window_are_kept_and_counted(
        self, experienced: EventReader, spool: Path
    ) -> None:
        contents = ResponseContents()
        moments = (5_000, 9_000, 10_000, 15_000, 19_999, 20_000, 99_000)
        payload = [event("execution", id=str(ms), timestamp=ms) for ms in moments]

        rows = rows_of(experienced, spool, payload, Window(10_000, 20_000), contents)

        assert [row["id"] for row in rows["events"]] == [str(ms) for ms in moments]
        assert {row["event_id"] for row in rows["events__execution_data"]} == {
            str(ms) for ms in moments
        }
        assert (contents.event_count, contents.outside, contents.astray) == (3, 4, 2)
        assert contents.row_count == 7

    def test_events_after_the_complete_part_of_the_request_are_early(
        self, experienced: EventReader, spool: Path
    ) -> None:
        contents = ResponseContents()
        payload = [event(id=str(ms), timestamp=ms) for ms in (5_000, 15_000, 40_000)]

        rows_of(
            experienced,
            spool,
            payload,
            Window(0, 10_000),
            contents,
            requested=Window(0, 20_000),
        )

        assert (contents.event_count, contents.early, contents.outside) == (1, 1, 1)

    @pytest.mark.parametrize(
        ("moments", "is_of_another_time"),
        [
            ([], False),
            ([5], True),
            ([5, 1_000_000], True),
            ([5, 10_000], False),
            ([20_000], False),
            ([9_000], False),
            ([8_999], True),
            ([21_000], True),
        ],
        ids=str,
    )
    def test_a_response_with_nothing_near_its_window_is_of_another_time(
        self,
        experienced: EventReader,
        spool: Path,
        moments: list[int],
        is_of_another_time: bool,
    ) -> None:
        contents = ResponseContents()
        payload = [event(id=str(ms), timestamp=ms) for ms in moments]

        rows_of(experienced, spool, payload, Window(10_000, 20_000), contents)

        assert contents.is_of_another_time is is_of_another_time

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
        rows = rows_of(
            experienced, spool, list(SAMPLES.values()), campaign_id="c1", robot_class="mpp"
        )

        assert set(rows) == {table.name for table in EVENT_TABLES}
        asked = {row["requested_at"] for table in rows.values() for row in table}
        assert asked == {utc(REQUESTED)}

    def test_events_are_counted_per_bucket_in_the_spans_only(
        self, experienced: EventReader, spool: Path
    ) -> None:
        contents = ResponseContents()
        moments = [5, 10, 19, 20, 25, 39, 40, 70, 99]
        payload = [event(id=str(ms), timestamp=ms) for ms in moments]
        histogram = Histogram((Window(10, 40), Window(70, 100)), width=10)

        rows_of(experienced, spool, payload, Window(0, 95), contents, histogram=histogram)

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
        monkeypatch.setattr(drift, "MOST_SHAPES", 2)
        forgetful = EventReader(spool)

        assert sorted_rows(rows_of(forgetful, spool, payload)) == sorted_rows(before)
        assert sorted_rows(rows_of(forgetful, spool, payload)) == sorted_rows(before)
        forgetful.close()
