"""A server in pure Python with a knob for each open question, written apart from the sandbox.

It takes what a request says as text, as a server would, and knows nothing of the rules.
"""

from __future__ import annotations

import bisect
import copy
import functools
import json
import random
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from email.utils import formatdate
from typing import Any
from zoneinfo import ZoneInfo

from np6_source.assumptions.facts import SENDS, Asked, Response, Seen, seen

DAY = 86_400_000
HOUR = DAY // 24
NOW = 1_760_000_000_000
PARIS = ZoneInfo("Europe/Paris")
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
TITLED = ("/actions/reactivities/hits", "/notifications/reactivities/impressions")
REACTIONS = ("hit", "bounce", "reply")


@dataclass(frozen=True)
class Knobs:
    """How the server differs from what the connector assumes; the defaults do not."""

    start: str = "inclusive"
    end: str = "exclusive"
    cut: int = 1
    cut_up: bool = False
    numbers: str = "ms"
    offsets: str = "honoured"
    naive: str = "utc"
    sort: str = "honoured"
    selection: str = "timestamp"
    reactivity_end: str = "reactions"
    sends: bool = True
    lacking: tuple[str, ...] = ()
    identity: str = "same"
    cap: int = 0
    cap_header: bool = False
    types: bool = True
    stamps: str = "shared"
    unknown: int = 404
    titled: int = 200
    empty: str = "array"
    repeats: float = 0.0
    failing: float = 0.0
    flapping: float = 0.0
    vanishing: bool = False
    whole_seconds: bool = False
    robots_parameter: str = "classification"
    classified: str = "of the class"
    plain_robots: bool = False
    mixed_robots: bool = True
    robots: bool = True
    sort_checked: bool = True
    date: int | None = 0
    reset: str | None = "seconds"
    gzip: bool = True
    campaign: str = "any"
    default_days: int = 0
    hidden: int = 0
    moved: int = 0
    ignored: str = "neither"
    paths: str = "known"
    most_days: int = 0
    off_dates: int = 0
    contact_types: bool = True
    all_robots: bool = False
    plain_mpp: bool = False
    own_ids: bool = False
    same_size: bool = False


@dataclass(frozen=True)
class Stored:
    timestamp: int
    stamped_at: int
    kind: str
    content: dict[str, Any]
    contact: str
    robot: str | None = None


def _size(event: str) -> int:
    """The bytes of an event: 400 to 1,000."""
    return 400 + zlib.crc32(event.encode()) % 601


@functools.lru_cache(maxsize=4)
def account(
    seed: int, whole_seconds: bool, stamps: str, per_day: float | None, in_bursts: bool = False
) -> list[Stored]:
    """The events of a made-up account, by timestamp; most of them of mailings, where asked for."""
    dice = random.Random(seed)
    a_day = per_day or 10 ** dice.uniform(1.2, 3.4)
    days = min(40.0, max(3.0, 8_000 / a_day))
    found: list[Stored] = []
    messages = int(a_day * days / 2.7)
    bursts = [NOW - dice.random() * days * DAY for _ in range(int(days) if in_bursts else 0)]
    for number in range(messages):
        made = int(NOW - dice.random() * days * DAY)
        if bursts and dice.random() < 0.8:
            made = int(bursts[int(len(bursts) * dice.random() ** 2)] + dice.random() * HOUR / 4)
        sent = made + int(dice.expovariate(1 / 6_000))
        action, contact = f"A{dice.randrange(9):05d}", f"C{number:07d}"
        stamp = f"stamp-{number}"
        own = f"own-{number}" if stamps == "own" else stamp
        found.append(_event(dice, whole_seconds, "execution", made + 5, made, own, action, contact))
        if dice.random() < 0.03:
            found.append(
                _event(dice, whole_seconds, "cancellation", sent, made, own, action, contact)
            )
            continue
        found.append(_event(dice, whole_seconds, "activation", sent, made, stamp, action, contact))
        for _ in range(dice.choice((0, 0, 1, 1, 2))):
            kind = dice.choices(REACTIONS, (30, 2, 1))[0]
            late = sent + int(dice.choice((dice.expovariate(1 / HOUR), dice.random() * 2 * DAY)))
            found.append(_event(dice, whole_seconds, kind, late, made, stamp, action, contact))
        if dice.random() < 0.02:
            # A person who clicks much, and a robot that follows the links at once.
            for robot in (*[None] * 6, *[dice.choice(("mpp", "gsr"))] * 5):
                late = sent + int(dice.expovariate(1 / HOUR if robot is None else 1 / 5_000))
                one = _event(dice, whole_seconds, "hit", late, made, stamp, action, contact)
                found.append(replace(one, robot=robot))
    found = [one for one in found if one.timestamp < NOW]
    return sorted(found, key=lambda one: one.timestamp)


