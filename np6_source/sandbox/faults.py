"""Rules that make the sandbox misbehave the way a real API can.

A rule is written in Python, ``Fault("status", 503, times=2, path="/actions/events")``, or as text
for the command line and the ``X-Sandbox-Fault`` header: ``status=503,times=2,path=/actions/events``
(several separated by ``;``; ``%2C`` for a comma inside a value).
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import Literal, get_args
from urllib.parse import unquote, unquote_to_bytes

TFault = Literal[
    "status",
    "empty",
    "html",
    "object",
    "raw",
    "redirect",
    "bomb",
    "abort",
    "stall",
    "stall_body",
    "cut_byte",
    "cut_event",
    "cut_comma",
    "abort_body",
    "without_id",
    "without_timestamp",
    "without_type",
    "duplicate",
    "unsorted",
    "future",
    "oversize",
    "gzip_claimed",
    "gzip_hidden",
    "content_type",
]

REPLACING = ("status", "empty", "html", "object", "raw", "redirect", "bomb", "abort")
"""Faults that replace the whole response; of these at most one strikes a request."""

BESIDE_REPLACING = ("stall", "content_type")
"""Faults that can strike together with one of those."""

NUMBERS: dict[str, float | None] = {
    "status": 503,
    "bomb": 100,
    "stall": 5,
    "stall_body": 5,
    "cut_byte": None,
    "cut_event": 1,
    "cut_comma": 1,
    "abort_body": 1000,
    "without_id": 0,
    "without_timestamp": 0,
    "without_type": 0,
    "duplicate": 1,
    "future": 86_400,
    "oversize": None,
}
"""Faults whose value is a number, with the number meant when none is given (None: it must be)."""


@dataclass(frozen=True)
class Fault:
    """One rule.

    ==================  ============================================================================
    kind                what happens; the value
    ==================  ============================================================================
    status              status code, empty body; see ``retry_after``, ``rate_limit_reset``
    empty               200 without a body
    html                200 with an HTML page
    object              200 with a JSON object instead of the array; the object's text
    raw                 200 with this body; bytes (text: with percent escapes)
    redirect            302 to the same path below this root URL (default: this server by the name
                        ``localhost``)
    bomb                a small gzip body that inflates to an empty array of this many megabytes
    abort               the connection ends without a response
    stall               seconds of silence before the headers
    stall_body          seconds of silence after the first bytes of the body
    cut_byte            the body ends, as if complete, after this many bytes
    cut_event           the same inside an event, after this many whole ones before it
    cut_comma           the same right after the comma that follows this many events
    abort_body          the connection ends after this many bytes of the body
    without_id          the event of this number (from 0) has no ``id``
    without_timestamp   it has no ``timestamp``
    without_type        it has no ``type``
    duplicate           the first so many events are in the response twice
    unsorted            the order is not the one asked for
    future              one more event, dated this many seconds ahead of the sandbox's clock
    oversize            responses of more than this many events get ``status`` (default 413) instead
    gzip_claimed        the headers say gzip, the body is plain
    gzip_hidden         the body is gzip, the headers do not say so
    content_type        another Content-Type; without a value, none
    ==================  ============================================================================

    Attributes:
        kind: What happens.
        value: How much of it; None: the kind's default.
        times: Strike so many requests, then no more.
        after: Let so many matching requests pass first.
        every: Strike every n-th matching request.
        probability: Strike with this probability, by ``seed``.
        seed: Makes ``probability`` repeatable.
        path: Only requests whose path matches this glob.
        id: Only requests that name this id, in the path or in the query.
        status: For ``oversize`` and ``redirect``, the status code.
        retry_after: For status codes, the Retry-After header: seconds, ``date:5`` for an HTTP date
            5 seconds ahead of the sandbox's clock, or any text.
        rate_limit_reset: The same for X-RateLimit-Reset, whose format the reference leaves open:
            seconds, ``epoch:5`` for epoch seconds, or any text.
    """

    kind: TFault
    value: float | str | bytes | None = None
    times: int | None = None
    after: int = 0
    every: int = 1
    probability: float = 1.0
    seed: int = 0
    path: str = "*"
    id: str | None = None
    status: int | None = None
    retry_after: str | float | None = None
    rate_limit_reset: str | float | None = None

    def __post_init__(self) -> None:
        """Checks the rule.

        Raises:
            ValueError: The kind is unknown, or a value is missing or of the wrong kind.
        """
        if self.kind not in get_args(TFault):
            raise ValueError(f"Fault {self.kind!r} is none of {', '.join(get_args(TFault))}")
        if self.kind in NUMBERS:
            if self.value is None and NUMBERS[self.kind] is None:
                raise ValueError(f"Fault {self.kind!r} needs a number")
            if self.value is not None and not isinstance(self.value, (int, float)):
                raise ValueError(f"Fault {self.kind!r} takes a number, not {self.value!r}")
        if self.kind == "raw" and not isinstance(self.value, (str, bytes)):
            raise ValueError("Fault 'raw' needs the body")
        if self.every < 1:
            raise ValueError("Fault: every must be at least 1")

    @property
    def number(self) -> float:
        """The value of a fault that takes a number."""
        if isinstance(self.value, (int, float)):
            return self.value
        return NUMBERS[self.kind] or 0

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Reads a rule from text such as ``status=503,times=2,path=/actions/events``.

        Args:
            text: The kind with its value if any, then restrictions by their names.

        Raises:
            ValueError: The text cannot be understood.
        """
        first, *rest = (part.strip() for part in text.split(","))
        kind, given, value = first.partition("=")
        known = {field.name for field in fields(cls)} - {"kind", "value"}
        settings: dict[str, object] = {}
        for part in rest:
            name, equals, setting = part.partition("=")
            if name not in known or not equals:
                raise ValueError(f"Fault {text!r}: {part!r} is no restriction of a fault")
            settings[name] = _read(name, unquote(setting), text)
        if given:
            if kind == "raw":
                settings["value"] = unquote_to_bytes(value)
            else:
                settings["value"] = _number(value, text) if kind in NUMBERS else unquote(value)
        return cls(kind, **settings)  # type: ignore[arg-type]

    @classmethod
    def parse_all(cls, text: str) -> list[Fault]:
        """Reads several rules separated by ``;``.

        Raises:
            ValueError: The text cannot be understood.
        """
        return [cls.parse(part) for part in text.split(";") if part.strip()]


