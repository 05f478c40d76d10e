"""``np6-source mask``, as a process: as if the dataset had never been in clear."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from np6_source import loading
from np6_source.bookkeeping.erasures import MaskedMeanwhile
from np6_source.bookkeeping.source_state import PROGRESS
from np6_source.events.digests import DigestKey
from tests.cli.test_erase import beside
from tests.support import PostgresDataset, Warehouse, at
from tests.test_clear_values import (
    ADDRESS,
    CLEAR,
    HASH,
    ID,
    RESOURCES,
    SECRET,
    contents,
    persons,
    places,
)

IDS = {"target_ids": [ID], "target_unicities": [ADDRESS]}
KEY = {"SOURCES__NP6__PII_KEY": SECRET}
SPAN = {"start": "2024-03-01", "on_error": "keep", "bad_events": "keep"}


@pytest.fixture
def sandbox(serve: Any) -> Any:
    return serve(persons(), now=at("03-02"))


@pytest.fixture
def load(sandbox: Any, source_of: Any) -> Callable[..., Any]:
    """Loads into a warehouse, by contacts too; under a policy with the key."""

    def call(warehouse: Warehouse, pii: str | None = None, **options: Any) -> Any:
        policy = {"pii": pii, "pii_key": SECRET} if pii else {}
        given = {**SPAN, **IDS, **policy, **options}
        of_call = {name: given.pop(name, None) for name in ("materialize", "reload")}
        return warehouse.load(lambda: source_of(sandbox, *RESOURCES, **given), **of_call)

    return call


@pytest.fixture
def mask(command_line: Any, warehouse: Warehouse) -> Callable[..., Any]:
    def call(*options: str, pii: str = "pseudonyms", **environment: str) -> Any:
        return command_line.run(
            *("-m np6_source", "mask", *command_line.where(warehouse), *options),
            SOURCES__NP6__PII=pii,
            **(KEY | environment),
        )

    return call


def rows_of(warehouse: Warehouse) -> dict[str, list[dict[str, Any]]]:
    """The tables without what differs from load to load."""
    found = warehouse.contents()
    found["load_windows"] = warehouse.rows("load_windows")
    for rows in found.values():
        for row in rows:
            row.pop("unmapped_paths", None)  # Without a key all strange names are alike.
            for name in ("requested_at", "_dlt_load_id", "duration_ms", "request_id"):
                row.pop(name, None)
    return {name: sorted(rows, key=str) for name, rows in found.items()}


def bytes_in_clear(warehouse: Warehouse) -> set[tuple[str, str]]:
    """Where clear values are; DuckDB's texts uncompressed, else bytes prove nothing."""
    raw = warehouse.folder / "raw.duckdb"
    raw.unlink(missing_ok=True)
    with duckdb.connect(config={"force_compression": "uncompressed"}) as connection:
        connection.execute(f"ATTACH '{warehouse.database}' AS loaded (READ_ONLY)")
        connection.execute(f"ATTACH '{raw}' AS raw")
        connection.execute("COPY FROM DATABASE loaded TO raw")
    found = places(contents(warehouse.folder, warehouse.database))
    raw.unlink()
    return found


