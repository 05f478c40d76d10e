"""Step 4: whether each selected resource answers, with one small request."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from ...dimensions import Dimension
from ...errors import RUN_ENDING, Forbidden
from ...extract.action_list import LISTED
from ...extract.chosen_actions import ChosenActions, can_be_requested
from ...extract.dimension import NOT_THERE
from ...extract.dimension_rows import NoRow, rows_of
from ...extract.selection import SelectedOperation
from ...windows import Window
from ..budget import Budget, Response
from .api import ALL_EVENTS, hour_before, of_failure
from .findings import Finding, ResourceCheck, skipped

IDS_EACH = 3
"""Ids of a kind that are tried."""


def check_resources(
    budget: Budget, operations: Sequence[SelectedOperation], first: Response
) -> list[ResourceCheck]:
    """Requests the same hour of every selected resource; for three ids of a kind.

    Args:
        budget: Sends the requests.
        operations: The selected operations.
        first: The response of ``check_api``, which is not requested again.
    """
    found: list[ResourceCheck] = []
    window = hour_before(budget.client.clock.now())
    ended: str | None = None
    for operation in operations:
        name = operation.row.name
        ids = skipped(ended) if ended is not None else ids_of(operation, budget, window)
        if isinstance(ids, Finding):
            found.append(ResourceCheck(name, "", ids))
            continue
        for scope_id in ids[:IDS_EACH]:
            label = operation.session.label_of(scope_id, operation.row) if scope_id else ""
            if ended is not None:
                found.append(ResourceCheck(name, label, skipped(ended)))
            elif operation.row == ALL_EVENTS:
                found.append(_resource_check(operation, label, first))
            elif budget.is_used_up:
                text = "not tried: --max-requests is reached"
                found.append(ResourceCheck(name, label, Finding(text, "warning")))
            else:
                response = budget.send(operation.request(window, scope_id), operation.gives_array)
                found.append(_resource_check(operation, label, response))
                if isinstance(response.failure, RUN_ENDING) or found[-1].finding.is_later:
                    ended = name
    return found


def ids_of(operation: SelectedOperation, budget: Budget, window: Window) -> Sequence[str] | Finding:
    """The ids of an operation, an empty one for the account; a finding where there are none.

    Args:
        operation: The operation.
        budget: Asks for the list of actions where the ids come from it; its beginning is read.
        window: Any.
    """
    chosen = operation.scope_ids
    if not operation.takes_ids:
        return ("",)
    if not isinstance(chosen, ChosenActions):
        advice = "Give the ids, or leave the resource out."
        text = f"loads by id, and {operation.row.ids} is not given"
        return chosen or Finding(text, "error", advice)
    listed = budget.send_once(SelectedOperation(LISTED, (), operation.session).request(window))
    if listed is None:
        return Finding("not tried: --max-requests is reached", "warning")
    prefix = f"action_ids={str(chosen)!r}: the list of actions"
    if listed.failure is not None:
        return of_failure(listed.failure, f"{prefix}: ")
    if listed.elements is None:
        return Finding(f"{prefix} is no JSON array", "error", "Give the ids.")
    now = datetime.now(timezone.utc)
    ids = tuple(filter(can_be_requested, chosen.choose(_rows(listed.elements, now), now)))
    none_is_meant = Finding(
        f"{prefix} has no such action",
        "warning" if listed.is_whole else None,
        "Nothing is loaded by id.",
    )
    return ids or none_is_meant


def _rows(elements: Sequence[Any], now: datetime) -> Iterator[Mapping[str, Any]]:
    for element in elements:
        try:
            rows = list(rows_of(element, LISTED, "", now))
        except NoRow:
            continue
        yield from (row for table, row in rows if table == LISTED.table.name)


def _resource_check(operation: SelectedOperation, label: str, response: Response) -> ResourceCheck:
    name = operation.row.name
    count = None if response.elements is None else len(response.elements)
    finding = _resource_finding(operation, response)
    return ResourceCheck(name, label, finding, response.status, response.ms, count)


def _resource_finding(operation: SelectedOperation, response: Response) -> Finding:
    failure, is_dimension = response.failure, isinstance(operation.row, Dimension)
    if failure is not None:
        finding = of_failure(failure)
        may_lack = isinstance(failure, Forbidden) or failure.context.status in NOT_THERE
        if is_dimension and may_lack:
            # A load leaves it out with a warning.
            return replace(finding, severity="warning")
        return finding
    elements = response.elements
    if elements is None:
        what = "the response is no JSON array" if not is_dimension else "the response is no JSON"
        return Finding(what, "error", "Check base_url; else tell NP6's support.")
    if is_dimension:
        return Finding(_count(len(elements), response.is_whole, "row"))
    bad = sum(not _can_be_taken(element) for element in elements)
    if bad and operation.session.settings.bad_events == "refuse":
        what = f"{bad} of {len(elements)} events have no id or no timestamp"
        advice = 'bad_events="keep" puts such into rejected_events; else their window fails.'
        return Finding(what, "error", advice)
    if not elements and response.is_whole:
        return Finding("answers, no events in that hour")
    return Finding(_count(len(elements), response.is_whole, "event"))


def _can_be_taken(element: Any) -> bool:
    return isinstance(element, dict) and bool(element.get("id")) and "timestamp" in element


def _count(count: int, is_whole: bool, noun: str) -> str:
    if not is_whole:
        return f"over {count:,} {noun}s"
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
