"""Whose hits to ask NP6 about, so that robots' hits among those that are loaded get their marks.

No field of a hit says that a robot made it, and the operations that a load calls by default take no
class of robots. The one over all hits of a contact does: so the contacts are asked about who have
hits in the tables, and each hit that comes back for a class is marked in ``events__robots``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import dlt
from dlt.destinations.exceptions import DatabaseUndefinedRelation
from dlt.destinations.job_client_impl import SqlJobClientBase

from .bookkeeping.source_state import PROGRESS
from .endpoints import ENDPOINTS, ROBOT_CLASSES
from .errors import SettingError
from .events.digests import DigestKey
from .extract.policy import label_of
from .ledger import TCoverage, of_scope_key, scope_key
from .parameters import classes, one_of
from .schema import EVENTS
from .tables.in_sql import column_in_sql, path_in_sql
from .tables.naming import filled, name_of
from .windows import SECOND, Window, gaps, to_datetime, to_ms

__all__ = ["CLASSES", "OPERATION", "Unasked", "classification_of", "is_of_marks", "unasked"]

CLASSES = ROBOT_CLASSES
"""The classes that are asked unless others are named."""

OPERATION = "targets_events_hits_by_id"
"""The resource that returns all hits of a contact, of whatever kind, by class of robots."""

_ENDPOINT = next(endpoint for endpoint in ENDPOINTS if endpoint.name == OPERATION)


@dataclass(frozen=True)
class Unasked:
    """Hits that are loaded, and about which NP6 was not asked.

    Attributes:
        contacts: The contacts' ids, in order.
        span: From the first to the last of what is to be asked, in whole seconds; None where there
            is nothing to ask.
        hit_count: Hits of these contacts.
        without_contact: Hits of nobody who could be asked about.
    """

    contacts: tuple[str, ...]
    span: Window | None
    hit_count: int
    without_contact: int


def classification_of(asked: Sequence[str]) -> str:
    """The parameter ``classification`` by which marks are sure.

    A server that does not know the parameter returns the same hits for every class, which shows
    where several are requested. Of one class it does not: hits without a class are requested too.

    Args:
        asked: Classes of robots.

    Raises:
        SettingError: There is none, or none that the reference has.
    """
    named = [name for name in classes(asked) if name]
    if not named:
        raise SettingError(f"No class of robots is given: name some of {', '.join(CLASSES)}")
    for name in named:
        one_of(name, "--classes", CLASSES)
    return ",".join(named if len(named) > 1 else ["", *named])


def unasked(
    pipeline: dlt.Pipeline,
    span: Window,
    covered: TCoverage,
    asked: Sequence[str] = CLASSES,
    action_ids: Sequence[str] = (),
    key: DigestKey | None = None,
) -> Unasked:
    """Looks up which contacts have hits about which NP6 was not asked.

    Args:
        pipeline: The pipeline, in sync with its destination, which must speak SQL. The ids of
            contacts must be in the tables as they are.
        span: The period of the hits.
        covered: What the ledger covers, see ``ledger.coverage``; nothing: ask about all hits again.
        asked: Classes of robots.
        action_ids: Hits of these actions only. None given: of all.
        key: The key by which the ledger hides contacts' ids, see ``Privacy.key``.
    """
    names = [name for name in classes(asked) if name]
    contacts: list[str] = []
    missing: list[Window] = []
    hit_count = without_contact = 0
    for contact, first, last, count in _hits_by_contact(pipeline, span, action_ids):
        if contact is None or contact.strip() in ("", ".", ".."):  # None that a request can name.
            without_contact += count
            continue
        label = label_of(contact, _ENDPOINT, key)
        begin, end = first // SECOND * SECOND, last // SECOND * SECOND + SECOND
        hits = Window(max(begin, span.start), min(end, span.end))
        found = [
            gap
            for name in names
            for gap in gaps(hits, covered.get((OPERATION, scope_key(label, name)), ()))
        ]
        if found:
            contacts.append(contact)
            missing += found
            hit_count += count
    whole = None
    if missing:
        whole = Window(min(gap.start for gap in missing), max(gap.end for gap in missing))
    return Unasked(tuple(sorted(contacts)), whole, hit_count, without_contact)


def is_of_marks(pipeline: dlt.Pipeline, resource: str, key: str) -> bool:
    """Whether the ledger has a scope because of marks alone.

    NP6 was then asked about a contact's robots for some span; nothing goes on from there.

    Args:
        pipeline: The pipeline, in sync with its destination.
        resource: The resource.
        key: The id and class, see ``ledger.scope_key``.
    """
    if resource != OPERATION or not of_scope_key(key)[1]:
        return False
    sources = pipeline.state.get("sources", {})
    states = [source.get("resources", {}).get(resource, {}) for source in sources.values()]
    return not any(key in state.get(PROGRESS, {}) for state in states)


def _hits_by_contact(
    pipeline: dlt.Pipeline, span: Window, action_ids: Sequence[str]
) -> list[tuple[str | None, int, int, int]]:
    """Contact, times of the first and the last hit in milliseconds, and how many hits."""
    found: list[tuple[str | None, int, int, int]] = []
    for schema_name in pipeline.schema_names:
        schema = pipeline.schemas[schema_name]
        if name_of(EVENTS, schema) not in filled(schema):
            continue
        with pipeline.destination_client(schema_name) as client:
            if not isinstance(client, SqlJobClientBase):
                raise SettingError(
                    "The destination holds files, which are not looked through: name the contacts"
                    " to ask about, with --target-ids"
                )
            sql_client = client.sql_client
            contact, at, kind, action = (
                column_in_sql(name, sql_client, schema)
                for name in ("contact_id", "timestamp", "type", "action_id")
            )
            of_actions = ""
            if action_ids:
                of_actions = f" AND {action} IN ({', '.join(['%s'] * len(action_ids))})"
            query = (
                f"SELECT {contact}, MIN({at}), MAX({at}), COUNT(*)"
                f" FROM {path_in_sql(EVENTS, sql_client, schema)}"
                f" WHERE {kind} = %s AND {at} >= %s AND {at} < %s{of_actions} GROUP BY {contact}"
            )
            values = ("hit", to_datetime(span.start), to_datetime(span.end), *action_ids)
            try:
                rows = sql_client.execute_sql(query, *values) or []
            except DatabaseUndefinedRelation:
                continue
            found += [(row[0], to_ms(row[1]), to_ms(row[2]), int(row[3])) for row in rows]
    return found
