"""Made-up accounts: a believable one, and a plain mass mailing of any size.

All chance comes from MD5 digests of the seed and a name, so an account is the same on every machine
and with every release of DuckDB. Only integers and plain arithmetic are used.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import duckdb

from np6_source.sandbox.account import COLUMNS, Account, StoredAccount
from np6_source.sandbox.agents import AGENTS, ROBOT_AGENTS
from np6_source.sandbox.clock import TMoment, milliseconds
from np6_source.sandbox.query import EventQuery, literal

SECOND = 1000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

DEFAULT_START = datetime(2025, 1, 6, tzinfo=timezone.utc)
DEFAULT_SPAN = timedelta(weeks=8)
DEFAULT_EVENTS = 20_000
DEFAULT_ACTIONS = 12
DEFAULT_CAMPAIGNS = 4

EVENTS_PER_SEND = 2.9
"""What a send makes of events on average; measured."""

BASE_36 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
FIRST_NAMES = (
    "camille",
    "louis",
    "emma",
    "hugo",
    "lea",
    "jules",
    "chloe",
    "adam",
    "ines",
    "noe",
    "lina",
    "tom",
    "sarah",
    "yanis",
)
LAST_NAMES = (
    "martin",
    "bernard",
    "petit",
    "durand",
    "leroy",
    "moreau",
    "simon",
    "laurent",
    "michel",
    "garcia",
    "roux",
)
DOMAINS = ("example.com", "example.org", "example.net")
SEND_HOURS = (7, 8, 9, 9, 10, 10, 14, 16)
HOURS = "0 1 6 7 7 8 8 8 9 9 9 10 10 10 11 11 12 12 13 14 14 15 16 16 17 17 18 18 19 20 21 22"
"""Hours of the day (UTC) at which triggered messages are sent, each as often as it is likely."""

LINKS = (
    ("homepage", "https://www.example.com/"),
    ("offer of the week", "https://www.example.com/offers?utm_source=np6"),
    ("new arrivals", "https://shop.example.com/new?sort=recent"),
    ("my account", "https://www.example.com/account"),
    ("social", "https://social.example.org/brand"),
)

BOUNCES = (
    ("soft", "4.2.2", "mailbox full", '{"type":"other or undefined status"}'),
    ("soft", "4.4.1", "connection timed out", '{"type":"other or undefined status"}'),
    (
        "soft",
        "5.4.4",
        "unable to route: no mail hosts for domain",
        '{"type":"other or undefined status"}',
    ),
    (
        "hard",
        "5.1.1",
        "bad destination mailbox address",
        '{"type":"address","detail":{"type":"bad destination mailbox address"}}',
    ),
    (
        "hard",
        "5.1.2",
        "bad destination system: no such domain",
        '{"type":"address","detail":{"type":"bad destination system address"}}',
    ),
)
SOFT_BOUNCES = 3

ENVELOPE = (
    '{"type":"<type>","id":"<event_id>","timestamp":<happened_at>,'
    '"identity":{"type":"customer","agency":"DEMO","customer":"028"},'
    '"source":{"type":"<channel>","detail":{<detail>}}}'
)
FOOTPRINT = '{"type":"footprint","id":"<contact_id>","unicity":"<unicity>","hash":"<hash>"}'
STAMP = '{"time":<stamp_time>,"id":"<stamp_id>","thread":"<thread_id>"}'


@dataclass(frozen=True)
class Mailing:
    """One thing that is sent: an action, a notification or a display content.

    Attributes:
        place: Its number.
        id: Its id.
        channel: email, sms, notification or display.
        campaign: Id of its campaign.
        sent_at: When a mass mailing goes out, ms since the epoch; None: sent all the time, as
            messages that something triggers are.
        share: Contacts that get it, in thousandths.
        version: Version uuid of a notification.
    """

    place: int
    id: str
    channel: str
    campaign: str
    sent_at: int | None
    share: int
    version: str


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
    stored: bool = True,
) -> Account:
    """A believable account: campaigns over weeks, from executions to opt-outs.

    Mass mailings and triggered messages by e-mail and SMS, push notifications and display. Each
    send goes from its execution to an activation or cancellation, then to bounces, hits of people
    and robots, replies and opt-outs. The same arguments always give the same account.

    Where the reference shows no payload (SMS, notifications, display, replies, complaints,
    impressions, opt-outs) events keep to the envelope and the documented blocks.

    Args:
        events: Roughly how many events, within about a tenth for thousands of events and more
            (20,000 where ``contacts`` is not given either). Account for about 2 KB of memory each.
        contacts: How many contacts, instead.
        seed: Another seed, another account.
        start: Start of the time the account covers, inclusive (naive: UTC). None: 2025-01-06.
        end: End of it, exclusive; what would follow later is left out. None: 8 weeks later.
        actions: How many e-mail and SMS actions. Two notifications and two display contents come
            on top.
        campaigns: How many campaigns the actions belong to.
        late_share: Share of the events (0 to 1) that become readable late.
        late_seconds: How long after their timestamp those become readable.
        stored: False: a mass mailing of exactly ``events`` hits instead, made while it is read, for
            answers that do not fit into memory; ``campaigns`` and the late events do not apply.

    Raises:
        ValueError: An argument is out of range.
    """
    first, last = _span(start, end)
    if min(1 if events is None else events, 1 if contacts is None else contacts) < 1:
        raise ValueError("At least one event and one contact are needed")
    if actions < 1 or campaigns < 1:
        raise ValueError("At least one action and one campaign are needed")
    if not stored:
        return mass_mailing_account(
            events or DEFAULT_EVENTS,
            contacts=contacts or 10_000,
            actions=actions,
            seed=seed,
            start=first,
            end=last,
            stored=False,
        )
    mailings = _mailings(seed, first, last, actions, campaigns)
    if contacts is None:
        per_contact = EVENTS_PER_SEND * sum(mailing.share for mailing in mailings) / 1000
        contacts = max(1, round((events or DEFAULT_EVENTS) / per_contact))
    account = StoredAccount()
    cursor = account.connection.cursor()
    try:
        _define_macros(cursor, seed)
        _make_contacts(cursor, contacts)
        _make_sends(cursor, mailings, first, last)
        _make_reactions(cursor)
        _make_hits(cursor)
        late = f"CASE WHEN unit('late', event_id) < {late_share} THEN {int(late_seconds * 1000)}"
        account.insert(
            cursor,
            f'(SELECT * REPLACE ("timestamp" + {late} ELSE 0 END AS visible_at) FROM staged'
            f' WHERE "timestamp" < {last})',
        )
    finally:
        cursor.close()
    return account


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
    first, last = _span(start, end)
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
        action_ids = [_base_36(32_908 + place * 37, 6) for place in range(actions)]
        self._id_count = max(contacts, actions)
        campaign = _uuid(_digest(seed, "campaign"))
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
        """The first hit at or behind a moment."""
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


def _span(start: TMoment | None, end: TMoment | None) -> tuple[int, int]:
    first = milliseconds(DEFAULT_START if start is None else start)
    last = first + DEFAULT_SPAN // timedelta(milliseconds=1) if end is None else milliseconds(end)
    if last <= first:
        raise ValueError("end must lie behind start")
    return first, last


def _digest(seed: int, *names: object) -> str:
    return hashlib.md5(":".join(map(str, (seed, *names))).encode()).hexdigest()


def _pick(count: int, seed: int, *names: object) -> int:
    return int(_digest(seed, *names), 16) % count


def _uuid(digest: str) -> str:
    return f"{digest[:8]}-{digest[8:12]}-4{digest[13:16]}-a{digest[17:20]}-{digest[20:32]}"


def _base_36(number: int, width: int) -> str:
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = BASE_36[digit] + digits
    return digits.rjust(width, "0")


def _mailings(seed: int, start: int, end: int, actions: int, campaigns: int) -> list[Mailing]:
    """What is sent in the account's time: evenly, mass mailings on weekdays in the daytime."""
    campaign_ids = [_uuid(_digest(seed, "campaign", number)) for number in range(campaigns)]
    first_notification = 156 + _pick(20, seed, "notification")
    mailings = []
    for place in range(actions + 4):
        extra = place - actions
        if extra < 0:
            channel = "sms" if place % 6 == 4 else "email"
            # The first is the action of the documented samples.
            offset = _pick(30, seed, "action", place) if place else 0
            name = _base_36(32_908 + place * 37 + offset, 6)
        elif extra < 2:
            channel, name = "notification", str(first_notification + extra)
        else:
            channel, name = "display", _base_36(17_000 + extra * 11, 6)
        is_triggered = channel == "display" or place % 4 == 3
        even = start + (end - start) * (2 * place + 1) // (2 * actions + 8)
        share = {"sms": 300, "notification": 250, "display": 120}.get(channel, 700)
        mailings.append(
            Mailing(
                place,
                name,
                channel,
                campaign_ids[place % campaigns],
                None if is_triggered else _working_hour(even, start, end, seed, place),
                share // 2 if is_triggered else share + _pick(200, seed, "share", place),
                _uuid(_digest(seed, "version", place)),
            )
        )
    return mailings


