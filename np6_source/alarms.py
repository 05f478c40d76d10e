"""Alarms from the ledger alone: what is wrong tonight, without a request.

Every rule compares the ledger with its own past. No rule is for too many events: a mailing is no
trouble. What a rule takes for usual is the lowest of the same hours, one to either side, of the
last four weeks, so that nights, weekends, growth and mailings raise no alarm. ``low`` looks at
accounts only that send steadily: where there are but mailings, a long lull, or a mailing that is
left out, is no trouble; nor is it for ``no news`` where reactions run out before they end. A share
of events that is missing while the level stays the same shows in no first reading: ``late`` and
``fewer on re-reading`` compare days that were read again (``recheck``), and are silent without.

Pure: a table and a time in, alarms out. DuckDB counts, in memory.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import duckdb
import pyarrow as pa

from .endpoints import EVENT_TYPES
from .windows import SECOND, iso

TSeverity = Literal["error", "warning"]

LOOKS_BACK_MS = 35 * 86_400 * SECOND
"""How much of the ledger the rules need, before its newest request."""


@dataclass(frozen=True)
class Alarm:
    """Something that is not as it was.

    Attributes:
        rule: Which rule found it.
        severity: ``error`` or ``warning``.
        resource: The resource.
        scope_id: The id, with the class of robots, see ``ledger.scope_key``; empty for the account,
            and where it concerns all ids.
        what: What was found.
        advice: What to do about it.
    """

    rule: str
    severity: TSeverity
    resource: str
    scope_id: str
    what: str
    advice: str

    def __str__(self) -> str:
        of = f" id {self.scope_id}" if self.scope_id else ""
        return f"{self.rule}: {self.resource}{of}: {self.what}. {self.advice}"


@dataclass(frozen=True)
class Unknown:
    """A type of events, or a payload path, that the contract does not know.

    Attributes:
        resource: The resource.
        kind: ``type`` or ``path``.
        name: The type, or the path as the ledger stores it.
        events: How many events, about: what the overlap reads again is taken out in proportion.
        first_seen: Start of the first window that has it, milliseconds since the epoch.
        is_new: Whether only the last day's requests have it.
    """

    resource: str
    kind: str
    name: str
    events: int
    first_seen: int
    is_new: bool


def alarms(windows: pa.Table, now: int) -> tuple[Alarm, ...]:
    """The alarms that are on.

    Args:
        windows: Rows of ``load_windows`` of complete packages, as ``ledger.recent_windows`` returns
            them, of ``LOOKS_BACK_MS``.
        now: Milliseconds since the epoch. Rows that were requested later are not looked at.

    Returns:
        Errors first.
    """
    with _asking(windows, now) as ask:
        rows = ask(_FIRST_READ + _RULES)
        names = _unknown(ask)
    found = [_alarm(rule, name, id_, json.loads(v)) for rule, name, id_, v in rows]
    found += [_unknown_alarm(one) for one in names if one.is_new]
    return tuple(sorted(found, key=lambda a: (a.severity, a.rule, a.resource, a.scope_id, a.what)))


def unknown(windows: pa.Table, now: int) -> tuple[Unknown, ...]:
    """Types and payload paths that the contract does not know.

    Args:
        windows: As for ``alarms``.
        now: Likewise.

    Returns:
        Those with most events first.
    """
    with _asking(windows, now) as ask:
        return _unknown(ask)


def _unknown(ask: TAsk) -> tuple[Unknown, ...]:
    return tuple(
        Unknown(resource, kind, name, events, first * SECOND, is_new)
        for resource, kind, name, events, first, is_new in ask(
            _FIRST_READ + _UNKNOWN, known=list(EVENT_TYPES)
        )
    )


@dataclass(frozen=True)
class Loaded:
    """What requests have brought, from the ledger alone.

    Attributes:
        resource: The resource.
        last_run: When the last of them was sent, milliseconds since the epoch.
        events: Events of the last load package, without those that the overlap reads again, in
            proportion.
        bytes: Size of its responses, uncompressed.
        events_of_week: Events of the requests of seven days, likewise.
        bytes_of_week: Size of their responses.
        repeats_of_week: Events that came twice in one of them; None where it is not known.
    """

    resource: str
    last_run: int
    events: int
    bytes: int
    events_of_week: int
    bytes_of_week: int
    repeats_of_week: int | None


def loaded(windows: pa.Table, now: int) -> tuple[Loaded, ...]:
    """What the requests of every resource have brought.

    Args:
        windows: As for ``alarms``.
        now: Likewise.
    """
    with _asking(windows, now) as ask:
        return tuple(Loaded(*row) for row in ask(_FIRST_READ + _LOADED))


def types_of_week(windows: pa.Table, now: int) -> dict[str, int]:
    """Events by type, of the requests of seven days, as ``Unknown.events`` counts.

    Args:
        windows: As for ``alarms``.
        now: Likewise.
    """
    with _asking(windows, now) as ask:
        return dict(ask(_FIRST_READ + _TYPES))


TAsk = Callable[..., list[tuple[Any, ...]]]
"""Takes a query and its parameters but ``now``; gives the rows."""


@contextmanager
def _asking(windows: pa.Table, now: int) -> Iterator[TAsk]:
    second = -(-now // SECOND)  # Rounded up: a request within this second is not a later one.
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("load_windows", windows)
        yield lambda query, **more: connection.execute(query, {"now": second, **more}).fetchall()


_FIRST_READ = """
WITH w AS (
  SELECT resource, purpose,
    -- as ledger.scope_key: every class of robots has its own progress
    scope_id || CASE WHEN classification <> '' THEN ' robots=' || classification ELSE '' END
      AS scope_id, _dlt_load_id AS package, type_counts, unmapped_paths,
    epoch_ms(window_start) / 1000 AS s, epoch_ms(window_end) / 1000 AS e,
    epoch_ms(requested_at) / 1000 AS r, event_count AS n, distinct_count AS d,
    byte_count, request_id, new_count AS new
  FROM load_windows WHERE epoch_ms(requested_at) <= $now::BIGINT * 1000
),
read AS (  -- up to where earlier requests had read
  SELECT *, greatest(s, coalesce(max(e) OVER (PARTITION BY resource, scope_id ORDER BY r, s, e
    ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), s)) AS b FROM w
),
first_read AS (  -- the part of each window that no earlier request had covered
  SELECT *, greatest(e - b, 0) / (e - s) AS share FROM read
)
"""

_RULES = """,
counted AS (
  SELECT resource, 'events' AS what, b, e, r, n * share AS n FROM first_read
  WHERE scope_id = '' AND share > 0
  UNION ALL
  SELECT resource, 'sends', b, e, r, share * coalesce(
    (type_counts ->> '$.execution')::BIGINT, 0) FROM first_read
  WHERE scope_id = '' AND share > 0 AND type_counts IS NOT NULL
),
sizes AS (  -- the least bucket that holds the usual window
  SELECT resource, what, CASE WHEN width <= 4500 THEN 3600 WHEN width <= 27000 THEN 21600
    WHEN width <= 108000 THEN 86400 ELSE 604800 END AS bucket
  FROM (SELECT resource, what, median(e - b) AS width FROM counted GROUP BY ALL)
),
buckets AS (
  SELECT resource, what, bucket, 604800 // bucket AS week,
    ((b + e) / 2)::BIGINT // bucket AS h, sum(n) AS n
  FROM counted JOIN sizes USING (resource, what) WHERE e - b <= 1.5 * bucket GROUP BY ALL
  -- the newest may have begun only: a day at dawn, after the first load of a month
  HAVING sum(e - b) >= 0.75 * bucket
),
of_weeks AS (  -- the lowest of the same buckets, one to either side, of each of four weeks
  SELECT a.resource, a.what, a.bucket, a.h, a.n, (a.h - b.h + 1) // a.week AS week,
    min(b.n) AS lowest
  FROM buckets a JOIN buckets b ON a.resource = b.resource AND a.what = b.what
    AND a.h - b.h BETWEEN greatest(a.week - 1, 1) AND 4 * a.week + 1
    AND (a.h - b.h + 1) % a.week <= 2
  WHERE a.h >= $now::BIGINT // a.bucket - greatest(a.week, 8)
  GROUP BY ALL
),
of_days AS (  -- the lowest of those times on any day, as on Sundays; a holiday is like one
  SELECT a.resource, a.what, a.h, min(b.n) AS quietest
  FROM buckets a JOIN buckets b ON a.resource = b.resource AND a.what = b.what
    AND a.h - b.h BETWEEN 4 * greatest(86400 // a.bucket, 1) AND 4 * a.week + 1
    AND (a.h - b.h + 1) % greatest(86400 // a.bucket, 1) <= 2
  WHERE a.h >= $now::BIGINT // a.bucket - greatest(a.week, 8)
  GROUP BY ALL
),
silences AS (  -- the longest one that has ended
  SELECT resource, what, max(h - before) AS longest
  FROM (SELECT resource, what, h, lag(h) OVER (PARTITION BY resource, what ORDER BY h) AS before
    FROM buckets WHERE n > 0)
  GROUP BY ALL
),
usual AS (
  SELECT resource, what, bucket, h, n, min(lowest) AS lowest, median(lowest) AS middle,
    count(*) AS weeks, coalesce(any_value(quietest), 0) AS quietest
  FROM of_weeks LEFT JOIN of_days USING (resource, what, h) GROUP BY ALL
),
steady AS (  -- no week is far below the others: what is lowest is usual, and no lull's end
  SELECT resource, what FROM usual
  GROUP BY ALL HAVING sum(middle) < 1.5 * sum(lowest)
),
recent AS (
  SELECT *, max(h) OVER (PARTITION BY resource, what) AS newest,
    max(CASE WHEN n > 0 THEN h END) OVER (PARTITION BY resource, what) AS last_event
  FROM usual WHERE weeks >= 2 AND h >= $now::BIGINT // bucket - greatest(345600 // bucket, 8)
),
sending AS (  -- whose messages go out at most times of a day: of mailings there may just be fewer
  SELECT DISTINCT 1 FROM usual WHERE what = 'sends' GROUP BY resource, bucket
  HAVING count(*) FILTER (lowest > 0) * CASE WHEN bucket < 86400 THEN 5 ELSE 2 END >= count(*)
),
lulls AS (  -- below usual before the last event, too: a mailing's reactions run out
  SELECT resource, what FROM usual JOIN (
    SELECT resource, what, max(h) FILTER (n > 0) AS last_event FROM usual GROUP BY ALL
  ) USING (resource, what)
  WHERE h BETWEEN last_event - 3 AND last_event - 1
  GROUP BY ALL HAVING 3 * count(*) FILTER (2 * n >= lowest) < 2 * count(*)
),
scheduled AS (  -- given spans say nothing about how often the schedule runs
  SELECT resource, scope_id, package, min(r) AS r, max(e) AS e FROM w
  WHERE coalesce(purpose, 'load') = 'load' GROUP BY ALL
),
reach AS (
  SELECT resource, bool_or(scope_id = '') AS is_wide, max(e) AS until, min(r) AS born,
    max(r) AS last, count(DISTINCT package) FILTER (r > latest - 1209600) AS runs,
    max(r) - min(r) FILTER (r > latest - 1209600) AS during
  FROM (SELECT *, max(r) OVER (PARTITION BY resource) AS latest FROM scheduled)
  GROUP BY resource
),
responses AS (  -- of its rows the first has the size of a response
  SELECT resource, scope_id, min(s) AS s, r, sum(n)::BIGINT AS n
  FROM (SELECT *, count(*) FILTER (byte_count IS DISTINCT FROM 0) OVER (
    PARTITION BY resource, scope_id, r, request_id ORDER BY s, e) AS number FROM w)
  GROUP BY resource, scope_id, r, request_id, number
),
capped AS (  -- a count that returns, and that nothing exceeds since it came first
  SELECT resource, scope_id, n, count(DISTINCT s) AS windows, min(r) AS first,
    any_value(most) AS most
  FROM (SELECT *, max(n) OVER (PARTITION BY resource, scope_id) AS most FROM responses
    WHERE r > $now - 172800)
  WHERE n >= 100 AND n % 50 = 0 GROUP BY ALL
),
first_days AS (  -- whole days, as they were read first
  SELECT resource, scope_id, floor(b / 86400) AS day, sum(n * share) AS n, max(r) AS r
  FROM first_read
  WHERE share > 0 AND floor(b / 86400) = floor((e - 1) / 86400)
    AND purpose IS DISTINCT FROM 'recheck'
  GROUP BY ALL HAVING sum(e - b) = 86400
),
again AS (  -- whole days read again, beside the reading before
  SELECT a.*, coalesce(lag(a.n) OVER (PARTITION BY a.resource, a.scope_id, a.day ORDER BY a.r),
    CASE WHEN f.r < a.r THEN f.n END) AS before
  FROM (SELECT resource, scope_id, floor(s / 86400) AS day, package, min(r) AS r, sum(n) AS n,
      sum(new) AS new FROM w WHERE purpose = 'recheck'
      GROUP BY ALL HAVING sum(e - s) = 86400) a
    LEFT JOIN first_days f USING (resource, scope_id, day)
),
rechecks AS (  -- new only of the newest day: older ones have had theirs
  SELECT resource, scope_id, package, min(r) AS r, sum(before) AS before,
    sum(greatest(before - n, 0)) AS fewer,
    sum(new) FILTER (r - day * 86400 < 259200) AS late,
    sum(n) FILTER (r - day * 86400 < 259200) AS of_late
  FROM again GROUP BY ALL
),
ranked AS (
  SELECT *, row_number() OVER (PARTITION BY resource, scope_id ORDER BY r DESC) AS k FROM rechecks
),
came_late AS (
  SELECT resource, scope_id, any_value(a.late) AS late, any_value(a.of_late) AS n,
    any_value(a.late / nullif(a.of_late, 0)) AS share,
    median(b.late / nullif(b.of_late, 0)) AS usually, count(b.late) AS had
  FROM ranked a JOIN ranked b USING (resource, scope_id) WHERE a.k = 1 AND b.k > 1 GROUP BY ALL
),
repeated AS (
  SELECT resource, scope_id, sum(n - d) AS again, sum(n) AS n FROM w
  WHERE r > $now - 86400 AND d IS NOT NULL GROUP BY ALL
)
SELECT CASE WHEN is_wide THEN 'lag' ELSE 'lag of ids' END AS rule, resource, '' AS scope_id,
  json_object('until', until, 'lag', $now - until, 'every', during / (runs - 1)) AS values
  FROM reach
  WHERE runs >= 3 AND $now - born > 172800
    AND $now - until > greatest(3 * during / (runs - 1), 7200)
UNION ALL SELECT 'no news', resource, '', json_object('what', what, 'lowest', sum(lowest)::BIGINT,
  'since', (coalesce(any_value(last_event), min(h) - 1) + 1) * any_value(bucket))
  FROM recent ANTI JOIN lulls USING (resource, what) LEFT JOIN silences USING (resource, what)
  WHERE h > coalesce(last_event, 0) GROUP BY resource, what
  HAVING count(*) FILTER (lowest > 0) >= 3
    AND sum(lowest) >= CASE WHEN EXISTS (FROM sending) THEN 20 ELSE 100 END
    AND ((count(*) FILTER (quietest > 0) >= 3 AND 8 * sum(quietest) >= sum(lowest))
      OR (what = 'events'
        AND coalesce(max(h) - any_value(last_event) > 2 * any_value(longest), true)))
UNION ALL SELECT 'low', resource, '', json_object('what', what,
  'hours', count(*) * any_value(bucket) // 3600, 'n', sum(n)::BIGINT,
  'of', sum(least(n, lowest))::BIGINT, 'lowest', sum(lowest)::BIGINT)
  FROM recent SEMI JOIN steady USING (resource, what)
  WHERE EXISTS (FROM sending) AND h > newest - 172800 // bucket AND weeks >= 3 AND lowest >= 5
  GROUP BY resource, what
  -- no hour makes up for others: a mailing hides nothing
  HAVING count(*) * any_value(bucket) >= 57600 AND 3 * sum(least(n, lowest)) < sum(lowest)
    AND 8 * sum(quietest) >= sum(lowest) AND sum(least(n, quietest)) < 0.8 * sum(quietest)
UNION ALL SELECT 'capped', resource, scope_id, json_object('n', n, 'windows', windows) FROM capped
  WHERE (windows >= 3 AND n = most) OR (windows >= 5 AND n >= (SELECT max(n) FROM responses w
    WHERE w.resource = capped.resource AND w.scope_id = capped.scope_id AND w.r >= first))
UNION ALL SELECT 'fewer on re-reading', resource, scope_id, json_object('fewer', fewer::BIGINT,
  'before', before::BIGINT) FROM ranked WHERE k = 1 AND fewer > greatest(10, .01 * before)
UNION ALL SELECT 'late', resource, scope_id, json_object('late', late::BIGINT, 'n', n::BIGINT,
  'usually', usually) FROM came_late
  WHERE late >= 10 AND had >= 3 AND share > greatest(.02, 4 * usually)
UNION ALL SELECT 'repeats', resource, scope_id, json_object('again', again::BIGINT, 'n', n::BIGINT)
  FROM repeated WHERE again > greatest(10, .01 * n)
"""

_UNKNOWN = """,
named AS (
  SELECT resource, s, r, share, 'type' AS kind,
    unnest(map_entries(json_transform(type_counts, '"MAP(VARCHAR, BIGINT)"'))) AS entry
  FROM first_read WHERE type_counts IS NOT NULL
  UNION ALL
  SELECT resource, s, r, share, 'path',
    unnest(map_entries(json_transform(unmapped_paths, '"MAP(VARCHAR, BIGINT)"')))
  FROM first_read WHERE unmapped_paths <> '{}'
)
SELECT resource, kind, entry.key, greatest(round(sum(share * entry.value)), 1)::BIGINT AS events,
  min(s)::BIGINT, min(r) >= $now - 86400
FROM named WHERE kind = 'path' OR NOT list_contains($known, entry.key)
GROUP BY ALL ORDER BY events DESC, resource, kind, entry.key
"""

_LOADED = """,
marked AS (
  SELECT *, r > $now - 604800 AS is_of_week,
    package = arg_max(package, r) FILTER (purpose IS DISTINCT FROM 'recheck')
      OVER (PARTITION BY resource) AS is_last FROM first_read
)
SELECT resource, coalesce(max(r * 1000) FILTER (purpose IS DISTINCT FROM 'recheck'),
  max(r * 1000))::BIGINT,
  coalesce(round(sum(n * share) FILTER (is_last)), 0)::BIGINT,
  coalesce(sum(byte_count) FILTER (is_last), 0)::BIGINT,
  coalesce(round(sum(n * share) FILTER (is_of_week)), 0)::BIGINT,
  coalesce(sum(byte_count) FILTER (is_of_week), 0)::BIGINT,
  (sum(n - d) FILTER (is_of_week))::BIGINT
FROM marked GROUP BY resource ORDER BY resource
"""

_TYPES = """
SELECT entry.key, greatest(round(sum(share * entry.value)), 1)::BIGINT AS events FROM (
  SELECT share, unnest(map_entries(json_transform(type_counts, '"MAP(VARCHAR, BIGINT)"'))) AS entry
  FROM first_read WHERE r > $now - 604800 AND type_counts IS NOT NULL AND share > 0)
GROUP BY entry.key ORDER BY events DESC, entry.key
"""


def _alarm(rule: str, resource: str, scope_id: str, values: Mapping[str, Any]) -> Alarm:
    severity, what, advice = _WORDS[rule]
    return Alarm(rule, severity, resource, scope_id, what(values), advice)


def _lag(values: Mapping[str, Any]) -> str:
    until, lag, every = (float(values[name]) for name in ("until", "lag", "every"))
    return (
        f"complete up to {iso(int(until) * SECOND)}, {duration(lag)} ago; it is loaded every"
        f" {duration(every)}"
    )


def _no_news(values: Mapping[str, Any]) -> str:
    since = iso(int(values["since"]) * SECOND)
    return (
        f"no {values['what']} since {since}; in the four weeks before, the quietest such span had"
        f" {values['lowest']:,}"
    )


def _low(values: Mapping[str, Any]) -> str:
    n, of = int(values["n"]), int(values["of"])
    most = f", most of them in few hours: without those {of:,}" if n > 2 * of else ""
    return (
        f"{n:,} {values['what']} in {values['hours']} of the last 48 hours{most}; in the four"
        f" weeks before, the quietest such hours had {values['lowest']:,}"
    )


_WORDS: Mapping[str, tuple[TSeverity, Callable[[Mapping[str, Any]], str], str]] = {
    "lag": (
        "error",
        _lag,
        "See why the schedule has stopped, or what the last load said: np6-source load",
    ),
    "lag of ids": (
        "warning",
        _lag,
        "Load its ids again, or leave it out with --resources where it is no longer wanted.",
    ),
    "no news": (
        "warning",
        _no_news,
        "Ask NP6 whether the operation still returns events, and whether the account still sends.",
    ),
    "low": (
        "warning",
        _low,
        "Ask NP6 whether events are missing, or the account sends less.",
    ),
    "capped": (
        "error",
        lambda v: (
            f"{v['windows']} windows of the last 48 hours have exactly {v['n']:,} events, and none"
            " has had more since"
        ),
        "NP6 seems to cut responses at that number: load the days again with a narrower window.",
    ),
    "fewer on re-reading": (
        "error",
        lambda v: (
            f"days that were read again had {v['fewer']:,} of {v['before']:,} events fewer than"
            " before, and that was accepted"
        ),
        "Ask NP6 where they went; the tables keep them.",
    ),
    "late": (
        "warning",
        lambda v: (
            f"{v['late']:,} of {v['n']:,} events of the newest day that was read again had come"
            f" after it was read first; usually {v['usually']:.1%} do"
        ),
        "They are loaded now. Ask NP6 what delays events; np6-source status says how late.",
    ),
    "repeats": (
        "warning",
        lambda v: f"{v['again']:,} of {v['n']:,} events of the last day came twice in a response",
        "The tables have each once. Tell NP6.",
    ),
}
"""Severity, what was found, and what to do, by rule."""


def _unknown_alarm(one: Unknown) -> Alarm:
    named = f"{one.kind} {one.name!r}" if one.name else "no type"
    return Alarm(
        "unknown",
        "warning",
        one.resource,
        "",
        f"{one.events:,} events have {named}, which no earlier load has seen",
        "Nothing is lost: it is in events.unmapped. A newer np6-source may know it.",
    )


def duration(seconds: float) -> str:
    """A duration for people, in the unit that suits it.

    >>> [duration(s) for s in (42, 300, 5400, 90000, 2000000)]
    ['42 s', '5 min', '90 min', '25 h', '23 days']
    """
    for limit, unit, size in ((120, "s", 1), (7_200, "min", 60), (172_800, "h", 3_600)):
        if seconds < limit:
            return f"{round(seconds / size)} {unit}"
    return f"{round(seconds / 86_400)} days"