def _event(
    dice: random.Random,
    whole_seconds: bool,
    kind: str,
    timestamp: int,
    made: int,
    stamp: str,
    action: str,
    contact: str,
) -> Stored:
    if whole_seconds or dice.random() < 0.5:
        timestamp = timestamp // 1000 * 1000
    part = "execution" if kind in ("execution", "cancellation") else "activation"
    message = {
        "id": action,
        "stamp": {"id": stamp, "time": made},
        "receiver" if part == "activation" else "recipient": {"id": contact},
    }
    content = {
        "type": kind,
        "id": f"{dice.getrandbits(64):016x}",
        "timestamp": timestamp,
        "source": {"type": "email", "detail": {part: message, "about": {"kind": kind}}},
    }
    return Stored(timestamp, made, kind, content, contact)


def _moved(one: Stored) -> Stored:
    """The event, dated a second later."""
    timestamp = one.timestamp + 1000
    return replace(one, timestamp=timestamp, content=one.content | {"timestamp": timestamp})


def _names_more_than_hits(body: str | None) -> bool:
    entries = json.loads(body or "{}").get("itemsEvents", [])
    return any(event["type"] != "hit" for entry in entries for event in entry["events"])


class Server:
    """Answers for one made-up account.

    Attributes:
        requests: Requests so far.
    """

    def __init__(
        self, seed: int, knobs: Knobs, per_day: float | None = None, in_bursts: bool = False
    ) -> None:
        self.knobs = knobs
        self.requests = 0
        self._dice = random.Random(seed)
        self._events = account(seed + 1, knobs.whole_seconds, knobs.stamps, per_day, in_bursts)
        self._seen: dict[int, Seen] = {}
        self._moments = [one.timestamp for one in self._events]
        self._of_contact: dict[str, list[int]] = {}
        for place, one in enumerate(self._events):
            if one.kind == "hit":
                self._of_contact.setdefault(one.contact, []).append(place)

    def __call__(self, asked: Asked) -> Response:
        response = self._answer(asked)
        return replace(response, headers=self._headers(), received_at=self._now())

    def _now(self) -> int:
        """Five requests a second."""
        return NOW + 200 * self.requests

    def _headers(self) -> dict[str, str]:
        knobs, found = self.knobs, {"Content-Encoding": "gzip"} if self.knobs.gzip else {}
        now = self._now()
        if knobs.date is not None:
            is_off = knobs.off_dates and self.requests % knobs.off_dates == 0
            found["Date"] = formatdate(now / 1000 + knobs.date + 600 * is_off, usegmt=True)
        if knobs.reset is not None:
            ends = (now // 60_000 + 1) * 60_000
            found["X-RateLimit-Limit"] = "600"
            found["X-RateLimit-Reset"] = {
                "seconds": str(-(-(ends - now) // 1000)),
                "epoch": str(ends // 1000),
                "ms": str(ends),
                "date": formatdate(ends / 1000, usegmt=True),
                "microseconds": str(ends * 1000),
                "ms left": str(ends - now),
                "ms left of a second": str(1000 - now % 1000),
                "minutes left": str(-(-(ends - now) // 60_000)),
                "length of the window": "60",
                "begin of the window": str(now // 1000),
                "in Paris": str(ends // 1000 + 7_200),
                "in Montreal": str(ends // 1000 - 14_400),
                "text": "in a minute",
                "long ago": "1200000000",
            }[knobs.reset]
        return found

    def _answer(self, asked: Asked) -> Response:
        knobs = self.knobs
        self.requests += 1
        if self._dice.random() < knobs.failing:
            return Response(503, None)
        if "0ZZZZZ" in asked.path:
            return Response(knobs.unknown, () if knobs.unknown == 200 else None)
        if asked.path.endswith("/probe") and knobs.paths == "known":
            return Response(404, None)
        if asked.path in TITLED and knobs.titled != 200:
            return Response(knobs.titled, None)
        query = asked.query()
        if query.get("sort", "asc") not in ("asc", "desc") and knobs.sort_checked:
            return Response(400, None)
        if asked.body is not None and not self._takes(json.loads(asked.body)):
            return Response(400, None)
        try:
            start, end = self._bound(asked.start), self._bound(asked.end)
        except ValueError:
            return Response(400, None)
        if asked.start is None and knobs.default_days:
            start = (NOW if end is None else end) - knobs.default_days * DAY
        start = None if knobs.ignored == "start" else start
        end = None if knobs.ignored == "end" else end
        if knobs.most_days and start is not None and end is not None:
            start = max(start, end - knobs.most_days * DAY)
        is_reaction = "/reactivities" in asked.path
        kinds = {f"{one}s": (one,) for one in (*SENDS, "bounce")}.get(
            asked.path.rsplit("/", 1)[-1], REACTIONS if is_reaction else None
        )
        if kinds is None and not knobs.sends:
            kinds = REACTIONS
        is_unknown = knobs.campaign == "empty" and _names_more_than_hits(asked.body)
        rows = []
        for place in self._candidates(query, start, end):
            one = self._events[place]
            if kinds is not None and one.kind not in kinds:
                continue
            if not self._is_meant(one, query):
                continue
            if is_unknown:
                continue
            if kinds is None and one.kind in knobs.lacking:
                continue
            if knobs.hidden and place % knobs.hidden == 0:
                continue
            if knobs.moved and place % knobs.moved == 0:
                one = _moved(one)
            moment = one.stamped_at if knobs.selection == "stamp" else one.timestamp
            if knobs.selection == "either" and start is not None and end is not None:
                is_by_stamp = start <= one.stamped_at < end
                moment = one.stamped_at if is_by_stamp else moment
            last = moment
            if is_reaction and knobs.reactivity_end == "activations":
                last = one.stamped_at
            is_first = knobs.start != "inclusive" and moment == start
            if start is not None and (moment < start or is_first):
                continue
            if end is not None and (last > end or (knobs.end == "exclusive" and last == end)):
                continue
            if self._dice.random() < knobs.flapping:
                continue
            if knobs.vanishing and (place * 7919) % 97 < self.requests:
                continue
            rows.append(one)
        return self._response(asked, rows, is_reaction, kinds)

    def _is_meant(self, one: Stored, query: dict[str, str]) -> bool:
        """By contact, and by whether a robot made it."""
        knobs = self.knobs
        if "id" not in query:
            return one.robot is None or (knobs.robots and knobs.mixed_robots)
        if one.kind != "hit" or one.contact != query["id"]:
            return False
        robots = query.get(knobs.robots_parameter)
        if one.robot is not None and not knobs.robots:
            return False
        if robots is None:
            is_plain = knobs.plain_robots or (knobs.plain_mpp and one.robot == "mpp")
            return one.robot is None or is_plain
        if knobs.all_robots:
            return one.robot is not None
        return one.robot == robots or knobs.classified == "all"

    def _takes(self, body: dict[str, Any]) -> bool:
        """Whether the body of a campaign's request is taken."""
        entries = body.get("itemsEvents", [])
        names = {event["type"] for entry in entries for event in entry["events"]}
        has_items = bool(entries) and all(entry.get("items") for entry in entries)
        return {
            "any": True,
            "empty": True,
            "hits": names <= {"hit"},
            "items": has_items and names <= {"hit"},
            "none": False,
        }[self.knobs.campaign]

    def _candidates(
        self, query: dict[str, str], start: int | None, end: int | None
    ) -> Iterable[int]:
        if "id" in query:
            return self._of_contact.get(query["id"], ())
        return range(*self._places(start, end))

    def _places(self, start: int | None, end: int | None) -> tuple[int, int]:
        """Where events that may be meant are."""
        knobs = self.knobs
        if knobs.selection != "timestamp" or knobs.reactivity_end == "activations":
            return 0, len(self._events)
        first = 0 if start is None else bisect.bisect_left(self._moments, start - 1000)
        last = len(self._events) if end is None else bisect.bisect_right(self._moments, end)
        return first, max(first, last)

    def _response(
        self, asked: Asked, rows: list[Stored], is_reaction: bool, kinds: tuple[str, ...] | None
    ) -> Response:
        knobs = self.knobs
        if not rows and knobs.empty != "array":
            if knobs.empty in ("204", "404"):
                return Response(int(knobs.empty), () if knobs.empty == "204" else None)
            return Response(200, None, is_empty=True)
        is_of_contact = "id" in asked.query()
        contents = [
            self._shown(one, is_reaction, len(kinds or ()) == 1, is_of_contact) for one in rows
        ]
        contents += [one for one in contents if self._dice.random() < knobs.repeats]
        contents.sort(key=lambda one: one["timestamp"])
        if knobs.sort == "ignored":
            self._dice.shuffle(contents)
        elif asked.sort == "desc" and knobs.sort == "honoured":
            contents.reverse()
        more = bool(knobs.cap) and len(contents) > knobs.cap
        contents = contents[: knobs.cap or None]
        if more and knobs.cap_header:
            return Response(200, None, says_more=True)
        most = asked.most_bytes // 700
        events = tuple(map(self._read, contents[:most]))
        size = sum(700 if knobs.same_size else _size(one.id) for one in events)
        return Response(200, events, len(contents) <= most, byte_count=size)

    def _read(self, content: dict[str, Any]) -> Seen:
        found = self._seen.get(id(content))
        if found is None or found.content is not content:
            found = seen(content)
            assert found is not None
            self._seen[id(content)] = found
        return found

    def _shown(
        self, one: Stored, is_reaction: bool, is_single: bool, is_of_contact: bool
    ) -> dict[str, Any]:
        identity, content = self.knobs.identity, one.content
        if is_reaction and identity != "same":
            content = copy.deepcopy(content)
            if identity == "ids":
                content["id"] = "r" + content["id"]
            elif identity == "timestamps":
                content["timestamp"] += 137
            elif identity == "content":
                content["source"]["detail"]["more"] = True
        if (is_single or is_of_contact) and self.knobs.own_ids:
            content = content | {"id": "s" + content["id"]}
        is_typed = self.knobs.contact_types if is_of_contact else self.knobs.types
        if (is_single or is_of_contact) and not is_typed:
            content = {key: value for key, value in content.items() if key != "type"}
        return content

    def _bound(self, text: str | None) -> int | None:
        if text is None:
            return None
        knobs = self.knobs
        if text.isdigit():
            if knobs.numbers == "refused":
                raise ValueError(text)
            if knobs.numbers == "ignored":
                return None
            moment = int(text) * (1000 if knobs.numbers == "s" else 1)
        else:
            if "+" in text and knobs.offsets == "refused":
                raise ValueError(text)
            if "+" in text and knobs.offsets == "unreadable":
                return None
            if "+" in text and knobs.offsets == "ignored":
                text = text.partition("+")[0] + "Z"
            found = datetime.fromisoformat(text.replace("Z", "+00:00"))
            if found.tzinfo is None and knobs.naive == "unreadable":
                return None
            if found.tzinfo is None:
                found = found.replace(tzinfo=PARIS if knobs.naive == "paris" else timezone.utc)
            moment = (found - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(
                milliseconds=1
            )
        return (moment + (knobs.cut - 1 if knobs.cut_up else 0)) // knobs.cut * knobs.cut
