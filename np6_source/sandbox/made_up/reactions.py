"""What comes back for what a made-up account sent: bounces, replies, opt-outs, hits."""

from __future__ import annotations

import duckdb

from ..clock import HOUR, MINUTE, SECOND
from .agents import AGENTS, ROBOT_AGENTS
from .templates import LINKS, event_row, one_of, payload_of, sql

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


def make_reactions(cursor: duckdb.DuckDBPyConnection) -> None:
    """Bounces, replies, complaints, impressions and opt-outs."""
    numbers = {
        name: one_of([bounce[index] for bounce in BOUNCES], "reason")
        for index, name in enumerate(("verdict", "code", "diagnostic", "subject"))
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
        SELECT {event_row("bounce", payload_of(bounce, type="'bounce'"), subtype="verdict")}
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
            SELECT {event_row(kind, payload_of("<activation>", type=f"'{kind}'"))}
            FROM (SELECT *, as_uuid(digest('{kind}', send)) AS event_id,
                    by_day(activated_at + 5000 + delay('{kind} at', send, {scale}),
                        '{kind} night', send) AS happened_at
                FROM sent
                WHERE NOT is_bounced AND {condition} AND unit('{kind}', send) < {share})"""
        )


def make_hits(cursor: duckdb.DuckDBPyConnection) -> None:
    """Opens, clicks, mirror pages, forms and unsubscriptions, by people and by robots."""
    people = len(AGENTS)
    robots = {name: people + index for index, name in enumerate(ROBOT_AGENTS)}
    agents = [agent.json for agent in (*AGENTS, *ROBOT_AGENTS.values())]
    reader = "FROM sent WHERE channel = 'email' AND NOT is_bounced"
    own_agent = (
        f"CASE WHEN unit('other agent', send) < 0.15 THEN pick('agent', send, {people})"
        " ELSE agent END"
    )
    clicked = "is_opened AND unit('clicked', send) < 0.2"

    def made(kind: str, number: str, at: str, source: str, link: str = "0") -> str:
        return (
            f"SELECT send, '{kind}' AS kind, {number} AS number, {link} AS link,"
            f" {at} AS happened_at, {own_agent} AS agent, NULL AS robot {source}"
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
        "redirection": f'{{"type":"redirection","label":"<{one_of(labels, "link")}>",'
        '"source":"html",'
        f'"destination":"<{one_of(destinations, "link")}>"}}',
        "mirror": '{"type":"mirror","label":"mirror page","source":"html"}',
        "form": '{"type":"form","label":"start","source":"html","value":"0000F1"}',
        "unsubscribe": '{"type":"unsubscribe","label":"unsubscribe","source":"html"}',
    }
    shown_link = " ".join(f"WHEN '{kind}' THEN {sql(link)}" for kind, link in links.items())
    shown_ip = (
        "CASE WHEN robot IS NOT NULL THEN"
        ' concat(\'{"type":"v4","value":"192.0.2.\', contact % 250 + 1, \'"}\')'
        ' WHEN contact % 16 = 5 THEN concat(\'{"type":"v6","value":"2001:db8::\','
        " printf('%x', contact % 65536), '\"}')"
        ' ELSE concat(\'{"type":"v4","value":"\', ip, \'"}\') END'
    )
    payload = payload_of(
        '<activation>,"link":<shown_link>,"client":{"type":"web","ip":<shown_ip>,'
        f'"ua":<{one_of(agents, "agent")}>}}',
        type="'hit'",
    )
    cursor.execute(
        f"""INSERT INTO staged
        SELECT {event_row("hit", payload, subtype="kind", robot="robot")}
        FROM (SELECT sent.* EXCLUDE (kind, agent), made.* EXCLUDE (send),
                as_uuid(digest('hit', concat_ws(':', send, made.kind, made.number))) AS event_id,
                CASE made.kind {shown_link} END AS shown_link, {shown_ip} AS shown_ip
            FROM made JOIN sent USING (send))"""
    )
