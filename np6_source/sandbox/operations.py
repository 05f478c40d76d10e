"""From a row of the catalogue and a request's parameters to the events it asks for.

Everything here follows from the row's path and marks, so a caller's own rows are served as well.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from zoneinfo import ZoneInfo

from ..endpoints import WINDOW_PARAMETERS, Endpoint
from .clock import MINUTE, SECOND, moment
from .query import ROBOT_CLASSES, EventChoice, EventQuery, ItemsChoice
from .variants import Variants

NUMBER = re.compile(r"-?\d{1,18}")
OFFSET = re.compile(r"(?<=T\d\d:\d\d).*?([+-]\d\d(?::?\d\d)?)$", re.IGNORECASE)
PARIS = ZoneInfo("Europe/Paris")

CHANNELS: dict[str, tuple[str, ...]] = {
    "actions": ("email", "sms"),
    "notifications": ("notification",),
    "display": ("display",),
}
"""Channels by first part of the path. Campaign and contact operations cover all channels, which is
an assumption: the reference shows e-mail only."""

PATH_IDS = {
    "action": "action_id",
    "campaign": "campaign_id",
    "target": "contact_id",
    "notification": "notification_id",
    "content": "display_content_id",
}
"""Index columns by the (singular) part of the path in front of ``{id}``."""

QUERY_IDS = {"id": "contact_id", "unicity": "contact_unicity", "hash": "contact_hash"}
"""Index columns by the name of the query parameter."""

PATH_TYPES = {
    "executions": "execution",
    "cancellations": "cancellation",
    "activations": "activation",
    "bounces": "bounce",
    "hits": "hit",
    "impressions": "impression",
    "optouts": "optout",
    "responses": "reply",
    "complaints": "complaint",
}
"""Event types by the part of the path after ``events`` or ``reactivities``."""

NO_REACTIONS = ("execution", "cancellation", "activation")
"""Types that a ``/reactivities`` operation leaves out: it gives what follows an activation."""


class BadRequest(ValueError):
    """A request the API would answer with 400; the message says why."""


@dataclass(frozen=True)
class Operation:
    """One row of the catalogue with what its path implies.

    Attributes:
        endpoint: The row.
        channels: Channels it covers, None: all.
        id_column: Index column that the id of a request is compared with.
        type: The event type it is limited to.
        subtype: The hit subtype it is limited to.
    """

    endpoint: Endpoint
    channels: tuple[str, ...] | None
    id_column: str | None
    type: str | None
    subtype: str | None


def operation(endpoint: Endpoint) -> Operation:
    """Reads a row of the catalogue.

    Raises:
        ValueError: The path names an id of a kind that accounts do not know.
    """
    parts = endpoint.path.strip("/").split("/")
    id_column = QUERY_IDS[endpoint.id_query] if endpoint.id_query else None
    if "{id}" in parts:
        owner = parts[parts.index("{id}") - 1].removesuffix("s")
        if owner not in PATH_IDS:
            raise ValueError(f"Endpoint {endpoint.path!r}: the sandbox has no ids of {owner!r}")
        id_column = PATH_IDS[owner]
    names = [index for index, part in enumerate(parts) if part in ("events", "reactivities")]
    rest = parts[names[-1] + 1 :] if names else []
    kind = endpoint.event_type or (PATH_TYPES.get(rest[0]) if rest else None)
    return Operation(
        endpoint,
        CHANNELS.get(parts[0]),
        id_column,
        kind,
        rest[1] if kind == "hit" and len(rest) > 1 else None,
    )


def event_query(
    asked: Operation,
    scope: str | None,
    parameters: Mapping[str, str],
    body: Any,
    shuffle: int,
    variants: Variants,
) -> EventQuery:
    """The events a request asks for.

    Args:
        asked: The operation.
        scope: The id the request names.
        parameters: Its query parameters.
        body: Its JSON body.
        shuffle: Seed for the order where no sort is asked for.
        variants: How open questions are settled.

    Raises:
        BadRequest: A parameter or the body cannot be understood.
    """
    endpoint = asked.endpoint
    start, end = WINDOW_PARAMETERS[endpoint.window]
    is_reaction = endpoint.window == "reactivities"
    sort = parameters.get("sort")
    if sort not in ("asc", "desc", None):
        raise BadRequest(f"sort: 'asc' or 'desc' expected, not {sort!r}")
    sort = {"honoured": sort, "ignored": None, "ascending": "asc"}[variants.sort]
    ends = [_end(parameters, end, variants), None]
    if is_reaction:
        ends[1] = _end(parameters, "activationEnd", variants)
        if variants.reactivity_end == "activations":
            ends = [None, min((bound for bound in ends if bound is not None), default=None)]
    without = NO_REACTIONS if is_reaction or variants.mixed_sends == "left_out" else ()
    return EventQuery(
        start=_start(parameters, start, variants),
        end=ends[0],
        activation_start=_start(parameters, "activationStart", variants) if is_reaction else None,
        activation_end=ends[1],
        channels=asked.channels,
        types=(asked.type,) if asked.type else None,
        without_types=() if asked.type else without,
        subtypes=(asked.subtype,) if asked.subtype else None,
        ids=((asked.id_column, scope),) if asked.id_column and scope is not None else (),
        robots=_robots(endpoint, parameters, variants),
        items=_items(body, variants) if endpoint.sends_items_events else None,
        sort=sort,  # type: ignore[arg-type]
        shuffle=shuffle,
    )


def json_body(raw: bytes) -> dict[str, Any]:
    """The JSON object in a request's body.

    Raises:
        BadRequest: There is none.
    """
    try:
        body = json.loads(raw)
    except ValueError:
        raise BadRequest("a JSON object is expected in the body") from None
    if not isinstance(body, dict):
        raise BadRequest("a JSON object is expected in the body")
    return body


def _start(parameters: Mapping[str, str], name: str, variants: Variants) -> int | None:
    bound = _bound(parameters, name, variants)
    return bound + 1 if bound is not None and variants.start_bound == "exclusive" else bound


def _end(parameters: Mapping[str, str], name: str, variants: Variants) -> int | None:
    bound = _bound(parameters, name, variants)
    return bound + 1 if bound is not None and variants.end_bound == "inclusive" else bound


def _bound(parameters: Mapping[str, str], name: str, variants: Variants) -> int | None:
    if name not in parameters:
        return None
    try:
        bound = _moment(parameters[name], variants)
    except ValueError as error:
        raise BadRequest(f"{name}: {error}") from None
    if bound is None:
        return None
    unit, up = {
        "none": (1, 0),
        "second_down": (SECOND, 0),
        "second_up": (SECOND, SECOND - 1),
        "minute": (MINUTE, 0),
    }[variants.bounds_cut]
    return (bound + up) // unit * unit


def _moment(text: str, variants: Variants) -> int | None:
    """A bound as a variant of the API understands it; None: it is ignored."""
    if NUMBER.fullmatch(text):
        if variants.numbers == "refused":
            raise ValueError(f"{text!r} is no ISO date")
        if variants.numbers == "ignored":
            return None
        return moment(text) * (SECOND if variants.numbers == "s" else 1)
    offset = OFFSET.search(text)
    if offset is None:
        if variants.naive_bounds == "utc" or text[-1:] in "Zz":
            return moment(text)
        wall = datetime.fromtimestamp(moment(text) / SECOND, timezone.utc).replace(tzinfo=PARIS)
        return moment(wall.isoformat())
    if variants.offsets == "refused":
        raise ValueError(f"{text!r} has an offset")
    return moment(text[: offset.start(1)] if variants.offsets == "ignored" else text)


def _robots(
    endpoint: Endpoint, parameters: Mapping[str, str], variants: Variants
) -> tuple[str, ...] | None:
    """The robot classes asked for; without the parameter robot hits are left out.

    That is a reading of the reference, which says one asks with ``classification`` for the hits
    classified as robots. Operations without the parameter, the mixed ones above all, include
    robot hits here: an assumption, the reference does not say. A variant leaves them out.
    """
    if not endpoint.takes_classification:
        return None if variants.mixed_robots == "included" else ()
    text = parameters.get(variants.robots_parameter)
    if text is None:
        return () if variants.default_robots == "left_out" else None
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names or not set(names) <= set(ROBOT_CLASSES):
        raise BadRequest(f"classification: some of {', '.join(ROBOT_CLASSES)} expected")
    return names if variants.classified == "of_the_class" else None


def _items(body: Any, variants: Variants) -> tuple[ItemsChoice, ...] | None:
    """The entries of ``itemsEvents``. What a body without it means is not documented: everything.

    A missing or empty ``events`` or ``items`` restricts nothing, an assumption as well.
    """
    if not isinstance(body, dict):
        raise BadRequest("a JSON object is expected in the body")
    entries = body.get("itemsEvents")
    if entries is None:
        if variants.campaign_items == "required":
            raise BadRequest("itemsEvents is required")
        return None
    choices = tuple(
        ItemsChoice(
            channel=_name(entry.get("type"), "itemsEvents.type") if "type" in entry else None,
            events=tuple(
                EventChoice(
                    _name(event.get("type"), "itemsEvents.events.type"),
                    tuple(
                        _name(subtype, "subtypes")
                        for subtype in _list(event.get("subtypes"), "subtypes")
                    ),
                )
                for event in _objects(entry.get("events"), "itemsEvents.events")
            ),
            items=tuple(str(item) for item in _list(entry.get("items"), "itemsEvents.items")),
        )
        for entry in _objects(entries, "itemsEvents")
    )
    if variants.campaign_items == "required" and not all(choice.items for choice in choices):
        raise BadRequest("itemsEvents.items is required")
    if variants.campaign_names == "documented":
        for choice in choices:
            for event in choice.events:
                if event.type != "hit":
                    raise BadRequest(f"itemsEvents.events.type: {event.type!r} is unknown")
    return choices


def _list(value: Any, name: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadRequest(f"{name}: an array is expected")
    return value


def _objects(value: Any, name: str) -> Iterable[dict[str, Any]]:
    entries = _list(value, name)
    if not all(isinstance(entry, dict) for entry in entries):
        raise BadRequest(f"{name}: an array of objects is expected")
    return entries


def _name(value: Any, name: str) -> str:
    if not isinstance(value, str):
        raise BadRequest(f"{name}: text is expected")
    return value
