"""The tables that views read, with the types their columns have where they are not there."""

from __future__ import annotations

from collections.abc import Mapping

from ..dimensions import ACTION, ACTIONS, CAMPAIGN, CAMPAIGNS, CATEGORIES, NOTIFICATIONS
from ..schema import TABLES

REFRESHES = "_np6_refreshes"
"""Which load packages are in ``messages``, where that is a table: see ``messages_table``."""
REMOVALS = "_np6_removals"
"""Up to when events were removed by age: see ``removals``."""
LOADS = "_dlt_loads"

NAMING = ("id", "type", "name", "category_id", "requested_at")
"""The columns of tables of names that views read."""

BASE_TABLES: Mapping[str, Mapping[str, str]] = {
    **{table.name: {c.name: c.data_type for c in table.columns} for table in TABLES},
    LOADS: {
        "load_id": "text",
        "schema_name": "text",
        "status": "bigint",
        "inserted_at": "timestamp",
    },
    REFRESHES: {"load_id": "text", "refreshed_at": "timestamp"},
    REMOVALS: {"cutoff": "timestamp", "removed_at": "timestamp"},
    # Names for ids; loaded only where they are asked for.
    **{
        table.name: {c.name: c.data_type for c in table.columns if c.name in NAMING}
        for table in (ACTIONS, ACTION, CAMPAIGNS, CAMPAIGN, CATEGORIES, NOTIFICATIONS)
    },
}
"""dlt's data type by column, by table."""
