"""Changes the events of a response as the variants say. Slow: every event passes through Python."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa

from .clock import DAY, SECOND
from .operations import Operation
from .query import EventQuery, chance
from .variants import Variants

MOVED = 137
"""Milliseconds by which another operation dates an event later."""
UNKNOWN_TYPE, UNKNOWN_PATH = "dismiss", "weather"
"""A type, and a field, that no reference names."""


def narrowed(query: EventQuery, variants: Variants, now: int) -> EventQuery:
    """The query, less what is gone or cannot be read yet.

    Args:
        query: What is asked for.
        variants: How open questions are settled.
        now: The sandbox's time, milliseconds since the epoch.
    """
    if variants.retention_days:
        oldest = now - variants.retention_days * DAY
        query = replace(query, published_from=oldest)
    if variants.batch_seconds:
        batch = variants.batch_seconds * SECOND
        query = replace(query, published_until=now // batch * batch)
    return replace(
        query,
        by_activation=variants.selection == "activation",
        delay=variants.delay,
        delay_seconds=variants.delay_seconds,
        vanishing=variants.vanishing,
        moving=variants.moving,
        whole_seconds=variants.whole_seconds == "yes",
        now=now,
    )


def is_varied(asked: Operation, variants: Variants) -> bool:
    """Whether events of this operation are changed."""
    of_reactivities = asked.endpoint.window == "reactivities" and variants.identity != "same"
    return bool(
        of_reactivities
        or variants.repeats
        or variants.missing
        or variants.stamps != "shared"
        or variants.unknown_types
        or variants.moving
        or variants.whole_seconds != "no"
        or variants.unknown_paths
        or (asked.type and variants.types != "always")
    )


def varied(
    batches: Iterable[pa.Array], asked: Operation, variants: Variants, number: int, now: int
) -> Iterator[pa.Array]:
    """Changes single events.

    Args:
        batches: Payloads after commas.
        asked: The operation.
        variants: How open questions are settled.
        number: Which response of the sandbox it is: what is missing differs from one to the next.
        now: The sandbox's time, milliseconds since the epoch.
    """
    for batch in batches:
        payloads: list[bytes] = []
        for value in batch.to_pylist():
            raw = (value.encode() if isinstance(value, str) else value)[1:]
            if _chance(raw, number) < variants.missing:
                continue
            payload = b"," + _changed(raw, asked, variants, now)
            payloads += [payload] * (2 if _chance(raw, 0) < variants.repeats else 1)
        yield pa.array(payloads, pa.binary())


def _chance(raw: bytes, number: int) -> int:
    """A number below 100 that a payload and a response always have."""
    digest = hashlib.blake2b(raw, digest_size=4, salt=number.to_bytes(8, "little")).digest()
    return int.from_bytes(digest, "little") % 100


def _changed(raw: bytes, asked: Operation, variants: Variants, now: int) -> bytes:
    is_reaction = asked.endpoint.window == "reactivities"
    try:
        event: Any = json.loads(raw)
    except ValueError:
        return raw
    if not isinstance(event, dict):
        return raw
    before = json.dumps(event)
    timestamp = event.get("timestamp")
    if isinstance(timestamp, int):
        is_moved = chance(str(event.get("id")), "moving") < variants.moving
        if is_moved and timestamp <= now - DAY:
            timestamp += SECOND
        if variants.whole_seconds == "yes":
            timestamp = timestamp // SECOND * SECOND
        event["timestamp"] = timestamp
    if is_reaction and variants.identity == "ids":
        event["id"] = str(uuid.uuid5(uuid.NAMESPACE_URL, f"reactivities {event.get('id')}"))
    elif is_reaction and variants.identity == "timestamps" and "timestamp" in event:
        event["timestamp"] += MOVED
    elif is_reaction and variants.identity == "content":
        event["version"] = 2
    if _chance(raw, 1) < variants.unknown_types and "type" in event:
        event["type"] = UNKNOWN_TYPE
    if _chance(raw, 2) < variants.unknown_paths and isinstance(event.get("source"), dict):
        event["source"][UNKNOWN_PATH] = "fair"
    if asked.type and variants.types == "left_out":
        event.pop("type", None)
    stamp = _at(event, "source", "detail", "execution", "stamp")
    if variants.stamps == "own" and isinstance(stamp, dict) and "id" in stamp:
        stamp["id"] = str(uuid.uuid5(uuid.NAMESPACE_URL, f"execution {stamp['id']}"))
    return raw if json.dumps(event) == before else json.dumps(event).encode()


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value
