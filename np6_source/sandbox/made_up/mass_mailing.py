"""A mass mailing of any size: hits of about 1 KB that may be made while they are read."""

from __future__ import annotations

from ..account import Account, StoredAccount
from ..clock import HOUR, TMoment
from ..event_row import COLUMNS
from ..query import EventQuery, literal
from .agents import AGENTS
from .chance import base_36, digest, uuid_of
from .mailings import span_of
from .templates import LINKS, one_of, sql


def mass_mailing_account(
    hits: int = 200_000,
    *,
    contacts: int = 10_000,
    actions: int = 4,
    seed: int = 0,
    start: TMoment | None = None,
    end: TMoment | None = None,
    timestamps: int | None = None,
    stored: bool = True,
) -> Account:
    """An account of exactly so many redirection hits of about 1 KB, evenly over a window.

    Args:
        hits: How many hits, all within the window.
        contacts: Contacts that click.
        actions: Actions that were sent, just before the window; one campaign.
        seed: Another seed, other ids.
        start: Start of the window, inclusive (naive: UTC). None: 2025-01-06.
        end: End of the window, exclusive. None: 8 weeks later.
        timestamps: How many distinct timestamps the hits share. None: as many as possible.
        stored: False: nothing is stored, hits are made while they are read; memory stays flat
            whatever the size, and a window costs what it holds.

    Raises:
        ValueError: An argument is out of range.
    """
    first, last = span_of(start, end)
    mass = MassMailing(hits, contacts, actions, seed, first, last, timestamps)
    if not stored:
        return mass
    account = StoredAccount()
    cursor = account.connection.cursor()
    try:
        account.insert(
            cursor, f"(SELECT * REPLACE (encode(payload) AS payload) FROM {mass.every_hit()})"
        )
    finally:
        cursor.close()
        mass.close()
    return account


class MassMailing(Account):
    """Redirection hits that are made while they are read, see ``mass_mailing_account``."""

    payload_after_comma = "',' || payload"

    def __init__(
        self,
        hits: int,
        contacts: int,
        actions: int,
        seed: int,
        start: int,
        end: int,
        timestamps: int | None,
    ) -> None:
        """Fixes the mailing; ``start`` and ``end`` are milliseconds since the epoch, UTC.

        Raises:
            ValueError: An argument is out of range.
        """
        super().__init__()
        shared = min(timestamps or hits, hits, end - start)
        if min(hits, contacts, actions) < 1 or shared < 1:
            raise ValueError("hits, contacts, actions and timestamps must be at least 1")
        self._hits, self._start, self._span, self._timestamps = hits, start, end - start, shared
        action_ids = [base_36(32_908 + index * 37, 6) for index in range(actions)]
        self._id_count = max(contacts, actions)
        campaign = uuid_of(digest(seed, "campaign"))
        self._columns = _mass_columns(contacts, action_ids, campaign, seed, start)

    def relation(
        self, query: EventQuery, first: int | None = None, beyond: int | None = None
    ) -> str:
        """See ``Account.relation``; the hits' numbers follow from the window."""
        low = max(first or 0, self._position(query.start) if query.start is not None else 0)
        high = self._hits if beyond is None else min(beyond, self._hits)
        if query.end is not None:
            high = min(high, self._position(query.end))
        if query.visible_until is not None:
            high = min(high, self._position(query.visible_until + 1))
        return self._rows(low, max(low, high))

    def every_hit(self) -> str:
        """SQL of a relation with all hits."""
        return self._rows(0, self._hits)

    def knows(self, column: str, value: str) -> bool:
        """See ``Account.knows``. Looks at some hits only: ids repeat from hit to hit."""
        sample = self._rows(0, min(self._hits, self._id_count))
        return bool(
            self._one(f"SELECT exists(SELECT 1 FROM {sample} WHERE {column} = {literal(value)})")
        )

    def _position(self, moment: int) -> int:
        """The first hit at or after a moment."""
        shared = -(-(moment - self._start) * self._timestamps // self._span)
        shared = min(max(shared, 0), self._timestamps)
        return -(-shared * self._hits // self._timestamps)

    def _rows(self, low: int, high: int) -> str:
        # 128 bits where the product of a number and the span might not fit into 64.
        wide = "::HUGEINT" if self._hits * max(self._span, self._timestamps) >= 2**62 else ""
        moment = (
            f"{self._start} + ((number{wide} * {self._timestamps} // {self._hits})"
            f" * {self._span} // {self._timestamps})::BIGINT"
        )
        return (
            f"(SELECT {self._columns} FROM (SELECT *, {moment} AS happened_at FROM"
            f" range({low}, {high}) AS numbers(number)))"
        )


def _mass_columns(
    contacts: int, action_ids: list[str], campaign: str, seed: int, start: int
) -> str:
    """SELECT list that makes redirection hits of numbers and their timestamps ``happened_at``."""
    contact = f"(number * 7919 % {contacts})"
    text = f"lpad({contact}::VARCHAR, 7, '0')"
    hit = f"md5(concat('{seed}:hit:', number))"
    contact_id = f"concat('0', {text})"
    unicity = f"concat('contact', {text}, '@example.com')"
    contact_hash = f"md5(concat('contact', {text}, '@example.com'))"
    action = one_of(action_ids, "number")
    labels, destinations = zip(*LINKS, strict=True)
    sent_at = start - HOUR
    uuid_of_hit = (
        f"concat({hit}[1:8], '-', {hit}[9:12], '-4', {hit}[14:16], '-a', {hit}[18:20], '-',"
        f" {hit}[21:32])"
    )
    stamp = contact_hash
    template = (
        f'{{"type":"hit","id":"<{uuid_of_hit}>","timestamp":<happened_at>,'
        '"identity":{"type":"customer","agency":"DEMO","customer":"028"},'
        '"source":{"type":"email","detail":{"activation":{'
        f'"id":"<{action}>","kind":"message","receiver":{{"type":"footprint",'
        f'"id":"<{contact_id}>","unicity":"<{unicity}>","hash":"<{contact_hash}>"}},'
        f'"stamp":{{"time":{sent_at},"id":"<{stamp}[1:8]>-<lpad((number % {len(action_ids)})'
        f"::VARCHAR, 4, '0')>-4000-a000-<{stamp}[21:32]>\","
        f'"thread":"<{stamp}[9:16]>-0000-4000-a000-<{stamp}[1:12]>"}},'
        f'"recipient":"<{unicity}>"}},"link":{{"type":"redirection",'
        f'"label":"<{one_of(labels, "number")}>","source":"html",'
        f'"destination":"<{one_of(destinations, "number")}>"}},"client":{{"type":"web",'
        '"ip":{"type":"v4","value":"10.<number // 65536 % 256>.<number // 256 % 256>.'
        '<number % 256>"},'
        f'"ua":<{one_of([agent.json for agent in AGENTS], "number")}>}}}}}}}}'
    )
    given = {
        "event_id": uuid_of_hit,
        "timestamp": "happened_at",
        "visible_at": "happened_at",
        "activation_timestamp": str(sent_at),
        "type": "'hit'",
        "subtype": "'redirection'",
        "channel": "'email'",
        "action_id": action,
        "campaign_id": literal(campaign),
        "contact_id": contact_id,
        "contact_unicity": unicity,
        "contact_hash": contact_hash,
        "payload": sql(template),
    }
    listed = [f'({given.get(name, "NULL::VARCHAR")}) AS "{name}"' for name, _ in COLUMNS]
    return ", ".join(["number AS serial", "number AS position", *listed])
