"""What a dataset of an earlier version needs beside new columns: their values in old rows.

dlt adds a column to a table that is there, and its old rows have NULL. A column whose value follows
from others is filled once, by SQL, after the load that adds it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import dlt
from dlt.common.schema import Schema
from dlt.destinations.job_client_impl import SqlJobClientBase

from ..extract.policy import POLICY
from ..schema import EVENTS
from ..tables.in_sql import column_in_sql, path_in_sql
from ..tables.naming import filled, name_of
from ..views import forget_messages

logger = logging.getLogger(__name__)

TO_FILL = "to_fill"
"""Key of the source's state: columns of which old rows are to be filled."""

DOMAIN = "recipient_domain"

_BEFORE_AND_AFTER = r"^.*@|\.$"
DOMAIN_OF: Mapping[str, str] = {
    "duckdb": "lower(regexp_replace({recipient}, '" + _BEFORE_AND_AFTER + "', '', 'gs'))",
    "postgres": "lower(regexp_replace({recipient}, '" + _BEFORE_AND_AFTER + "', '', 'g'))",
}
"""The domain of an address as ``events.rows`` makes it, by sqlglot's name of the dialect: of those
that were run."""


def note_new_columns(pipeline: dlt.Pipeline) -> None:
    """Notes columns that the load which begins will add to tables with rows.

    Args:
        pipeline: The pipeline, in sync with its destination.
    """
    names = [name for name in pipeline.schema_names if _lacks_domain(pipeline.schemas[name])]
    if names:
        with pipeline.managed_state() as state:
            for name in names:
                source: dict[str, Any] = state.setdefault("sources", {}).setdefault(name, {})
                source[TO_FILL] = [DOMAIN]


def fill_noted_columns(pipeline: dlt.Pipeline) -> None:
    """Fills what ``note_new_columns`` has noted. What fails is logged, and done by the next call.

    Args:
        pipeline: The pipeline, after a load that has committed; the dataset is locked.
    """
    for name in _noted(pipeline):
        try:
            fill_domains(pipeline, name)
        except Exception as error:  # Whatever it is: the load has committed.
            first, *_ = str(error).splitlines() or [type(error).__name__]
            logger.warning(
                "The load is complete, but events that an earlier version has loaded have no %s yet"
                " (%s). The next load fills it.",
                DOMAIN,
                first,
            )
            continue
        with pipeline.managed_state() as state:
            kept: dict[str, Any] = state["sources"][name]
            kept.pop(TO_FILL)


def fill_all_columns(pipeline: dlt.Pipeline) -> None:
    """Fills what is not filled, whoever has added the columns; looks through all events.

    Args:
        pipeline: The pipeline, in sync with its destination; the dataset is locked.
    """
    for name in pipeline.schema_names:
        table = name_of(EVENTS, pipeline.schemas[name])
        if table in filled(pipeline.schemas[name]) and not _lacks_domain(pipeline.schemas[name]):
            fill_domains(pipeline, name)


def _noted(pipeline: dlt.Pipeline) -> list[str]:
    sources: dict[str, Any] = dict(pipeline.state.get("sources", {}))
    return [name for name, source in sources.items() if source.get(TO_FILL)]


def _lacks_domain(schema: Schema) -> bool:
    table = name_of(EVENTS, schema)
    if table not in filled(schema):
        return False
    return schema.naming.normalize_path(DOMAIN) not in schema.get_table_columns(table)


def fill_domains(pipeline: dlt.Pipeline, schema_name: str) -> None:
    """Fills ``events.recipient_domain`` where an earlier version has loaded the recipient alone.

    Args:
        pipeline: The pipeline.
        schema_name: The source.
    """
    source: Any = pipeline.state.get("sources", {}).get(schema_name, {})
    if "domain=" in source.get(POLICY, ""):
        return  # The policy for personal data leaves it out.
    schema = pipeline.schemas[schema_name]
    with pipeline.destination_client(schema_name) as destination:
        if not isinstance(destination, SqlJobClientBase):
            return  # Files are not changed.
        client = destination.sql_client
        table = path_in_sql(EVENTS, client, schema)
        domain, recipient = (column_in_sql(name, client, schema) for name in (DOMAIN, "recipient"))
        without = f"{domain} IS NULL AND {recipient} LIKE %s"
        if not client.execute_sql(f"SELECT 1 FROM {table} WHERE {without} LIMIT 1", "%@%"):
            return
        made = DOMAIN_OF.get(client.capabilities.sqlglot_dialect or "")
        if made is None:
            logger.warning(
                "Events that an earlier version has loaded have no %s: docs/operate.md says how to"
                " fill it.",
                DOMAIN,
            )
            return
        made = made.format(recipient=recipient)
        client.execute_sql(f"UPDATE {table} SET {domain} = {made} WHERE {without}", "%@%")
    forget_messages(pipeline)
