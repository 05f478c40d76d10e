"""``np6-source gaps``, as a process: what is missing, and what cannot be told."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from np6_source.sandbox import Fault, Sandbox
from np6_source.windows import SECOND, Window, gaps, merged

ALL = "actions_events"
HOUR = 3600 * SECOND
WITH_KEY = {"SOURCES__NP6__PII_KEY": "a key of the company's, 32 bytes or more"}
SIGNALLED = """
import os, signal, sys
from dlt.normalize import Normalize
from np6_source.__main__ import main

run = Normalize.run

def signalled(self, pool):
    Normalize.run = run
    os.kill(os.getpid(), signal.SIGTERM)
    return run(self, pool)

Normalize.run = signalled
sys.exit(main())
"""
TMake = Callable[..., Any]
TAt = Callable[[str], int]


@pytest.fixture
def sandbox(serve: TMake, event: TMake, at: TAt) -> Sandbox:
    sandbox: Sandbox = serve((event(n, at("03-01") + n * HOUR) for n in range(48)), now=at("03-03"))
    return sandbox


class TestGaps:
    """``python -m np6_source gaps``."""

    SPAN = ("--start", "2024-03-01", "--end", "2024-03-02T12:00:00Z")

    def gaps(
        self,
        command_line: Any,
        warehouse: Any,
        sandbox: Sandbox,
        *options: str,
        **environment: str,
    ) -> Any:
        return command_line.run(
            "-m np6_source",
            "gaps",
            *self.SPAN,
            *command_line.where(warehouse),
            *("--base-url", sandbox.url),
            *options,
            SOURCES__NP6__API_KEY=sandbox.key,
            **environment,
        )

    def test_a_future_end_is_refused_before_anything_is_filled(
        self, command_line: Any, warehouse: Any, sandbox: Sandbox, source_of: TMake
    ) -> None:
        warehouse.load(lambda: source_of(sandbox, ALL, window=6 * 3600))
        sandbox.requests.clear()
        options = ("--end", "2999-01-01", "--fill")
        refused = self.gaps(command_line, warehouse, sandbox, *options)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.stderr.startswith("--end 2999-01-01 lies in the future")
        assert sandbox.requests == []

    def test_holes_are_listed_and_filled(
        self, command_line: Any, warehouse: Any, sandbox: Sandbox, source_of: TMake, at: TAt
    ) -> None:
        by_id = "action_events_activations"
        unicity = "targets_events_hits_by_unicity"
        address = "person1@example.com"
        options = {"action_ids": ["000AA1"], "target_unicities": [address]}
        resources = (ALL, by_id, unicity)
        warehouse.load(lambda: source_of(sandbox, *resources, window=6 * 3600, **options))
        state = warehouse.state()
        nothing = self.gaps(command_line, warehouse, sandbox)
        assert (nothing.returncode, nothing.stdout.strip()) == (0, "Nothing is missing.")
        before = warehouse.contents()
        warehouse.execute(
            "DELETE FROM np6.load_windows WHERE window_start = '2024-03-01 00:00:00Z'",
            "DELETE FROM np6.events WHERE timestamp < '2024-03-01 06:00:00Z'",
        )
        listed = self.gaps(command_line, warehouse, sandbox)
        assert listed.returncode == 3
        for name in (ALL, by_id, unicity):
            assert name in listed.stdout
        assert address not in listed.stdout
        assert "2024-03-01T06:00:00Z" in listed.stdout
        sandbox.requests.clear()
        refused = self.gaps(command_line, warehouse, sandbox, "--fill")
        assert refused.returncode == 2
        assert "give --target-unicities" in refused.stderr
        filled = self.gaps(
            command_line, warehouse, sandbox, "--fill", "--target-unicities", address
        )
        assert filled.returncode == 0, filled.stderr
        # 6 events of each of two resources: those by id are the same.
        summary = filled.stdout.splitlines()[-1]
        assert summary.startswith("3 gaps loaded: 6 new events, ")
        assert "Nothing new" not in filled.stdout
        assert filled.stdout.count("new events") == 1
        assert warehouse.contents() == before
        assert warehouse.state() == state
        span = Window(at("03-01"), at("03-02T12:00"))
        assert gaps(span, warehouse.windows(ALL)) == []
        assert gaps(span, warehouse.windows(by_id, "000AA1")) == []
        asked = {(r.path, r.query["start"], r.query["end"]) for r in sandbox.requests}
        day = ("2024-03-01T00:00:00Z", "2024-03-01T06:00:00Z")
        assert ("/actions/events", *day) in asked
        assert {(start, end) for _, start, end in asked} == {day}

    def test_nothing_is_loaded_where_one_gap_cannot_be(
        self, command_line: Any, warehouse: Any, sandbox: Sandbox, source_of: TMake
    ) -> None:
        unicity = "targets_events_hits_by_unicity"
        options = {"target_unicities": ["person1@example.com"], "end": "2024-03-01T12:00:00Z"}
        warehouse.run(source_of(sandbox, ALL, unicity, **options))
        sandbox.requests.clear()
        refused = self.gaps(command_line, warehouse, sandbox, "--fill")
        assert refused.returncode == 2
        assert "give --target-unicities" in refused.stderr
        assert sandbox.requests == []

    def test_a_gap_that_cannot_be_loaded_is_summed_up_with_those_that_were(
        self, command_line: Any, warehouse: Any, sandbox: Sandbox, source_of: TMake
    ) -> None:
        by_id = "action_events_activations"
        options = {"action_ids": ["000AA1"], "end": "2024-03-01T12:00:00Z"}
        warehouse.run(source_of(sandbox, ALL, by_id, **options))
        with sandbox.faults.during(Fault("status", 403, path="/actions/000AA1/events/activations")):
            filled = self.gaps(command_line, warehouse, sandbox, "--fill")
        assert filled.returncode == 1
        assert filled.stdout.splitlines()[-1].startswith("Part of 2 gaps is loaded: 24 new events")
        assert filled.stderr.count("Forbidden: ") == 1
        still = self.gaps(command_line, warehouse, sandbox, "--json")
        document = json.loads(still.stdout)
        assert (still.returncode, document["exit_status"]) == (3, 3)
        assert document["result"] == {
            "missing": [
                {
                    "resource": by_id,
                    "id": "000AA1",
                    "start": "2024-03-01T12:00:00Z",
                    "end": "2024-03-02T12:00:00Z",
                }
            ],
            "load": None,
        }
        done = json.loads(self.gaps(command_line, warehouse, sandbox, "--json", "--fill").stdout)
        assert (done["exit_status"], done["result"]["load"]["events_new"]) == (0, 0)
        assert done["result"]["load"]["windows"] == {by_id: done["requests"]}
        whole = json.loads(self.gaps(command_line, warehouse, sandbox, "--json").stdout)
        assert (whole["exit_status"], whole["result"]) == (0, {"missing": [], "load": None})

    def test_a_signal_while_dlt_normalizes_ends_filling_after_what_is_complete(
        self, command_line: Any, warehouse: Any, sandbox: Sandbox, source_of: TMake, at: TAt
    ) -> None:
        warehouse.run(source_of(sandbox, ALL, start="2024-03-01T06:00:00Z"))
        by_id = "action_events_activations"
        warehouse.run(source_of(sandbox, by_id, action_ids=["000AA1"], end="2024-03-02"))
        (command_line.folder / "signalled.py").write_text(SIGNALLED)
        ended = command_line.run(
            "-m signalled",
            *("gaps", *self.SPAN, *command_line.where(warehouse), "--fill"),
            *("--base-url", sandbox.url),
            SOURCES__NP6__API_KEY=sandbox.key,
        )
        assert ended.returncode == 143, ended.stderr
        assert "Stopping after the current window" in ended.stderr
        assert ended.stdout.splitlines()[-1].startswith("Part of 2 gaps is loaded: ")
        (filled, *_) = merged(warehouse.windows(by_id, "000AA1"))
        assert filled.end == at("03-02T12:00")

    def test_ids_on_standard_input_say_what_to_load(
        self, command_line: Any, warehouse: Any, sandbox: Sandbox, source_of: TMake
    ) -> None:
        unicity = "targets_events_hits_by_unicity"
        addresses = ["person1@example.com", "person2@example.com"]
        options = {"target_unicities": addresses, "end": "2024-03-01T12:00:00Z"}
        warehouse.run(source_of(sandbox, unicity, **options))
        ended = command_line.run(
            *("-m np6_source", "gaps", *self.SPAN, *command_line.where(warehouse), "--fill"),
            *("--resources", unicity, "--target-unicities", "-", "--base-url", sandbox.url),
            stdin="\n".join(addresses),
            SOURCES__NP6__API_KEY=sandbox.key,
        )
        assert ended.returncode == 0, ended.stderr
        assert "2 gaps loaded: 0 new events" in ended.stdout

    def test_a_resource_that_was_never_loaded_is_missing_whole_where_it_is_asked_for(
        self, command_line: Any, warehouse: Any, sandbox: Sandbox, source_of: TMake
    ) -> None:
        warehouse.run(source_of(sandbox, ALL))
        listed = self.gaps(
            command_line, warehouse, sandbox, "--resources", ALL, "display_events_activations"
        )
        assert listed.returncode == 3, listed.stderr
        assert ALL not in listed.stdout
        assert listed.stdout.count("2024-03-02T12:00:00Z") == 1

    def test_contacts_are_found_under_the_labels_from_before_there_was_a_key(
        self, command_line: Any, warehouse: Any, sandbox: Sandbox, source_of: TMake
    ) -> None:
        contact = ("--target-ids", "CON00001")
        warehouse.run(source_of(sandbox, "target_events", target_ids=["CON00001"]))

        nothing = self.gaps(
            command_line, warehouse, sandbox, "--resources", "target_events", *contact, **WITH_KEY
        )

        assert (nothing.returncode, nothing.stdout.strip()) == (0, "Nothing is missing.")

    def test_ids_on_standard_input_are_read_once(
        self, command_line: Any, warehouse: Any, sandbox: Sandbox, source_of: TMake
    ) -> None:
        warehouse.run(source_of(sandbox, "target_events", target_ids=["CON00001"]))

        ended = command_line.run(
            *("-m np6_source", "gaps", *self.SPAN, *command_line.where(warehouse)),
            *("--resources", "target_events", "--target-ids", "-"),
            stdin="CON00001\n",
        )

        assert (ended.returncode, ended.stdout.strip()) == (0, "Nothing is missing."), ended.stderr

    def test_another_policy_than_the_datasets_is_refused_where_it_matters(
        self, command_line: Any, warehouse: Any, sandbox: Sandbox, source_of: TMake
    ) -> None:
        warehouse.run(source_of(sandbox, ALL))
        policy = WITH_KEY | {"SOURCES__NP6__PII": "pseudonyms"}

        listed = self.gaps(command_line, warehouse, sandbox, **policy)
        filled = self.gaps(command_line, warehouse, sandbox, "--fill", **policy)

        assert (listed.returncode, listed.stdout.strip()) == (0, "Nothing is missing.")
        assert filled.returncode == 2
        assert "this dataset was loaded under (everything kept)" in filled.stderr

    def test_the_command_wants_a_span(self, command_line: Any) -> None:
        ended = command_line.run("-m np6_source", "gaps", "--start", "2024-03-01")
        assert ended.returncode == 2
        assert "--end" in ended.stderr

    def test_an_empty_dataset_is_an_answer_of_its_own(
        self, command_line: Any, warehouse: Any, sandbox: Sandbox, source_of: TMake
    ) -> None:
        no_file = self.gaps(command_line, warehouse, sandbox)
        assert (no_file.returncode, no_file.stdout) == (4, "")
        assert f"there is no file {warehouse.database}" in no_file.stderr
        assert not warehouse.database.exists()
        assert not warehouse.pipelines_dir.exists()
        warehouse.run(source_of(sandbox, ALL))
        mistyped = self.gaps(command_line, warehouse, sandbox, "--dataset", "nq6")
        assert (mistyped.returncode, mistyped.stdout) == (4, "")
        assert "there is no dataset nq6" in mistyped.stderr
        assert "did you mean np6?" in mistyped.stderr
        warehouse.execute("DELETE FROM np6.load_windows")
        empty = self.gaps(command_line, warehouse, sandbox)
        assert (empty.returncode, empty.stdout) == (4, "")
        assert "no load into dataset np6" in empty.stderr
        schemas = {name for (name,) in warehouse.query("SELECT schema_name FROM duckdb_schemas()")}
        assert "nq6" not in schemas

    def test_files_have_no_ledger_to_ask(self, command_line: Any, warehouse: Any) -> None:
        for words in (["gaps", *self.SPAN], ["status"]):
            ended = command_line.run(
                "-m np6_source",
                *words,
                *("--destination", "filesystem", "--pipelines-dir", str(warehouse.pipelines_dir)),
                DESTINATION__FILESYSTEM__BUCKET_URL=str(warehouse.folder / "lake"),
            )
            assert (ended.returncode, ended.stdout) == (2, "")
            (line,) = ended.stderr.splitlines()
            assert f"{words[0]} reads load_windows in a database, and --destination files" in line

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (("--resources", "action_events"), "no resource action_events (did you mean"),
            (("--start", "2024-03-03"), "--start 2024-03-03 must be before --end"),
            (("--start", "tomorrow"), "--start='tomorrow' is not an ISO date"),
        ],
        ids=["resource", "end before start", "no date"],
    )
    def test_what_cannot_be_used_is_refused(
        self,
        command_line: Any,
        warehouse: Any,
        sandbox: Sandbox,
        options: tuple[str, ...],
        words: str,
    ) -> None:
        ended = self.gaps(command_line, warehouse, sandbox, *options)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert words in ended.stderr
        assert "Traceback" not in ended.stderr
