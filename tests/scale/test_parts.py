"""How a backfill is cut, and what loading a part leaves behind."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dlt
import duckdb
import pytest
from filelock import FileLock
from hypothesis import given
from hypothesis import strategies as st

from np6_source.errors import SettingError
from np6_source.lake import filesystem
from np6_source.parts import Part, PartIncomplete, load_part, plan_parts, with_own_staging
from np6_source.sandbox import Fault, Sandbox
from np6_source.windows import SECOND, Window, merged, to_ms

START = datetime(2024, 3, 1, tzinfo=timezone.utc)
DAY = timedelta(days=1)
HOUR_MS = 3600 * SECOND
TMake = Callable[..., Any]


class TestPlan:
    @given(
        length=st.integers(1, 40 * 86_400),
        width=st.integers(86_400, 30 * 86_400),
        ids=st.lists(st.text("abc123", min_size=1, max_size=4), max_size=12),
        ids_per_part=st.integers(1, 5),
    )
    def test_parts_cover_every_moment_of_every_id_exactly_once(
        self, length: int, width: int, ids: list[str], ids_per_part: int
    ) -> None:
        end = START + timedelta(seconds=length)
        given_ids = {"action_ids": ids} if ids else None
        parts = plan_parts(START, end, width, given_ids, ids_per_part)
        spans: dict[str, list[Window]] = {}
        for part in parts:
            scopes = part.ids.get("action_ids", ("",))
            assert len(scopes) <= ids_per_part
            for scope in scopes:
                spans.setdefault(scope, []).append(Window(to_ms(part.start), to_ms(part.end)))
        assert set(spans) == (set(ids) or {""})
        whole = Window(to_ms(START), to_ms(end))
        for found in spans.values():
            assert merged(found) == [whole]
            assert sum(window.width for window in found) == whole.width
        assert len({part.name for part in parts}) == len(parts)

    def test_a_part_survives_json(self) -> None:
        part = Part(START, START + DAY, {"target_ids": ("7", "a b")}, ("target_events",))
        assert Part.from_json(json.loads(json.dumps(part.to_json()))) == part

    def test_its_name_is_always_the_same_and_gives_no_id_away(self) -> None:
        ids = {"target_unicities": ("someone@example.com",)}
        name = Part(START, START + DAY, ids).name
        assert name == Part(START, START + DAY, dict(ids)).name
        assert name != Part(START, START + DAY, {"target_unicities": ("other@example.com",)}).name
        assert re.fullmatch(r"part_20240301_20240302_[0-9a-f]{12}", name)

    def test_resources_over_the_account_get_parts_of_their_own(self) -> None:
        parts = plan_parts(
            START,
            START + DAY,
            ids={"action_ids": ["000AA1", "000AA2"], "target_ids": ["7"]},
            ids_per_part=1,
            resources=["actions_events", "action_events_bounces", "target_events"],
        )
        assert [(dict(part.ids), part.resources) for part in parts] == [
            ({}, ("actions_events",)),
            ({"action_ids": ("000AA1",)}, ("action_events_bounces",)),
            ({"action_ids": ("000AA2",)}, ("action_events_bounces",)),
            ({"target_ids": ("7",)}, ("target_events",)),
        ]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"end": START}, "must be before"),
            ({"width": 0}, "width=0"),
            ({"ids": {"campaigns": ["1"]}}, "no argument ids='campaigns'"),
            ({"ids": {"action_ids": ["1"]}, "ids_per_part": 0}, "ids_per_part"),
            ({"resources": ["action_events_bounces"]}, "action_events_bounces loads by id"),
            ({"resources": ["actions_event"]}, "no resource 'actions_event'"),
            (
                {"resources": ["actions_events"], "ids": {"action_ids": ["1"]}},
                "No resource in .* takes action_ids",
            ),
        ],
    )
    def test_what_cannot_be_planned_is_refused(
        self, arguments: dict[str, Any], message: str
    ) -> None:
        with pytest.raises(SettingError, match=message):
            plan_parts(**{"start": START, "end": START + DAY, "width": None, **arguments})


class TestDestination:
    def test_every_attempt_has_a_staging_dataset_of_its_own(self) -> None:
        given = dlt.destinations.duckdb("events.duckdb")
        layouts = [
            with_own_staging(destination).config_params["staging_dataset_name_layout"]
            for destination in ("duckdb", "duckdb", given, "dlt.destinations.postgres")
        ]
        assert len(set(layouts)) == 4
        assert all(re.fullmatch("%s_staging_[0-9a-f]{12}", layout) for layout in layouts)
        assert "staging_dataset_name_layout" not in given.config_params

    @pytest.mark.parametrize(
        "nothing", [{"resources": []}, {"ids": {"action_ids": []}}], ids=["resources", "ids"]
    )
    def test_a_plan_of_nothing_is_refused(self, nothing: dict[str, Any]) -> None:
        with pytest.raises(SettingError, match="is empty: there would be nothing to load"):
            plan_parts(START, START + DAY, **nothing)

    @pytest.mark.destinations
    def test_iceberg_tables_are_refused_wherever_the_format_is_set(
        self, tmp_path: Path, serve: Any, event: Any, at: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SOURCES__NP6__TABLE_FORMAT", "iceberg")
        sandbox = serve([event(1, at("03-01"))], now=at("03-05"))
        lake = filesystem(f"file://{tmp_path}/lake")
        part = Part(at("03-01"), at("03-02"))
        with pytest.raises(
            SettingError, match=r"Iceberg tables cannot .* Take table_format='delta'"
        ):
            load_part(part, lake, api_key=sandbox.key, base_url=sandbox.url)
        assert not (tmp_path / "lake" / "np6" / "events").exists()

    def test_duckdb_without_a_file_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each part would make a file of its own."""
        monkeypatch.chdir(tmp_path)
        part = Part(START, START + DAY)
        for destination in ("duckdb", dlt.destinations.duckdb(":pipeline:")):
            with pytest.raises(SettingError, match="Give the file that all load into"):
                load_part(part, destination, "np6", api_key="none-is-needed")
        assert list(tmp_path.glob("*.duckdb")) == []

    def test_iceberg_tables_are_refused_without_a_turn(self) -> None:
        with pytest.raises(SettingError, match="Iceberg"):
            load_part(Part(START, START + DAY), "filesystem", table_format="iceberg")


