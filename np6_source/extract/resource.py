"""An operation of the API becomes a dlt resource."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import dlt
from dlt.extract import DltResource

from ..endpoints import Endpoint
from ..windows import SECOND, to_datetime
from .batches import HandedOn
from .reading import Reading
from .session import Session


def make_resource(endpoint: Endpoint, scope_ids: tuple[str, ...], session: Session) -> DltResource:
    """The dlt resource of one operation.

    Args:
        endpoint: The operation.
        scope_ids: The ids to load; empty for an operation over the whole account.
        session: What the resources of the source share.

    Returns:
        A resource that yields Arrow tables for ``schema.TABLES``, incremental on ``timestamp``.
    """
    settings = session.settings
    cursor = dlt.sources.incremental[datetime](
        "timestamp",
        initial_value=to_datetime(settings.beginning(int(time.time() * SECOND))),
        end_value=to_datetime(settings.end) if settings.is_backfill and settings.end else None,
        primary_key=(),
    )

    def read(timestamp: dlt.sources.incremental[datetime] = cursor) -> Iterator[Any]:
        with session.tools() as tools:
            yield from Reading(endpoint, scope_ids, session, tools, timestamp).run()

    # The tables are declared when the resource starts, see ``declaration``.
    resource: DltResource = dlt.resource(
        read,
        name=endpoint.name,
        write_disposition="merge",
        selected=endpoint.selected and (endpoint.ids is None or bool(scope_ids)),
    )
    return resource.add_step(HandedOn())
