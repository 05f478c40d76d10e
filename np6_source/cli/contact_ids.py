"""Contacts' ids, asked of NP6: where the tables have neither addresses nor hashes."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from ..dimensions import DIMENSIONS, TARGETS, Dimension
from ..endpoints import scope_label
from ..errors import NotFound, SettingError
from ..events.privacy import KEEP_ALL
from ..extract.dimension_response import DimensionRequest, load_rows
from ..extract.selection import session_of
from ..reconcile import EVENTS_OPERATION
from ..temporary_folder import temporary_folder
from .options import add_address_option, given_address, make_source

_HASH = re.compile("[0-9a-fA-F]{32}")
_BY: dict[str, Dimension] = {row.name: row for row in DIMENSIONS}


def add_ask_np6_options(group: Any) -> None:
    """Adds ``--ask-np6``, and the options of the API's address."""
    group.add_argument(
        "--ask-np6",
        action="store_true",
        help="ask NP6 for the ids of addresses and hashes (one GET /targets each): where the tables"
        " have neither, nobody is found by them else. Needs the API key; before the contact is"
        " erased in NP6",
    )
    add_address_option(group)


def with_ids(values: Iterable[str], options: argparse.Namespace) -> list[str]:
    """Values of a contact, and the ids that NP6 knows for those that are addresses or hashes.

    Args:
        values: Ids, addresses or hashes.
        options: Those of ``add_ask_np6_options``.

    Raises:
        SettingError: NP6 does not know one of them.
        RequestFailed: NP6 could not be asked.
    """
    values = list(values)
    to_ask = [(value, row) for value in values if (row := _operation(value)) is not None]
    if not options.ask_np6 or not to_ask:
        return values
    session = session_of(make_source([EVENTS_OPERATION], **given_address(options)))
    session.settings = replace(session.settings, privacy=KEEP_ALL)  # The id itself is wanted.
    found: list[str] = []
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder("ask"))
        tools = session.open_tools(stack, folder)
        for value, row in to_ask:
            request = DimensionRequest(row, value, scope_label(value, is_personal=True))
            try:
                stash = load_rows(tools, request, "")
            except NotFound:
                raise SettingError(
                    f"--ask-np6: NP6 knows no contact {request.scope_label}: erased there already,"
                    " or written otherwise. Nothing was done. Give the contact's id."
                ) from None
            for name, rows in stash.tables() if stash else ():
                if name == TARGETS.name:
                    found += rows["id"].to_pylist()
    return list(dict.fromkeys([*values, *found]))


def _operation(value: str) -> Dimension | None:
    """The operation that knows a contact by such a value; None: it may be an id."""
    if "@" in value:
        return _BY["targets_by_unicity"]
    return _BY["targets_by_hash"] if _HASH.fullmatch(value) else None