class TestLoad:
    @pytest.fixture
    def sandbox(self, serve: TMake, event: TMake, at: Callable[[str], int]) -> Sandbox:
        """48 events in two days, of two actions in turn."""
        begin = at("03-01")
        events = [event(n, begin + n * HOUR_MS, action=f"000AA{n % 2}") for n in range(48)]
        sandbox: Sandbox = serve(events, now=at("03-03") + HOUR_MS)
        return sandbox

    @pytest.fixture
    def load(self, sandbox: Sandbox, tmp_path: Path) -> TMake:
        """Loads a part into ``events.duckdb``."""

        def load(part: Part, **options: Any) -> Any:
            settings = {"api_key": sandbox.key, "base_url": sandbox.url, "backoff": 0.01}
            destination = dlt.destinations.duckdb(str(tmp_path / "events.duckdb"))
            return load_part(part, destination, "np6", **{**settings, **options})

        return load

    @pytest.fixture
    def query(self, tmp_path: Path) -> TMake:
        def query(sql: str) -> list[Any]:
            with duckdb.connect(str(tmp_path / "events.duckdb")) as connection:
                connection.execute("SET TimeZone = 'UTC'")
                return [row[0] for row in connection.execute(sql).fetchall()]

        return query

    def test_parts_in_any_order_and_twice_leave_every_event_once_and_no_state(
        self, load: TMake, query: TMake, tmp_path: Path
    ) -> None:
        one, two = plan_parts(START, START + 2 * DAY, DAY)
        for part in (two, one, two):
            assert load(part).rows["events"] > 0
        found = query("SELECT id FROM np6.events ORDER BY 1")
        assert found == [f"event-{n:05d}" for n in range(48)]
        tables = query("SELECT table_name FROM duckdb_tables() WHERE schema_name = 'np6'")
        assert "_dlt_pipeline_state" not in tables
        assert query("SELECT count(*) FROM np6._dlt_version") == [1]
        assert query("SELECT count(*) FROM np6._dlt_loads") == [3]
        schemata = query("SELECT schema_name FROM duckdb_schemas() WHERE NOT internal")
        assert [name for name in schemata if "staging" in name] == []

    def test_what_a_killed_attempt_left_in_staging_goes_with_the_next_part(
        self, load: TMake, query: TMake
    ) -> None:
        query("CREATE SCHEMA np6_staging_0123456789ab")
        query("CREATE SCHEMA np6_staging")
        load(Part(START, START + DAY))
        schemata = query("SELECT schema_name FROM duckdb_schemas() WHERE NOT internal")
        assert [name for name in schemata if "staging" in name] == ["np6_staging"]

    def test_the_folder_of_a_killed_part_goes_with_the_next_and_that_of_a_running_one_stays(
        self, load: TMake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        killed, running = tmp_path / "np6_part_killed", tmp_path / "np6_part_running"
        for folder in (killed, running):
            folder.mkdir()
            (folder / "in_use.lock").touch()
            (folder / "addresses.parquet").touch()
        with FileLock(running / "in_use.lock"):
            load(Part(START, START + DAY))
        assert not killed.exists()
        assert (running / "addresses.parquet").exists()
        assert [folder.name for folder in tmp_path.glob("np6_part_*")] == ["np6_part_running"]

    def test_a_part_over_ids_asks_for_nothing_else(
        self, load: TMake, query: TMake, sandbox: Sandbox
    ) -> None:
        load(Part(START, START + 2 * DAY, {"action_ids": ("000AA1",)}))
        assert {request.path.split("/")[2] for request in sandbox.requests} == {"000AA1"}
        assert set(query("SELECT action_id FROM np6.events")) == {"000AA1"}

    def test_what_could_not_be_loaded_is_an_error_that_says_when_to_come_back(
        self, load: TMake, query: TMake, sandbox: Sandbox
    ) -> None:
        part = Part(START, START + 2 * DAY, resources=("actions_events",))
        with (
            sandbox.faults.during(Fault("status", 429, after=1, retry_after=9_000)),
            pytest.raises(PartIncomplete, match=part.name) as caught,
        ):
            load(part, window=86_400, concurrency=1)
        assert caught.value.resume_at is not None
        assert caught.value.resume_at == sandbox.now + timedelta(seconds=9_001)
        assert query("SELECT count(*) FROM np6.events") == [24]
        load(part)
        assert query("SELECT count(*) FROM np6.events") == [48]

    def test_a_part_larger_than_a_checkpoint_is_loaded_whole(
        self, load: TMake, query: TMake
    ) -> None:
        report = load(Part(START, START + 2 * DAY), largest_load=10, window=6 * 3600)
        assert report.packages > 1
        assert query("SELECT count(*) FROM np6.events") == [48]

    def test_a_key_is_in_no_message(self, load: TMake) -> None:
        with pytest.raises(PartIncomplete) as caught:
            load(Part(START, START + DAY), api_key="wrong-key-4711")
        assert "4711" not in str(caught.value)
        assert "Check the key" in str(caught.value)
