"""The statements that make the views, and what they depend on. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from ..dimensions import dimension_tables
from ..schema import TABLES
from . import message_keys, messages_table
from .base_tables import REFRESHES
from .definitions import texts, views
from .descriptions import COMMON, OF_VIEW
from .message_keys import TMessageKey, with_key
from .translation import ENDINGS, FUNCTIONS, Names, quoted, translated

FORMAT = "3"
"""Part of the fingerprint: another number where views are made in another way."""


def statements(
    names: Names,
    materialized: bool = False,
    message_key: TMessageKey = "stamp",
    pretty: bool = False,
) -> Iterator[tuple[str, str]]:
    """Name and ``CREATE VIEW`` statement of every view, each after those it reads.

    Args:
        names: The destination's names.
        materialized: Whether ``messages`` is a table.
        message_key: What makes events one message.
        pretty: Over many lines, for people.
    """
    ending = " WITH NO SCHEMA BINDING" if names.dialect == "redshift" else ""
    for view in views():
        path = quoted(names.path(view.name), names.dialect)
        query = with_key(view, message_key).query
        if materialized and view.name == "messages":
            query = messages_table.view_of_table(view)
        sql = translated(query, names, pretty)
        yield view.name, f"CREATE VIEW {path} AS{chr(10) if pretty else ' '}{sql}{ending}"


def fingerprint(
    names: Names,
    materialized: bool,
    message_key: TMessageKey,
    columns: Mapping[str, frozenset[str]],
) -> str:
    """What the views depend on, as a digest: equal ones are equal views.

    Args:
        names: The destination's names.
        materialized: Whether ``messages`` reads a table.
        message_key: What makes events one message; it ends the text, to be read again.
        columns: The columns that are described, by table.
    """
    digest = hashlib.sha256()
    parts: list[Any] = [
        FORMAT,
        materialized,
        names.dialect,
        names.path("messages"),
        sorted(texts().items()),
        message_keys.KEYED,
    ]
    # _np6_refreshes comes and goes with the table.
    present = {table: sorted(names.present[table]) for table in names.present.keys() - {REFRESHES}}
    parts.append(sorted(present.items()))
    parts.append(sorted((table, sorted(found)) for table, found in columns.items()))
    tables = [
        (table.description, [(column.name, column.description) for column in table.columns])
        for table in (*TABLES, *dimension_tables())
    ]
    parts.append([COMMON, OF_VIEW, tables])
    parts.append([FUNCTIONS[names.dialect], ENDINGS.get(names.dialect)])
    digest.update(repr(parts).encode())
    return digest.hexdigest()[:16] + ("" if message_key == "stamp" else f" {message_key}")
