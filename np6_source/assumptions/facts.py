"""What a question asks for, what comes back, and the verdict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

TResult = Literal["confirmed", "contradicted", "cannot tell"]

EVENTS = "/actions/events"
REACTIVITIES = "/actions/reactivities"
SENDS = ("execution", "activation", "cancellation")


@dataclass(frozen=True)
class Asked:
    """A request, its bounds as they are written. Rules make one; ``control.Asking`` sends it.

    Attributes:
        path: Path of the operation.
        start: Value of the first bound's parameter; None: it is not sent.
        end: Value of the second's.
        sort: Value of ``sort``; None: it is not sent.
        most_bytes: Bytes of the body that are read at most, uncompressed.
        more: Further query parameters.
        body: JSON text of the body of a POST; None: it is a GET.
    """

    path: str
    start: str | None
    end: str | None
    sort: str | None = "asc"
    most_bytes: int = 2_000_000
    more: tuple[tuple[str, str], ...] = ()
    body: str | None = None

    def query(self) -> dict[str, str]:
        """The query parameters."""
        is_reaction = "/reactivities" in self.path
        names = ("reactivityStart", "reactivityEnd") if is_reaction else ("start", "end")
        given = {names[0]: self.start, names[1]: self.end, "sort": self.sort}
        return {name: value for name, value in given.items() if value is not None} | dict(self.more)


@dataclass(frozen=True)
class Seen:
    """An event of a response; ``seen`` makes one.

    Attributes:
        id: Its id.
        timestamp: Milliseconds since the epoch.
        type: Its type as the response says it; None: it does not.
        stamp: Id of its message.
        stamped_at: When its message was made, milliseconds since the epoch.
        action: The action's id.
        contact: The contact's id, or what is in its place.
        footprint: The contact's id; None: the event names its contact in another way.
        content: The event whole.
    """

    id: str
    timestamp: int
    type: str | None
    stamp: str | None
    stamped_at: int | None
    action: str | None
    contact: str | None
    footprint: str | None
    content: Mapping[str, Any] = field(compare=False, repr=False)

    @property
    def is_reaction(self) -> bool:
        """Whether it follows a send."""
        return self.type in ("hit", "bounce", "reply", "complaint")


@dataclass(frozen=True)
class Response:
    """What came of a request; whoever sends it makes one.

    Attributes:
        status: The HTTP status; None: there was no response.
        events: The events; None: the body is no array of them, or there is none.
        is_whole: Whether the body was read to its end.
        says_more: Whether the headers say that this is not all.
        headers: The headers.
        is_empty: Whether there was no body at all.
        byte_count: Bytes of the body that were read, uncompressed.
        received_at: When its headers came, by this machine's clock, milliseconds since the epoch;
            None: that is not known.
    """

    status: int | None
    events: tuple[Seen, ...] | None
    is_whole: bool = True
    says_more: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)
    is_empty: bool = False
    byte_count: int = 0
    received_at: int | None = None


TAsk = Callable[[Asked], Response]


class BudgetUsedUp(Exception):
    """No further request may be sent."""


class Refused(Exception):
    """The API refuses every request, or asks to wait: nothing more is sent."""


@dataclass(frozen=True)
class Verdict:
    """What was found out about a question; the question's rule makes one.

    Attributes:
        question: Its name.
        assumed: What the connector assumes.
        result: Whether that is so.
        evidence: What shows it: counts, never ids or moments.
        meaning: What follows; empty where nothing does.
        setting: The setting that helps, with its value; None: there is none.
    """

    question: str
    assumed: str
    result: TResult
    evidence: str
    meaning: str = ""
    setting: tuple[str, Any] | None = None


def seen(element: Any) -> Seen | None:
    """An event of a response; None where it is none.

    Args:
        element: An element of the response's array.
    """
    if not isinstance(element, dict):
        return None
    name, timestamp = element.get("id"), element.get("timestamp")
    is_number = isinstance(timestamp, int) and not isinstance(timestamp, bool)
    if not isinstance(name, str) or not isinstance(timestamp, int) or not is_number:
        return None
    detail = _at(element, "source", "detail")
    message = _at(detail, "activation") or _at(detail, "execution")
    person = _at(message, "receiver") or _at(message, "recipient")
    stamped_at = _at(message, "stamp", "time")
    return Seen(
        name,
        timestamp,
        _text(element.get("type")),
        _text(_at(message, "stamp", "id")),
        stamped_at if isinstance(stamped_at, int) else None,
        _text(_at(message, "id")),
        _text(_at(person, "id") or _at(person, "value")),
        _text(_at(person, "id")),
        element,
    )


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