def _working_hour(moment: int, start: int, end: int, seed: int, place: int) -> int:
    day = moment // DAY + _pick(4, seed, "day", place)
    weekday = (day + 3) % 7  # 0 is Monday; the epoch began on a Thursday.
    if weekday > 4:
        day -= weekday - 1 - place % 3
    hour = SEND_HOURS[_pick(len(SEND_HOURS), seed, "hour", place)]
    found = day * DAY + hour * HOUR + 15 * MINUTE * _pick(4, seed, "quarter", place)
    return found if start <= found < end else moment


def _sql(template: str) -> str:
    """SQL of a text with expressions in angle brackets; a name stands for its column."""
    parts = re.split(r"<([^<>]+)>", template)
    return f"concat({', '.join(_part(place, part) for place, part in enumerate(parts) if part)})"


def _part(place: int, part: str) -> str:
    return part if place % 2 else literal(part)


def _list(values: Iterable[str]) -> str:
    return f"[{', '.join(map(literal, values))}]"


def _at(values: Sequence[str], place: str) -> str:
    """SQL of one of some texts, by a number of any size."""
    return f"({_list(values)})[1 + ({place}) % {len(values)}]"


def _event(detail: str, **values: str) -> str:
    """SQL of an event's payload.

    Args:
        detail: Template of the inside of ``source.detail``.
        values: SQL for names in the envelope, where it is not the column of that name.
    """
    template = ENVELOPE.replace("<detail>", detail)
    for name, expression in values.items():
        template = template.replace(f"<{name}>", f"<{expression}>")
    return _sql(template)


