"""Rows of the ledger of days long past are joined, and prove what they proved before."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from np6_source import np6_source
from np6_source.bookkeeping.row_counts import _proven_counts
from np6_source.ledger import _covered, coverage, loaded_schema, policies_in
from np6_source.sandbox import Sandbox, account_from_events
from np6_source.schema import LOAD_WINDOWS
from np6_source.upkeep.ledger_compaction import PURPOSE, compact
from np6_source.windows import DAY, SECOND, Window, gaps, to_datetime
from tests.support import Warehouse, at, event

ALL = "actions_events"
HOUR = 3600 * SECOND
NOW = at("06-01")
COLUMNS = LOAD_WINDOWS.arrow_schema.names
PACKAGES = [f"{1_700_000_000 + n}.5" for n in range(8)]
INCOMPLETE, OTHERS = PACKAGES[6], PACKAGES[7]
TMake = Callable[..., Any]


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """Every table, with one event."""
    made = Warehouse(tmp_path_factory.mktemp("compaction"))
    with Sandbox(account_from_events([event(1, at("03-01"))]), now=at("03-02")) as sandbox:
        source = np6_source(sandbox.key, base_url=sandbox.url, start="2024-02-28")
        made.run(source.with_resources(ALL))
    made.execute(
        *(
            f"INSERT INTO np6._dlt_loads (load_id, schema_name, status, inserted_at)"
            f" VALUES ('{load_id}', '{'other' if load_id == OTHERS else 'np6'}', 0, now())"
            for load_id in PACKAGES
            if load_id != INCOMPLETE
        )
    )
    return made


def random_ledger(seed: int) -> list[dict[str, Any]]:
    """Rows of some days, long past and recent: in order, again, over midnights, of several."""
    chance = random.Random(seed)

    def mostly(usual: Any, other: Any) -> Any:
        return other if chance.random() < 0.03 else usual

    rows = []
    for _ in range(chance.randrange(40, 160)):
        day = chance.choice([*range(12), 45, 88, 89]) * DAY
        start = at("03-01") + day + chance.randrange(0, 24, chance.choice([1, 6])) * HOUR
        end = start + mostly(chance.choice([1, 1, 2]), 24) * HOUR
        requested = end + mostly(0, 80 * DAY) + chance.randrange(3600) * SECOND
        count = chance.randrange(4)
        rows.append(
            {
                "resource": mostly(ALL, "action_events_activations"),
                "scope_id": mostly("", "000PE4"),
                "classification": mostly("", "mpp"),
                "window_start": to_datetime(start),
                "window_end": to_datetime(end),
                "requested_at": to_datetime(min(requested, NOW)),
                "event_count": count,
                "byte_count": 100 * count,
                "duration_ms": 5,
                "request_id": None,
                "purpose": chance.choice(["load", "load", "recheck"]),
                "distinct_count": chance.choice([count, count, None]),
                "outside_count": 0,
                "type_counts": f'{{"hit":{count}}}' if count else "{}",
                "unmapped_paths": "{}",
                "table_counts": chance.choice(["{}", '{"events__robots":2}']),
                "key_digest": mostly("k1", "k2"),
                "new_count": None,
                "_dlt_load_id": mostly(chance.choice(PACKAGES[:6]), chance.choice(PACKAGES[6:])),
                "policy": mostly(None, "address=hash"),
            }
        )
    return rows


def fill(warehouse: Warehouse, rows: list[dict[str, Any]]) -> None:
    warehouse.execute("DELETE FROM np6.load_windows")
    if rows:
        values = ", ".join(
            "(" + ", ".join(_literal(row[name]) for name in COLUMNS) + ")" for row in rows
        )
        columns = ", ".join(f'"{name}"' for name in COLUMNS)
        warehouse.execute(f"INSERT INTO np6.load_windows ({columns}) VALUES {values}")


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    return str(value) if isinstance(value, int) else f"'{value}'"


def what_readers_see(client: Any, schema: Any) -> dict[str, Any]:
    """What every reader of the ledger takes from it."""
    there = frozenset(COLUMNS)
    recent = to_datetime(NOW - 35 * DAY)
    return {
        "covered": _covered(client, schema, there),
        "by key": [
            _covered(client, schema, there, only_with_events=True, keys=[key])
            for key in ("k1", "k2")
        ],
        "read again": _covered(client, schema, there, since=PACKAGES[0]),
        "rows that must be there": sorted(_proven_counts(client, schema, COLUMNS, 0)),
        "policies": set(policies_in(client, schema)),
        "of alarms and rechecks": client.execute_sql(
            "SELECT * FROM load_windows WHERE requested_at >= %s ORDER BY ALL", recent
        ),
        "freshness and status": client.execute_sql(
            "SELECT resource, scope_id, COALESCE(classification, ''), MAX(requested_at),"
            " SUM(event_count), SUM(byte_count), COUNT(*) FILTER (table_counts LIKE '%%robots%%')"
            " > 0 FROM load_windows GROUP BY ALL ORDER BY ALL"
        ),
        "not loaded": client.execute_sql(
            f"FROM load_windows WHERE _dlt_load_id IN ('{INCOMPLETE}', '{OTHERS}') ORDER BY ALL"
        ),
    }


def test_every_reader_sees_what_it_saw(warehouse: Warehouse) -> None:
    joined, pipeline = 0, warehouse.pipeline
    _, schema = loaded_schema(pipeline, None)
    for seed in range(8):
        fill(warehouse, random_ledger(seed))
        with pipeline.sql_client() as client:
            before = what_readers_see(client, schema)
            (rows,) = client.execute_sql("SELECT COUNT(*) FROM load_windows")[0]
            removed = compact(pipeline)
            after = what_readers_see(client, schema)
            (left,) = client.execute_sql("SELECT COUNT(*) FROM load_windows")[0]
        for reader, saw in before.items():
            assert after[reader] == saw, f"seed {seed}: {reader}"
        assert left == rows - removed
        joined += removed
    assert joined > 50
    assert compact(pipeline) == 0


def test_a_day_of_a_schedule_becomes_a_row(warehouse: Warehouse) -> None:
    fill(warehouse, [one for n in range(288) for one in of_run(at("03-01") + n * DAY // 288)])
    later = of_run(at("06-01"))
    fill_more(warehouse, later)
    assert compact(warehouse.pipeline) == 2 * 288 - 1
    first, *recent = warehouse.rows("load_windows", "window_start")
    assert (first["window_start"], first["window_end"]) == (at("03-01"), at("03-02"))
    assert first["purpose"] == PURPOSE
    assert first["event_count"] == 2 * 288 * 3
    assert first["type_counts"] == '{"hit":1728}'
    assert len(recent) == 2


def of_run(start: int) -> list[dict[str, Any]]:
    """The rows of a run every five minutes: the overlap once more, and what is new."""
    step = DAY // 288
    template = random_ledger(1)[0] | {
        "resource": ALL,
        "scope_id": "",
        "classification": "",
        "purpose": "load",
        "key_digest": "k1",
        "policy": None,
        "_dlt_load_id": PACKAGES[0],
        "requested_at": to_datetime(start + step),
        "event_count": 3,
        "distinct_count": 3,
        "type_counts": '{"hit":3}',
    }
    before = max(start - 2 * step, start // DAY * DAY)
    spans = [(before, start), (start, start + step)]
    return [
        template | {"window_start": to_datetime(b), "window_end": to_datetime(max(e, b + SECOND))}
        for b, e in spans
    ]


def fill_more(warehouse: Warehouse, rows: list[dict[str, Any]]) -> None:
    there = [
        {
            name: to_datetime(value) if name in _MOMENTS and value is not None else value
            for name, value in row.items()
        }
        for row in warehouse.rows("load_windows")
    ]
    fill(warehouse, [*there, *rows])


_MOMENTS = ("window_start", "window_end", "requested_at")


@pytest.mark.parametrize("span", [20 * DAY, 34 * DAY, 36 * DAY])
def test_recent_rows_stay_as_they_are(warehouse: Warehouse, span: int) -> None:
    old = at("06-01") - span
    fill(warehouse, [*of_run(old + HOUR), *of_run(old + 2 * HOUR), *of_run(at("06-01"))])
    assert bool(compact(warehouse.pipeline)) == (span > 35 * DAY)


def test_rechecks_keep_twice_their_range(warehouse: Warehouse) -> None:
    old = at("06-01") - 50 * DAY
    fill(warehouse, [*of_run(old + HOUR), *of_run(at("06-01"))])
    assert compact(warehouse.pipeline, recheck_days=30) == 0
    assert compact(warehouse.pipeline, recheck_days=20) == 1


def test_nothing_is_joined_while_rows_are_missing(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(warehouse, [*of_run(at("03-01T01:00")), *of_run(at("06-01"))])
    pipeline = warehouse.pipeline
    state = pipeline.state
    state["sources"]["np6"]["row_counts"] = {"missing": {"events/19783-19783": ["1", 0, 1]}}
    monkeypatch.setattr(type(pipeline), "state", property(lambda _: state))
    assert compact(pipeline) == 0
    state["sources"]["np6"]["row_counts"]["missing"] = {}
    assert compact(pipeline) == 1


def test_nothing_is_joined_before_messages_have_it(warehouse: Warehouse) -> None:
    fill(warehouse, [*of_run(at("03-01T01:00")), *of_run(at("06-01"))])
    warehouse.execute("CREATE TABLE np6._np6_refreshes (load_id VARCHAR, refreshed_at TIMESTAMPTZ)")
    assert compact(warehouse.pipeline) == 0
    warehouse.execute("INSERT INTO np6._np6_refreshes SELECT load_id, now() FROM np6._dlt_loads")
    assert compact(warehouse.pipeline) == 1
    warehouse.execute("DROP TABLE np6._np6_refreshes")


def test_a_load_of_another_day_joins_them_and_a_removed_event_is_still_missed(
    new_warehouse: TMake, serve: TMake, source_of: TMake
) -> None:
    events = [event(n, at("03-01") + n * HOUR + 1, type="hit") for n in range(24)]
    sandbox = serve([*events, event(99, at("05-01"))], now=at("03-01T06:00"))
    warehouse = new_warehouse()
    make_source = partial(source_of, sandbox, ALL, start="2024-03-01")
    for hour in (6, 12, 18):
        sandbox.now = at(f"03-01T{hour:02}:00")
        warehouse.load(make_source)
    rows = len(warehouse.rows("load_windows"))
    assert rows > 3
    # As if they had been loaded on earlier days: only the first load of a day looks.
    warehouse.execute("UPDATE np6._dlt_loads SET inserted_at = inserted_at - INTERVAL '2 days'")
    sandbox.now = at("05-10")
    warehouse.load(make_source)
    joined = [r for r in warehouse.rows("load_windows") if r["purpose"] == PURPOSE]
    assert joined
    span = Window(at("03-01"), at("05-09"))
    assert gaps(span, coverage(warehouse.pipeline)[ALL, ""]) == []
    warehouse.execute("DELETE FROM np6.events WHERE id = 'event-00003'")
    (missing,) = gaps(span, coverage(warehouse.pipeline)[ALL, ""])
    assert missing.start <= at("03-01T03:00") < missing.end
