"""Trouble with the API: its clock, its limits, its responses, its headers, its time."""

from __future__ import annotations

import gzip
import json
import time
import zlib
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Any

from tests.adversary.driver import ACTIONS, facts
from tests.adversary.server import FAULTS, Fact
from tests.reliability.kinds import kind
from tests.reliability.trials import BY_ID, DAY, FIRST_DAY, HOUR, Call, Trial
from tests.support import http_answer

TRows = list[dict[str, Any]]


def _response(
    trial: Trial, body: bytes | TRows, status: str = "200 OK", **headers: str | None
) -> bytes:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return http_answer(content, status, {"Date": trial.api.date, **named})


def _for_some_requests(
    trial: Trial, count: int, make: Callable[[TRows], bytes]
) -> Callable[[str, TRows], bytes | None]:
    left = [count]

    def respond(path: str, rows: TRows) -> bytes | None:
        left[0] -= 1
        return make(rows) if left[0] >= 0 else None

    return respond


# --- Clocks ---


def _with_a_clock(trial: Trial, seconds: float | None) -> Call:
    trial.as_of_now()
    if trial.rng.random() < 0.5:
        trial.load()
        trial.publish(3)
    trial.api.clock = seconds
    ended = trial.load()
    trial.publish(trial.rng.randrange(1, 5))
    return ended


@kind(4, "the server's clock an hour to a day ahead", 1, says="clock")
def clock_ahead(trial: Trial) -> Call:
    return _with_a_clock(trial, trial.rng.choice((3_600.0, 86_400.0)))


@kind(4, "the server's clock behind", 1, says="clock")
def clock_behind(trial: Trial) -> Call:
    return _with_a_clock(trial, -trial.rng.choice((120.0, 3_000.0)))


@kind(4, "no `Date` header", 1, says="no usable Date header")
def no_date(trial: Trial) -> Call:
    return _with_a_clock(trial, None)


@kind(4, "two `Date` headers that disagree by a day", 0, 1)
def two_dates(trial: Trial) -> Call:
    trial.as_of_now()
    trial.load()
    trial.publish(3)
    dates = [formatdate(time.time() + seconds, usegmt=True) for seconds in (86_400, 0)]
    trial.rng.shuffle(dates)
    head = "".join(f"Date: {date}\r\n" for date in dates)

    def respond(path: str, rows: TRows) -> bytes:
        body = json.dumps(rows).encode()
        length = f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        return f"HTTP/1.1 200 OK\r\n{head}{length}".encode() + body

    trial.api.respond = respond
    ended = trial.load()
    trial.publish(2)
    return ended


@kind(4, "this machine's clock steps back an hour during a load", 0, 1)
def clock_steps_back(trial: Trial) -> Call:
    trial.as_of_now()
    trial.load()
    trial.publish(3)
    ended = trial.load(trouble={"clock_steps": {"after": trial.rng.randrange(1, 40), "by": -3600}})
    trial.publish(2)
    return ended


@kind(4, "a time zone of its own for every call", 0)
def time_zones(trial: Trial) -> Call:
    zones = ("Pacific/Kiritimati", "America/Los_Angeles", "Asia/Kathmandu", "Europe/Paris", "UTC")
    ended = trial.load(TZ=trial.rng.choice(zones))
    for _ in range(2):
        trial.next_day()
        ended = trial.load(TZ=trial.rng.choice(zones))
    return ended


@kind(7, "an event that changes after a load for which the server's clock was ahead", 1)
def changed_after_a_clock_was_ahead(trial: Trial) -> Call:
    """Its row was requested in the future, by the wrong clock, and must not stay for that."""
    trial.as_of_now()
    trial.environment["SOURCES__NP6__OVERLAP"] = "7200"
    trial.api.clock = 3_600.0
    ended = trial.load()
    trial.api.well()
    recent = [n for n, fact in enumerate(trial.account) if fact.timestamp > trial.start + 3 * HOUR]
    changed = trial.rng.choice(recent)
    old = trial.account[changed]
    trial.account[changed] = Fact(old.id, old.timestamp, "000NEW", old.kind)
    time.sleep(1.1)
    trial.load()
    found = trial.database.query(f"SELECT action_id FROM np6.events WHERE id = '{old.id}'")
    if found != [("000NEW",)]:
        trial.lost.add(old.id)
    return ended


# --- Responses that are not whole ---


def _crowd(trial: Trial) -> None:
    """More events, so that windows are beyond a server's limit of rows."""
    trial.account += facts(trial.rng, 400, FIRST_DAY, FIRST_DAY + 2 * DAY, "crowd")


