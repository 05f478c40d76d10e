"""From a row of the catalogue and a request's parameters to the events it asks for.

Everything here follows from the row's path and marks, so a caller's own rows are served as well.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from ..endpoints import WINDOW_PARAMETERS, Endpoint
from .clock import moment
from .query import ROBOT_CLASSES, EventChoice, EventQuery, ItemsChoice
from .variants import Variants

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
    names = [place for place, part in enumerate(parts) if part in ("events", "reactivities")]
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
    return EventQuery(
        start=_bound(parameters, start),
        end=_bound(parameters, end),
        activation_start=_bound(parameters, "activationStart") if is_reaction else None,
        activation_end=_bound(parameters, "activationEnd") if is_reaction else None,
        channels=asked.channels,
        types=(asked.type,) if asked.type else None,
        without_types=NO_REACTIONS if is_reaction and not asked.type else (),
        subtypes=(asked.subtype,) if asked.subtype else None,
        ids=((asked.id_column, scope),) if asked.id_column and scope is not None else (),
        robots=_robots(endpoint, parameters, variants),
        items=_items(body) if endpoint.sends_items_events else None,
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


def _bound(parameters: Mapping[str, str], name: str) -> int | None:
    if name not in parameters:
        return None
    try:
        return moment(parameters[name])
    except ValueError as error:
        raise BadRequest(f"{name}: {error}") from None


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
    text = parameters.get("classification")
    if text is None:
        return ()
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    if not names or not set(names) <= set(ROBOT_CLASSES):
        raise BadRequest(f"classification: some of {', '.join(ROBOT_CLASSES)} expected")
    return names


def _items(body: Any) -> tuple[ItemsChoice, ...] | None:
    """The entries of ``itemsEvents``. What a body without it means is not documented: everything.

    A missing or empty ``events`` or ``items`` restricts nothing, an assumption as well.
    """
    if not isinstance(body, dict):
        raise BadRequest("a JSON object is expected in the body")
    entries = body.get("itemsEvents")
    if entries is None:
        return None
    return tuple(
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
