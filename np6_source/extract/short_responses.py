"""Responses that are shorter than what NP6 has, though nothing in them says so.

A response may lack events that the run before has seen, or be cut at a number of rows.
"""

from __future__ import annotations

from collections.abc import Callable

from ..errors import FewerEvents
from ..windows import Window
from .facts import FEWEST, is_most_likely_a_limit, may_be_a_limit
from .lateness import LatenessProbe
from .row_limits import RowLimits
from .window import LoadableWindow


def refuse_fewer_events(loadable: LoadableWindow, probe: LatenessProbe) -> None:
    """Refuses a window that lacks events which the run before has seen in it.

    Args:
        loadable: The window.
        probe: Knows what the run before has counted.

    Raises:
        FewerEvents: It does.
    """
    fewer = probe.fewer(loadable.contents.buckets, loadable.counted)
    if fewer:
        raise FewerEvents(
            loadable.context,
            f"the response lacks {fewer} events that the run before saw in the overlap",
            "Nothing of the window was loaded, and its progress stays: run again. If NP6 has"
            " removed events for good, run once with accept_fewer_events=True.",
        )


def is_cut(
    loadable: LoadableWindow,
    key: str,
    limits: RowLimits,
    count_events: Callable[[Window], int],
) -> bool:
    """Whether the server has cut a response at a number of rows: parts of its window hold more.

    Args:
        loadable: The window.
        key: Its scope, see ``ledger.scope_key``.
        limits: What the run has learnt about numbers of rows; gains what is found.
        count_events: Reads a part of the window, and returns how many events it holds.
    """
    # A server cuts rows, whatever becomes of them here; what the parts hold are events.
    count, events = loadable.contents.row_count, loadable.contents.event_count
    facts = loadable.facts
    is_largest = limits.is_largest(count, loadable.context.resource)
    if limits.is_proven(count):
        return True
    if facts.earliest is None:
        return False
    has_empty_end = facts.leaves_an_end_empty(loadable.window, events)
    if may_be_a_limit(count):
        is_suspect = limits.is_new_or_equal_to_the_last(count, key)
        looks_cut = is_most_likely_a_limit(count) or has_empty_end
        if not is_suspect or not (looks_cut or limits.is_known(count)):
            return False
        parts, have_its_events = facts.parts(loadable.window)
    elif count >= FEWEST and is_largest and has_empty_end:
        parts, have_its_events = facts.empty_ends(loadable.window, events), False
    else:
        return False
    found = (0 if have_its_events else events) + sum(map(count_events, parts))
    if found > events:
        limits.prove(count)
        return True
    limits.disprove(count)
    return False