@kind(5, "rows cut at 20 to 100 without a word", 0)
def cap(trial: Trial) -> Call:
    _crowd(trial)
    trial.api.cap = trial.rng.choice((20, 50, 64, 100))
    return trial.load()


@kind(5, "rows cut, and `Link`, `X-Total-Count`, `Content-Range` or 206 say so", 0)
def cap_that_is_said(trial: Trial) -> Call:
    _crowd(trial)
    most = trial.rng.choice((37, 50, 83))
    way = trial.rng.choice(("link", "count", "range", "206"))

    def respond(path: str, rows: TRows) -> bytes | None:
        if len(rows) <= most:
            return None
        headers = {
            "link": {"Link": '</actions/events?page=2>; rel="next"'},
            "count": {"X_Total_Count": str(len(rows))},
            "range": {"Content_Range": f"items 0-{most - 1}/{len(rows)}"},
            "206": {},
        }[way]
        status = "206 Partial Content" if way == "206" else "200 OK"
        return _response(trial, rows[:most], status, **headers)

    trial.api.respond = respond
    return trial.load()


@kind(5, "`200 []` in an outage, where the overlap had events", 1, says="FewerEvents")
def outage(trial: Trial) -> Call:
    trial.environment["SOURCES__NP6__OVERLAP"] = "86400"
    trial.load()
    trial.next_day()
    trial.api.outage = True
    return trial.load()


@kind(5, "fewer events at the second reading than at the first", 1, says="FewerEvents")
def fewer_events(trial: Trial) -> Call:
    trial.environment["SOURCES__NP6__OVERLAP"] = "86400"
    trial.load()
    trial.next_day()
    last = [
        fact for fact in trial.account if FIRST_DAY + DAY < fact.timestamp < FIRST_DAY + 2 * DAY
    ]
    hidden = {fact.id for fact in trial.rng.sample(last, trial.rng.randrange(1, 6))}
    trial.api.respond = lambda path, rows: _response(
        trial, [row for row in rows if row["id"] not in hidden]
    )
    return trial.load()


@kind(5, "5xx, 429, 401, HTML, objects, bodies cut or dropped", 0, 1, 75)
def faults(trial: Trial) -> Call:
    count = trial.rng.randrange(2, 10)
    trial.api.faults += [trial.rng.choice((*FAULTS, "")) for _ in range(count)]
    return trial.load()


@kind(5, "gzip cut short, of two members, or another encoding than was asked for", 0, 1)
def encodings(trial: Trial) -> Call:
    way = trial.rng.choice(("cut", "members", "two arrays", "deflate", "br"))

    def respond(path: str, rows: TRows) -> bytes | None:
        if len(rows) < 2:
            return None
        body, half = json.dumps(rows).encode(), len(rows) // 2
        packed, encoding = gzip.compress(body), "gzip"
        if way == "cut":
            packed = packed[: -trial.rng.randrange(1, 12)]
        elif way == "members":
            middle = len(body) // 2
            packed = gzip.compress(body[:middle]) + gzip.compress(body[middle:])
        elif way == "two arrays":
            packed = b"".join(
                gzip.compress(json.dumps(part).encode()) for part in (rows[:half], rows[half:])
            )
        else:
            packed, encoding = zlib.compress(body), way
        return _response(trial, packed, Content_Encoding=encoding)

    trial.api.respond = respond
    return trial.load()


# --- What arrives ---


@kind(6, "events that lie outside the window they come with", 0, says="lie outside the window")
def outsiders(trial: Trial) -> Call:
    moments = [FIRST_DAY - trial.rng.randrange(DAY, 90 * DAY) for _ in range(3)]
    strangers = [
        Fact(f"outside-{n}", moment, ACTIONS[0], "activation") for n, moment in enumerate(moments)
    ]
    trial.start = FIRST_DAY
    trial.api.respond = lambda path, rows: _response(
        trial, [*rows, *(one.body("028") for one in strangers)] if rows else []
    )
    ended = trial.load()
    missing = {one.id for one in strangers} - set(trial.ids())
    trial.lost |= missing
    trial.database.execute("DELETE FROM np6.events WHERE id LIKE 'outside-%'")
    trial.forget()
    return ended


@kind(6, "a body in another charset, declared", 0)
def charset(trial: Trial) -> Call:
    address = "zoé@exämple.example"

    def respond(path: str, rows: TRows) -> bytes:
        for row in rows:
            row["source"]["detail"]["activation"]["recipient"] = address
        body = json.dumps(rows, ensure_ascii=False).encode("latin-1")
        return _response(trial, body, Content_Type="application/json; charset=ISO-8859-1")

    trial.api.respond = respond
    ended = trial.load()
    wrong = trial.database.query(
        f"SELECT id FROM np6.events WHERE recipient IS DISTINCT FROM '{address}'"
    )
    trial.lost |= {row[0] for row in wrong}
    return ended


