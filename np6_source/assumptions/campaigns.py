"""The rule for the body of campaign requests (Q12): which of four bodies are taken."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from urllib.parse import quote

from ..endpoints import HIT_SUBTYPES, default_items_events
from ..windows import DAY, SECOND, iso
from .control import AGE, REFUSED
from .facts import Asked, Response, Verdict
from .question import Known, Question

SPAN = 7 * DAY
FEWEST = 5
DOCUMENTED = {"type": "email", "events": [{"type": "hit", "subtypes": list(HIT_SUBTYPES)}]}
"""The only entry that the reference shows in full, but for its ``items``."""


def default_body_is_taken(known: Known, question: Question) -> Verdict:
    """The body that the connector sends is taken."""
    if not known.campaign_ids:
        return question.no("no campaign: give --campaign-ids")
    actions: Counter[str] = Counter(one.action for one in known.asking.mixed.values() if one.action)
    items = [action for action, _ in sorted(actions.items(), key=lambda it: (-it[1], it[0]))][:3]
    bodies = {
        "the default": {"itemsEvents": default_items_events()},
        "hits only": {"itemsEvents": [DOCUMENTED]},
        "hits only, of named items": {"itemsEvents": [{**DOCUMENTED, "items": items}]},
        "an empty one": {},
    }
    taken = {name: _response(known, body) for name, body in bodies.items()}
    statuses = {one.status for one in taken.values()}
    if 404 in statuses:
        return question.no("the campaign is unknown (404)")
    if not all(one.events is not None or one.status in REFUSED for one in taken.values()):
        return question.no("a response could not be used")
    shown = "; ".join(f"{name}: {_shown(one)}" for name, one in taken.items())
    is_refused = taken["the default"].events is None
    if not is_refused:
        lack = _lacking(known, bodies, taken)
        if lack is None:
            return question.no(f"{shown}; no hit shows it, or responses may have been cut")
        if not lack:
            return question.verdict("confirmed", shown)
        shown = f"{shown}; the default lacks {lack} hits"
    if taken["hits only"].events is not None:
        setting = ("campaign_items_events", [DOCUMENTED])
        meaning = "name only the types that are taken"
        return question.verdict("contradicted", shown, meaning, setting)
    if taken["hits only, of named items"].events is not None:
        meaning = "give campaign_items_events with the items of your campaigns"
        return question.verdict("contradicted", shown, meaning)
    return question.no(shown)


def _lacking(
    known: Known, bodies: Mapping[str, object], taken: Mapping[str, Response]
) -> int | None:
    """How many hits that come with hits only the default lacks; None: that is not known.

    A body with a type that is unknown may be taken, and return nothing.
    """
    hits = {one.id: one for one in taken["hits only"].events or ()}
    found = known.asking.ids(_asked(known, bodies["the default"]), hits)
    if found is None or not hits:
        return None
    absent = {name for name, one in hits.items() if found.has(one) is False}
    if absent:
        # An event may have been erased since.
        again = known.asking.status(_asked(known, bodies["hits only"]))
        return len(absent & {one.id for one in again.events or ()}) or None
    return 0 if len(found.ids & hits.keys()) >= min(FEWEST, len(hits)) else None


def _asked(known: Known, body: object) -> Asked:
    end = (known.now - AGE) // SECOND * SECOND
    path = f"/campaigns/{quote(known.campaign_ids[0], safe='')}/events"
    return Asked(path, iso(end - SPAN), iso(end), body=json.dumps(body))


def _response(known: Known, body: object) -> Response:
    return known.asking.status(_asked(known, body))


def _shown(response: Response) -> str:
    if response.events is None:
        return str(response.status)
    kinds = sorted({one.type for one in response.events if one.type})
    return f"{response.status} ({', '.join(kinds) or 'no events'})"
