"""Large tables as Parquet files that dlt takes into its load package as they are.

The threads that parse write them, in place of dlt's one thread that writes everything else. Tables
of large rows are gathered over windows first, as all small ones are. Nobody sees the rows of a
file, so that Arrow tables are handed on wherever somebody in the host's project wants to.
"""

from __future__ import annotations

from typing import Any

import dlt
from dlt.extract import DltResource

from ..dlt_internals.files import package_parquet
from ..dlt_internals.packages import current_load_id
from ..dlt_internals.resources import HandedOn, contract_of_table, hands_items_on_at_once
from ..schema import EXECUTION_DATA_TABLE, ROBOTS, TABLES
from ..tables.naming import name_of
from .spool import Importing


def importing(resource: DltResource, takes_tombstones: bool) -> Importing | None:
    """Which tables of a resource may be handed on as files.

    Args:
        resource: The resource, while dlt extracts it and after its tables were declared.
        takes_tombstones: The destination takes the rows that say that an event has none.

    Returns:
        None: nothing is loaded, or somebody wants the rows: a step, a limit or a thread of the
        host's, or a contract under which dlt discards columns or rows.
    """
    if current_load_id() is None or not hands_items_on_at_once(resource, HandedOn):
        return None
    if _is_under_contract(resource):
        return None
    parquet = package_parquet()
    if parquet is None:
        return None
    # Robots' marks are compared with other responses first.
    changed = {ROBOTS.name} | (set() if takes_tombstones else {EXECUTION_DATA_TABLE.name})
    return Importing(parquet, frozenset(table.name for table in TABLES) - changed)


def _is_under_contract(resource: DltResource) -> bool:
    """Whether dlt may refuse or discard something of a table."""
    schema = dlt.current.source_schema()
    for table in TABLES:
        name, contract = name_of(table, schema), contract_of_table(resource, table.name)
        declared: Any = {"name": name} | ({"schema_contract": contract} if contract else {})
        settings = schema.resolve_contract_settings_for_table(name, declared)
        if set(settings.values()) != {"evolve"}:
            return True
    return False
