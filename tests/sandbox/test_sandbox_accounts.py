"""Accounts: the samples, events of one's own, late events, and made-up accounts."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from typing import Any

import pytest

from np6_source.sandbox import (
    SAMPLE_CAMPAIGN_ID,
    Account,
    EventQuery,
    EventRow,
    Sandbox,
    StoredAccount,
    account_from_events,
    documented_samples,
    generated_account,
    mass_mailing_account,
)
from np6_source.sandbox.clock import DAY, milliseconds
from np6_source.sandbox.made_up.generate import EVENTS_PER_SEND

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}")


def sends_by_day(account: Account) -> dict[int, int]:
    """Executions by UTC day, in days since the epoch."""
    counted = account.connection.cursor().execute(
        f"SELECT \"timestamp\" // {DAY}, count(*) FROM events WHERE type = 'execution' GROUP BY ALL"
    )
    return dict(counted.fetchall())


def to_day(date: str) -> int:
    return milliseconds(date) // DAY


class TestSamples:
    @pytest.mark.parametrize(
        ("path", "names"),
        [
            ("/actions/000PE4/events/activations", ["activation"]),
            ("/actions/000PE4/events/bounces", ["bounce.soft", "bounce.hard"]),
            (
                "/actions/events/cancellations",
                ["cancellation.user defined policy", "cancellation.redlisted target"],
            ),
            ("/actions/000PE4/events/hits/mirror", ["hit.mirror"]),
            ("/actions/reactivities/hits/form", ["hit.form"]),
            ("/actions/000PE4/reactivities/hits/redirection", ["hit.redirection"]),
            ("/actions/000PE4/events/responses/stop", []),
            ("/targets/0013KDC8/events/bounces", ["bounce.hard"]),
            ("/targets/000R4M0T/events/bounces", []),
            ("/targets/events/activations?hash=0441619ab4631d18548aa8835dd2c28b", ["activation"]),
            ("/notifications/reactivities", []),
            ("/display/events/activations", []),
        ],
    )
    def test_each_stands_where_the_reference_has_it(
        self, path: str, names: list[str], samples: StoredAccount, serve: Any, call: Any
    ) -> None:
        found = call(serve(samples), path + ("&" if "?" in path else "?") + "sort=asc").json()
        assert found == [documented_samples()[name] for name in names]

    def test_all_belong_to_one_campaign(
        self, samples: StoredAccount, serve: Any, call: Any
    ) -> None:
        found = call(serve(samples), f"/campaigns/{SAMPLE_CAMPAIGN_ID}/events", body={}).json()
        assert sorted(event["id"] for event in found) == sorted(
            event["id"] for event in documented_samples().values()
        )


class TestOwnEvents:
    @pytest.mark.parametrize(
        "payload",
        [
            b'{"id":"a","timestamp":1,"source":{"type":"email"},"x":"\\ud800"}',
            b'{"id":"a","timestamp":1,"source":{"type":"email"},"x":"\xff\xfe"}',
            b'{"id":"a","timestamp":1,"id":"b","source":{"type":"email"}}',
            b'{"id":"a","timestamp":1,"source":{"type":"email"},"x":123456789012345678901234567890}',
            b' {"id": "a", "timestamp": 1, "source": {"type": "email"}, "x": "\\u0000"} ',
        ],
    )
    def test_json_text_is_served_byte_by_byte(self, payload: bytes, serve: Any, call: Any) -> None:
        sandbox = serve(account_from_events([EventRow(payload, timestamp=1, channel="email")]))
        assert call(sandbox, "/actions/events").content == b"[" + payload + b"]"

    def test_text_with_a_lone_surrogate_is_served_as_invalid_bytes(
        self, serve: Any, call: Any
    ) -> None:
        row = EventRow('{"id":"\ud800"}', timestamp=1, channel="email")
        sandbox = serve(account_from_events([row]))
        assert call(sandbox, "/actions/events").content == b'[{"id":"\xed\xa0\x80"}]'

    @pytest.mark.parametrize("timestamp", ["2024-01-01", 1.5, None, 2**70, True])
    def test_broken_timestamps_need_an_explicit_one(self, timestamp: Any) -> None:
        payload = {"id": "a", "timestamp": timestamp, "source": {"type": "sms"}}
        with pytest.raises(ValueError, match="timestamp"):
            account_from_events([payload])
        account = account_from_events([EventRow(payload, timestamp=5)])
        assert account.events(EventQuery(start=5, end=6)) == [payload]

    @pytest.mark.parametrize("payload", ["null", "1", "[]", '"text"', "{}", '{"source": []}'])
    def test_payloads_need_no_shape(self, payload: str, serve: Any, call: Any) -> None:
        sandbox = serve(account_from_events([EventRow(payload, timestamp=1, channel="email")]))
        assert call(sandbox, "/actions/events").json() == [json.loads(payload)]

    def test_events_without_type_are_understood_by_their_blocks(self) -> None:
        for name, sample in documented_samples().items():
            kind = sample.pop("type")
            account = account_from_events([sample])
            assert account.type_counts() == {kind: 1}, name

    @pytest.mark.parametrize(
        ("channel", "detail", "path"),
        [
            ("email", {"activation": {"id": "A"}}, "/actions/A/events/activations"),
            ("sms", {"execution": {"id": "A"}}, "/actions/A/events/bounces"),
            ("notification", {"activation": {"id": 156}}, "/notifications/156/events/activations"),
            ("display", {"activation": {"id": "D"}}, "/display/content/D/events/activations"),
            (
                "email",
                {"activation": {"receiver": {"type": "unicity", "value": "a@example.com"}}},
                "/targets/events/hits?unicity=a@example.com",
            ),
            (
                "notification",
                {
                    "activation": {
                        "receiver": {"type": "contact", "value": {"type": "footprint", "id": "C"}}
                    }
                },
                "/targets/C/events",
            ),
        ],
    )
    def test_ids_are_found_in_the_blocks(
        self, channel: str, detail: dict[str, Any], path: str, serve: Any, call: Any
    ) -> None:
        payload = {"id": "1", "timestamp": 1, "source": {"type": channel, "detail": detail}}
        assert call(serve(account_from_events([payload])), path).status_code == 200

    def test_ids_can_be_known_without_events(self, serve: Any, call: Any) -> None:
        account = account_from_events([], ids={"action_id": ["000AA9"]})
        sandbox = serve(account)
        assert call(sandbox, "/actions/000AA9/events/bounces").json() == []
        assert call(sandbox, "/actions/000AA8/events/bounces").status_code == 404
        with pytest.raises(ValueError, match="campaign_id"):
            account.add_ids("colour", ["red"])

    def test_campaigns_are_told_by_their_actions(self, event: Any, serve: Any, call: Any) -> None:
        account = account_from_events([event(1, 1)], campaigns={"C": ["000AA1"], "D": []})
        sandbox = serve(account)
        assert len(call(sandbox, "/campaigns/C/events", body={}).json()) == 1
        assert call(sandbox, "/campaigns/D/events", body={}).json() == []
        assert call(sandbox, "/campaigns/E/events", body={}).status_code == 404

    def test_events_can_be_added_while_it_runs(
        self, five: StoredAccount, event: Any, serve: Any, call: Any
    ) -> None:
        sandbox = serve(five)
        five.add_events([event(7, 500), event(6, 6000)])
        found = call(sandbox, "/actions/events", sort="asc").json()
        assert [e["timestamp"] for e in found] == [500, 1000, 2000, 3000, 4000, 5000, 6000]


class TestLateEvents:
    def test_late_events_appear_when_the_clock_says_so(
        self, event: Any, serve: Any, call: Any
    ) -> None:
        late = EventRow(event(2, 2000), visible_at=60_000)
        sandbox = serve(account_from_events([event(1, 1000), late]), now=59_999)
        assert len(call(sandbox, "/actions/events").json()) == 1
        sandbox.now = 60_000
        assert len(call(sandbox, "/actions/events", start=2000, end=2001).json()) == 1

    def test_events_of_the_future_are_not_readable_yet(
        self, five: StoredAccount, serve: Any, call: Any
    ) -> None:
        assert len(call(serve(five, now=3000), "/actions/events").json()) == 3

    def test_a_share_of_a_generated_account_is_late(self) -> None:
        account = generated_account(2000, late_share=0.1, late_seconds=600)
        cursor = account.connection.cursor()
        delays = dict(
            cursor.execute(
                'SELECT visible_at - "timestamp", count(*) FROM events GROUP BY 1'
            ).fetchall()
        )
        assert set(delays) == {0, 600_000}
        assert 0.07 < delays[600_000] / sum(delays.values()) < 0.13


class TestGenerated:
    def test_is_the_same_everywhere(self) -> None:
        def digest(account: Account) -> str:
            return hashlib.md5(json.dumps(account.events()).encode()).hexdigest()

        assert digest(generated_account(500, seed=3)) == GENERATED
        assert digest(generated_account(500, seed=4)) != GENERATED
        assert digest(mass_mailing_account(100, seed=3)) == MASS_MAILING

    @pytest.mark.parametrize(("events", "actions"), [(1000, 2), (5000, 12), (5000, 30)])
    def test_has_roughly_as_many_events_as_asked(self, events: int, actions: int) -> None:
        made = sum(generated_account(events, actions=actions).type_counts().values())
        assert abs(made - events) < 0.15 * events

    def test_stays_within_its_time(self) -> None:
        account = generated_account(2000, start="2024-03-04", end=1709600000000)
        times = [event["timestamp"] for event in account.events()]
        assert 1709510400000 <= min(times) < max(times) < 1709600000000

    def test_payloads_are_json_with_unique_uuids(self, generated: Account) -> None:
        events = generated.events()
        assert all(UUID.fullmatch(event["id"]) for event in events)
        assert len({event["id"] for event in events}) == len(events)

    def test_index_agrees_with_the_payloads(self, generated: Account) -> None:
        names = ("event_id", "timestamp", "type", "subtype", "channel", "action_id", "contact_id")
        again = account_from_events(generated.events())
        columns = ", ".join(f'"{name}"' for name in (*names, "notification_id"))
        select = f"SELECT {columns} FROM events ORDER BY event_id"
        assert (
            generated.connection.cursor().execute(select).fetchall()
            == again.connection.cursor().execute(select).fetchall()
        )

    def test_reactions_follow_their_activation(self, generated: Account) -> None:
        events = generated.events()
        stamps: dict[str, dict[str, Any]] = {}
        for event in events:
            detail = event["source"]["detail"]
            kind = event["type"]
            if kind == "activation":
                stamps[detail["activation"]["stamp"]["id"]] = event
        executed = {
            event["source"]["detail"]["execution"]["stamp"]["id"]: event["timestamp"]
            for event in events
            if event["type"] == "execution"
        }
        cancelled = {
            event["source"]["detail"]["execution"]["stamp"]["id"]
            for event in events
            if event["type"] == "cancellation"
        }
        assert not cancelled & set(stamps)
        for event in events:
            if event["type"] in ("execution", "activation", "cancellation"):
                continue
            stamp = event["source"]["detail"]["activation"]["stamp"]["id"]
            assert event["timestamp"] >= stamps[stamp]["timestamp"]
        for stamp, event in stamps.items():
            if event["source"]["type"] != "display":
                assert executed[stamp] < event["timestamp"]

    def test_growth_moves_sends_to_the_later_half(self) -> None:
        two_years = {"start": "2023-01-01", "end": "2025-01-01"}
        steady, growing = (
            sends_by_day(generated_account(2200, seed=1, growth=growth, **two_years))
            for growth in (1.0, 6.0)
        )
        half = to_day("2024-01-01")

        def later_share(sends: dict[int, int]) -> float:
            later = sum(count for day, count in sends.items() if day >= half)
            return later / (sum(sends.values()) - later)

        for sends in (steady, growing):
            assert 1.8 < sum(sends.values()) * EVENTS_PER_SEND / 731 < 4.5  # Events a day.
        assert 1.8 < later_share(growing) / later_share(steady) < 3.3

    def test_has_half_as_many_sends_on_holidays(self) -> None:
        six_weeks = {"start": "2025-01-06", "end": "2025-02-17", "seed": 3}
        usual = sends_by_day(generated_account(20_000, **six_weeks))
        found = sends_by_day(generated_account(20_000, holidays=2, **six_weeks))
        other = {day: (count, usual[day]) for day, count in found.items() if count != usual[day]}
        assert len(other) == 2
        assert all(0.35 < count / before < 0.65 for count, before in other.values())

    def test_has_mailings_of_unequal_sizes(self) -> None:
        def sizes(**options: Any) -> list[int]:
            account = generated_account(20_000, actions=24, **options)
            counted = account.connection.cursor().execute(
                "SELECT count(*) AS n FROM events WHERE type = 'execution' AND channel = 'email'"
                " GROUP BY action_id ORDER BY n DESC"
            )
            return [count for (count,) in counted.fetchall()]

        equal, unequal = sizes(), sizes(unequal_mailings=True)
        assert equal[0] / equal[-1] < 3
        assert unequal[0] / unequal[-1] > 20

    @pytest.mark.parametrize("options", [{"growth": 0.0}, {"holidays": -1}, {"holidays": 57}])
    def test_refuses_a_shape_that_cannot_be(self, options: Any) -> None:
        with pytest.raises(ValueError, match="must be"):
            generated_account(100, **options)

    def test_executions_can_have_stamps_of_their_own(self, generated: Account) -> None:
        def stamps(account: Account, *kinds: str) -> list[str]:
            return [
                detail.get("execution", detail.get("activation"))["stamp"]["id"]
                for event in account.events()
                for detail in [event["source"]["detail"]]
                if event["type"] in kinds
            ]

        own = generated_account(2500, seed=1, execution_stamps="own")
        executed, cancelled = stamps(own, "execution"), stamps(own, "cancellation")
        reactions = stamps(own, "activation", "bounce", "hit", "reply")
        assert len(set(executed)) == len(executed) > 300
        assert set(cancelled) < set(executed)
        assert set(executed).isdisjoint(reactions)
        # Nothing else differs.
        assert reactions == stamps(generated, "activation", "bounce", "hit", "reply")
        assert own.type_counts() == generated.type_counts()

    def test_has_every_channel_and_kind(self, generated: Account) -> None:
        kinds = Counter((event["source"]["type"], event["type"]) for event in generated.events())
        for expected in [
            ("email", "hit"),
            ("email", "bounce"),
            ("email", "cancellation"),
            ("sms", "activation"),
            ("sms", "reply"),
            ("notification", "impression"),
            ("notification", "hit"),
            ("display", "activation"),
        ]:
            assert kinds[expected], expected
        assert kinds["email", "activation"] > 0.5 * sum(
            count for (_, kind), count in kinds.items() if kind == "activation"
        )

    def test_robots_come_in_bursts(self, generated: Account) -> None:
        cursor = generated.connection.cursor()
        bursts = cursor.execute(
            'SELECT max("timestamp") - min("timestamp"), count(*) FROM events'
            " WHERE robot = 'genericrobot' GROUP BY contact_id, action_id"
        ).fetchall()
        assert bursts
        assert all(span < 1000 and count == 6 for span, count in bursts)


class TestMassMailing:
    @pytest.mark.parametrize("stored", [True, False])
    @pytest.mark.parametrize("timestamps", [None, 1, 7])
    def test_has_exactly_its_hits_within_its_window(
        self, stored: bool, timestamps: int | None
    ) -> None:
        account = mass_mailing_account(
            1000, start=10_000, end=12_345, timestamps=timestamps, stored=stored
        )
        times = [event["timestamp"] for event in account.events()]
        assert len(times) == 1000
        assert 10_000 <= min(times) <= max(times) < 12_345
        assert len(set(times)) == (timestamps or 1000)

    def test_hits_are_about_a_kilobyte(self) -> None:
        (answer,) = [json.dumps(e) for e in mass_mailing_account(1).events()]
        assert 950 < len(answer) < 1250

    @pytest.mark.parametrize("bounds", [(0, 10_001), (10_001, 11_000), (12_000, 99_999), (5, 6)])
    def test_made_while_read_it_answers_as_if_stored(self, bounds: tuple[int, int]) -> None:
        query = EventQuery(start=bounds[0], end=bounds[1], sort="asc")
        options: dict[str, Any] = {"start": 10_000, "end": 12_345, "timestamps": 40}
        stored = mass_mailing_account(1000, **options)
        made = mass_mailing_account(1000, **options, stored=False)
        assert stored.events(query) == made.events(query)
        assert stored.type_counts() == made.type_counts()

    def test_made_while_read_knows_its_ids(self, serve: Any, call: Any) -> None:
        account = mass_mailing_account(3000, stored=False, contacts=50, actions=2)
        sandbox = serve(account)
        found = call(sandbox, "/actions/events", sort="asc").json()
        assert len(found) == 3000
        contact = found[7]["source"]["detail"]["activation"]["receiver"]["id"]
        assert len(call(sandbox, f"/targets/{contact}/events").json()) == 60
        assert call(sandbox, "/targets/unknown/events").status_code == 404
        assert sandbox.statistics()["served"] == {"hit": 3000}
        with pytest.raises(TypeError):
            account.add_events([])

    def test_a_narrow_window_of_a_huge_account_is_cheap(self, serve: Any, call: Any) -> None:
        huge = mass_mailing_account(10**12, start="2020-01-01", end="2024-01-01", stored=False)
        with Sandbox(huge) as sandbox:
            bounds = {"start": "2023-06-01T00:00:00Z", "end": "2023-06-01T00:00:00.002Z"}
            found = call(sandbox, "/actions/events", sort="asc", **bounds).json()
        assert len(found) == pytest.approx(2 * 10**12 / (4 * 365.25 * 86_400_000), abs=2)


GENERATED = "e7003b7581ab863962dc632f4c88c725"
MASS_MAILING = "af21fe7f6848d83626cfad2d95c5b3ac"
