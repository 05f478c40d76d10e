"""A believable account, over weeks, from executions to opt-outs."""

from __future__ import annotations

from ..account import StoredAccount
from ..clock import TMoment
from .chance import define_macros
from .mailings import level_of, planned_mailings, span_of
from .names import names_of
from .reactions import make_hits, make_reactions
from .sends import TExecutionStamps, make_contacts, make_sends

DEFAULT_EVENTS = 20_000
DEFAULT_ACTIONS = 12
DEFAULT_CAMPAIGNS = 4
EVENTS_PER_SEND = 2.9
"""What a send makes of events on average; measured."""


def generated_account(
    events: int | None = None,
    *,
    contacts: int | None = None,
    seed: int = 0,
    start: TMoment | None = None,
    end: TMoment | None = None,
    actions: int = DEFAULT_ACTIONS,
    campaigns: int = DEFAULT_CAMPAIGNS,
    late_share: float = 0.0,
    late_seconds: float = 0.0,
    execution_stamps: TExecutionStamps = "shared",
    growth: float = 1.0,
    holidays: int = 0,
    unequal_mailings: bool = False,
) -> StoredAccount:
    """A believable account: campaigns over weeks, from executions to opt-outs.

    Mass mailings and triggered messages by e-mail and SMS, push notifications and display. Each
    send goes from its execution to an activation or cancellation, then to bounces, hits of people
    and robots, replies and opt-outs. The same arguments always give the same account.

    Where the reference shows no payload (SMS, notifications, display, replies, complaints,
    impressions, opt-outs) events keep to the envelope and the documented blocks.

    Args:
        events: Roughly how many events, within about a tenth for thousands of events and more
            (20,000 where ``contacts`` is not given either). Account for about 2 KB of memory each;
            ``mass_mailing_account`` makes larger ones while they are read.
        contacts: How many contacts, instead.
        seed: Another seed, another account.
        start: Start of the time the account covers, inclusive (naive: UTC). None: 2025-01-06.
        end: End of it, exclusive; what would follow later is left out. None: 8 weeks later.
        actions: How many e-mail and SMS actions. Two notifications and two display contents come
            on top.
        campaigns: How many campaigns the actions belong to.
        late_share: Share of the events (0 to 1) that become readable late.
        late_seconds: How long after their timestamp those become readable.
        execution_stamps: ``shared``: an execution and its cancellation have the stamp of the
            activation. ``own``: one of their own, as in the reference's campaign sample.
        growth: What the account sends in the end, of what it sends in the beginning.
        holidays: How many days it sends half as much.
        unequal_mailings: Mass mailings are of very unequal sizes.

    Raises:
        ValueError: An argument is out of range.
    """
    first, last = span_of(start, end)
    if min(1 if events is None else events, 1 if contacts is None else contacts) < 1:
        raise ValueError("At least one event and one contact are needed")
    if actions < 1 or campaigns < 1:
        raise ValueError("At least one action and one campaign are needed")
    mailings = planned_mailings(seed, first, last, actions, campaigns, unequal_mailings)
    level = level_of(seed, first, last, growth, holidays)
    if contacts is None:
        per_contact = EVENTS_PER_SEND * sum(mailing.share for mailing in mailings) / 1000
        per_contact *= level.mean
        contacts = max(1, round((events or DEFAULT_EVENTS) / per_contact))
    account = StoredAccount()
    cursor = account.connection.cursor()
    try:
        define_macros(cursor, seed)
        make_contacts(cursor, contacts)
        make_sends(cursor, mailings, first, last, execution_stamps, level)
        make_reactions(cursor)
        make_hits(cursor)
        late = f"CASE WHEN unit('late', event_id) < {late_share} THEN {int(late_seconds * 1000)}"
        account.insert(
            cursor,
            f'(SELECT * REPLACE ("timestamp" + {late} ELSE 0 END AS visible_at) FROM staged'
            f' WHERE "timestamp" < {last})',
        )
    finally:
        cursor.close()
    for resource, elements in names_of(seed, mailings, first, last, contacts).items():
        account.describe(resource, elements)
    return account
