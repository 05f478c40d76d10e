"""The account's list of actions: requested once a run, by the first resource that needs it.

The resource ``actions`` loads it; resources over ``action_ids="all"``, ``"active"`` or
``"category:456"`` take their ids from it. Nobody asks before a resource starts.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

import dlt
import pyarrow as pa

from ..dimensions import ACTIONS, DIMENSIONS
from ..endpoints import ENDPOINTS
from ..errors import BadAnswer, RequestFailed, listed
from .chosen_actions import ChosenActions, can_be_requested
from .dimension_response import DimensionRequest, load_rows

if TYPE_CHECKING:
    from .session import ExtractSession, Tools

logger = logging.getLogger(__name__)

LISTED = next(row for row in DIMENSIONS if row.table == ACTIONS)
"""The operation that lists them."""


@dataclass(frozen=True)
class ListedActions:
    """What a response of the list says.

    Attributes:
        rows: The rows of the table ``actions``; none where the response is an empty array.
        left_out: A failure for each entry that names no action.
    """

    rows: pa.Table
    left_out: tuple[BadAnswer, ...] = ()


@dataclass(frozen=True)
class FoundIds:
    """The ids of the chosen actions.

    Attributes:
        ids: Those that can be requested, each once.
        failure: What is wrong with entries of the list; None: nothing.
    """

    ids: tuple[str, ...]
    failure: BadAnswer | None = None


class ActionList:
    """The list of one run. Safe for threads."""

    def __init__(self, account: str) -> None:
        """Prepares; nothing is requested yet.

        Args:
            account: What the column ``account`` says.
        """
        self._account = account
        self._lock = threading.Lock()
        self._outcome: ListedActions | RequestFailed | None = None

    def listed(self, tools: Tools) -> ListedActions:
        """The account's actions.

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

    def _load(self, tools: Tools) -> ListedActions:
        left_out: list[BadAnswer] = []
        stash = load_rows(tools, DimensionRequest(LISTED), self._account, left_out)
        parts = [] if stash is None else [table for _, table in stash.tables()]
        rows = pa.concat_tables([ACTIONS.arrow_schema.empty_table(), *parts])
        return ListedActions(rows, tuple(left_out))


def ids_of(
    chosen: ChosenActions, session: ExtractSession, tools: Tools, known: Collection[str] = ()
) -> FoundIds:
    """The ids of the chosen actions, each once.

    An entry of the list that names no action, or one that cannot be requested, is a failure of its
    own: the others are loaded. It may be an action that was loaded before, so all of these go on.

    Args:
        chosen: Which.
        session: What the resources of the source share.
        tools: What is open during the extraction.
        known: Ids that earlier runs have loaded. One that is not chosen any more keeps its
            progress and is requested no more.

    Raises:
        RequestFailed: The list could not be had.
    """
    actions = session.actions.listed(tools)
    rows = actions.rows.to_pylist()
    named = tuple(dict.fromkeys(chosen.choose(rows, datetime.now(timezone.utc))))
    found = tuple(one for one in named if can_be_requested(one))
    failure = _failure_of_entries(chosen, actions, sorted({*named} - {*found}))
    if actions.left_out:
        all_named = {row["id"] for row in rows}
        found += tuple(one for one in known if one not in all_named)
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
    if not found and failure is None:
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
    return FoundIds(found, failure)


def _failure_of_entries(
    chosen: ChosenActions, actions: ListedActions, not_requested: list[str]
) -> BadAnswer | None:
    """What is wrong with entries of the list, in one sentence; None: nothing."""
    problems = list(dict.fromkeys(failure.problem for failure in actions.left_out))
    problems += [f"the id {one!r} cannot be requested" for one in not_requested]
    if not problems:
        return None
    bad = len(actions.left_out) + len(not_requested)
    context = actions.left_out[0].context if actions.left_out else DimensionRequest(LISTED).context
    return BadAnswer(
        context,
        f"action_ids={str(chosen)!r}: {bad} of {actions.rows.num_rows + len(actions.left_out)}"
        f" entries of the list of actions cannot be used ({listed(problems)})",
        "The other actions are loaded. Tell NP6's support, or give the ids that are wanted.",
    )