def _number(text: str, whole: str) -> float:
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        raise ValueError(f"Fault {whole!r}: {text!r} is no number") from None


def _read(name: str, text: str, whole: str) -> object:
    if name in ("times", "after", "every", "seed", "status", "probability"):
        number = _number(text, whole)
        return number if name == "probability" else int(number)
    return text


class _Rule:
    """A fault with what has become of it."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.matched = 0
        self.struck = 0
        self.chance = random.Random(fault.seed)

    def strikes(self) -> bool:
        """Whether the rule strikes the next matching request."""
        fault = self.fault
        if fault.times is not None and self.struck >= fault.times:
            return False
        self.matched += 1
        number = self.matched - fault.after
        if number < 1 or number % fault.every:
            return False
        if fault.probability < 1.0 and self.chance.random() >= fault.probability:
            return False
        self.struck += 1
        return True


class FaultRules:
    """The rules in force, in order. Safe for threads.

    Of the rules of one kind, and of those that replace the whole response, the first that matches
    strikes; so ``[Fault("status", 503, times=2), Fault("status", 429, times=1)]`` gives two 503,
    then one 429.
    """

    def __init__(self, faults: Iterable[Fault | str] = ()) -> None:
        """Starts with the given rules, as ``Fault`` or as text."""
        self._lock = threading.Lock()
        self._rules: list[_Rule] = []
        self.counts: Counter[str] = Counter()
        for fault in faults:
            self.append(fault)

    def append(self, fault: Fault | str) -> None:
        """Adds a rule.

        Raises:
            ValueError: The rule's text cannot be understood.
        """
        rules = Fault.parse_all(fault) if isinstance(fault, str) else [fault]
        with self._lock:
            self._rules += [_Rule(rule) for rule in rules]

    def remove(self, fault: Fault) -> None:
        """Takes the first equal rule away.

        Raises:
            ValueError: There is none.
        """
        with self._lock:
            del self._rules[[rule.fault for rule in self._rules].index(fault)]

    def clear(self) -> None:
        """Takes all rules away; the counts stay."""
        with self._lock:
            self._rules.clear()

    @contextmanager
    def during(self, *faults: Fault | str) -> Iterator[FaultRules]:
        """The rules are in force inside the ``with`` block only."""
        parsed = [
            rule
            for fault in faults
            for rule in (Fault.parse_all(fault) if isinstance(fault, str) else [fault])
        ]
        for fault in parsed:
            self.append(fault)
        try:
            yield self
        finally:
            for fault in parsed:
                self.remove(fault)

    def __iter__(self) -> Iterator[Fault]:
        """The rules, in order."""
        with self._lock:
            return iter([rule.fault for rule in self._rules])

    def __len__(self) -> int:
        """How many rules there are."""
        return len(self._rules)

    def strike(self, path: str, scope: str | None, only: Iterable[Fault] = ()) -> dict[str, Fault]:
        """The faults that strike a request, by kind, except ``oversize``; each is counted.

        Args:
            path: The request's path.
            scope: The id it names.
            only: Faults that came with the request itself; they come first.
        """
        struck: dict[str, Fault] = {}
        with self._lock:
            rules = [
                rule
                for rule in [*map(_Rule, only), *self._rules]
                if _is_for(rule.fault, path, scope)
            ]
            for rule in rules:
                if rule.fault.kind in REPLACING and rule.strikes():
                    struck[rule.fault.kind] = rule.fault
                    break
            replaced = bool(struck)
            for rule in rules:
                kind = rule.fault.kind
                # Of a replaced response nothing else can be spoiled.
                if kind in REPLACING or kind == "oversize" or kind in struck:
                    continue
                if replaced and kind not in BESIDE_REPLACING:
                    continue
                if rule.strikes():
                    struck[kind] = rule.fault
            self.counts.update(struck.keys())
        return struck

    def oversize(
        self, path: str, scope: str | None, event_count: int, only: Iterable[Fault] = ()
    ) -> Fault | None:
        """The ``oversize`` rule that strikes a response with so many events, if any."""
        with self._lock:
            for rule in [*map(_Rule, only), *self._rules]:
                fault = rule.fault
                if (
                    fault.kind == "oversize"
                    and event_count > fault.number
                    and _is_for(fault, path, scope)
                    and rule.strikes()
                ):
                    self.counts["oversize"] += 1
                    return fault
        return None


def _is_for(fault: Fault, path: str, scope: str | None) -> bool:
    return fnmatchcase(path, fault.path) and fault.id in (None, scope)
