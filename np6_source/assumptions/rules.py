"""A rule for each open question: what is requested, and what the responses mean.

A rule returns "confirmed" where it has seen events that would have shown the contrary, and "cannot
tell" wherever it has not. Where it rests on an event that is absent, the response is known to hold
all that there is, and the event is still where it was known from, unchanged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from urllib.parse import quote

from ..endpoints import ENDPOINTS
from ..windows import DAY, SECOND, Window, iso
from .control import AGE, REFUSED, Control, find_control, window_query
from .facts import EVENTS, REACTIVITIES, SENDS, Asked, Response, Seen, Verdict
from .question import MINUTE, Known, Question, floor, spread
from .robots import hits_of_contacts

WITNESSES_OF_SENDS = 2
WITNESSES_OF_SORT = 8
WITNESSES_OF_END = 5
WITNESSES_OF_IDENTITY = 15
WITNESSES_OF_STAMPS = 8
FEWEST_OF_TYPES = 20
OLD_STAMP = 10 * MINUTE
FAR = 25 * 60 * MINUTE
"""From an event to a window that has none of its day."""
CAP_FROM = 1_000
CAP_DAYS = 20
CAP_BYTES = 4_000_000
UNUSABLE = "a response could not be used, or may have been cut"
CHANGED = "known events have changed, or are gone"
LONG_AGO = Window(946_684_800_000, 946_684_801_000)
"""A second without events: the first of the year 2000."""
NO_OPERATIONS = ("/actions/reactivities/probe", "/notifications/reactivities/probe")
"""Paths of no operation."""
TITLED = tuple(row.path for row in ENDPOINTS if not row.confirmed and row.ids is None)
"""Paths of the operations over the whole account that are known by title only."""


# --- Whether bounds act on ``timestamp`` ---


def acts_on_timestamp(known: Known, question: Question) -> Verdict:
    """Reactions come where their timestamps are asked for, and nowhere else."""
    reactions = known.reactions
    if reactions is None:
        return question.no("no reactions were found")
    old = [
        one
        for one in reactions.in_order()
        if one.stamped_at is not None and one.timestamp - one.stamped_at >= OLD_STAMP
    ]
    old = sorted(old, key=lambda one: (one.stamped_at or 0, one.id))[:4]
    if len(old) < 2:
        return question.no("under 2 reactions whose stamp is 10 minutes away")
    missing: list[Seen] = []
    has_others = False
    for one in old:
        around = Window(floor(one.timestamp) - MINUTE, floor(one.timestamp) + MINUTE)
        found = known.asking.ids(window_query(EVENTS, around), {one.id})
        there = None if found is None else found.has(one)
        if there is None:
            return question.no(UNUSABLE)
        missing += [] if there else [one]
        has_others |= not there and found is not None and len(found.events) > 0
    if len(missing) > 1:
        if not has_others:
            # Bounds that are both cut to the hour leave nothing between them.
            return question.no("windows of two minutes are empty around known reactions")
        if len(known.asking.still_there(reactions, missing)) < len(missing):
            return question.no(CHANGED)
        return question.verdict(
            "contradicted",
            f"{len(missing)} of {len(old)} reactions are not around their own timestamp",
            "a window returns other events than those published in it",
        )
    if missing:
        return question.no("1 reaction was not found again")
    return _nowhere_else(known, question, old)


def _nowhere_else(known: Known, question: Question, old: Sequence[Seen]) -> Verdict:
    """Whether windows at stamps, and a day after the timestamps, lack the reactions.

    They have them where bounds act on the stamp as well, and where one of them is ignored.
    """
    shown = 0
    for one in old:
        made = floor(one.stamped_at or 0)
        is_near = one.timestamp - made < FAR
        later = floor(one.timestamp) + FAR
        # Of two minutes: bounds that are both cut to the minute leave something between them.
        elsewhere = (
            (Window(made - MINUTE, made + MINUTE), is_near),
            (Window(later - MINUTE, later + MINUTE), False),
        )
        is_there = []
        for window, may_be_cut in elsewhere:
            found = known.asking.ids(window_query(EVENTS, window))
            there = None if found is None else found.has(one)
            far = [] if found is None else _far_from(window, found.events.values())
            if len(far) > 1:
                return question.verdict(
                    "contradicted",
                    f"{len(far)} events come in a window that is over a day away from them",
                    "a window returns other events than those published in it",
                )
            if there and may_be_cut:
                # Bounds may be cut to the hour, or to the day.
                return question.no("1 reaction comes in a window that it is near to, too")
            if there:
                return question.verdict(
                    "contradicted",
                    "a reaction comes in a window that is over a day from its timestamp, too",
                    "a window returns other events than those published in it",
                )
            is_there.append(there)
        shown += None not in is_there
        if shown == 2:
            break
    if not shown:
        return question.no(UNUSABLE)
    text = f"{len(old)} old reactions, each around its timestamp alone"
    return question.verdict("confirmed", text)


def _far_from(window: Window, events: Iterable[Seen]) -> list[Seen]:
    near = Window(window.start - FAR, window.end + FAR)
    return [one for one in events if not near.start <= one.timestamp < near.end]


# --- Bounds ---


def half_open(known: Known, question: Question) -> Verdict:
    """``[t, t+5 s)`` has an event of t; ``[t-5 s, t)`` and ``[t+1 s, t+6 s)`` have not."""
    pivots = [one for one in _events(known) if one.timestamp % SECOND == 0]
    return _bounds(known, question, pivots, 5 * SECOND, SECOND, "on whole seconds")


def to_the_millisecond(known: Known, question: Question) -> Verdict:
    """``[t, t+1 ms)`` has an event of t; ``[t-1, t)`` and ``[t+1, t+2)`` have not."""
    pivots = [one for one in _events(known) if 2 <= one.timestamp % SECOND <= 997]
    return _bounds(known, question, pivots, 1, 1, "between seconds")


def _bounds(
    known: Known, question: Question, events: Sequence[Seen], width: int, step: int, where: str
) -> Verdict:
    pivots = spread(events)
    if not pivots:
        return question.no(f"no event {where}")
    deviating: Counter[str] = Counter()
    for one in pivots:
        t = one.timestamp
        spans = {
            "its start is not inside": (Window(t, t + width), True),
            "its end is inside": (Window(t - width, t), False),
            "bounds are cut": (Window(t + step, t + step + width), False),
        }
        for what, (window, expected) in spans.items():
            found = known.asking.ids(window_query(EVENTS, window), {one.id} if expected else ())
            there = None if found is None else found.has(one)
            if found is None or there is None:
                return question.no(UNUSABLE)
            if there and found.events[one.id].timestamp != t:
                return question.no(CHANGED)
            deviating[what] += there != expected
    control = known.control
    is_sound = not deviating.total() or (
        control is not None and known.asking.still_there(control, pivots) == pivots
    )
    if not is_sound:
        return question.no(CHANGED)
    shown = [f"{what} ({count} of {len(pivots)})" for what, count in deviating.items() if count]
    if shown and not deviating["its start is not inside"]:
        meaning = "windows have events beside those asked for; none is missed"
        return question.verdict("contradicted", ", ".join(shown), meaning)
    if shown:
        return question.verdict(
            "contradicted",
            ", ".join(shown),
            "events at the edges of windows may be missed: ask for wider ones",
            ("widen_bounds", 60.0 if deviating["bounds are cut"] or step > 1 else 1.0),
        )
    return question.verdict("confirmed", f"{len(pivots)} events {where}, 3 requests each")


def numbers_are_ms(known: Known, question: Question) -> Verdict:
    """A bound that is a number is milliseconds since the epoch."""
    window, inside, outside = _middle(known)
    if not inside:
        return question.no("no events were found")
    asked = Asked(EVENTS, str(window.start), str(window.end))
    status = known.asking.status(asked).status
    setting = ("timestamp_format", "iso")
    advice = "send bounds as ISO 8601"
    if status in REFUSED:
        text = f"refused with {status}"
        return question.verdict("contradicted", text, advice, setting)
    found = known.asking.ids(asked, inside)
    if found is None:
        return question.no(UNUSABLE)
    far = len(_far_from(window, found.events.values()))
    if far > 1:
        text = f"{far} events from over a day outside the window"
        return question.verdict("contradicted", text, advice, setting)
    # A single one may have moved into the window meanwhile.
    beyond = len(found.ids & outside)
    if beyond > 1:
        text = f"{beyond} known events from outside the window"
        return question.verdict("contradicted", text, advice, setting)
    if not found.is_whole:
        return question.no(UNUSABLE)
    missing = inside - found.ids
    if missing:
        _, still_inside, _ = _middle(known)
        if not missing <= still_inside:
            return question.no(CHANGED)
        in_seconds = Asked(EVENTS, str(window.start // SECOND), str(window.end // SECOND))
        also = known.asking.ids(in_seconds, inside)
        unit = "they are seconds" if also and also.ids >= inside else "they are something else"
        text = f"{len(missing)} known events are missing; {unit}"
        return question.verdict("contradicted", text, advice, setting)
    if beyond or not outside:
        return question.no("no known event outside the window, or one that is inside now")
    return question.verdict(
        "confirmed", f"{len(inside)} events inside, none of {len(outside)} outside"
    )


def offsets_count(known: Known, question: Question) -> Verdict:
    """A bound with ``+02:00`` is two hours earlier in UTC."""
    return _written(known, question, lambda ms: iso(ms + 2 * 3600 * SECOND)[:-1] + "+02:00")


def naive_is_utc(known: Known, question: Question) -> Verdict:
    """A bound without offset is UTC."""
    return _written(known, question, lambda ms: iso(ms)[:-1])


def _written(known: Known, question: Question, text: Callable[[int], str]) -> Verdict:
    window, inside, outside = _middle(known)
    if not inside:
        return question.no("no events were found")
    asked = Asked(EVENTS, text(window.start), text(window.end))
    meaning = "nothing relies on it: bounds are sent with Z"
    status = known.asking.status(asked).status
    if status in REFUSED:
        return question.verdict("contradicted", f"refused with {status}", meaning)
    found = known.asking.ids(asked, inside)
    far = 0 if found is None else len(_far_from(window, found.events.values()))
    if far > 1:
        text_ = f"{far} events from over a day outside the window"
        return question.verdict("contradicted", text_, meaning)
    if found is None or (not found.is_whole and not found.ids >= inside):
        return question.no(UNUSABLE)
    if not found.ids & inside:
        _, still_inside, _ = _middle(known)
        if not inside <= still_inside:
            return question.no(CHANGED)
        text_ = f"{len(inside)} known events are not there"
        return question.verdict("contradicted", text_, meaning)
    if not found.ids >= inside:
        return question.no("some known events are not there")
    # What cannot be read may be ignored, or no more than the day be read.
    beyond = len(found.ids & outside)
    if beyond > 1:
        text_ = f"{beyond} known events from outside the window"
        return question.verdict("contradicted", text_, meaning)
    if beyond or not found.is_whole or not _of_the_day(known, window, outside):
        return question.no("no known events of the same day would have shown the contrary")
    return question.verdict(
        "confirmed", f"{len(inside)} known events are there, none of {len(outside)} outside"
    )


def _of_the_day(known: Known, window: Window, ids: set[str]) -> int:
    """How many known events are of the window's day, UTC."""
    day = iso(window.start)[:10]
    return sum(one.id in ids and iso(one.timestamp)[:10] == day for one in _events(known))


