"""Asks the questions in order, and takes every verdict back where responses are not stable."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from .control import TRIES, Asking, Control, find_control, window_query
from .facts import EVENTS, BudgetUsedUp, Refused, TAsk, Verdict
from .question import CANNOT_TELL, Known, Question
from .questions import CAMPAIGN_BODY, DEFAULT_SPAN, QUESTIONS

REACTIONS = ("hit", "bounce", "reply", "complaint")


def probe(
    ask: TAsk,
    now: int,
    only: Collection[str] = (),
    most_requests: int = 120,
    most_bytes: int = 40_000_000,
    campaign_ids: Sequence[str] = (),
    is_wide: bool = False,
) -> list[Verdict]:
    """Finds out what the reference leaves open.

    Args:
        ask: Sends a request.
        now: The time, milliseconds since the epoch.
        only: Names of questions; empty: all.
        most_requests: Requests to send at most.
        most_bytes: Bytes of bodies after which no further request is sent, but for the control.
        campaign_ids: Campaigns that may be requested; the first of them is.
        is_wide: Whether a window without bounds may be requested.

    Returns:
        A verdict for each question.
    """
    asking = Asking(ask, most_requests, most_bytes)
    there = [*QUESTIONS]
    there += [CAMPAIGN_BODY] if campaign_ids else []
    there += [DEFAULT_SPAN] if is_wide else []
    wanted = [one for one in there if not only or one.name in only]
    verdicts: list[Verdict] = []
    try:
        control = find_control(asking, now)
        reactions = find_control(asking, now, EVENTS, REACTIONS) if control else None
        known = Known(asking, now, control, reactions, campaign_ids=tuple(campaign_ids))
        # Other rules rest on it, whether it is asked for or not.
        first = QUESTIONS[0].rule(known, QUESTIONS[0])
        known = replace(known, filter_is_sure=first.result == "confirmed")
    except (BudgetUsedUp, Refused) as error:
        return [one.no(str(error)) for one in wanted]
    ended = ""
    for question in wanted:
        verdict = first if question is QUESTIONS[0] else None
        try:
            if verdict is None and ended:
                verdict = question.no(ended)
            verdicts.append(verdict or _answer(known, question))
        except (BudgetUsedUp, Refused) as error:
            ended = str(error)
            verdicts.append(question.no(ended))
    unstable = _instability(asking, control)
    if unstable:
        return [question.no(unstable) for question in wanted]
    return _consistent(verdicts)


def _answer(known: Known, question: Question) -> Verdict:
    if question.needs_filter and not known.filter_is_sure:
        return question.no("it is not known whether bounds act on timestamp")
    return question.rule(known, question)


def _instability(asking: Asking, control: Control | None) -> str:
    """Why no verdict can be trusted; empty where known events are all still there."""
    if control is None:
        return ""
    if asking.had_outage:
        return "responses are not stable: some were empty for a moment"
    asking.is_final = True
    for _ in range(TRIES):
        try:
            response = asking.status(window_query(EVENTS, control.window))
        except (BudgetUsedUp, Refused):
            return "whether responses are stable could not be asked"
        if response.events is None:
            return "responses are not stable: the control could not be asked again"
        if response.is_whole and control.is_whole:
            found = {one.id: one.timestamp for one in response.events}
            if not found.keys() >= set(control.events):
                return "responses are not stable: known events vanished"
            if any(found[name] != one.timestamp for name, one in control.events.items()):
                return "responses are not stable: known events have other timestamps"
    return ""


def _consistent(verdicts: list[Verdict]) -> list[Verdict]:
    """Milliseconds cannot be judged where whole seconds already differ."""
    by_name = {one.question: one for one in verdicts}
    bounds, precision = by_name.get("bounds"), by_name.get("precision")
    if bounds and precision and bounds.result == "contradicted":
        evidence = "bounds differ at whole seconds already"
        changed = replace(
            precision, result=CANNOT_TELL, evidence=evidence, meaning="", setting=None
        )
        return [changed if one is precision else one for one in verdicts]
    if precision and precision.setting and (bounds is None or bounds.result != "confirmed"):
        # A second is enough only where whole seconds are known to be kept.
        wider = replace(precision, setting=("widen_bounds", 60.0))
        return [wider if one is precision else one for one in verdicts]
    return verdicts
