"""The catalogue: one row per API operation, and nothing else.

A row says how to call one operation of the NP6 API; everything the connector does with it (the
resource, its requests, the sandbox's route, the tests) follows from the row. To support another
operation, add a row here, or pass rows of your own: ``np6_source(endpoints=[Endpoint(...)])``.

The rows are the operations that the vendor's reference 8.1.0 shows, and those of which it shows the
title only (``confirmed=False``, never selected by themselves). Operations that are only inferred
from their siblings are left to the caller.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any, Literal

TMethod = Literal["GET", "POST"]
TWindowParameters = Literal["events", "reactivities"]
TIdParameter = Literal["id", "unicity", "hash"]

ID_ARGUMENTS = (
    "action_ids",
    "campaign_ids",
    "target_ids",
    "target_unicities",
    "target_hashes",
    "notification_ids",
    "display_content_ids",
)
"""The arguments of ``np6_source`` that give ids, a kind each. The command line's options, the parts
of a backfill and the documentation follow from it."""

ROBOT_CLASSES = ("mpp", "gsr", "genericrobot")
"""The classes of the reference: Apple's mail privacy proxy, Google's security robot, any other."""

WINDOW_PARAMETERS: dict[TWindowParameters, tuple[str, str]] = {
    "events": ("start", "end"),
    "reactivities": ("reactivityStart", "reactivityEnd"),
}
"""Names of the query parameters that bound the event timestamp: inclusive start, exclusive end."""

EVENT_TYPES = (
    "execution",
    "cancellation",
    "activation",
    "bounce",
    "hit",
    "creation",
    "modification",
    "impression",
    "suppression",
    "optout",
    "reply",
    "complaint",
)
"""The event type discriminators of the reference."""

CAMPAIGN_EVENT_TYPES = (
    "execution",
    "cancellation",
    "activation",
    "bounce",
    "hit",
    "reply",
    "complaint",
)
"""The types that a campaign of e-mails and SMS is likely to have."""

HIT_SUBTYPES = ("open", "form", "unsubscribe", "redirection", "mirror")
"""The hit subtypes of the reference's campaign request body."""


@dataclass(frozen=True)
class Endpoint:
    """One API operation that returns an array of events.

    Attributes:
        path: Path below the base URL, with ``{id}`` in place of the id.
        ids: Name of the ``np6_source`` argument that gives the ids (``"action_ids"``), or the ids
            themselves as a tuple. None: the operation covers the whole account.
        id_query: Name of the query parameter that carries the id, where it is not in the path.
        window: Which pair of query parameters bounds the event timestamp, see
            ``WINDOW_PARAMETERS``.
        event_type: The type of the events of a single-type operation. The reference's samples of
            these may leave ``type`` out of the response; it is then filled from here.
        method: HTTP method.
        sends_items_events: The request has a JSON body with ``itemsEvents``.
        takes_classification: The operation has the ``classification`` query parameter that asks
            for hits classified as robots.
        confirmed: Whether the vendor's reference shows the operation. Else only its title is known,
            and the path follows from its siblings: a resource to be named, see ``selected``.
        selected: Whether the resource is selected without being named; a resource over ids is
            selected only where ids are given.
        name: Name of the resource. Empty: derived from the path, see ``resource_name``.
    """

    path: str
    ids: str | tuple[str, ...] | None = None
    id_query: TIdParameter | None = None
    window: TWindowParameters = "events"
    event_type: str | None = None
    method: TMethod = "GET"
    sends_items_events: bool = False
    takes_classification: bool = False
    confirmed: bool = True
    selected: bool = True
    name: str = ""

    def __post_init__(self) -> None:
        if not self.path.startswith("/"):
            raise ValueError(f"Endpoint path {self.path!r} must start with '/'")
        if ("{id}" in self.path or self.id_query is not None) != (self.ids is not None):
            raise ValueError(
                f"Endpoint {self.path!r}: 'ids' must be given exactly where the path has '{{id}}'"
                " or 'id_query' names a parameter"
            )
        if "{id}" in self.path and self.id_query is not None:
            raise ValueError(f"Endpoint {self.path!r} takes its id in the path or in the query")
        if not self.name:
            object.__setattr__(self, "name", resource_name(self.path, self.id_query))
        if not self.confirmed:
            object.__setattr__(self, "selected", False)

    @property
    def id_argument(self) -> str | None:
        """The argument of ``np6_source`` that gives the ids; None where none does."""
        return self.ids if isinstance(self.ids, str) else None

    @property
    def ids_are_personal(self) -> bool:
        """Whether an id of this operation identifies a person by itself (an address, a hash)."""
        return self.id_query in ("unicity", "hash")

    @property
    def ids_are_of_contacts(self) -> bool:
        """Whether an id of this operation is a contact's, of whatever kind."""
        return self.ids is not None and self.path.startswith("/targets")