def _middle(known: Known) -> tuple[Window, set[str], set[str]]:
    """Five whole seconds around the middle event, known ids inside as ISO bounds show, and others.

    Which events are inside is requested, not computed: other rules judge bounds.
    """
    events = _events(known)
    if not events or known.control is None:
        return Window(0, 1), set(), set()
    start = floor(events[len(events) // 2].timestamp) - 2 * SECOND
    window = Window(start, start + 5 * SECOND)
    found = known.asking.ids(window_query(EVENTS, window), known.control.inside(window))
    if found is None or not found.is_whole:
        return window, set(), set()
    ids = set(known.control.events)
    return window, ids & found.ids, ids - found.ids


# --- Order, types, identity ---


def sorted_as_asked(known: Known, question: Question) -> Verdict:
    """``sort=asc`` ascends and ``sort=desc`` descends.

    To the second: few events of a window share one, and some APIs keep no finer order.
    """
    control = known.control
    if control is None or len({floor(one.timestamp) for one in _events(known)}) < WITNESSES_OF_SORT:
        return question.no(f"events in under {WITNESSES_OF_SORT} seconds")
    asked = Asked(EVENTS, iso(control.window.start), iso(control.window.end), "desc")
    response = known.asking.status(asked)
    if response.events is None:
        return question.no("a response could not be used")
    moments = [one.timestamp // SECOND for one in response.events]
    if len(set(moments)) < WITNESSES_OF_SORT:
        return question.no("the response was too short")
    wrong = [] if control.is_ordered else ["asc"]
    wrong += [] if moments == sorted(moments, reverse=True) else ["desc"]
    if wrong:
        text = f"events are in another order with sort={' and '.join(wrong)}"
        return question.verdict("contradicted", text, "nothing relies on it")
    return question.verdict("confirmed", f"{len(moments)} events, both ways")


def mixed_has_sends(known: Known, question: Question) -> Verdict:
    """``/actions/events`` returns executions, activations and cancellations, too."""
    control, reactions = known.control, known.reactions
    sends = [one for one in known.asking.mixed.values() if one.type in SENDS]
    if sends:
        return _each_kind_of_send(known, question, sends)
    if control is None or len(control.events) < FEWEST_OF_TYPES or reactions is None:
        return question.no(f"under {FEWEST_OF_TYPES} events")
    stamped = [one for one in reactions.in_order() if one.stamped_at is not None]
    # Where there are none, and none is known to be older, they may be gone.
    oldest = min(one.timestamp for one in known.asking.mixed.values())
    times = [floor(one.stamped_at or 0) for one in spread(stamped, 4)]
    responses = []
    # The wider ones show that the others were not cut: they have more rows.
    for before, after in ((2, 5), (10, 20)):
        for made in times:
            asked = window_query(EVENTS, Window(made - before * MINUTE, made + after * MINUTE))
            response = known.asking.status(asked)
            if response.events is None:
                return question.no("a response could not be used")
            if any(event.type in SENDS for event in response.events):
                text = "sends when the messages of reactions were made"
                return question.verdict("confirmed", text)
            responses.append((made, asked, response))
        tried = len(
            {
                made
                for made, asked, response in responses
                if (response.events or made >= oldest) and known.asking.is_all(asked, response)
            }
        )
        if tried >= 3:
            break
    if tried < 3 or not known.filter_is_sure:
        return question.no("too few reactions that name their send")
    return question.verdict(
        "contradicted",
        f"no send among {len(known.asking.mixed)} events, nor at {tried} times of sends",
        "give action_ids: executions, activations and cancellations come per action",
    )


def _each_kind_of_send(known: Known, question: Question, sends: Sequence[Seen]) -> Verdict:
    """A kind that was not seen is looked up where its own operation has some, if it has any."""
    kinds = {str(one.type) for one in sends}
    unseen: list[str] = []
    absent: list[str] = []
    for kind in (one for one in SENDS if one not in kinds):
        path = f"{EVENTS}/{kind}s"
        own = find_control(known.asking, known.now, path)
        # An operation that has others, too, is not the one over them.
        is_own = own is not None and {one.type for one in own.events.values()} <= {kind, None}
        tried = _absent_from_all(known, own, path, kind) if own is not None and is_own else 0
        if tried is None:
            kinds.add(kind)
        elif tried >= WITNESSES_OF_SENDS:
            absent.append(kind)
        else:
            unseen.append(kind)
    shown = f"{len(sends)} sends ({', '.join(sorted(kinds))})"
    if absent:
        return question.verdict(
            "contradicted",
            f"{shown}, and no {' and no '.join(absent)} where the operation over them has some",
            "give action_ids: what is not there comes per action",
        )
    if unseen:
        return question.no(f"{shown}; no {' and no '.join(unseen)} was found")
    return question.verdict("confirmed", shown)


def _absent_from_all(known: Known, own: Control, path: str, kind: str) -> int | None:
    """How many sends of their own operation ``/actions/events`` lacks; None: it has one."""
    absent: list[Seen] = []
    for one in spread(own.in_order()):
        window = Window(floor(one.timestamp) - MINUTE, floor(one.timestamp) + MINUTE)
        found = known.asking.ids(window_query(EVENTS, window), {one.id})
        there = None if found is None else found.has(one)
        # It may have another id there.
        if there or (found and any(event.type == kind for event in found.events.values())):
            return None
        # A window without any event may be one that is kept no longer.
        absent += [one] if there is False and found is not None and found.events else []
    return len(known.asking.still_there(own, absent, path)) if absent else 0


def end_bounds_reactions(known: Known, question: Question) -> Verdict:
    """``reactivityEnd`` bounds the reaction, not the activation it follows."""
    reactions = known.reactions
    if reactions is None:
        return question.no("no reactions were found")
    first = reactions.window.start + SECOND
    events = [
        one
        for one in reactions.in_order()
        if one.stamped_at is not None and first <= one.timestamp < reactions.window.end
    ]
    best: tuple[int, list[Seen]] = (0, [])
    for one in spread(events, 9):
        cut = floor(one.timestamp)
        later = [
            event
            for event in events
            if event.timestamp >= cut + MINUTE and (event.stamped_at or cut) < cut - MINUTE
        ]
        if len(later) > len(best[1]):
            best = cut, later
    cut, later = best
    if len(later) < WITNESSES_OF_END:
        return question.no(f"under {WITNESSES_OF_END} reactions that could show it")
    asked = window_query(REACTIVITIES, Window(reactions.window.start, cut))
    # They must be in the operation at all.
    whole = known.asking.ids(window_query(REACTIVITIES, reactions.window))
    if whole is None:
        return question.no("a response could not be used")
    could_come = [one for one in later if one.id in whole.ids]
    if len(could_come) < WITNESSES_OF_END:
        return question.no(f"under {WITNESSES_OF_END} reactions that could show it")
    # A response that lacks these is not whole.
    before_end = {
        one.id for one in whole.events.values() if one.timestamp < cut - MINUTE
    } & reactions.events.keys()
    found = known.asking.ids(asked, before_end)
    if found is None:
        return question.no(UNUSABLE)
    # By their timestamps there: they may be others than those in /events.
    beyond = [
        one
        for one in could_come
        if one.id in found.events and found.events[one.id].timestamp >= cut + MINUTE
    ]
    if len(beyond) > 1:
        return question.verdict(
            "contradicted",
            f"{len(beyond)} of {len(could_come)} reactions come from after the end",
            "windows of reactivities return later reactions again and again: leave out"
            " actions_reactivities where actions_events has the reactions",
        )
    if beyond:
        return question.no("1 reaction from after the end")
    is_shown = found.is_whole and before_end and found.ids >= before_end
    if not is_shown or found.ids & {one.id for one in could_come}:
        return question.no(UNUSABLE)
    return question.verdict("confirmed", f"none of {len(could_come)} reactions after the end came")


def same_everywhere(known: Known, question: Question) -> Verdict:
    """A reaction has one id, timestamp and content in ``/events`` and ``/reactivities``."""
    reactions = known.reactions
    if reactions is None or len(reactions.events) < WITNESSES_OF_IDENTITY:
        return question.no(f"under {WITNESSES_OF_IDENTITY} reactions")
    window = Window(reactions.window.start - SECOND, reactions.window.end + SECOND)
    asked = window_query(REACTIVITIES, window)
    response = known.asking.status(asked)
    if response.events is None:
        return question.no("a response could not be used")
    others = {one.id: one for one in response.events}
    missing = set(reactions.events) - set(others)
    if missing and response.is_whole:
        again = known.asking.status(asked)
        others = {one.id: one for one in again.events or ()} | others
    common = [(one, others[name]) for name, one in reactions.events.items() if name in others]
    meaning = "load one of the two operations: leave out actions_reactivities"
    if any(one.content != other.content for one, other in common):
        differing = _differing(known, asked, reactions, others)
        if differing is None:
            return question.no(CHANGED)
        moved, changed = differing
        what = "another timestamp" if moved else "other content"
        text = f"{moved or changed} of {len(common)} have {what}"
        return question.verdict("contradicted", text, meaning)
    if not common:
        others_are = {(one.stamp, one.type, one.timestamp) for one in others.values() if one.stamp}
        alike = sum(
            (one.stamp, one.type, one.timestamp) in others_are for one in reactions.events.values()
        )
        if known.asking.is_all(asked, response) and alike >= WITNESSES_OF_IDENTITY:
            text = f"no id in common, {alike} reactions to the same messages at the same times"
            return question.verdict("contradicted", text, meaning)
        return question.no("no reaction in common")
    if len(common) < max(WITNESSES_OF_IDENTITY, 0.95 * len(reactions.events)):
        lack = Counter(
            str(one.type) for name, one in reactions.events.items() if name not in others
        )
        kinds = ", ".join(f"{count} {kind}" for kind, count in lack.most_common())
        return question.no(f"{len(common)} are the same; not in both: {kinds}")
    return question.verdict("confirmed", f"{len(common)} reactions, alike in both")


def _differing(
    known: Known, asked: Asked, reactions: Control, others: Mapping[str, Seen]
) -> tuple[int, int] | None:
    """How many reactions differ in timestamp and in content; None: none does in each request.

    A mark may be written late: both operations are asked once more, and what either returns in
    another way than before does not count.
    """
    first = known.asking.status(window_query(EVENTS, reactions.window))
    second = known.asking.status(asked)
    here = {one.id: one for one in first.events or ()}
    there = {one.id: one for one in second.events or ()}
    moved = changed = 0
    for name, one in reactions.events.items():
        other = others.get(name)
        if other is None or name not in here or name not in there:
            continue
        if here[name].content != one.content or there[name].content != other.content:
            continue
        moved += one.timestamp != other.timestamp
        changed += one.content != other.content
    return (moved, changed) if moved or changed else None


def message_has_one_stamp(known: Known, question: Question) -> Verdict:
    """A message's execution and activation have the same stamp id."""
    by_message: dict[tuple[str, str], dict[str, list[Seen]]] = {}
    for one in known.asking.mixed.values():
        if one.type in ("execution", "activation") and one.action and one.contact and one.stamp:
            message = by_message.setdefault((one.action, one.contact), {})
            message.setdefault(one.type, []).append(one)
    both = [
        (one["execution"][0], one["activation"][0])
        for one in by_message.values()
        if len(one) == 2 and all(len(events) == 1 for events in one.values())
    ]
    # Others are of two messages: a contact may get several of one action within minutes.
    both = [one for one in both if _of_one_moment(*one)]
    if len(both) < WITNESSES_OF_STAMPS:
        return question.no(f"under {WITNESSES_OF_STAMPS} messages of which both are known")
    # What is so of emails need not be so of SMS.
    share: dict[str, list[bool]] = {}
    for execution, activation in both:
        share.setdefault(_channel(activation), []).append(execution.stamp == activation.stamp)
    shown = ", ".join(f"{sum(is_one)} of {len(is_one)} {name}s" for name, is_one in share.items())
    unknown = {_channel(one) for one in known.asking.mixed.values()} - share.keys()
    few = any(len(is_one) < WITNESSES_OF_STAMPS for is_one in share.values())
    if all(sum(is_one) >= 0.9 * len(is_one) for is_one in share.values()):
        if few or unknown:
            return question.no(f"{shown} have one: too few of another channel are known")
        return question.verdict("confirmed", f"{shown} have one")
    if all(sum(is_one) <= 0.1 * len(is_one) for is_one in share.values()):
        return question.verdict(
            "contradicted",
            f"{shown} have one",
            "message_id joins no execution to its activation: join by action and contact",
            ("message_key", "action_contact"),
        )
    return question.no(f"{shown} have one")


def _channel(one: Seen) -> str:
    source = one.content.get("source")
    name = source.get("type") if isinstance(source, dict) else None
    return name if name in ("email", "sms", "notification", "display") else "message"


def _of_one_moment(execution: Seen, activation: Seen) -> bool:
    """Whether both stamps are of the same second; where one has no time, both events of minutes."""
    if execution.stamped_at is not None and activation.stamped_at is not None:
        return abs(execution.stamped_at - activation.stamped_at) <= SECOND
    return abs(execution.timestamp - activation.timestamp) < OLD_STAMP


def types_are_there(known: Known, question: Question) -> Verdict:
    """Events of single-type operations name their type, over the account and of a contact."""
    there: dict[str, list[Seen]] = {}
    for path in ("/actions/events/cancellations", "/actions/reactivities/bounces"):
        control = find_control(known.asking, known.now, path)
        there[path] = [] if control is None else [*control.events.values()]
        if there[path]:
            break
    there["/targets/events/hits"] = hits_of_contacts(known)
    for path, events in there.items():
        lack = sum(one.type is None for one in events)
        if lack:
            text = f"{lack} of {len(events)} of {path} have none"
            return question.verdict("contradicted", text, "none: it is filled in")
    shown = ", ".join(f"{len(events)} events of {path}" for path, events in there.items() if events)
    if sum(map(bool, there.values())) < 2:
        text = "an operation over the account and one of a contact would show it"
        return question.no(f"{shown or 'no event'}: {text}")
    return question.verdict("confirmed", shown)


# --- Size, ids, errors ---


def not_capped(known: Known, question: Question) -> Verdict:
    """A response holds all events of its window."""
    control = known.control
    if control is None:
        return question.no("no events were found")
    end = (known.now - AGE) // SECOND * SECOND
    density = max(1, len(control.events)) / control.window.width
    width = int(min(CAP_DAYS * DAY, max(MINUTE, 1.3 * CAP_FROM / density))) // SECOND * SECOND
    window = Window(end - width, end)
    parts: dict[str, Seen] = {}
    for half in window.halves():
        response = known.asking.status(window_query(EVENTS, half, CAP_BYTES))
        if response.says_more:
            return _capped(question, "headers say that there is more", None)
        if response.events is None:
            return question.no("a response could not be used")
        parts |= {one.id: one for one in response.events}
    response = known.asking.status(window_query(EVENTS, window, CAP_BYTES))
    if response.says_more:
        return _capped(question, "headers say that there is more", None)
    if response.events is None or not response.is_whole:
        return question.no("the response is too large, or could not be used")
    found = {one.id: one for one in response.events}
    if parts.keys() - found:
        again = known.asking.ids(window_query(EVENTS, window, CAP_BYTES), parts)
        if again is None:
            return question.no("a response could not be used")
        still_there: set[str] = set()
        for half in window.halves():
            after = known.asking.ids(window_query(EVENTS, half, CAP_BYTES))
            still_there |= set() if after is None else after.ids
        gone = parts.keys() - found - again.ids
        if gone - still_there:
            return question.no("events vanished meanwhile")
        if gone:
            return _how_capped(known, question, response, parts | found, len(gone), width)
    # One that is cut at this number has as many.
    if len(found) <= CAP_FROM:
        return question.no(f"{len(found)} events in {width // DAY} days: not over {CAP_FROM:,}")
    return question.verdict("confirmed", f"{len(found):,} events in one response")


def _how_capped(
    known: Known,
    question: Question,
    capped: Response,
    there: Mapping[str, Seen],
    lost: int,
    width: int,
) -> Verdict:
    """Whether it is the rows at which the API cuts.

    Two other windows have just as many then, though not as many bytes.
    """
    rows = capped.events or ()
    text = f"{lost} events of its halves are not in a response of {len(rows)}"
    moments = sorted(one.timestamp for one in there.values())
    most = len(rows) + (len(moments) - len(rows)) // 2
    # The narrowest that has more, which is no cut by time; and one with other events at its edges.
    first = min(range(len(moments) - most + 1), key=lambda n: moments[n + most - 1] - moments[n])
    trimmed = max(1, (len(moments) - len(rows) - 1) // 3)
    shown = 0
    sizes = [capped.byte_count]
    for lowest, highest in (
        (moments[first], moments[first + most - 1]),
        (moments[min(trimmed, len(moments) - 1)], moments[-1 - min(trimmed, len(moments) - 1)]),
    ):
        other = Window(floor(lowest), max(floor(highest), floor(lowest)) + SECOND)
        response = known.asking.status(window_query(EVENTS, other, CAP_BYTES))
        if response.events is None or not response.is_whole:
            break
        ids = {one.id for one in response.events}
        sizes.append(response.byte_count)
        # With repeats among the rows their number says nothing.
        shown += len(response.events) == len(ids) == len(rows) and ids != {o.id for o in rows}
    # Events of one size are as many, too, where the API cuts at a number of bytes.
    differ = max(sizes) - min(sizes) > sum(sizes) / (len(sizes) * len(rows))
    if shown == 2 and differ and len({one.id for one in rows}) == len(rows):
        return _capped(question, text, len(rows))
    return question.verdict(
        "contradicted",
        f"{text} of {width / DAY:,.1f} days; it is not so many rows elsewhere",
        "the API cuts in another way than by rows: give a narrower window",
    )


def _capped(question: Question, text: str, count: int | None) -> Verdict:
    return question.verdict(
        "contradicted",
        text,
        "a response of so many rows is not whole: its window is halved",
        None if count is None else ("row_limit", count),
    )


def unknown_id_is_404(known: Known, question: Question) -> Verdict:
    """An action id that does not exist gets a 404."""
    end = (known.now - AGE) // SECOND * SECOND
    window = Window(end - MINUTE, end)
    named = Counter(one.action for one in known.asking.mixed.values() if one.action)
    if not named:
        return question.no("no action is known")
    # An operation that does not exist answers all ids alike.
    (action, _) = min(named.items(), key=lambda it: (-it[1], it[0]))
    path = f"/actions/{quote(action, safe='')}/events/bounces"
    response = known.asking.status(window_query(path, window))
    if not _is_answered(response):
        return question.no(f"a known id has status {response.status}")
    response = known.asking.status(window_query("/actions/0ZZZZZ/events/bounces", window))
    if response.status == 404:
        return question.verdict("confirmed", "404")
    if _is_answered(response) and not response.events:
        text = f"{response.status} without events"
        return question.verdict("contradicted", text, "a misspelt id looks like one without events")
    if response.status == 400:
        text = "400"
        return question.verdict("contradicted", text, "an unknown id fails its resource")
    return question.no(f"status {response.status}")


def _is_answered(response: Response) -> bool:
    """Whether a response says what there is, if in its own way: an array, 204, or no body."""
    return response.status == 204 or (
        response.status == 200 and (response.events is not None or response.is_empty)
    )


def unknown_values_are_refused(known: Known, question: Question) -> Verdict:
    """A value that a parameter does not have is refused: a misspelt one is noticed."""
    as_usual = known.asking.remembered(window_query(EVENTS, LONG_AGO))
    if not _is_answered(as_usual):
        return question.no(f"with sort=asc it is status {as_usual.status}")
    windows = [LONG_AGO]
    if known.control is not None:
        # What is empty may be returned before the parameter is read.
        windows.append(known.control.window)
    for window in windows:
        asked = Asked(EVENTS, iso(window.start), iso(window.end), "probe")
        response = known.asking.status(asked)
        if response.status in REFUSED:
            text = f"sort=probe is refused with {response.status}"
            return question.verdict("confirmed", text)
        if response.status not in (200, 204):
            return question.no(f"status {response.status}")
    if known.control is None:
        return question.no("no events were found")
    return question.verdict(
        "contradicted", "sort=probe is taken for nothing", "nothing relies on it"
    )


def titled_are_there(known: Known, question: Question) -> Verdict:
    """The operations over the account that are known by title only exist."""
    end = (known.now - AGE) // SECOND * SECOND
    window = Window(end - 6 * 60 * MINUTE, end)
    statuses: Counter[int | None] = Counter()
    for path in TITLED:
        response = known.asking.status(window_query(path, window))
        is_there = response.status == 204 or (
            response.status == 200 and response.events is not None
        )
        statuses[200 if is_there else response.status] += 1
    shown = ", ".join(f"{count} answer {status}" for status, count in statuses.items())
    if statuses[404] or statuses[405]:
        # An API may have this status for a window without events.
        as_usual = known.asking.remembered(window_query(EVENTS, LONG_AGO))
        if not _is_answered(as_usual):
            return question.no(f"{shown}; an empty window has status {as_usual.status}")
        return question.verdict("contradicted", shown, "do not name these resources")
    for path in NO_OPERATIONS if statuses[200] else ():
        response = known.asking.status(window_query(path, window))
        if response.status is None or response.status < 400:
            return question.no(f"{shown}; a path of no operation has status {response.status}")
    if statuses[200] == len(TITLED):
        return question.verdict("confirmed", f"{len(TITLED)} operations answer with arrays")
    return question.no(shown)


def empty_is_an_array(known: Known, question: Question) -> Verdict:
    """A window without events is an empty array."""
    response = known.asking.remembered(window_query(EVENTS, LONG_AGO))
    if response.status == 200 and response.events == () and not response.is_empty:
        return question.verdict("confirmed", "[]")
    if response.status == 204 or (response.status == 200 and response.is_empty):
        text = "204" if response.status == 204 else "200 without a body"
        return question.verdict(
            "contradicted", text, "204 is taken for empty, no body for an error"
        )
    return question.no(f"status {response.status}")


def ids_come_once(known: Known, question: Question) -> Verdict:
    """A response holds each id once."""
    asking = known.asking
    if asking.repeats:
        text = f"{asking.repeats} repeats in {asking.responses} responses"
        return question.verdict("contradicted", text, "none: tables have each event once")
    if len(asking.held) < FEWEST_OF_TYPES:
        return question.no(f"under {FEWEST_OF_TYPES} events")
    return question.verdict(
        "confirmed", f"{len(asking.held):,} ids in {asking.responses} responses"
    )


def _events(known: Known) -> list[Seen]:
    return [] if known.control is None else known.control.in_order()