def _row(kind: str, payload: str, **values: str) -> str:
    """SELECT list of an event in the columns of an account."""
    given = {
        "event_id": "event_id",
        "timestamp": "happened_at",
        "visible_at": "happened_at",
        "activation_timestamp": "activated_at",
        "type": literal(kind),
        "channel": "channel",
        "action_id": "CASE WHEN channel IN ('email', 'sms') THEN source_id END",
        "campaign_id": "campaign_id",
        "contact_id": "contact_id",
        "contact_unicity": "unicity",
        "contact_hash": "hash",
        "notification_id": "CASE WHEN channel = 'notification' THEN source_id END",
        "display_content_id": "CASE WHEN channel = 'display' THEN source_id END",
        "payload": f"encode({payload})",
    } | values
    return ", ".join(
        f'({given.get(name, "NULL")})::{column_type} AS "{name}"' for name, column_type in COLUMNS
    )


def _define_macros(cursor: duckdb.DuckDBPyConnection, seed: int) -> None:
    """Chance, from the seed and a name; ids from digests."""
    number = f"md5_number_lower(concat_ws(':', {seed}, salt, key))"
    digits = ", ".join(
        f"substr('{BASE_36}', 1 + (number // {36**place} % 36)::INTEGER, 1)"
        for place in reversed(range(8))
    )
    for definition in (
        f"unit(salt, key) AS ({number} // 2048) / 9007199254740992.0",
        f"pick(salt, key, choices) AS ({number} % choices)::BIGINT",
        f"digest(salt, key) AS md5(concat_ws(':', {seed}, salt, key))",
        "as_uuid(hex) AS concat(hex[1:8], '-', hex[9:12], '-4', hex[14:16], '-a', hex[18:20], '-',"
        " hex[21:32])",
        f"base_36(number) AS concat({digits})",
        # A delay whose half is below the scale, with a long tail; at most 60 days.
        "delay(salt, key, scale) AS least(scale * unit(salt, key) / (1 - unit(salt, key)),"
        f" {60 * DAY})::BIGINT",
        # People sleep: most of what would happen between 0 and 6 happens 7 hours later.
        f"by_day(moment, salt, key) AS moment + CASE WHEN (moment // {HOUR}) % 24 < 6"
        f" AND unit(salt, key) < 0.85 THEN {7 * HOUR} ELSE 0 END",
    ):
        cursor.execute(f"CREATE TEMP MACRO {definition}")


