"""The contacts of a made-up account, and what it sends them: executions to activations."""

from __future__ import annotations

from typing import Literal

import duckdb

from ..clock import DAY, HOUR
from ..query import literal
from .agents import AGENTS
from .mailings import Level, Mailing
from .templates import FOOTPRINT, STAMP, event_row, one_of, payload_of, sql

TExecutionStamps = Literal["shared", "own"]

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
HOURS = "0 1 6 7 7 8 8 8 9 9 9 10 10 10 11 11 12 12 13 14 14 15 16 16 17 17 18 18 19 20 21 22"
"""Hours of the day (UTC) at which triggered messages are sent, each as often as it is likely."""


def make_contacts(cursor: duckdb.DuckDBPyConnection, contacts: int) -> None:
    """One row per contact."""
    agents = [str(index) for index, agent in enumerate(AGENTS) for _ in range(agent.weight)]
    own_agent = one_of(agents, "pick('agent', contact, 1000003)")
    unicity = sql(
        f"<{one_of(FIRST_NAMES, 'contact * 5')}>.<{one_of(LAST_NAMES, 'contact * 3')}><contact>"
        f"@<{one_of(DOMAINS, 'contact')}>"
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


def make_sends(
    cursor: duckdb.DuckDBPyConnection,
    mailings: list[Mailing],
    start: int,
    end: int,
    execution_stamps: TExecutionStamps = "shared",
    level: Level | None = None,
) -> None:
    """One row per message, with its stamp and the activation block that what follows repeats."""
    values = ", ".join(
        f"({m.number}, {literal(m.id)}, {literal(m.channel)}, {literal(m.campaign)},"
        f" {'NULL' if m.sent_at is None else m.sent_at}::BIGINT, {m.share}, {literal(m.version)})"
        for m in mailings
    )
    days = max(1, (end - start) // DAY)
    hour = one_of(HOURS.split(), "pick('hour', send, 9973)")
    # Triggered messages: any day, fewer at weekends, by the hours of the day.
    triggered = (
        f"{start} + pick('day', send, {days}) * {DAY} + ({hour}"
        f"::BIGINT * {HOUR} + pick('moment', send, {HOUR}) - {start % DAY} + {DAY}) % {DAY}"
    )
    cursor.execute(
        "CREATE TEMP TABLE mailed AS SELECT *, concat(number, ':', contact) AS send"
        f" FROM (VALUES {values}) AS mailings(number, source_id, channel, campaign_id, sent_at,"
        " share, version), contacts WHERE pick('share', concat(number, ':', contact), 1000) < share"
    )
    nested = sql(f'{{"type":"contact","value":{FOOTPRINT}}}')
    receiver = f"CASE channel WHEN 'notification' THEN {nested} ELSE {sql(FOOTPRINT)} END"
    block = sql(
        '"activation":{"id":<shown_id>,<shown_version>"kind":"<kind>","receiver":<receiver>,'
        f'"stamp":{STAMP}<shown_recipient>}}'
    )
    kept = (level or Level()).condition(start, end)
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
                        ELSE concat(number, '/', contact // 1000) END AS batch,
                    CASE WHEN sent_at IS NOT NULL THEN
                        sent_at + 1000 * (contact // 1000) + pick('stamped', number, 1000)
                    WHEN (({triggered}) // {DAY} + 3) % 7 > 4 AND unit('weekend', send) < 0.4 THEN
                        greatest({triggered} - {2 * DAY}, {start})
                    ELSE {triggered} END AS stamp_time
                FROM mailed))
        WHERE stamp_time >= {start} AND stamp_time < {end} AND {kept}"""
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
        "CASE number % 5 "
        + " ".join(
            f"WHEN {index} THEN {sql(template) if template else literal('')}"
            for index, template in enumerate(data)
        )
        + " END"
    )
    execution = (
        '"execution":{"id":<shown_id>,<shown_version>"kind":"<kind>","recipient":<receiver>,<data>'
        f'"stamp":{STAMP}}}'
    )
    executed = event_row(
        "execution", payload_of(execution, type="'execution'"), activation_timestamp="NULL"
    )
    own_stamp = (
        " REPLACE (as_uuid(digest('execution stamp', send)) AS stamp_id,"
        " as_uuid(digest('execution thread', send)) AS thread_id)"
        if execution_stamps == "own"
        else ""
    )
    selected = f"SELECT *{own_stamp}, {any_data} AS data FROM sends WHERE channel <> 'display'"
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
        payload = payload_of(f"{execution},{reason}", type="'cancellation'")
        cancelled = event_row(
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
        SELECT {event_row("activation", payload_of("<activation>", type="'activation'"))}
        FROM (SELECT *, as_uuid(digest('activation', send)) AS event_id, activated_at AS happened_at
            FROM sent)"""
    )
