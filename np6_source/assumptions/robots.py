"""Rules for hits of robots: what a class returns, and whether mixed operations have them.

The operation over all hits of a contact takes a class. It is asked without one, with each, and
without again. What both responses without a class hold is *sure*; what only one with a class holds
has *come*. What came late is in the second response without, and so has not come. A response that
may have been cut shows nothing here.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ..endpoints import ROBOT_CLASSES
from ..windows import DAY, SECOND, Window, iso
from .control import AGE, REFUSED, window_query
from .facts import EVENTS, Asked, Seen, Verdict
from .question import MINUTE, Known, Question, floor, spread

OPERATION = "/targets/events/hits"
NAMES = ("classification", "classifications")
"""How the reference writes the parameter: in its text, and in its example."""
CONTACTS = 3
SPAN = 32 * DAY
MOST_BYTES = 2_000_000
WITNESSES = 5
FEWEST_THAT_CAME = 2
MOST_TRIED = 3
MOST_CANDIDATES = 6
UNUSABLE = "a response could not be used, or may have been cut"


@dataclass(frozen=True)
class Classified:
    """What a class of robots changed, with one spelling of the parameter.

    Attributes:
        came: Hits that come with a class only.
        gone: How many sure hits lacked in a response with a class.
        stayed: How many came in one.
        shared: How many came with several classes.
        refused: The status by which it was refused; None: it was not.
    """

    came: dict[str, Seen] = field(default_factory=dict)
    gone: int = 0
    stayed: int = 0
    shared: int = 0
    refused: int | None = None


def classes_are_apart(known: Known, question: Question) -> Verdict:
    """With a class a hit operation returns the hits of that class, which do not come without."""
    contacts = _contacts(known)
    if not contacts:
        return question.no("no contact with hits was found")
    plain = [_ids(known, one, ()) for one in contacts]
    if None in plain:
        return question.no(UNUSABLE)
    hits = sum(len(one or ()) for one in plain)
    if hits < WITNESSES:
        return question.no(f"under {WITNESSES} hits of {len(contacts)} contacts")
    refused = None
    for name in NAMES:
        found = classified(known, name)
        if found is None:
            return question.no(f"{UNUSABLE}, or hits vanished")
        refused = refused or found.refused
        came = len(found.came)
        is_apart = came >= FEWEST_THAT_CAME and found.gone >= WITNESSES and not found.stayed
        if is_apart and found.shared >= FEWEST_THAT_CAME:
            text = f"{found.shared} of {came} hits come with several classes"
            meaning = "which class hits are of does not show: np6-source marks none of them"
            return question.verdict("contradicted", text, meaning)
        if is_apart and found.shared:
            return question.no("1 hit comes with several classes")
        if is_apart:
            text = f"{came} hits come with it only, none of {found.gone} others"
            if name == NAMES[0]:
                return question.verdict("confirmed", text)
            meaning = f"the parameter is called {name}"
            setting = ("classification_parameter", name)
            return question.verdict("contradicted", text, meaning, setting)
        if came >= FEWEST_THAT_CAME and found.stayed >= WITNESSES and not found.gone:
            text = f"{came} hits come with it only, and {found.stayed} others as well"
            meaning = "which hits are robots' is what comes with a class only: np6-source robots"
            return question.verdict("contradicted", text, meaning)
        if not came and found.gone >= WITNESSES and found.stayed >= FEWEST_THAT_CAME:
            text = f"{found.stayed} hits come without it, too; it leaves {found.gone} out"
            meaning = "robots' hits come without a class: np6-source marks none of them"
            return question.verdict("contradicted", text, meaning)
    shown = "it changes nothing" if refused is None else f"refused with {refused}"
    return question.no(f"{shown}: {hits} hits of {len(contacts)} contacts")


def mixed_has_robots(known: Known, question: Question) -> Verdict:
    """``/actions/events`` has the hits that a hit operation returns for a class only."""
    came: dict[str, Seen] = {}
    for name in NAMES if _contacts(known) else ():
        if len(came) < FEWEST_THAT_CAME:
            found = classified(known, name)
            came |= {} if found is None else found.came
    if len(came) < FEWEST_THAT_CAME:
        return question.no("no hits that come for a class only")
    # Messages that the operation has, of a time from which it has events: a contact's hits may be
    # of other channels, and may be kept for longer.
    mixed = known.asking.mixed.values()
    actions = {one.action for one in mixed if one.action}
    oldest = min((one.timestamp for one in mixed), default=known.now)
    expected = [one for one in came.values() if one.action in actions and one.timestamp >= oldest]
    if len(expected) < FEWEST_THAT_CAME:
        return question.no("no such hits of messages that it has")
    expected.sort(key=lambda one: (one.timestamp, one.id))
    there, absent = 0, []
    for one in spread(expected, MOST_CANDIDATES):
        # Wide enough for bounds that are cut to the minute.
        window = Window(floor(one.timestamp) - 2 * MINUTE, floor(one.timestamp) + 2 * MINUTE)
        response = known.asking.ids(window_query(EVENTS, window), {one.id})
        has = None if response is None else response.has(one)
        there += has is True
        absent += [one] if has is False else []
        if there + len(absent) == MOST_TRIED:
            break
    tried = there + len(absent)
    if tried < FEWEST_THAT_CAME:
        return question.no(UNUSABLE)
    if there == tried:
        return question.verdict("confirmed", f"{there} hits that come for a class only are there")
    if there:
        return question.no(f"{there} of {tried} such hits are there")
    if not {one.id for one in hits_of_contacts(known)} & known.asking.mixed.keys():
        return question.no("hits may have other ids in the operation over a contact's")
    if not _come_again(known, absent):
        return question.no("such hits have changed, or are gone")
    return question.verdict(
        "contradicted",
        f"none of {tried} hits that come for a class only is there",
        "robots' hits are loaded by np6-source robots alone",
    )


def _come_again(known: Known, hits: list[Seen]) -> bool:
    """Whether the requests that hits came from still return them."""
    asked = [
        one
        for one in known.asking.remembered_requests()
        if one.path == OPERATION and set(dict(one.more)) & set(NAMES)
    ]
    wanted = {one.id for one in hits}
    found: set[str] = set()
    for one in asked:
        before = {event.id for event in known.asking.remembered(one).events or ()}
        if before & (wanted - found):
            again = known.asking.ids(one, before & wanted)
            found |= set() if again is None else again.ids
    return found >= wanted


def classified(known: Known, name: str) -> Classified | None:
    """What the classes change; None: a response could not be used.

    All are asked for: one may be apart, and another not.

    Args:
        known: What is known.
        name: How the parameter is spelt.
    """
    contacts = _contacts(known)
    before = {one: _ids(known, one, ()) for one in contacts}
    if None in before.values():
        return None
    found: list[tuple[str, dict[str, Seen]]] = []
    for robots in ROBOT_CLASSES:
        for contact in contacts:
            asked = _asked(known, contact, ((name, robots),))
            response = known.asking.remembered(asked)
            if response.status in REFUSED:
                return Classified(refused=response.status)
            if not known.asking.is_all(asked, response):
                return None
            found.append((contact, {one.id: one for one in response.events or ()}))
    # What came late meanwhile is in these.
    after = {one: _ids(known, one, (), 1 + NAMES.index(name)) for one in contacts}
    if None in after.values():
        return None
    came: dict[str, Seen] = {}
    gone: set[str] = set()
    stayed: set[str] = set()
    classes: Counter[str] = Counter()
    for contact, ids in found:
        first, second = set(before[contact] or ()), set(after[contact] or ())
        if first - second:
            # Marked meanwhile, or responses are not stable.
            return None
        only = {id_: one for id_, one in ids.items() if id_ not in first | second}
        came |= only
        classes.update(only.keys())
        gone |= (first & second) - set(ids)
        stayed |= first & second & set(ids)
    shared = sum(count > 1 for count in classes.values())
    return Classified(came, len(gone), len(stayed), shared)


def hits_of_contacts(known: Known) -> list[Seen]:
    """The hits that the operation over a contact's returns without a class, of some contacts."""
    asked = [_asked(known, contact, ()) for contact in _contacts(known)]
    return [event for one in asked for event in known.asking.remembered(one).events or ()]


def _ids(
    known: Known, contact: str, more: tuple[tuple[str, str], ...], number: int = 0
) -> set[str] | None:
    """Hits that come; None: that is not known."""
    asked = _asked(known, contact, more, number)
    response = known.asking.remembered(asked)
    if not known.asking.is_all(asked, response):
        return None
    return {one.id for one in response.events or ()}


def _asked(known: Known, contact: str, more: tuple[tuple[str, str], ...], number: int = 0) -> Asked:
    """The request; another number makes it another one, though nothing else differs."""
    end = (known.now - AGE) // SECOND * SECOND
    query = (("id", contact), *more)
    return Asked(OPERATION, iso(end - SPAN), iso(end), "asc", MOST_BYTES + number, query)


def _contacts(known: Known) -> list[str]:
    """The contacts with most of the known hits: robots follow every link of a message."""
    found: Counter[str] = Counter()
    for one in known.asking.mixed.values():
        if one.type == "hit" and one.footprint:
            found[one.footprint] += 1
    return [contact for contact, _ in sorted(found.items(), key=lambda it: (-it[1], it[0]))][
        :CONTACTS
    ]