def _make_contacts(cursor: duckdb.DuckDBPyConnection, contacts: int) -> None:
    agents = [str(place) for place, agent in enumerate(AGENTS) for _ in range(agent.weight)]
    own_agent = _at(agents, "pick('agent', contact, 1000003)")
    unicity = _sql(
        f"<{_at(FIRST_NAMES, 'contact * 5')}>.<{_at(LAST_NAMES, 'contact * 3')}><contact>"
        f"@<{_at(DOMAINS, 'contact')}>"
    )
    cursor.execute(
        f"CREATE TEMP TABLE contacts AS SELECT *, md5(unicity) AS hash FROM (SELECT contact,"
        f" base_36(45540000 + contact * 7) AS contact_id, {unicity} AS unicity,"
        " concat('+336399', lpad((80000 + contact % 20000)::VARCHAR, 5, '0')) AS phone,"
        f" {own_agent}::BIGINT AS agent,"
        " concat('10.', contact // 65536 % 256, '.', contact // 256 % 256, '.', contact % 256)"
        " AS ip, unit('keen', contact) AS keen,"
        " unit('dead', contact) < 0.012 AS is_dead,"
        " unit('apple', contact) < 0.2 AS is_apple,"
        " unit('scanned', contact) AS scanned"
        f" FROM range({contacts}) AS numbers(contact))"
    )


