"""The open questions of the reference, settled in another way than the connector assumes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from np6_source.endpoints import ENDPOINTS
from np6_source.sandbox import Account, EventRow, Sandbox, Variants, account_from_events
from np6_source.sandbox.variants import choices


class TestNames:
    def test_as_text_and_in_python(self) -> None:
        assert Variants.parse(["mixed_robots=left_out"]) == Variants(mixed_robots="left_out")
        assert Variants.parse([]) == Variants()

    @pytest.mark.parametrize("text", ["robots=none", "mixed_robots=none", "mixed_robots", ""])
    def test_unknown_ones_are_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="mixed_robots"):
            Variants.parse([text])

    @pytest.mark.parametrize("text", ["row_cap=x", "row_cap=-1", "row_cap="])
    def test_a_number_is_one(self, text: str) -> None:
        assert Variants.parse(["row_cap=7"]).row_cap == 7
        with pytest.raises(ValueError, match="a number is expected"):
            Variants.parse([text])


class TestMixedRobots:
    def robots(self, account: Account) -> set[str]:
        rows = account.connection.cursor().execute(
            "SELECT event_id FROM events WHERE robot IS NOT NULL"
        )
        return {event_id for (event_id,) in rows.fetchall()}

    def ids(self, found: Any) -> set[str]:
        return {event["id"] for event in found.json()}

    def test_left_out_only_classification_returns_them(
        self, generated: Account, serve: Any, call: Any
    ) -> None:
        robots = self.robots(generated)
        included = serve(generated)
        left_out = serve(generated, variants=Variants(mixed_robots="left_out"))
        for path in ("/actions/events", "/actions/reactivities"):
            everything, people = (self.ids(call(sandbox, path)) for sandbox in (included, left_out))
            assert everything & robots
            assert people == everything - robots
        contact = next(
            event["source"]["detail"]["activation"]["receiver"]["id"]
            for event in generated.events()
            if event["id"] in robots
        )
        path = f"/targets/{contact}/events/hits/open"
        classes = "genericrobot,mpp,gsr"
        assert self.ids(call(left_out, path, classification=classes)) & robots
        assert not self.ids(call(left_out, path)) & robots


DAY = 86_400_000
NOON = 1_709_294_400_000  # 2024-03-01T12:00:00Z
UNCONFIRMED = next(row.path for row in ENDPOINTS if not row.confirmed and "{id}" not in row.path)

TCall = Callable[..., Any]
TAsk = Callable[..., Any]


def made(kind: str, number: int, timestamp: int, **columns: Any) -> EventRow:
    activation = {"id": "000AA1", "receiver": {"type": "footprint", "id": "CON1"}}
    payload = {
        "type": kind,
        "id": f"{kind}-{number}",
        "timestamp": timestamp,
        "source": {"type": "email", "detail": {"activation": activation}},
    }
    return EventRow(payload, activation_timestamp=NOON, **columns)


EXECUTION = {
    "type": "execution",
    "id": "execution-1",
    "timestamp": NOON + 70_000,
    "source": {"type": "email", "detail": {"execution": {"id": "000AA1", "stamp": {"id": "one"}}}},
}


@pytest.fixture(scope="module")
def account() -> Account:
    """Bounces around noon, to the millisecond; a send; hits of people and of robots."""
    return account_from_events(
        [
            *(
                made("bounce", number, NOON + shift)
                for number, shift in enumerate([-60_000, -1000, -1, 0, 1, 500, 1000, 60_000])
            ),
            made("activation", 1, NOON),
            made("hit", 1, NOON + 5, subtype="open"),
            made("hit", 2, NOON + 6, subtype="open", robot="mpp"),
            made("hit", 3, NOON + 7, subtype="open", robot="gsr"),
            made("bounce", 99, NOON - 3 * DAY),
            made("hit", 4, NOON + 8, subtype="redirection"),
            EXECUTION,
        ],
        campaigns={"CAM": ["000AA1"]},
    )


BOUNCES = "/actions/000AA1/events/bounces"
OPENS = "/targets/CON1/events/hits/open"


class Api:
    """Asks a sandbox, and says what a response holds."""

    def __init__(self, sandbox: Sandbox, call: TCall) -> None:
        self.sandbox, self.call = sandbox, call

    def ids(self, path: str, **query: Any) -> list[str]:
        response = self.call(self.sandbox, path, **query)
        if response.status_code == 204 or (response.status_code == 200 and not response.content):
            return []
        assert response.status_code == 200, response.text
        return [event["id"] for event in response.json()]

    def has(self, path: str, event_id: str, **query: Any) -> bool:
        return event_id in self.ids(path, **query)

    def status(self, path: str, **query: Any) -> int:
        status: int = self.call(self.sandbox, path, **query).status_code
        return status


def iso(ms: int) -> str:
    day, ms = divmod(ms - NOON + DAY // 2, DAY)
    assert day == 0
    seconds, ms = divmod(ms, 1000)
    return f"2024-03-01T{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}.{ms:03}Z"


def start_bound(api: Api) -> str:
    return "inclusive" if api.has(BOUNCES, "bounce-3", start=iso(NOON)) else "exclusive"


def end_bound(api: Api) -> str:
    found = api.has(BOUNCES, "bounce-3", start=iso(NOON - 60_000), end=iso(NOON))
    return "inclusive" if found else "exclusive"


def bounds_cut(api: Api) -> str:
    if api.has(BOUNCES, "bounce-3", start=iso(NOON + 30_000)):
        return "minute"
    if api.has(BOUNCES, "bounce-4", start=iso(NOON + 400)):
        return "second_down"
    return "none" if api.has(BOUNCES, "bounce-5", start=iso(NOON + 400)) else "second_up"


def numbers(api: Api) -> str:
    if api.status(BOUNCES, start=NOON) == 400:
        return "refused"
    if not api.ids(BOUNCES, start=NOON - 30_000):
        return "s"
    return "ignored" if api.has(BOUNCES, "bounce-0", start=NOON + 3_600_000) else "ms"


def offsets(api: Api) -> str:
    bound = "2024-03-01T14:59:30+03:00"
    if api.status(BOUNCES, start=bound) == 400:
        return "refused"
    return "honoured" if api.has(BOUNCES, "bounce-7", start=bound) else "ignored"


def naive_bounds(api: Api) -> str:
    found = api.has(BOUNCES, "bounce-0", start="2024-03-01T12:30:00")
    return "paris" if found else "utc"


def default_span(api: Api) -> str:
    return "everything" if api.has(BOUNCES, "bounce-99") else "day"


def reactivity_end(api: Api) -> str:
    query = {"reactivityStart": iso(NOON - 60_000), "reactivityEnd": iso(NOON + 30_000)}
    found = api.has("/actions/reactivities", "bounce-7", **query)
    return "activations" if found else "reactions"


def mixed_sends(api: Api) -> str:
    return "included" if api.has("/actions/events", "activation-1") else "left_out"


def mixed_robots(api: Api) -> str:
    return "included" if api.has("/actions/events", "hit-2") else "left_out"


def robots_parameter(api: Api) -> str:
    for name in ("classification", "classifications"):
        if api.ids(OPENS, **{name: "mpp"}) != api.ids(OPENS):
            return name
    return "neither"


def classified(api: Api) -> str:
    found = api.ids(OPENS, classification="mpp")
    return "all" if "hit-3" in found else "of_the_class"


def default_robots(api: Api) -> str:
    return "shown" if api.has(OPENS, "hit-2") else "left_out"


def sort(api: Api) -> str:
    ascending = api.ids(BOUNCES, sort="asc")
    if ascending != api.ids(BOUNCES, sort="asc"):
        return "ignored"
    descending = api.ids(BOUNCES, sort="desc")
    return "ascending" if descending == ascending else "honoured"


def row_cap(api: Api) -> int:
    count = len(api.ids("/actions/events"))
    return count if count < 6 else 0


def cap_said(api: Api) -> str:
    headers = api.call(api.sandbox, "/actions/events").headers
    return "link" if "Link" in headers else "total" if "X-Total-Count" in headers else "no"


def unknown_ids(api: Api) -> str:
    status = api.status("/actions/000ZZ9/events/bounces")
    return "empty" if status in (200, 204) else str(status)


def error_body(api: Api) -> str:
    response = api.call(api.sandbox, BOUNCES, headers={"X-Key": "wrong"})
    assert response.status_code == 401
    kinds = {b"": "empty", b"{": "json", b"<": "html"}
    return kinds[response.content[:1]]


def no_events(api: Api) -> str:
    response = api.call(api.sandbox, "/actions/000AA1/events/cancellations")
    if response.status_code == 204:
        return "204"
    return "array" if response.content == b"[]" else "nothing"


def date(api: Api) -> str:
    text = api.call(api.sandbox, BOUNCES).headers.get("Date")
    if text is None:
        return "none"
    seconds = parsedate_to_datetime(text).timestamp() - api.sandbox.now.timestamp()
    return "ahead" if seconds > 200 else "behind" if seconds < -200 else "right"


def unconfirmed(api: Api) -> str:
    status = api.status(UNCONFIRMED)
    if status not in (200, 204):
        return str(status)
    return "there" if api.ids(UNCONFIRMED) else "empty"


def campaign(api: Api, body: Any) -> int:
    status: int = api.call(api.sandbox, "/campaigns/CAM/events", body=body).status_code
    return status


def campaign_items(api: Api) -> str:
    return "required" if campaign(api, {}) == 400 else "optional"


def campaign_names(api: Api) -> str:
    entry = {"type": "email", "events": [{"type": "bounce"}], "items": ["000AA1"]}
    return "documented" if campaign(api, {"itemsEvents": [entry]}) == 400 else "any"


def selection(api: Api) -> str:
    query = {"start": iso(NOON - 1), "end": iso(NOON + 2)}
    return "activation" if api.has(BOUNCES, "bounce-0", **query) else "timestamp"


def identity(api: Api) -> str:
    others = api.call(api.sandbox, "/actions/reactivities").json()
    every = {event["id"]: event for event in api.call(api.sandbox, "/actions/events").json()}
    if not {event["id"] for event in others} <= set(every):
        return "ids"
    if any(event["timestamp"] != every[event["id"]]["timestamp"] for event in others):
        return "timestamps"
    return "content" if any(event != every[event["id"]] for event in others) else "same"


def types(api: Api) -> str:
    events = api.call(api.sandbox, BOUNCES).json()
    return "always" if all("type" in event for event in events) else "left_out"


def stamps(api: Api) -> str:
    found = api.call(api.sandbox, "/actions/events").json()
    execution = next(event for event in found if event["type"] == "execution")
    return "shared" if execution == EXECUTION else "own"


def repeats(api: Api) -> int:
    ids = api.ids("/actions/events")
    return 100 if len(ids) == 2 * len(set(ids)) else 0


def missing(api: Api) -> int:
    return 0 if api.ids("/actions/events") else 100


def retention_days(api: Api) -> int:
    return 0 if api.has(BOUNCES, "bounce-99", start="2024-02-20T00:00:00Z") else 2


def batch_seconds(api: Api) -> int:
    return 0 if api.has(BOUNCES, "bounce-7") else 3600


PROBES: dict[str, Callable[[Api], Any]] = {
    probe.__name__: probe
    for probe in (
        *(start_bound, end_bound, bounds_cut, numbers, offsets, naive_bounds, default_span),
        *(reactivity_end, mixed_sends, mixed_robots, robots_parameter, classified, default_robots),
        *(sort, row_cap, cap_said, unknown_ids, error_body, no_events, date, unconfirmed),
        *(campaign_items, campaign_names, selection, identity, types, stamps, repeats, missing),
        *(retention_days, batch_seconds),
    )
}
"""What a client sees of each variant."""


def compression(api: Api) -> str:
    encodings = {
        asked: api.call(api.sandbox, BOUNCES, headers={"Accept-Encoding": asked}).headers.get(
            "Content-Encoding"
        )
        for asked in ("gzip", "identity")
    }
    if encodings["identity"] == "gzip":
        return "always"
    return "asked" if encodings["gzip"] == "gzip" else "never"


PROBES["compression"] = compression


# --- What shows in a longer account: an event a minute, for three days ---


@pytest.fixture(scope="module")
def long() -> Account:
    return account_from_events(
        made("bounce", number, NOON - number * 60_000 + 123) for number in range(3 * 24 * 60)
    )


def visible(api: Api) -> dict[int, int]:
    """Timestamps of the events that can be read, by number."""
    found = api.call(api.sandbox, "/actions/events", sort="asc").json()
    assert [one["timestamp"] for one in found] == sorted(one["timestamp"] for one in found)
    return {int(one["id"].removeprefix("bounce-")): one["timestamp"] for one in found}


def delay(api: Api) -> str:
    """How long after their timestamp events can be read."""
    there = set(visible(api))
    missing = set(range(3 * 24 * 60)) - there
    if not missing:
        return "none"
    if {(NOON - one * 60_000) // 3_600_000 % 24 for one in missing} == {7}:
        return "batches"
    if missing == set(range(len(missing))):
        return "constant"
    # Fewer are missing the older they are, or some of any age.
    recent, before = (len(missing & set(range(n, n + 90))) for n in (0, 90))
    return "exponential" if recent > before > 0 else "nine_days"


def delay_seconds(api: Api) -> int:
    return 60 * min(visible(api))


def replica_seconds(api: Api) -> int:
    newest = [min(visible(api)) for _ in range(2)]
    return 60 * (max(newest) - min(newest))


def vanishing(api: Api) -> int:
    there = set(visible(api))
    assert set(range(24 * 60)) <= there
    return round(100 - len(there - set(range(24 * 60))) / (2 * 24 * 60) * 100, -1)


def moving(api: Api) -> int:
    by_number = visible(api)
    moved = {one for one, at in by_number.items() if at == NOON - one * 60_000 + 1_123}
    assert all(one >= 24 * 60 - 2 for one in moved)
    for number in sorted(moved)[:1]:
        # Bounds act on the timestamp that responses have.
        at = NOON - number * 60_000 + 1_123
        there = api.call(api.sandbox, "/actions/events", start=at, end=at + 1).json()
        assert [one["id"] for one in there] == [f"bounce-{number}"]
    return round(len(moved) / (2 * 24 * 60) * 100, -1)


def whole_seconds(api: Api) -> str:
    return "yes" if all(at % 1000 == 0 for at in visible(api).values()) else "no"


def too_large(api: Api) -> str:
    assert api.status("/actions/events", start=NOON - 60_000) == 200
    status = api.status("/actions/events")
    return "no" if status == 200 else str(status)


def most_rows(api: Api) -> int:
    for count in range(1, 20):
        if api.status("/actions/events", start=NOON - (count - 1) * 60_000) != 200:
            return count - 1
    return 0


def silent_minutes(api: Api) -> int:
    count = 0
    for minute in range(60):
        api.sandbox.now = NOON + minute * 60_000
        count += not api.ids("/actions/events")
    return count


def unknown_types(api: Api) -> int:
    found = api.call(api.sandbox, "/actions/events").json()
    return round(sum(one["type"] == "dismiss" for one in found) / len(found) * 100, -1)


def unknown_paths(api: Api) -> int:
    found = api.call(api.sandbox, "/actions/events").json()
    return round(sum("weather" in one["source"] for one in found) / len(found) * 100, -1)


LONG_PROBES: dict[str, Callable[[Api], Any]] = {
    probe.__name__: probe
    for probe in (
        *(delay, delay_seconds, replica_seconds, vanishing, moving, whole_seconds, too_large),
        *(most_rows, silent_minutes, unknown_types, unknown_paths),
    )
}
"""What a client sees of each variant, in an account of three days."""

WITH: dict[str, dict[str, Any]] = {
    "delay": {"delay_seconds": 5400},
    "delay_seconds": {"delay": "constant"},
    "too_large": {"most_rows": 3},
    "most_rows": {"too_large": "413"},
}
"""Variants that show only beside another."""

NUMBERS = {"row_cap": 3, "repeats": 100, "missing": 100, "retention_days": 2, "batch_seconds": 3600}
NUMBERS |= {"delay_seconds": 5400, "replica_seconds": 600, "vanishing": 10, "moving": 10}
NUMBERS |= {"most_rows": 3, "silent_minutes": 20, "unknown_types": 10, "unknown_paths": 10}

SINGLE = [
    (name, value)
    for name, values in choices().items()
    for value in (values[1:] if values else (NUMBERS[name],))
    if name != "cap_said" and name not in LONG_PROBES
]

LONG = [
    (name, value)
    for name, values in choices().items()
    for value in (values[1:] if values else (NUMBERS[name],))
    if name in LONG_PROBES
]

HIDDEN = {
    *(("bounds_cut", "row_cap"), ("classified", "robots_parameter"), ("identity", "row_cap")),
    *(("stamps", "row_cap"), ("row_cap", "repeats"), ("reactivity_end", "identity")),
    ("stamps", "mixed_sends"),
}
"""A variant that a client cannot see for another: the event that a cut bound brings may be beyond
the cap, and nothing is classified by a parameter of another name."""


ALONE = {"selection", "missing", "retention_days", "batch_seconds"}
"""Variants under which other events come, by which a client sees the others."""


class TestEach:
    def test_every_variant_has_a_probe(self) -> None:
        assert set(PROBES) | set(LONG_PROBES) == set(choices())

    def test_defaults_are_what_the_connector_assumes(
        self, account: Account, serve: Any, call: TCall
    ) -> None:
        api = Api(serve(account, now=NOON + 120_000), call)
        found = {name: probe(api) for name, probe in PROBES.items()}
        assert vars(Variants()) | found == vars(Variants())

    def test_defaults_in_a_longer_account(self, long: Account, serve: Any, call: TCall) -> None:
        api = Api(serve(long, now=NOON + 500), call)
        found = {name: probe(api) for name, probe in LONG_PROBES.items()}
        assert vars(Variants()) | found == vars(Variants())

    @pytest.mark.parametrize(("name", "value"), LONG)
    def test_a_variant_alone_shows_in_a_longer_account(
        self, name: str, value: Any, long: Account, serve: Any, call: TCall
    ) -> None:
        beside = WITH.get(name, {})
        if value == "batches":
            beside = {"delay_seconds": 86_400}
        variants = Variants(**{name: value, **beside})
        api = Api(serve(long, now=NOON + 500, variants=variants), call)
        assert LONG_PROBES[name](api) == value

    @pytest.mark.parametrize(("name", "value"), SINGLE)
    def test_a_variant_alone_shows(
        self, name: str, value: Any, account: Account, serve: Any, call: TCall
    ) -> None:
        variants = Variants(**{name: value})
        api = Api(serve(account, now=NOON + 120_000, variants=variants), call)
        assert PROBES[name](api) == value

    def test_variants_can_be_set_and_taken_back_while_it_runs(
        self, account: Account, serve: Any, call: TCall
    ) -> None:
        api = Api(serve(account, now=NOON + 120_000), call)
        before = api.ids("/actions/events")
        api.sandbox.variants = Variants(silent_minutes=60)
        assert api.ids("/actions/events") == []
        api.sandbox.variants = Variants()
        assert set(api.ids("/actions/events")) == set(before) != set()

    def test_variants_can_begin_at_a_moment_of_its_clock(
        self, account: Account, serve: Any, call: TCall
    ) -> None:
        begins = NOON + 180_000
        variants = Variants(silent_minutes=60)
        sandbox = serve(account, now=begins - 1, variants=variants, variants_from=begins)
        assert Api(sandbox, call).ids("/actions/events") != []
        sandbox.now = begins
        assert Api(sandbox, call).ids("/actions/events") == []

    @pytest.mark.parametrize("said", ["link", "total"])
    def test_a_cap_that_is_said(self, said: Any, account: Account, serve: Any, call: TCall) -> None:
        variants = Variants(row_cap=3, cap_said=said)
        sandbox = serve(account, now=NOON + 120_000, variants=variants)
        response = call(sandbox, "/actions/events", sort="asc")
        assert [event["id"] for event in response.json()] == ["bounce-99", "bounce-0", "bounce-1"]
        expected = {"Link": '</actions/events?page=2>; rel="next"', "X-Total-Count": "15"}
        shown = {name: response.headers.get(name) for name in expected}
        kept = "Link" if said == "link" else "X-Total-Count"
        assert shown == {name: expected[name] if name == kept else None for name in expected}
        # A capped response is not counted as served whole.
        assert sandbox.statistics()["served"] == {}

    def test_two_variants_at_once_both_show(
        self, account: Account, serve: Any, call: TCall
    ) -> None:
        chosen = {name: value for name, value in reversed(SINGLE) if name not in ALONE}
        for (name, value), (other, other_value) in itertools.combinations(chosen.items(), 2):
            variants = Variants(**{name: value, other: other_value})
            with Sandbox(account, now=NOON + 120_000, variants=variants) as sandbox:
                api = Api(sandbox, call)
                for one, expected, beside in ((name, value, other), (other, other_value, name)):
                    if (one, beside) not in HIDDEN:
                        assert PROBES[one](api) == expected, (name, value, other, other_value)
