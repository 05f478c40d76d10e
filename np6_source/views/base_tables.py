"""The tables that views read, with the types their columns have where they are not there."""

from __future__ import annotations

from collections.abc import Mapping

from ..schema import TABLES

REFRESHES = "_np6_refreshes"
"""Which load packages are in ``messages``, where that is a table: see ``messages_table``."""
LOADS = "_dlt_loads"

COMING = {"events": {"recipient_domain": "text"}, "load_windows": {"classification": "text"}}

BASE_TABLES: Mapping[str, Mapping[str, str]] = {
    "events__robots": {"event_id": "text", "robot_class": "text"},
    **{
        table.name: {c.name: c.data_type for c in table.columns} | COMING.get(table.name, {})
        for table in TABLES
    },
    LOADS: {
        "load_id": "text",
        "schema_name": "text",
        "status": "bigint",
        "inserted_at": "timestamp",
    },
    REFRESHES: {"load_id": "text", "refreshed_at": "timestamp"},
    # Names for ids; loaded only where they are asked for.
    "actions": {"id": "text", "type": "text", "name": "text", "category_id": "text"},
    "campaigns": {"id": "text", "name": "text"},
    "categories": {"id": "bigint", "name": "text"},
    "notifications": {"id": "bigint", "type": "text", "name": "text"},
}
"""dlt's data type by column, by table."""

DIMENSIONS = frozenset({"actions", "campaigns", "categories", "notifications"})
"""Tables of other resources than the events'. In a dataset that NP6 shares with other sources a
table of such a name may be somebody else's."""