def _make_sends(
    cursor: duckdb.DuckDBPyConnection, mailings: list[Mailing], start: int, end: int
) -> None:
    """One row per message, with its stamp and the activation block that what follows repeats."""
    values = ", ".join(
        f"({m.place}, {literal(m.id)}, {literal(m.channel)}, {literal(m.campaign)},"
        f" {'NULL' if m.sent_at is None else m.sent_at}::BIGINT, {m.share}, {literal(m.version)})"
        for m in mailings
    )
    days = max(1, (end - start) // DAY)
    hour = _at(HOURS.split(), "pick('hour', send, 9973)")
    # Triggered messages: any day, fewer at weekends, by the hours of the day.
    triggered = (
        f"{start} + pick('day', send, {days}) * {DAY} + ({hour}"
        f"::BIGINT * {HOUR} + pick('moment', send, {HOUR}) - {start % DAY} + {DAY}) % {DAY}"
    )
    cursor.execute(
        "CREATE TEMP TABLE mailed AS SELECT *, concat(place, ':', contact) AS send"
        f" FROM (VALUES {values}) AS mailings(place, source_id, channel, campaign_id, sent_at,"
        " share, version), contacts WHERE pick('share', concat(place, ':', contact), 1000) < share"
    )
    nested = _sql(f'{{"type":"contact","value":{FOOTPRINT}}}')
    receiver = f"CASE channel WHEN 'notification' THEN {nested} ELSE {_sql(FOOTPRINT)} END"
    block = _sql(
        '"activation":{"id":<shown_id>,<shown_version>"kind":"<kind>","receiver":<receiver>,'
        f'"stamp":{STAMP}<shown_recipient>}}'
    )
    # A mass mailing goes out in batches of a thousand contacts that share their timestamps.
    cursor.execute(
        f"""CREATE TEMP TABLE sends AS
        SELECT *, {block} AS activation FROM (
            SELECT *, stamp_time + 40 + pick('executed', batch, 90) AS executed_at,
                stamp_time // 1000 * 1000 + 1000 * (4 + pick('activated', batch, 4)) AS decided_at,
                as_uuid(stamp) AS stamp_id, as_uuid(reverse(stamp)) AS thread_id,
                CASE WHEN luck < 0.02 THEN 'redlisted' WHEN luck < 0.03 THEN 'policy'
                    ELSE 'activated' END AS outcome,
                {receiver} AS receiver,
                CASE WHEN channel = 'notification' THEN source_id
                    ELSE concat('"', source_id, '"') END AS shown_id,
                CASE WHEN channel = 'notification' THEN concat('"version":"', version, '",')
                    ELSE '' END AS shown_version,
                CASE WHEN channel = 'notification' THEN 'application' ELSE 'message' END AS kind,
                CASE channel WHEN 'email' THEN concat(',"recipient":"', unicity, '"')
                    WHEN 'sms' THEN concat(',"recipient":"', phone, '"')
                    ELSE '' END AS shown_recipient
            FROM (
                SELECT *, unit('outcome', send) AS luck, digest('stamp', send) AS stamp,
                    CASE WHEN sent_at IS NULL THEN send
                        ELSE concat(place, '/', contact // 1000) END AS batch,
                    CASE WHEN sent_at IS NOT NULL THEN
                        sent_at + 1000 * (contact // 1000) + pick('stamped', place, 1000)
                    WHEN (({triggered}) // {DAY} + 3) % 7 > 4 AND unit('weekend', send) < 0.4 THEN
                        greatest({triggered} - {2 * DAY}, {start})
                    ELSE {triggered} END AS stamp_time
                FROM mailed))
        WHERE stamp_time >= {start} AND stamp_time < {end}"""
    )
    data = (
        '"data":{"first_name":"Zoé","order":<pick(\'order\', send, 90000)>,"amount":'
        "<pick('amount', send, 9000)>.5,\"vip\":true},",
        '"data":{"segment":"<pick(\'segment\', send, 12)>","coupon":null,"score":'
        "<pick('score', send, 100)>},",
        '"data":{"cart":{"id":"C<pick(\'cart\', send, 99999)>","lines":[{"sku":"A-1",'
        '"quantity":2}]},"language":"fr"},',
        '"data":{"foo":1,"bar":2},',
        "",
    )
    any_data = (
        "CASE place % 5 "
        + " ".join(
            f"WHEN {place} THEN {_sql(template) if template else literal('')}"
            for place, template in enumerate(data)
        )
        + " END"
    )
    execution = (
        '"execution":{"id":<shown_id>,<shown_version>"kind":"<kind>","recipient":<receiver>,<data>'
        f'"stamp":{STAMP}}}'
    )
    executed = _row("execution", _event(execution, type="'execution'"), activation_timestamp="NULL")
    selected = f"SELECT *, {any_data} AS data FROM sends WHERE channel <> 'display'"
    cursor.execute(
        f"""CREATE TEMP TABLE staged AS SELECT {executed}
            FROM (SELECT *, as_uuid(digest('execution', send)) AS event_id, executed_at
            AS happened_at FROM ({selected}))"""
    )
    policy = (
        '"cancellation":{"type":"user defined policy","value":{"type":"render",'
        '"message":"the order <pick(\'order\', send, 90000)> has no lines"}}'
    )
    for outcome, subtype, reason in (
        ("redlisted", "redlisted target", '"cancellation":{"type":"redlisted target"}'),
        ("policy", "user defined policy", policy),
    ):
        payload = _event(f"{execution},{reason}", type="'cancellation'")
        cancelled = _row(
            "cancellation", payload, subtype=literal(subtype), activation_timestamp="NULL"
        )
        cursor.execute(
            f"""INSERT INTO staged SELECT {cancelled}
            FROM (SELECT *, as_uuid(digest('cancellation', send)) AS event_id, decided_at
                AS happened_at FROM ({selected}) WHERE outcome = '{outcome}')"""
        )
    cursor.execute(
        """CREATE TEMP TABLE sent AS SELECT *, decided_at AS activated_at,
            channel = 'email' AND (is_dead OR unit('bounced', send) < 0.018)
                OR channel = 'notification' AND unit('bounced', send) < 0.02 AS is_bounced,
            unit('opened', send) < 0.12 + 0.6 * keen * keen AS is_opened,
            by_day(decided_at + 20000 + delay('opening', send, 5400000), 'night', send)
                AS opened_at
        FROM sends WHERE outcome = 'activated' OR channel = 'display'"""
    )
    cursor.execute(
        f"""INSERT INTO staged
        SELECT {_row("activation", _event("<activation>", type="'activation'"))}
        FROM (SELECT *, as_uuid(digest('activation', send)) AS event_id, activated_at AS happened_at
            FROM sent)"""
    )


def _make_reactions(cursor: duckdb.DuckDBPyConnection) -> None:
    """Bounces, replies, complaints, impressions and opt-outs."""
    numbers = {
        name: _at([bounce[place] for bounce in BOUNCES], "reason")
        for place, name in enumerate(("verdict", "code", "diagnostic", "subject"))
    }
    shown = ", ".join(f"{expression} AS {name}" for name, expression in numbers.items())
    bounce = (
        '<bounced_activation>,"bounce":{"status":{"type":"<status>","code":{"enhanced":"<code>"},'
        '"diagnostic":"<diagnostic>","mta":"<mta>"},'
        '"analysis":{"verdict":"<verdict>","subject":<subject>}}'
    )
    # The documented bounces name their contact by its id only.
    by_id = (
        "replace(activation, concat('\"receiver\":', receiver),"
        ' concat(\'"receiver":{"type":"id","value":"\', contact_id, \'"}\'))'
    )
    cursor.execute(
        f"""INSERT INTO staged
        SELECT {_row("bounce", _event(bounce, type="'bounce'"), subtype="verdict")}
        FROM (SELECT *, {shown},
                CASE WHEN channel = 'email' THEN {by_id} ELSE activation END
                    AS bounced_activation,
                CASE WHEN is_async THEN 'async' ELSE 'sync' END AS status,
                CASE WHEN is_async THEN concat('mx', contact % 3 + 1, '.example.net') ELSE '' END
                    AS mta,
                activated_at + CASE WHEN is_async THEN delay('bounce', send, {90 * MINUTE}) // 1000
                    * 1000 ELSE 1000 * pick('bounce', send, 11) END AS happened_at
            FROM (SELECT *, as_uuid(digest('bounce', send)) AS event_id,
                    unit('async', send) < 0.3 AS is_async,
                    CASE WHEN is_dead THEN {SOFT_BOUNCES} + pick('reason', send, 2)
                        ELSE pick('reason', send, {SOFT_BOUNCES}) END AS reason
                FROM sent WHERE is_bounced))"""
    )
    for kind, condition, share, scale in (
        ("reply", "channel = 'sms'", 0.012, 30 * MINUTE),
        ("complaint", "channel = 'email' AND is_opened", 0.001, 6 * HOUR),
        ("impression", "channel = 'notification'", 0.6, HOUR),
        ("optout", "channel = 'notification'", 0.006, 8 * HOUR),
    ):
        cursor.execute(
            f"""INSERT INTO staged
            SELECT {_row(kind, _event("<activation>", type=f"'{kind}'"))}
            FROM (SELECT *, as_uuid(digest('{kind}', send)) AS event_id,
                    by_day(activated_at + 5000 + delay('{kind} at', send, {scale}),
                        '{kind} night', send) AS happened_at
                FROM sent
                WHERE NOT is_bounced AND {condition} AND unit('{kind}', send) < {share})"""
        )


def _make_hits(cursor: duckdb.DuckDBPyConnection) -> None:
    """Opens, clicks, mirror pages, forms and unsubscriptions, by people and by robots."""
    people = len(AGENTS)
    robots = {name: people + place for place, name in enumerate(ROBOT_AGENTS)}
    agents = [agent.json for agent in (*AGENTS, *ROBOT_AGENTS.values())]
    reader = "FROM sent WHERE channel = 'email' AND NOT is_bounced"
    own_agent = (
        f"CASE WHEN unit('other agent', send) < 0.15 THEN pick('agent', send, {people})"
        " ELSE agent END"
    )
    clicked = "is_opened AND unit('clicked', send) < 0.2"

    def made(kind: str, place: str, at: str, source: str, link: str = "0") -> str:
        return (
            f"SELECT send, '{kind}' AS kind, {place} AS place, {link} AS link, {at} AS happened_at,"
            f" {own_agent} AS agent, NULL AS robot {source}"
        )

    def robot(name: str, kind: str, at: str, condition: str, link: str = "0") -> str:
        return (
            f"SELECT send, '{kind}', {100 + robots[name] * 10} + {link}, {link}, {at},"
            f" {robots[name]}, '{name}' {reader} AND {condition}"
        )

    again = "concat(send, ':', again)"
    burst_at = "activated_at + 3000 + pick('burst', send, 20000)"
    look_at = "activated_at + 60000 + pick('look', send, 600000)"
    hits = [
        made("open", "0", "opened_at", f"{reader} AND is_opened"),
        made(
            "open",
            "again",
            f"opened_at + by_day(delay('again', {again}, {15 * HOUR}) + {MINUTE}, 'late', send)",
            "FROM sent, range(1, 6) AS more(again) WHERE channel = 'email' AND NOT is_bounced AND"
            " is_opened AND again <= floor(0.4 / (0.02 + unit('opens', send)))",
        ),
        made(
            "redirection",
            "again",
            f"opened_at + 4000 + again * 9000 + pick('click', {again}, 40000)",
            f"FROM sent, range(3) AS more(again) WHERE channel = 'email' AND NOT is_bounced AND"
            f" {clicked} AND again <= floor(0.3 / (0.05 + unit('clicks', send)))",
            f"least(pick('link', {again}, 5), pick('other link', {again}, 5))",
        ),
        made(
            "redirection",
            "0",
            f"activated_at + 9000 + delay('tapped', send, {15 * MINUTE})",
            "FROM sent WHERE channel = 'sms' AND unit('tapped at all', send) < 0.06",
        ),
        made(
            "open",
            "0",
            f"activated_at + 9000 + delay('tapped', send, {40 * MINUTE})",
            "FROM sent WHERE channel = 'notification' AND NOT is_bounced"
            " AND unit('tapped at all', send) < 0.12",
        ),
        *(
            made(
                kind,
                "0",
                f"opened_at + {after} + pick('{kind} at', send, 60000)",
                f"{reader} AND {condition} AND unit('{kind}', send) < {share}",
            )
            for kind, condition, share, after in (
                ("mirror", "is_opened", 0.02, 3 * SECOND),
                ("form", clicked, 0.1, 90 * SECOND),
                ("unsubscribe", "is_opened", 0.01, 20 * SECOND),
            )
        ),
        robot(
            "mpp",
            "open",
            f"activated_at + 30000 + delay('mpp', send, {HOUR})",
            "is_apple AND unit('mpp at all', send) < 0.9",
        ),
        robot("genericrobot", "open", burst_at, "scanned < 0.03"),
        *(
            robot(
                "genericrobot",
                "redirection",
                f"{burst_at} + {90 * (link + 1)}",
                "scanned < 0.03",
                str(link),
            )
            for link in range(len(LINKS))
        ),
        robot("gsr", "open", look_at, "scanned > 0.97"),
        *(
            robot(
                "gsr", "redirection", f"{look_at} + {140 * (link + 1)}", "scanned > 0.97", str(link)
            )
            for link in range(3)
        ),
    ]
    cursor.execute(f"CREATE TEMP TABLE made AS {' UNION ALL '.join(hits)}")
    labels, destinations = zip(*LINKS, strict=True)
    links = {
        "open": '{"type":"open","source":"html"}',
        "redirection": f'{{"type":"redirection","label":"<{_at(labels, "link")}>","source":"html",'
        f'"destination":"<{_at(destinations, "link")}>"}}',
        "mirror": '{"type":"mirror","label":"mirror page","source":"html"}',
        "form": '{"type":"form","label":"start","source":"html","value":"0000F1"}',
        "unsubscribe": '{"type":"unsubscribe","label":"unsubscribe","source":"html"}',
    }
    shown_link = " ".join(f"WHEN '{kind}' THEN {_sql(link)}" for kind, link in links.items())
    shown_ip = (
        "CASE WHEN robot IS NOT NULL THEN"
        ' concat(\'{"type":"v4","value":"192.0.2.\', contact % 250 + 1, \'"}\')'
        ' WHEN contact % 16 = 5 THEN concat(\'{"type":"v6","value":"2001:db8::\','
        " printf('%x', contact % 65536), '\"}')"
        ' ELSE concat(\'{"type":"v4","value":"\', ip, \'"}\') END'
    )
    payload = _event(
        '<activation>,"link":<shown_link>,"client":{"type":"web","ip":<shown_ip>,'
        f'"ua":<{_at(agents, "agent")}>}}',
        type="'hit'",
    )
    cursor.execute(
        f"""INSERT INTO staged
        SELECT {_row("hit", payload, subtype="kind", robot="robot")}
        FROM (SELECT sent.* EXCLUDE (kind, agent), made.* EXCLUDE (send),
                as_uuid(digest('hit', concat_ws(':', send, made.kind, made.place))) AS event_id,
                CASE made.kind {shown_link} END AS shown_link, {shown_ip} AS shown_ip
            FROM made JOIN sent USING (send))"""
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
    action = _at(action_ids, "number")
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
        f'"label":"<{_at(labels, "number")}>","source":"html",'
        f'"destination":"<{_at(destinations, "number")}>"}},"client":{{"type":"web",'
        '"ip":{"type":"v4","value":"10.<number // 65536 % 256>.<number // 256 % 256>.'
        '<number % 256>"},'
        f'"ua":<{_at([agent.json for agent in AGENTS], "number")}>}}}}}}}}'
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
        "payload": _sql(template),
    }
    listed = [f'({given.get(name, "NULL::VARCHAR")}) AS "{name}"' for name, _ in COLUMNS]
    return ", ".join(["number AS serial", "number AS position", *listed])
