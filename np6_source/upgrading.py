"""What a dataset of an earlier version needs beside new columns: their values in old rows.

dlt adds a column to a table that is there, and its old rows have NULL. A column whose value follows
from others is filled once, by SQL, after the first load by this version.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import dlt
from dlt.destinations.job_client_impl import SqlJobClientBase

from .extract.policy import POLICY
from .schema import EVENTS
from .tables.naming import filled, name_of
from .views import forget_messages

logger = logging.getLogger(__name__)

FILLED = "filled"
"""Key of the source's state: columns whose old rows are filled."""

DOMAIN = "recipient_domain"

_BEFORE_AND_AFTER = r"^.*@|\.$"
DOMAIN_OF: Mapping[str, str] = {
    "duckdb": "lower(regexp_replace({recipient}, '" + _BEFORE_AND_AFTER + "', '', 'gs'))",
    "postgres": "lower(regexp_replace({recipient}, '" + _BEFORE_AND_AFTER + "', '', 'g'))",
}
"""The domain of an address as ``events.rows`` makes it, by sqlglot's name of the dialect: of those
that were run."""


def fill_new_columns(pipeline: dlt.Pipeline) -> None:
    """Fills ``events.recipient_domain`` in rows of versions that did not have it, once.

    What fails is said, and done by the next call.

    Args:
        pipeline: The pipeline, after a load that has committed; the dataset is locked. One without
            a state of its own (a part of a backfill) changes nothing.
    """
    if not pipeline.config.restore_from_destination:
        return
    for name in pipeline.schema_names:
        source = pipeline.state.get("sources", {}).get(name, {})
        table = name_of(EVENTS, pipeline.schemas[name])
        if table not in filled(pipeline.schemas[name]) or DOMAIN in source.get(FILLED, ()):
            continue
        if "domain=" in source.get(POLICY, ""):
            continue  # The policy for personal data leaves it out.
        try:
            _fill_domain(pipeline, name)
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
            kept: dict[str, Any] = state.setdefault("sources", {}).setdefault(name, {})
            kept.setdefault(FILLED, []).append(DOMAIN)


def _fill_domain(pipeline: dlt.Pipeline, schema_name: str) -> None:
    schema = pipeline.schemas[schema_name]
    with pipeline.destination_client(schema_name) as destination:
        if not isinstance(destination, SqlJobClientBase):
            return  # Files are not changed.
        client = destination.sql_client
        table = client.make_qualified_table_name(name_of(EVENTS, schema))
        domain, recipient = (
            client.escape_column_name(schema.naming.normalize_path(name))
            for name in (DOMAIN, "recipient")
        )
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