def scope_label(scope_id: str, is_personal: bool) -> str:
    """The id as it is stored, logged and shown.

    A short digest where it is an address or a hash of one, else the id itself. What is no Unicode
    text in an id, and so cannot be requested, is shown escaped.

    >>> scope_label("000PE4", is_personal=False)
    '000PE4'
    """
    text = scope_id.encode("utf-8", "backslashreplace")
    if not is_personal:
        return text.decode("utf-8")
    return "sha256:" + hashlib.sha256(text).hexdigest()[:16]


def resource_name(path: str, id_query: str | None = None) -> str:
    """Derives a resource's name from its path, mechanically.

    Segments are joined by ``_``; a segment followed by ``{id}`` is singular; a query parameter
    that names the contact becomes a suffix.

    >>> resource_name("/actions/{id}/events/bounces")
    'action_events_bounces'
    >>> resource_name("/targets/events/hits", "unicity")
    'targets_events_hits_by_unicity'
    """
    singular = re.sub(r"s?/\{id\}", "", path)
    name = singular.strip("/").replace("/", "_")
    return f"{name}_by_{id_query}" if id_query else name


# fmt: off
ENDPOINTS: tuple[Endpoint, ...] = (
    # Actions: e-mail and SMS
    Endpoint("/actions/events"),
    Endpoint("/actions/events/cancellations", event_type="cancellation", selected=False),
    Endpoint("/actions/{id}/events/activations", ids="action_ids", event_type="activation"),
    Endpoint("/actions/{id}/events/bounces", ids="action_ids", event_type="bounce"),
    Endpoint("/actions/{id}/events/cancellations", ids="action_ids", event_type="cancellation"),
    Endpoint("/actions/{id}/events/responses/stop", ids="action_ids", event_type="reply"),
    Endpoint("/actions/{id}/events/hits/mirror", ids="action_ids", event_type="hit", takes_classification=True),
    Endpoint("/actions/reactivities", window="reactivities"),
    Endpoint("/actions/reactivities/bounces", window="reactivities", event_type="bounce", selected=False),
    Endpoint("/actions/reactivities/hits", window="reactivities", event_type="hit", confirmed=False),
    Endpoint("/actions/reactivities/hits/redirection", window="reactivities", event_type="hit", confirmed=False),
    Endpoint("/actions/reactivities/hits/open", window="reactivities", event_type="hit", selected=False),
    Endpoint("/actions/reactivities/hits/mirror", window="reactivities", event_type="hit", selected=False),
    Endpoint("/actions/reactivities/hits/form", window="reactivities", event_type="hit", selected=False),
    Endpoint("/actions/{id}/reactivities", ids="action_ids", window="reactivities"),
    Endpoint("/actions/{id}/reactivities/hits/redirection", ids="action_ids", window="reactivities", event_type="hit"),
    Endpoint("/actions/{id}/reactivities/hits/unsubscribe", ids="action_ids", window="reactivities", event_type="hit"),
    Endpoint("/actions/{id}/reactivities/hits/mirror", ids="action_ids", window="reactivities", event_type="hit", confirmed=False),
    # Campaigns
    Endpoint("/campaigns/{id}/events", ids="campaign_ids", method="POST", sends_items_events=True),
    Endpoint("/campaigns/{id}/items/events", ids="campaign_ids", method="POST", sends_items_events=True),
    # Contacts
    Endpoint("/targets/{id}/events", ids="target_ids"),
    Endpoint("/targets/{id}/events/activations", ids="target_ids", event_type="activation"),
    Endpoint("/targets/{id}/events/bounces", ids="target_ids", event_type="bounce"),
    Endpoint("/targets/{id}/events/hits/open", ids="target_ids", event_type="hit", takes_classification=True),
    Endpoint("/targets/{id}/events/hits/form", ids="target_ids", event_type="hit", takes_classification=True),
    Endpoint("/targets/events", ids="target_ids", id_query="id", confirmed=False),
    Endpoint("/targets/events/hits", ids="target_ids", id_query="id", event_type="hit", takes_classification=True),
    Endpoint("/targets/events/hits", ids="target_unicities", id_query="unicity", event_type="hit", takes_classification=True),
    Endpoint("/targets/events/hits", ids="target_hashes", id_query="hash", event_type="hit", takes_classification=True),
    Endpoint("/targets/events/activations", ids="target_hashes", id_query="hash", event_type="activation"),
    Endpoint("/targets/events/responses/stop", ids="target_ids", id_query="id", event_type="reply"),
    Endpoint("/targets/events/responses/stop", ids="target_unicities", id_query="unicity", event_type="reply"),
    # Push notifications
    Endpoint("/notifications/{id}/events/executions", ids="notification_ids", event_type="execution"),
    Endpoint("/notifications/{id}/events/cancellations", ids="notification_ids", event_type="cancellation"),
    Endpoint("/notifications/{id}/events/activations", ids="notification_ids", event_type="activation"),
    Endpoint("/notifications/reactivities", window="reactivities", selected=False),
    Endpoint("/notifications/reactivities/hits", window="reactivities", event_type="hit", selected=False),
    Endpoint("/notifications/reactivities/bounces", window="reactivities", event_type="bounce", selected=False),
    Endpoint("/notifications/{id}/reactivities/optouts", ids="notification_ids", window="reactivities", event_type="optout"),
    Endpoint("/notifications/reactivities/impressions", window="reactivities", event_type="impression", confirmed=False),
    Endpoint("/notifications/reactivities/optouts", window="reactivities", event_type="optout", confirmed=False),
    Endpoint("/notifications/{id}/reactivities", ids="notification_ids", window="reactivities", confirmed=False),
    Endpoint("/notifications/{id}/reactivities/hits", ids="notification_ids", window="reactivities", event_type="hit", confirmed=False),
    Endpoint("/notifications/{id}/reactivities/bounces", ids="notification_ids", window="reactivities", event_type="bounce", confirmed=False),
    # Display: web banners
    Endpoint("/display/events/activations", event_type="activation", selected=False),
    Endpoint("/display/content/{id}/events/activations", ids="display_content_ids", event_type="activation"),
)
# fmt: on


def default_items_events() -> list[dict[str, Any]]:
    """The ``itemsEvents`` sent to the campaign operations unless the caller gives others.

    One entry per channel that names the types such campaigns have, hits with their five subtypes,
    and restricts no items. Only ``hit`` is documented here, and one name that the API refuses makes
    the whole resource fail with 400, so the unlikely types of the reference are left out. What the
    API does with an entry without ``items`` is not documented (excerpt of the campaign operations).
    """
    events: list[dict[str, Any]] = [
        {"type": kind, "subtypes": list(HIT_SUBTYPES)} if kind == "hit" else {"type": kind}
        for kind in CAMPAIGN_EVENT_TYPES
    ]
    return [{"type": channel, "events": events} for channel in ("email", "sms")]