@kind(6, "a byte that is not UTF-8, NUL, a lone surrogate in ids", 0, says="no Unicode text")
def no_text(trial: Trial) -> Call:
    """Ids that differ in nothing else must stay two."""
    pairs = (rb"\u0000", rb"\ud800", b"\xe9", b"\xe8")
    chosen = trial.rng.sample(pairs, 2)

    def respond(path: str, rows: TRows) -> bytes | None:
        if len(rows) < 2:
            return None
        rows[0]["id"], rows[1]["id"] = "xFIRSTy", "xSECONDy"
        body = json.dumps(rows).encode()
        for name, content in zip((b"FIRST", b"SECOND"), chosen, strict=True):
            body = body.replace(name, content)
        return _response(trial, body)

    trial.api.respond = respond
    ended = trial.script()
    windows = trial.database.query("SELECT count(DISTINCT window_start) FROM np6.load_windows")
    odd = trial.database.query("SELECT count(DISTINCT id) FROM np6.events WHERE id LIKE 'x%y'")
    rows = trial.database.query("SELECT count(*) FROM np6.events")
    if odd != [(2,)] or windows == [(0,)] or rows[0][0] < 2:
        trial.lost.add("one of two ids")
    trial.database.remove()
    trial.forget()
    return ended


@kind(6, "`NaN` and `Infinity` in a field without a column", 0, says="unmapped")
def no_number(trial: Trial) -> Call:
    value = trial.rng.choice((b"NaN", b"Infinity", b"-Infinity"))

    def respond(path: str, rows: TRows) -> bytes:
        for row in rows:
            row["score"] = "VALUE"
        return _response(trial, json.dumps(rows).encode().replace(b'"VALUE"', value))

    trial.api.respond = respond
    ended = trial.load()
    for found, text in trial.database.query("SELECT id, unmapped FROM np6.events"):
        try:
            kept = json.loads(text or "", parse_constant=_refused)["score"] == value.decode()
        except ValueError:
            kept = False
        if not kept:
            trial.lost.add(found)
    return ended


def _refused(constant: str) -> None:
    raise ValueError(constant)


def _spoilt(trial: Trial) -> None:
    way = trial.rng.choice(("no id", "no timestamp", "a timestamp that is none"))

    def respond(path: str, rows: TRows) -> bytes | None:
        if not rows:
            return None
        bad = dict(rows[0])
        if way == "no id":
            del bad["id"]
        elif way == "no timestamp":
            del bad["timestamp"]
        else:
            bad["timestamp"] = "soon"
        return _response(trial, [*rows, bad])

    trial.api.respond = respond


@kind(6, "an event without id or `timestamp`", 1, says="BadAnswer")
def bad_event(trial: Trial) -> Call:
    _spoilt(trial)
    return trial.load()


@kind(
    6, 'an event without id or usable `timestamp`, `bad_events="keep"`', 0, says="rejected_events"
)
def bad_event_kept(trial: Trial) -> Call:
    _spoilt(trial)
    trial.environment["SOURCES__NP6__BAD_EVENTS"] = "keep"
    ended = trial.load()
    ((kept,),) = trial.database.query("SELECT count(*) FROM np6.rejected_events")
    if not kept:
        trial.lost.add("the rejected event")
    return ended


@kind(6, "timestamps in seconds", 1, says="none of the")
def seconds(trial: Trial) -> Call:
    def respond(path: str, rows: TRows) -> bytes:
        for row in rows:
            row["timestamp"] //= 1000
        return _response(trial, rows)

    trial.api.respond = respond
    return trial.load()


# --- One window's trouble ---

HOSTILE = (
    b"HTTP/1.1 302 Found\r\nLocation: /caf\xe9\r\nContent-Length: 0\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\nContent-Length: 0\r\n",
    b"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n",
    b"HTTP/1.1 429 Too Many\r\nRetry-After: 1e18\r\nContent-Length: 0\r\n",
    b"HTTP/1.1 429 Too Many\r\nRetry-After: nan\r\nContent-Length: 0\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=klingon\r\nContent-Length: 3\r\n",
    b"HTTP/1.1 999\r\nContent-Length: 0\r\n",
)


