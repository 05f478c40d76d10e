"""What else may happen to responses while a probe asks: nothing that a question is about.

Written against the rules, to mislead them: responses are cut in ways of their own, marks are
written late, events come and go, one operation keeps less than another, single requests fail.
"""

from __future__ import annotations

import copy
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

from np6_source.assumptions.facts import EVENTS, Asked, Response, Seen, seen
from tests.assumptions.server import DAY, NOW, Server

HITS = "/targets/events/hits"
CLASSES = ("mpp", "gsr", "genericrobot")


@dataclass(frozen=True)
class Hazards:
    """How responses are spoilt; by default they are not.

    Attributes:
        cap: Rows of a response at most; 0: any number.
        of: The operation that is cut; empty: all.
        keeps: Which rows are left: the ``first``, the ``newest``, or ``any``.
        bytes: Bytes of a response at most; 0: any number.
        marks: Share of the events that get a mark while the probe asks.
        robots_late: Share of people's hits that are marked as robots' while the probe asks.
        arriving: Share of the events that come while it asks.
        leaving: Share of the events that go while it asks.
        kept_days: Days for which ``/actions/events`` has events; 0: for ever.
        flapping: Share of the rows that a response of ``of`` lacks, others each time.
        refused: Share of the requests that are refused with 400, by chance.
        failing: Share of the requests that have no response.
        no_bounces: Whether the operation over an action's bounces does not exist.
        no_long_ago: Whether bounds in the year 2000 are refused.
        small_as_they_are: Whether small responses are not compressed.
        other_channels: Whether robots' hits are of messages that no action sends, on a server which
            is otherwise as assumed.
    """

    cap: int = 0
    of: str = ""
    keeps: str = "first"
    bytes: int = 0
    marks: float = 0.0
    robots_late: float = 0.0
    arriving: float = 0.0
    leaving: float = 0.0
    kept_days: int = 0
    flapping: float = 0.0
    refused: float = 0.0
    failing: float = 0.0
    no_bounces: bool = False
    no_long_ago: bool = False
    small_as_they_are: bool = False
    other_channels: bool = False

    def other_sides(self) -> set[str]:
        """Questions that may be contradicted under them."""
        is_capped = bool(self.cap) and self.of in ("", EVENTS)
        return {"cap"} if is_capped or self.bytes else set()

    def changed(self) -> dict[str, object]:
        """What is not as by default."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value != getattr(NONE, name)}


NONE = Hazards()


def some_hazards(dice: random.Random) -> Hazards:
    """One or two hazards, by chance."""
    share = dice.choice((0.02, 0.1, 0.3))
    found = NONE
    for _ in range(dice.choice((1, 1, 2))):
        of = dice.choice(("", "", EVENTS, HITS, "/actions/reactivities"))
        cap = dice.choice((12, 20, 40, 77, 100, 130, 256, 300, 400, 999, 1_000, 2_500))
        keeps = dice.choice(("first", "first", "newest", "any"))
        changes: tuple[dict[str, Any], ...] = (
            {"cap": cap, "of": of, "keeps": keeps},
            {"bytes": dice.choice((9_000, 40_000, 100_000, 300_000))},
            {"marks": share},
            {"robots_late": share},
            {"arriving": share},
            {"leaving": share / 10},
            {"kept_days": dice.choice((2, 5, 14))},
            {"flapping": 0.1, "of": of or HITS},
            {"refused": 0.02},
            {"failing": 0.05},
            {"no_bounces": True, "small_as_they_are": True},
            {"no_long_ago": True},
            {"other_channels": True},
        )
        found = replace(found, **dice.choice(changes))
    return found


class Spoilt:
    """A server whose responses are spoilt.

    Attributes:
        requests: Requests so far.
    """

    def __init__(self, server: Server, hazards: Hazards, seed: int) -> None:
        self._server, self._hazards = server, hazards
        self._dice = random.Random(seed)
        self.requests = 0

    def __call__(self, asked: Asked) -> Response:
        hazards, dice = self._hazards, self._dice
        self.requests += 1
        if dice.random() < hazards.failing:
            return Response(None, None)
        is_long_ago = (asked.start or "").startswith("2000-")
        if dice.random() < hazards.refused or (hazards.no_long_ago and is_long_ago):
            return Response(400, None)
        if hazards.no_bounces and asked.path.endswith("/events/bounces"):
            return Response(404, None)
        # Rows are cut by the server: what is read at most does not matter before.
        response = self._server(replace(asked, most_bytes=10**9))
        if response.events is None:
            return response
        rows = [one for one in map(self._shown(asked), response.events) if one is not None]
        rows = self._cut(asked, rows)
        read = _within(rows, asked.most_bytes)
        headers = dict(response.headers)
        if hazards.small_as_they_are and len(rows) < 8:
            headers.pop("Content-Encoding", None)
        return replace(
            response,
            events=tuple(read),
            is_whole=len(read) == len(rows),
            byte_count=sum(map(_size, read)),
            headers=headers,
        )

    def _shown(self, asked: Asked) -> Callable[[Seen], Seen | None]:
        hazards = self._hazards
        is_flapping = bool(hazards.flapping) and hazards.of == asked.path
        is_for_class = dict(asked.more).get("classification") in CLASSES

        def shown(one: Seen) -> Seen | None:
            when = self._when(one)
            if is_flapping and self._dice.random() < hazards.flapping:
                return None
            if self._is_among(one, "arriving", hazards.arriving) and self.requests < when:
                return None
            if self._is_among(one, "leaving", hazards.leaving) and self.requests >= when:
                return None
            is_mixed = asked.path in (EVENTS, "/actions/reactivities")
            if is_mixed and hazards.kept_days and one.timestamp < NOW - hazards.kept_days * DAY:
                return None
            is_classed = self._is_among(one, "robots", hazards.robots_late)
            if asked.path == HITS and is_classed and not is_for_class and self.requests >= when:
                return None
            if asked.path == HITS and is_for_class and hazards.other_channels:
                return _of_another_channel(one)
            if is_mixed and hazards.other_channels and one.type == "hit":
                return None if self._is_among(one, "channel", 0.2) else one
            is_marked = self._is_among(one, "marks", hazards.marks) and self.requests >= when
            return _marked(one) if is_marked else one

        return shown

    def _cut(self, asked: Asked, rows: list[Seen]) -> list[Seen]:
        hazards = self._hazards
        if hazards.bytes:
            rows = _within(rows, hazards.bytes)
        if not hazards.cap or hazards.of not in ("", asked.path) or len(rows) <= hazards.cap:
            return rows
        if hazards.keeps == "newest":
            kept = sorted(rows, key=lambda one: one.timestamp)[-hazards.cap :]
        elif hazards.keeps == "any":
            kept = self._dice.sample(rows, hazards.cap)
        else:
            return rows[: hazards.cap]
        names = {one.id for one in kept}
        return [one for one in rows if one.id in names][: hazards.cap]

    def _when(self, one: Seen) -> int:
        """The request from which on something is so for an event."""
        return 3 + zlib.crc32(f"{one.id} when".encode()) % 80

    def _is_among(self, one: Seen, what: str, share: float) -> bool:
        return bool(share) and zlib.crc32(f"{one.id} {what}".encode()) % 1_000 < 1_000 * share


def _size(one: Seen) -> int:
    """Bytes of an event: no two responses of as many bytes have as many rows."""
    return 400 + zlib.crc32(one.id.encode()) % 600


def _within(rows: list[Seen], most_bytes: int) -> list[Seen]:
    """The first rows, of so many bytes together at most."""
    left, count = most_bytes, 0
    while count < len(rows) and _size(rows[count]) <= left:
        left -= _size(rows[count])
        count += 1
    return rows[:count]


def _marked(one: Seen) -> Seen:
    content = copy.deepcopy(dict(one.content))
    content["source"]["detail"]["mark"] = True
    found = seen(content)
    assert found is not None
    return found


def _of_another_channel(one: Seen) -> Seen:
    content = copy.deepcopy(dict(one.content))
    content["source"]["detail"]["activation"]["id"] = "N00001"
    content["id"] = f"n{one.id}"
    found = seen(content)
    assert found is not None
    return found
