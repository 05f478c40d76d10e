"""The account's list of actions: requested once a run, by the first resource that needs it.

The resource ``actions`` loads it; resources over ``action_ids="all"``, ``"active"`` or
``"category:456"`` take their ids from it. Nobody asks before a resource starts.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import dlt
import pyarrow as pa

from ..dimensions import ACTIONS, DIMENSIONS
from ..endpoints import ENDPOINTS
from ..errors import RequestFailed, listed
from .chosen_actions import ChosenActions
from .dimension_response import DimensionRequest, load_rows

if TYPE_CHECKING:
    from .session import ExtractSession, Tools

logger = logging.getLogger(__name__)

LISTED = next(row for row in DIMENSIONS if row.table == ACTIONS)
"""The operation that lists them."""


class ActionList:
    """The list of one run. Safe for threads."""

    def __init__(self, account: str) -> None:
        """Prepares; nothing is requested yet.

        Args:
            account: What the column ``account`` says.
        """
        self._account = account
        self._lock = threading.Lock()
        self._outcome: pa.Table | RequestFailed | None = None

    def table(self, tools: Tools) -> pa.Table:
        """The rows of the table ``actions``; none where the response is an empty array.

        Args:
            tools: What is open during the extraction.

        Raises:
            RequestFailed: It could not be had; whoever asks again in the same run is told the same.
        """
        with self._lock:
            if self._outcome is None:
                try:
                    self._outcome = self._load(tools)
                except RequestFailed as failure:
                    self._outcome = failure
            if isinstance(self._outcome, RequestFailed):
                raise self._outcome
            return self._outcome

    def _load(self, tools: Tools) -> pa.Table:
        stash = load_rows(tools, DimensionRequest(LISTED), self._account)
        parts = [] if stash is None else [table for _, table in stash.tables()]
        return pa.concat_tables([ACTIONS.arrow_schema.empty_table(), *parts])


def ids_of(
    chosen: ChosenActions, session: ExtractSession, tools: Tools, known: Collection[str] = ()
) -> tuple[str, ...]:
    """The ids of the chosen actions, each once.

    Args:
        chosen: Which.
        session: What the resources of the source share.
        tools: What is open during the extraction.
        known: Ids that earlier runs have loaded. One that is not chosen any more keeps its
            progress and is requested no more.

    Raises:
        RequestFailed: The list could not be had.
    """
    rows = session.actions.table(tools).to_pylist()
    found = tuple(dict.fromkeys(chosen.choose(rows, datetime.now(timezone.utc))))
    selected = dlt.current.source().selected_resources
    over_actions = [
        *(row.name for row in ENDPOINTS if row.ids == "action_ids"),
        *(row.name for row in DIMENSIONS if row.ids == "action_ids"),
    ]
    operations = sum(name in selected for name in over_actions)
    text = (
        f"action_ids={str(chosen)!r}: {len(found)} of {len(rows)} actions x {operations} operations"
        f" = at least {len(found) * operations} requests"
    )
    if session.is_first_to_say(text):
        logger.info("%s", text)
    if not found:
        session.say_once(
            f"action_ids={str(chosen)!r}: none of the account's {len(rows)} actions is chosen;"
            " nothing is loaded by id."
        )
    gone = sorted(set(known) - set(found))
    if gone:
        session.say_once(
            f"action_ids={str(chosen)!r} no longer chooses these actions:"
            f" {listed(gone, most=10)}. Their events stay, they keep their progress, and they are"
            " requested no more."
        )
    return found