class TestMasked:
    @pytest.mark.parametrize("pii", ["pseudonyms", "strict"])
    def test_it_is_as_if_it_had_been_loaded_under_the_policy(
        self, pii: str, mask: Any, load: Any, warehouse: Warehouse, new_warehouse: Any
    ) -> None:
        load(warehouse, materialize=True)
        assert {value for _, value in bytes_in_clear(warehouse)} >= {ADDRESS, ID, HASH}
        never_in_clear = new_warehouse(name="masked")
        load(never_in_clear, pii, materialize=True)

        ended = mask("--yes", "--json", pii=pii)

        assert ended.returncode == 0, ended.stderr + ended.stdout
        result = json.loads(ended.stdout)["result"]
        assert (result["masked"], result["found_afterwards"], result["copies"]) == (True, [], [])
        assert (result["ids_renamed"], result["ids_forgotten"]) == (2, 0)
        assert rows_of(warehouse) == rows_of(never_in_clear)
        columns = "message_id, contact_id, contact_hash, recipient, recipient_domain"
        messages = f"SELECT {columns} FROM np6.messages ORDER BY ALL"
        assert warehouse.query(messages) == never_in_clear.query(messages) != []
        assert bytes_in_clear(warehouse) == set()
        assert not any(value in ended.stdout + ended.stderr for value in CLEAR)

    def test_a_reload_that_has_ended_is_no_reason_to_refuse(
        self, mask: Any, load: Any, warehouse: Warehouse, sandbox: Any
    ) -> None:
        load(warehouse)
        sandbox.now = at("03-02T06:00")
        assert load(warehouse, reload=True).failures == []

        ended = mask("--yes")

        assert ended.returncode == 0, ended.stderr

    def test_after_a_reload_under_the_policy_it_cleans_what_the_reload_left(
        self, mask: Any, load: Any, warehouse: Warehouse, sandbox: Any
    ) -> None:
        load(warehouse)
        sandbox.now = at("03-02T06:00")
        assert load(warehouse, pii="pseudonyms", reload=True).failures == []
        assert bytes_in_clear(warehouse)

        ended = mask("--yes")

        assert ended.returncode == 0, ended.stderr
        assert bytes_in_clear(warehouse) == set()

    def test_loads_go_on_under_the_policy_and_under_no_other(
        self, mask: Any, load: Any, warehouse: Warehouse, new_warehouse: Any, sandbox: Any
    ) -> None:
        load(warehouse)
        other = beside(warehouse, "other_pipeline")
        load(other)
        (progress,) = warehouse.places("target_events")[PROGRESS].values()
        assert mask("--yes").returncode == 0
        label = f"hmac:{DigestKey(SECRET).exact(ID)[:16]}"
        assert warehouse.places("target_events")[PROGRESS] == {label: progress}
        masked = rows_of(warehouse)
        sandbox.requests.clear()
        for one in (warehouse, other):
            with pytest.raises(Exception, match="np6-source mask brings the rows"):
                load(one)
        assert sandbox.requests == []
        sandbox.now = at("03-02T06:00")

        for one in (warehouse, other):
            assert load(one, "pseudonyms").failures == []

        again = rows_of(warehouse)
        assert again["events"] == masked["events"]
        assert {row["scope_id"] for row in again["load_windows"]} == {
            row["scope_id"] for row in masked["load_windows"]
        }
        assert bytes_in_clear(warehouse) == set()

    def test_without_yes_it_counts_and_changes_nothing(
        self, mask: Any, load: Any, warehouse: Warehouse
    ) -> None:
        assert mask().returncode == 4
        load(warehouse)
        before = warehouse.database.read_bytes(), warehouse.state()

        planned = mask()

        assert planned.returncode == 3, planned.stderr
        assert "events.contact_unicity: 4 values would change" in planned.stdout
        assert "Nothing was changed" in planned.stdout
        assert (warehouse.database.read_bytes(), warehouse.state()) == before
        assert mask("--yes").returncode == 0
        again = mask()
        assert (again.returncode, "under the policy already" in again.stdout) == (0, True)
        assert mask("--yes", "--json").returncode == 0

    def test_a_weaker_policy_and_another_key_are_refused(
        self, mask: Any, load: Any, warehouse: Warehouse
    ) -> None:
        load(warehouse, "pseudonyms")
        before = warehouse.contents()

        weaker = mask("--yes", pii='{"ip": "truncate"}')
        other = mask(
            "--yes", pii="strict", SOURCES__NP6__PII_KEY="another key of the company's, as long"
        )
        none = mask("--yes", pii="keep")

        assert [one.returncode for one in (weaker, other, none)] == [2, 2, 2]
        assert "address is hmac and cannot become keep" in weaker.stderr
        assert "old digests cannot be turned into new ones" in other.stderr
        assert "no policy is configured" in none.stderr
        assert warehouse.contents() == before
        assert mask("--yes", pii="strict").returncode == 0
        assert {row["contact_unicity"] for row in warehouse.rows("events")} == {None}
        assert {len(row["contact_id"]) for row in warehouse.rows("events")} == {32}

    def test_what_was_extracted_before_is_not_loaded_after(
        self,
        mask: Any,
        load: Any,
        warehouse: Warehouse,
        new_warehouse: Any,
        sandbox: Any,
        source_of: Any,
    ) -> None:
        load(warehouse)
        other = beside(warehouse, "other_pipeline")
        waiting = other.pipeline
        waiting.extract(source_of(sandbox, *RESOURCES, **SPAN, **IDS))
        waiting.normalize()

        ended = mask("--yes")

        # Its files hold clear values, and are named.
        assert ended.returncode == 3, ended.stderr
        assert "load packages that are not loaded (1) of pipeline other_pipeline in" in ended.stdout
        masked = rows_of(warehouse)
        # By the clock of the machine that extracted, it was before.
        warehouse.execute("UPDATE np6._np6_maskings SET masked_at = masked_at - INTERVAL '1 hour'")
        with pytest.raises(MaskedMeanwhile, match="nothing of it was loaded"):
            waiting.load()
        assert rows_of(warehouse) == masked
        assert load(other, "pseudonyms").failures == []
        assert rows_of(warehouse)["events"] == masked["events"]
        assert bytes_in_clear(warehouse) == set()

    def test_ids_that_are_known_nowhere_lose_their_progress_or_are_given(
        self, mask: Any, load: Any, warehouse: Warehouse, sandbox: Any
    ) -> None:
        load(warehouse)
        # Nothing of hers is in the tables: the ledger alone knows of her, by a digest.
        warehouse.execute(
            *(
                f"DELETE FROM np6.{table}"
                for table in ("events", "events__hits", "events__execution_data")
            ),
        )
        planned = mask("--json")
        given = mask("--json", "--target-unicities", ADDRESS)
        assert json.loads(planned.stdout)["result"]["ids_forgotten"] == 1
        assert json.loads(given.stdout)["result"]["ids_forgotten"] == 0
        assert mask("--yes").returncode == 0
        assert bytes_in_clear(warehouse) == set()
        labels = {row["scope_id"] for row in warehouse.rows("load_windows")}
        assert len(labels) == 2  # The account's and her id's.

    def test_everything_else_in_the_file_stays(
        self, mask: Any, load: Any, warehouse: Warehouse
    ) -> None:
        load(warehouse)
        warehouse.execute(
            "CREATE SCHEMA own",
            "CREATE TABLE own.z_parent (id INTEGER PRIMARY KEY)",
            "CREATE TABLE own.child (id INTEGER REFERENCES own.z_parent (id),"
            " twice INTEGER GENERATED ALWAYS AS (2 * id))",
            "INSERT INTO own.z_parent VALUES (7)",
            "INSERT INTO own.child (id) VALUES (7)",
            "COMMENT ON TABLE own.child IS 'mine'",
            "CREATE VIEW own.seen AS SELECT count(*) AS n FROM np6.events",
        )

        assert mask("--yes").returncode == 0

        assert warehouse.query("SELECT * FROM own.child") == [(7, 14)]
        assert warehouse.query("SELECT n FROM own.seen") == [(4,)]
        comment = "SELECT comment FROM duckdb_tables() WHERE table_name = 'child'"
        assert warehouse.query(comment) == [("mine",)]

    def test_a_kill_before_the_end_leaves_what_was_there(
        self, mask: Any, load: Any, warehouse: Warehouse, command_line: Any
    ) -> None:
        load(warehouse)
        before = warehouse.contents()
        wrapper = command_line.folder / "killed.py"
        wrapper.write_text(KILLED)
        process = subprocess.run(
            [
                *(sys.executable, str(wrapper), "mask"),
                *(*command_line.where(warehouse), "--yes"),
            ],
            cwd=command_line.folder,
            env=command_line.environment | KEY | {"SOURCES__NP6__PII": "pseudonyms"},
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert process.returncode == -signal.SIGKILL, process.stderr[-2000:]
        assert warehouse.contents() == before

        assert mask("--yes").returncode == 0

        assert bytes_in_clear(warehouse) == set()
        assert [f.name for f in warehouse.folder.glob(".*rewriting*")] == []


KILLED = """
import os, runpy, signal, sys
import np6_source.persons.duckdb_file as duckdb_file

sys.argv.pop(0)
duckdb_file._sync = lambda _: os.kill(os.getpid(), signal.SIGKILL)
sys.argv.insert(0, "np6-source")
runpy.run_module("np6_source", run_name="__main__")
"""


@pytest.mark.parametrize("destination", ["filesystem", "dummy"])
@pytest.mark.parametrize("command", ["mask", "erase", "person"])
def test_other_destinations_are_refused_with_the_reason(
    command_line: Any, tmp_path: Path, destination: str, command: str
) -> None:
    options = ("--yes",) if command == "mask" else ("--contact", ID)
    refused = command_line.run(
        *("-m np6_source", command, "--destination", destination, *options),
        SOURCES__NP6__PII="pseudonyms",
        DESTINATION__FILESYSTEM__BUCKET_URL=(tmp_path / "lake").as_uri(),
        **KEY,
    )
    assert refused.returncode == 1, refused.stderr
    assert f", not on {destination}: nothing was done" in refused.stderr
    assert "docs/privacy.md" in refused.stderr


def test_postgresql_is_masked_in_one_transaction(
    command_line: Any,
    postgres_dataset: Callable[[str], PostgresDataset],
    sandbox: Any,
    source_of: Any,
) -> None:
    to_mask, masked = postgres_dataset("np6_to_mask"), postgres_dataset("np6_masked")

    def load_into(dataset: PostgresDataset, **policy: Any) -> Any:
        return loading.load(
            dataset.pipeline,
            lambda: source_of(sandbox, *RESOURCES, **SPAN, **IDS, **policy),
            materialize=True,
        )

    def rows(dataset: PostgresDataset) -> str:
        tables = {
            "events": "id, contact_id, contact_unicity, contact_hash, recipient, unmapped::text",
            "events__hits": "client_ip, user_agent, link_destination, link_label, link_type",
            "events__execution_data": "event_id, key, value",
            "load_windows": "resource, scope_id, event_count, policy",
            "messages_table": "message_id, contact_id, contact_hash, recipient",
        }
        return str(
            [
                sorted(dataset.query(f"SELECT {columns} FROM {table}"), key=str)
                for table, columns in tables.items()
            ]
        )

    def mask(*options: str) -> Any:
        return command_line.run(
            *("-m np6_source", "mask", *to_mask.options, *options),
            SOURCES__NP6__PII="pseudonyms",
            **(KEY | to_mask.environment),
        )

    def in_files() -> set[str]:
        """Relations that have clear values on the server's disk."""
        return {where for where, _ in places(iter(to_mask.bytes_on_disk().items()))}

    def staged() -> set[str]:
        """The tables with rows in the staging datasets, which dlt empties with a later load."""
        tables = to_mask.query(
            "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema LIKE"
            f" '{to_mask.name}_staging%' AND table_name NOT LIKE '_dlt%'"
        )
        return {
            table
            for schema, table in tables
            if to_mask.query(f'SELECT 1 FROM "{schema}"."{table}" LIMIT 1')
        }

    # The second load reads the events again in its overlap: it leaves its rows in staging, and
    # another version of the state.
    for sandbox.now in (at("03-01T12:05"), at("03-02")):
        load_into(to_mask)
        load_into(masked, pii="pseudonyms", pii_key=SECRET)
    assert {"events", "events__hits", "events__execution_data"} <= staged()
    assert len(to_mask.query("SELECT state FROM _dlt_pipeline_state")) > 1

    ended = mask("--yes")

    assert ended.returncode == 3, ended.stderr
    assert staged() == set()
    assert "or this command again with --rewrite" in ended.stdout
    assert rows(to_mask) == rows(masked)
    state = str(to_mask.query("SELECT state FROM _dlt_pipeline_state"))
    everything = rows(to_mask) + state
    assert places(iter([("tables", everything.encode())])) == set()
    sandbox.now = at("03-02T06:00")
    report = load_into(to_mask, pii="pseudonyms", pii_key=SECRET)
    assert report.failures == []
    assert f"{to_mask.name}.events" in in_files()

    vacuumed = mask("--yes", "--rewrite")

    assert vacuumed.returncode == 3, vacuumed.stderr
    assert "dead rows" not in vacuumed.stdout
    assert in_files() == set()
    waiting = "SELECT count(*) FROM _np6_maskings WHERE rewritten_at IS NULL"
    assert to_mask.query(waiting) == [(0,)]
