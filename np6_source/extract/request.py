"""The request for one window of a resource. Pure."""

from __future__ import annotations

from ..api.client import WindowRequest
from ..endpoints import Endpoint
from ..settings import Settings
from ..windows import Window


def window_request(
    endpoint: Endpoint,
    window: Window,
    scope_id: str,
    label: str,
    settings: Settings,
    classification: str = "",
) -> WindowRequest:
    """The request for a window, as the settings ask for it.

    Args:
        endpoint: The operation.
        window: The span of event time.
        scope_id: The id as it is sent, empty for the account.
        label: The id as it may be shown.
        settings: What the source was asked to do.
        classification: The class of robots to request; empty: none.
    """
    query: tuple[tuple[str, str], ...] = ()
    if classification:
        query = ((settings.classification_parameter, classification),)
    body = {"itemsEvents": settings.items_events} if endpoint.sends_items_events else None
    return WindowRequest(
        endpoint, window, scope_id, label, query, body, widened_by=settings.widen_bounds
    )