def _for_one_id(trial: Trial, make: Callable[[], bytes]) -> Call:
    """One id of three is in trouble; the others' events are there whatever the status."""
    trial.resources, trial.options = (BY_ID,), ("--action-ids", *ACTIONS)
    trial.account[:] = [fact for fact in trial.account if fact.kind == "activation"]
    bad = trial.rng.choice(ACTIONS)
    trial.api.respond = lambda path, rows: make() if f"/{bad}/" in path else None
    ended = trial.load()
    trial.lost |= set(trial.lacking(lambda fact: fact.action != bad))
    return ended


@kind(9, "a hostile redirect, `Retry-After`, encoding or status for one id of three", 1, 75)
def hostile_headers(trial: Trial) -> Call:
    head = trial.rng.choice(HOSTILE)
    date = f"Date: {trial.api.date}\r\nConnection: close\r\n\r\n".encode()
    body = b"\x1f\x8b\x08" if b"200" in head else b""
    return _for_one_id(trial, lambda: head + date + body)


@kind(12, "one id that answers 500 for ever", 1, says="WindowTooLarge")
def an_id_that_fails(trial: Trial) -> Call:
    return _for_one_id(
        trial, lambda: _response(trial, b"", trial.rng.choice(("500 Oops", "502 Bad Gateway")))
    )


@kind(12, "one id that answers 500 for ever, `pipeline.run`", 1, says="id 000A0")
def an_id_that_fails_in_a_run(trial: Trial) -> Call:
    trial.resources, trial.options = (BY_ID,), ("--action-ids", *ACTIONS)
    trial.account[:] = [fact for fact in trial.account if fact.kind == "activation"]
    bad = trial.rng.choice(ACTIONS)
    trial.api.respond = lambda path, rows: (
        _response(trial, b"", "500 Oops") if f"/{bad}/" in path else None
    )
    return trial.run(source={"action_ids": list(ACTIONS)})


@kind(12, "an id that NP6 does not know", 1, says="NP6 does not know this id")
def an_unknown_id(trial: Trial) -> Call:
    trial.resources, trial.options = (BY_ID,), ("--action-ids", *ACTIONS, "000GONE")
    trial.account[:] = [fact for fact in trial.account if fact.kind == "activation"]
    trial.api.respond = lambda path, rows: (
        _response(trial, b"", "404 Not Found") if "/000GONE/" in path else None
    )
    ended = trial.load()
    trial.options = ("--action-ids", *ACTIONS)
    return ended


# --- Waits ---


@kind(10, "`X-RateLimit-Remaining: 0` for an hour on a 200", 75, says="2024-03-")
def limit_used_up(trial: Trial) -> Call:
    trial.environment["SOURCES__NP6__CONCURRENCY"] = "1"
    trial.api.respond = lambda path, rows: _response(
        trial, rows, X_RateLimit_Remaining="0", X_RateLimit_Reset="3600"
    )
    return trial.load()


@kind(10, "a byte of the body each 0.2 seconds", 0, 1, is_slow=True)
def slow_body(trial: Trial) -> Call:
    trial.environment["SOURCES__NP6__REQUEST_TIMEOUT"] = "1"
    left = [3]

    def respond(path: str, rows: TRows) -> Iterator[bytes] | None:
        left[0] -= 1
        return _dripping(_response(trial, rows)) if left[0] >= 0 else None

    trial.api.respond = respond
    return trial.load()


def _dripping(response: bytes) -> Iterator[bytes]:
    head, _, body = response.partition(b"\r\n\r\n")
    yield head + b"\r\n\r\n"
    for byte in body[:50]:
        yield bytes([byte])
        time.sleep(0.2)


@kind(10, "a reset in micro- or nanoseconds, in ticks, or 10^18", 0, 1, 75)
def odd_resets(trial: Trial) -> Call:
    now = (trial.api.now or 0) // 1000
    value = trial.rng.choice((now * 10**6, now * 10**9, 638_000_000_000_000_000, 10**18, "inf"))
    trial.api.respond = _for_some_requests(
        trial,
        trial.rng.randrange(1, 4),
        lambda rows: _response(
            trial, rows, X_RateLimit_Remaining="0", X_RateLimit_Reset=str(value)
        ),
    )
    return trial.load()


@kind(10, "408, 425, 500, 502, 524 for some requests", 0)
def passing_refusals(trial: Trial) -> Call:
    status = trial.rng.choice(("408 Timeout", "425 Early", "502 Bad", "524 Origin", "500 Oops"))
    trial.api.respond = _for_some_requests(
        trial, trial.rng.randrange(1, 6), lambda rows: _response(trial, b"", status)
    )
    return trial.load()
