"""``np6-source erase``, as a process: what goes, what stays, and that nothing brings it back."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from hashlib import md5
from pathlib import Path
from typing import Any
from urllib.parse import quote

import dlt
import pytest

from np6_source import loading
from np6_source.bookkeeping.erasures import ErasedMeanwhile
from np6_source.parts import Part, load_part
from np6_source.recheck import plan_recheck, recheck
from np6_source.sandbox import account_from_events
from np6_source.windows import SECOND, Window
from tests.support import PostgresDataset, Warehouse, at, event

KEY = {"SOURCES__NP6__PII_KEY": "a key of the company's, 32 bytes or more"}
ALL = "actions_events"
MARIE, PIERRE = "marie@lab.example", "pierre@lab.example"
OLD = "marie.sklodowska@lab.example"
FAMILY = "curie@lab.example"


def about(
    number: int,
    contact: str | None,
    unicity: str | None,
    recipient: str | None = None,
    kind: str = "activation",
    **detail: Any,
) -> dict[str, Any]:
    """An event about a contact; ``detail`` is added to its details."""
    one = event(number, at("03-01T12:00") + number * 1000)
    person = {"type": "footprint", "id": contact, "unicity": unicity}
    if unicity:
        person["hash"] = md5(unicity.lower().encode(), usedforsecurity=False).hexdigest()
    person = {name: value for name, value in person.items() if value is not None}
    activation = one["source"]["detail"]["activation"]
    activation.update(receiver=person, recipient=recipient or unicity)
    if recipient is None and unicity is None:
        activation.pop("recipient")
    one["type"] = kind
    one["source"]["detail"] |= detail
    return one


def hit(number: int, contact: str, unicity: str, url: str, label: str = "Shop") -> dict[str, Any]:
    link = {"type": "redirection", "label": label, "destination": url}
    client = {
        "type": "web",
        "ip": {"value": f"203.0.113.{number}"},
        "ua": {"ua": f"Agent/{number}"},
    }
    return about(number, contact, unicity, kind="hit", link=link, client=client)


def execution(number: int, contact: str, unicity: str, data: dict[str, Any]) -> dict[str, Any]:
    one = about(number, contact, unicity, kind="execution")
    person = one["source"]["detail"].pop("activation")["receiver"]
    one["source"]["detail"]["execution"] = {"id": "000AA1", "recipient": person, "data": data}
    return one


def account() -> list[dict[str, Any]]:
    """A couple: each has events, some of them quote the other; some say little of whom they are."""
    return [
        about(1, "M1", MARIE),
        about(2, "M1", OLD),  # Her address of before.
        about(3, "M1", None),  # A bounce says the id alone.
        about(4, None, MARIE.upper()),  # The address alone, written otherwise.
        about(5, "P1", PIERRE),
        about(6, "P1", PIERRE, recipient=MARIE),  # A proof, sent to her.
        about(7, "P1", PIERRE, recipient=FAMILY),
        about(8, "M1", MARIE, recipient=FAMILY),
        hit(9, "M1", MARIE, f"https://shop.example/?to={quote(MARIE)}"),
        hit(10, "P1", PIERRE, f"https://shop.example/?friend={quote(MARIE)}", "Invite"),
        hit(11, "P1", PIERRE, "https://shop.example/offers", "Offers"),
        execution(12, "M1", MARIE, {"first_name": "Marie", "city": "Paris"}),
        execution(13, "P1", PIERRE, {"sponsor": MARIE, "first_name": "Pierre"}),
        about(14, "P1", PIERRE) | {"forwarded_to": [f"Mme <{MARIE}>"]},
        about(15, "P1", PIERRE) | {"forwarded_to": ["nobody@lab.example"]},
        about(16, "", MARIE),  # An empty id says nothing.
    ]


HERS = {1, 2, 3, 4, 8, 9, 12, 16}


@pytest.fixture
def sandbox(serve: Any) -> Any:
    return serve(account(), now=at("03-02T03:00"))


@pytest.fixture
def load(warehouse: Warehouse, sandbox: Any, source_of: Any) -> Callable[..., Any]:
    """Loads, as the schedule does or a given range."""

    def call(*resources: str, **options: Any) -> Any:
        keyed = {"pii_key": KEY["SOURCES__NP6__PII_KEY"], **options}
        return warehouse.load(
            lambda: source_of(sandbox, *(resources or (ALL,)), on_error="keep", **keyed)
        )

    return call


@pytest.fixture
def erase(command_line: Any, warehouse: Warehouse) -> Callable[..., Any]:
    def call(*options: str, stdin: str | None = None, **environment: str) -> Any:
        return command_line.run(
            *("-m np6_source", "erase", *command_line.where(warehouse), *options),
            stdin=stdin,
            **(KEY | environment),
        )

    return call


def beside(warehouse: Warehouse, name: str) -> Warehouse:
    """Another pipeline of the machine into the same dataset."""
    other = Warehouse(warehouse.folder, name=name, database=warehouse.database)
    other.pipelines_dir = warehouse.pipelines_dir
    return other


def tables(warehouse: Warehouse) -> dict[str, list[dict[str, Any]]]:
    return warehouse.contents()


def everything(warehouse: Warehouse) -> str:
    """All rows of all tables of the dataset, and what the pipeline's folder has in clear."""
    names = warehouse.query(
        "SELECT table_name FROM duckdb_tables() WHERE schema_name LIKE 'np6%' ORDER BY ALL"
    )
    rows = [str(warehouse.query(f'SELECT * FROM np6."{name}"')) for (name,) in names]
    return "\n".join(rows).lower() + warehouse.state().lower()


def of(rows: list[dict[str, Any]], key: str, numbers: set[int]) -> list[dict[str, Any]]:
    ids = {f"event-{n:05d}" for n in numbers}
    return [row for row in rows if row[key] in ids]


class TestErased:
    def test_without_yes_it_counts_and_changes_nothing(
        self, erase: Any, load: Any, warehouse: Warehouse
    ) -> None:
        load()
        before = everything(warehouse)

        ended = erase("--contact", MARIE)

        assert ended.returncode == 3, ended.stderr
        assert "contact M1 (6 events, 2024-03-01 to 2024-03-01)" in ended.stdout
        assert f"events: {len(HERS)} rows would change" in ended.stdout
        assert "events: recipient of others: 1 rows would change" in ended.stdout
        assert MARIE not in ended.stdout + ended.stderr
        assert everything(warehouse) == before

    @pytest.mark.parametrize("pii", [None, "pseudonyms"])
    def test_her_values_go_and_all_other_rows_stay_as_they_were(
        self, erase: Any, load: Any, warehouse: Warehouse, pii: str | None
    ) -> None:
        policy = {} if pii is None else {"pii": pii}
        load(**policy)
        before = tables(warehouse)
        environment = {} if pii is None else {"SOURCES__NP6__PII": pii}

        ended = erase("--contact", "-", "--yes", "--json", stdin=MARIE, **environment)

        assert ended.returncode == 0, ended.stderr + ended.stdout
        document = json.loads(ended.stdout)
        assert document["result"]["rewritten"] is True
        assert document["result"]["found_afterwards"] == []
        after = tables(warehouse)
        kept = {name: rows for name, rows in after.items() if name != "events__execution_data"}
        assert {n: len(rows) for n, rows in kept.items()} == {n: len(before[n]) for n in kept}
        personal = (
            *("contact_id", "contact_unicity", "contact_hash", "recipient", "recipient_domain"),
            "unmapped",
        )
        for row in of(after["events"], "id", HERS):
            assert {row[name] for name in personal} == {None}
            assert None not in (row["type"], row["action_id"], row["timestamp"])
        (hers,) = of(after["events__hits"], "event_id", HERS)
        assert {hers[n] for n in ("client_ip", "user_agent", "link_destination", "link_label")} == {
            None
        }
        assert of(after["events__execution_data"], "event_id", HERS) == []
        if pii is None:
            self.check_others(before, after)
        for text in (MARIE, OLD):
            assert text not in everything(warehouse)
            assert text.encode() not in warehouse.database.read_bytes()

    def check_others(self, before: Any, after: Any) -> None:
        """Others' rows are equal but for her address."""
        changed = {
            (table, row.get("id") or row["event_id"], name)
            for table in before
            for row, then in zip(
                *(
                    [
                        r
                        for r in found[table]
                        if not of([r], "id" if "id" in r else "event_id", HERS)
                    ]
                    for found in (
                        {**before, "events__execution_data": []},
                        {**after, "events__execution_data": []},
                    )
                ),
                strict=True,
            )
            for name in row
            if row[name] != then[name]
        }
        assert changed == {
            ("events", "event-00006", "recipient"),
            ("events__hits", "event-00010", "link_destination"),
            ("events", "event-00014", "unmapped"),
        }
        data = {(row["event_id"], row["key"]) for row in after["events__execution_data"]}
        assert data == {("event-00013", "first_name")}

    def test_nothing_brings_her_back(
        self,
        erase: Any,
        load: Any,
        warehouse: Warehouse,
        new_warehouse: Any,
        sandbox: Any,
        source_of: Any,
    ) -> None:
        load()
        assert erase("--contact", MARIE, "--yes").returncode == 0
        erased = tables(warehouse)
        sandbox.now = at("03-02T06:00")

        load(overlap=86_400)  # The overlap.
        assert tables(warehouse) == erased
        load(start="2024-03-01", end="2024-03-02")  # A backfill.
        assert tables(warehouse) == erased
        other = new_warehouse(name="other_pipeline", database=warehouse.database)
        secret = KEY["SOURCES__NP6__PII_KEY"]
        other.load(lambda: source_of(sandbox, ALL, "actions_reactivities", pii_key=secret))
        assert tables(warehouse) == erased
        load_part(
            Part("2024-03-01", "2024-03-02", resources=(ALL,)),
            dlt.destinations.duckdb(str(warehouse.database)),
            api_key=sandbox.key,
            base_url=sandbox.url,
            pii_key=secret,
        )
        assert tables(warehouse) == erased
        plan = plan_recheck(
            warehouse.pipeline,
            source_of(sandbox, ALL, pii_key=secret),
            span=Window(at("03-01"), at("03-02")),
        )
        again = recheck(
            warehouse.pipeline,
            lambda: source_of(sandbox, ALL, on_error="keep", pii_key=secret),
            plan,
        )
        assert (again.failures, again.events, again.loaded) == ([], len(account()), 0)
        assert tables(warehouse) == erased
        sandbox.now = at("03-02T07:00")
        report = warehouse.load(
            lambda: source_of(
                sandbox, ALL, "actions_reactivities", on_error="keep", pii_key=secret
            ),
            reload=True,
        )
        assert report.failures == []
        assert tables(warehouse) == erased
        assert MARIE not in everything(warehouse)

    def test_what_was_extracted_before_is_not_loaded_after(
        self,
        erase: Any,
        load: Any,
        warehouse: Warehouse,
        new_warehouse: Any,
        sandbox: Any,
        source_of: Any,
    ) -> None:
        load()
        other = new_warehouse(name="other_pipeline", database=warehouse.database)
        secret = KEY["SOURCES__NP6__PII_KEY"]
        waiting = other.pipeline
        waiting.extract(source_of(sandbox, ALL, pii_key=secret))
        waiting.normalize()
        assert erase("--contact", MARIE, "--yes").returncode == 0
        erased = tables(warehouse)

        with pytest.raises(ErasedMeanwhile, match="nothing of it was loaded"):
            waiting.load()

        assert tables(warehouse) == erased
        report = other.load(lambda: source_of(sandbox, ALL, on_error="keep", pii_key=secret))
        assert (report.failures, report.packages) == ([], 1)
        assert tables(warehouse) == erased

    def test_without_the_key_or_with_another_nothing_is_loaded(
        self, erase: Any, load: Any, warehouse: Warehouse, sandbox: Any
    ) -> None:
        load()
        assert erase("--contact", "M1", "--yes").returncode == 0
        asked = len(sandbox.requests)
        for key in (None, "another key of the company's, as long as the first"):
            with pytest.raises(Exception, match="contacts were erased from this dataset"):
                load(pii_key=key)
        assert len(sandbox.requests) == asked

    def test_her_ids_are_asked_no_more_and_her_labels_go(
        self, erase: Any, load: Any, warehouse: Warehouse, sandbox: Any, caplog: Any
    ) -> None:
        names = ("target_events", "targets_events_hits_by_unicity")
        ids = {"target_ids": ["M1", "P1"], "target_unicities": [MARIE]}
        load(*names, **ids)
        labels = {row["scope_id"] for row in warehouse.rows("load_windows")}
        assert len(labels) == 3

        assert erase("--contact", "M1", "--yes").returncode == 0

        left = {row["scope_id"] for row in warehouse.rows("load_windows")}
        assert len(left) == 1
        for label in labels - left:
            assert label not in warehouse.state()
        sandbox.requests.clear()
        sandbox.now = at("03-03")
        load(*names, **ids)
        assert {r.path for r in sandbox.requests} == {"/targets/P1/events"}
        assert {row["scope_id"] for row in warehouse.rows("load_windows")} == left
        assert "was erased from this dataset and is not requested" in caplog.text

    def test_what_is_known_of_how_late_her_events_came_goes(
        self, erase: Any, load: Any, warehouse: Warehouse, sandbox: Any, source_of: Any
    ) -> None:
        by_id = {"target_ids": ["M1", "P1"], "pii_key": KEY["SOURCES__NP6__PII_KEY"]}
        name = "target_events"
        for moment in ("03-01T23:00", "03-02T03:00"):  # The whole day is read within a day.
            sandbox.now = at(moment)
            load(name, **by_id)
        plan = plan_recheck(
            warehouse.pipeline,
            source_of(sandbox, name, **by_id),
            resources=[name],
            span=Window(at("03-01"), at("03-02")),
        )
        make_source = partial(source_of, sandbox, name, on_error="keep", **by_id)
        assert recheck(warehouse.pipeline, make_source, plan).failures == []
        labels = {row["scope_id"] for row in warehouse.rows("lateness")}
        assert len(labels) == 2

        ended = erase("--contact", "M1", "--yes", "--json")

        assert json.loads(ended.stdout)["result"]["rows"]["lateness"] == 1
        (of_another,) = {row["scope_id"] for row in warehouse.rows("lateness")}
        (hers,) = labels - {of_another}
        assert hers not in everything(warehouse)

    def test_who_takes_the_address_later_is_not_touched(
        self, erase: Any, load: Any, warehouse: Warehouse, serve: Any, source_of: Any
    ) -> None:
        load()
        assert erase("--contact", MARIE, "--yes").returncode == 0
        moment = int(time.time() * SECOND)
        later = event(99, moment)
        person = {"type": "footprint", "id": "N1", "unicity": MARIE}
        later["source"]["detail"]["activation"].update(receiver=person, recipient=MARIE)
        sandbox = serve([later])
        time.sleep(2)  # Until the second of the event is over.

        secret = KEY["SOURCES__NP6__PII_KEY"]
        bounds = {"start": moment - SECOND, "end": moment // SECOND * SECOND + SECOND}
        warehouse.load(lambda: source_of(sandbox, ALL, settle=0, pii_key=secret, **bounds))

        (row,) = of(warehouse.rows("events"), "id", {99})
        assert (row["contact_id"], row["contact_unicity"], row["recipient"]) == (
            *("N1", MARIE),
            MARIE,
        )

    def test_an_erasure_can_be_lifted(self, erase: Any, load: Any, warehouse: Warehouse) -> None:
        load()
        before = tables(warehouse)
        ended = json.loads(erase("--contact", "M1", "--yes", "--json").stdout)

        assert erase("--lift", "nothing").returncode == 2
        lifted = erase("--lift", ended["result"]["erasure_id"])

        assert lifted.returncode == 0, lifted.stderr
        load(start="2024-03-01", end="2024-03-02")
        assert tables(warehouse) == before


class TestFilesElsewhere:
    def test_files_that_are_known_of_are_named_and_the_copy_is_made_anew(
        self,
        erase: Any,
        load: Any,
        warehouse: Warehouse,
        sandbox: Any,
        source_of: Any,
        tmp_path: Path,
    ) -> None:
        load()
        backup = warehouse.database.with_name(f"{warehouse.database.stem}-backup.duckdb")
        backup.write_bytes(warehouse.database.read_bytes())
        published = tmp_path / "readers.duckdb"
        published.write_bytes(warehouse.database.read_bytes())
        other = beside(warehouse, "other_pipeline")
        other.pipeline.extract(source_of(sandbox, ALL, pii_key=KEY["SOURCES__NP6__PII_KEY"]))
        spool = tmp_path / "spool"
        left = spool / "np6_spool" / "spool-of-a-kill"
        left.mkdir(parents=True)
        (left / "in-use.lock").touch()
        (left / "response.json").write_text(MARIE)

        ended = erase(
            *("--contact", "M1", "--yes", "--json"),
            SOURCES__NP6__PUBLISH=str(published),
            SOURCES__NP6__SPOOL_DIR=str(spool),
        )

        assert ended.returncode == 3, ended.stderr
        copies = json.loads(ended.stdout)["result"]["copies"]
        assert copies[0] == f"the DuckDB file {backup}"
        kept = "load packages that are not loaded (1) of pipeline other_pipeline in"
        assert copies[1].startswith(kept)
        assert len(copies) == 2
        assert MARIE.encode() in backup.read_bytes()
        assert MARIE.encode() not in published.read_bytes()
        assert not left.exists()


class TestWho:
    def test_an_address_of_several_contacts_is_asked_about(
        self, erase: Any, warehouse: Warehouse, serve: Any, source_of: Any
    ) -> None:
        sandbox = serve(
            [about(1, "A1", MARIE), about(2, "A2", MARIE), about(3, "A2", OLD)],
            now=at("03-02T03:00"),
        )
        warehouse.load(lambda: source_of(sandbox, ALL, **{"pii_key": KEY["SOURCES__NP6__PII_KEY"]}))
        before = tables(warehouse)

        refused = erase("--contact", MARIE, "--yes")

        assert refused.returncode == 2
        assert "is of 2 contacts: A1 (1 events" in refused.stderr
        assert MARIE not in refused.stderr
        assert tables(warehouse) == before
        assert erase("--contact", "A1", "--yes").returncode == 0
        rows = warehouse.rows("events")
        assert [row["contact_id"] for row in rows if row["id"] != "event-00001"] == ["A2", "A2"]
        assert {row["contact_unicity"] for row in rows} == {None, MARIE, OLD}
        # The address that another has as well comes back with the other alone.
        warehouse.load(
            lambda: source_of(
                sandbox,
                *(ALL,),
                start="2024-03-01",
                end="2024-03-02",
                pii_key=KEY["SOURCES__NP6__PII_KEY"],
            )
        )
        assert warehouse.rows("events", "id")[0]["contact_id"] is None
        assert warehouse.rows("events", "id")[1]["contact_unicity"] == MARIE
        assert erase("--contact", MARIE, "--all-of-address", "--yes").returncode == 0
        assert {row["contact_unicity"] for row in warehouse.rows("events")} == {None}

    def test_the_way_never_leads_over_the_recipient(
        self, erase: Any, load: Any, warehouse: Warehouse
    ) -> None:
        load()

        ended = erase("--contact", FAMILY, "--json")

        assert json.loads(ended.stdout)["result"]["contacts"] == []

    def test_who_is_in_tables_of_names_alone_is_found_by_address(
        self, erase: Any, warehouse: Warehouse, serve: Any, source_of: Any, command_line: Any
    ) -> None:
        known = account_from_events([about(1, "P1", PIERRE)])
        digest = md5(MARIE.encode(), usedforsecurity=False).hexdigest()
        known.describe(
            "targets",
            [
                {"id": "M1", "hash": digest, "fields": {"1": MARIE}},
                {"id": "P1", "hash": "0" * 32, "fields": {"1": PIERRE, "2": f"sponsor: {MARIE}"}},
            ],
        )
        sandbox = serve(known, now=at("03-02T03:00"))
        given = {"pii_key": KEY["SOURCES__NP6__PII_KEY"], "target_ids": ["M1", "P1"]}
        warehouse.load(lambda: source_of(sandbox, ALL, "target", **given))
        shown = command_line.run(
            *("-m np6_source", "person", *command_line.where(warehouse), "--contact", MARIE),
            *("--json",),
            **KEY,
        )
        result = json.loads(shown.stdout)["result"]
        assert [row["id"] for row in result["tables"]["targets"]] == ["M1"]
        assert result["mentions_elsewhere"] == 1
        assert PIERRE not in shown.stdout

        # A first load drops its staging dataset, a later one leaves its rows there.
        warehouse.load(lambda: source_of(sandbox, ALL, "target", **given))

        ended = erase("--contact", MARIE, "--yes")

        assert ended.returncode == 0, ended.stdout + ended.stderr
        assert MARIE not in everything(warehouse)
        assert digest not in everything(warehouse)
        for text in (MARIE, digest):
            assert text.encode() not in warehouse.database.read_bytes()
        fields = {
            (r["target_id"], r["field_id"]): r["value"] for r in warehouse.rows("targets__fields")
        }
        assert fields == {("P1", "1"): json.dumps(PIERRE), ("P1", "2"): None}

    def test_an_address_that_another_one_ends_with_is_done_when_it_is_done(
        self, erase: Any, warehouse: Warehouse, serve: Any, source_of: Any
    ) -> None:
        anne = f"anne.{MARIE}"
        sandbox = serve([about(1, "M1", MARIE), about(2, "A1", anne)], now=at("03-02T03:00"))
        warehouse.load(lambda: source_of(sandbox, ALL, pii_key=KEY["SOURCES__NP6__PII_KEY"]))

        ended = erase("--contact", "M1", "--yes", "--json")

        assert ended.returncode == 0, ended.stdout
        assert json.loads(ended.stdout)["result"]["found_afterwards"] == []
        assert [row["recipient"] for row in warehouse.rows("events", "id")] == [None, anne]

    def test_what_is_not_there_is_kept_from_coming(
        self, erase: Any, warehouse: Warehouse, sandbox: Any, source_of: Any
    ) -> None:
        secret = KEY["SOURCES__NP6__PII_KEY"]
        warehouse.load(
            lambda: source_of(
                sandbox, ALL, start="2024-02-28", end="2024-03-01T01:00Z", pii_key=secret
            )
        )
        asked = erase("--contact", "M1")
        assert (asked.returncode, "Nothing of this contact" in asked.stdout) == (0, True)

        assert erase("--contact", "M1", "--yes").returncode == 0

        warehouse.load(lambda: source_of(sandbox, ALL, pii_key=secret))
        assert "M1" not in {row["contact_id"] for row in warehouse.rows("events")}
        assert len(warehouse.ids()) == len(account())

    def test_it_needs_a_key_and_something_that_was_loaded(
        self, erase: Any, load: Any, warehouse: Warehouse
    ) -> None:
        assert erase("--contact", "M1").returncode == 4
        load()
        refused = erase("--contact", "M1", SOURCES__NP6__PII_KEY="")
        assert refused.returncode == 2
        assert "needs the secret pii_key" in refused.stderr or "too short" in refused.stderr


KILLED = """
import os, runpy, signal, sys
import np6_source.persons.erasing as erasing
import np6_source.cli.erase
import np6_source.persons.duckdb_file as duckdb_file

sys.argv.pop(0)
moment = sys.argv.pop(0)


def kill(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


if moment == "in the transaction":
    erasing._list = kill
elif moment == "after the transaction":
    sys.modules["np6_source.cli.erase"].finish_erasures = lambda pipeline: None
    erasing.make_messages_anew = sys.modules["np6_source.cli.erase"].make_messages_anew = kill
elif moment == "before the rename":
    duckdb_file._sync = kill
sys.argv.insert(0, "np6-source")
runpy.run_module("np6_source", run_name="__main__")
"""


class TestKilled:
    @pytest.mark.parametrize(
        "moment", ["in the transaction", "after the transaction", "before the rename"]
    )
    def test_the_next_load_ends_what_a_kill_interrupted(
        self, load: Any, warehouse: Warehouse, command_line: Any, sandbox: Any, moment: str
    ) -> None:
        load()
        before = tables(warehouse)
        wrapper = command_line.folder / "killed.py"
        wrapper.write_text(KILLED)
        process = subprocess.run(
            [
                *(sys.executable, str(wrapper), moment, "erase"),
                *command_line.where(warehouse),
                *("--contact", MARIE, "--yes"),
            ],
            cwd=command_line.folder,
            env=command_line.environment | KEY,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert process.returncode == -signal.SIGKILL, process.stderr[-2000:]
        if moment == "in the transaction":
            assert tables(warehouse) == before
            return
        assert MARIE.encode() not in str(tables(warehouse)).encode()
        # The tables have nothing of hers; the file's free blocks do.
        assert MARIE.encode() in warehouse.database.read_bytes()
        sandbox.now = at("03-02T06:00")

        load()

        ((waiting,),) = warehouse.query(
            "SELECT count(*) FROM np6._np6_erasures WHERE rewritten_at IS NULL"
        )
        assert waiting == 0
        assert MARIE.encode() not in warehouse.database.read_bytes()
        assert [f.name for f in warehouse.folder.glob(".*rewriting*")] == []


class TestPostgres:
    def test_her_values_go_and_what_is_out_of_reach_is_said(
        self,
        command_line: Any,
        postgres_dataset: Callable[[str], PostgresDataset],
        sandbox: Any,
        source_of: Any,
    ) -> None:
        dataset, secret = postgres_dataset("np6_erased"), KEY["SOURCES__NP6__PII_KEY"]

        def run(*options: str) -> Any:
            return command_line.run(
                *("-m np6_source", "erase", *dataset.options, *options),
                **(KEY | dataset.environment),
            )

        columns = "id, type, contact_id, contact_unicity, recipient, unmapped"
        all_rows = f"SELECT {columns} FROM events ORDER BY id"

        def of_hers() -> set[str]:
            """Relations that have an address of hers on the server's disk."""
            texts = [form(one).encode() for one in (MARIE, OLD) for form in (str, str.upper, quote)]
            return {
                name
                for name, content in dataset.bytes_on_disk().items()
                if any(text in content for text in texts)
            }

        def load_again(**options: Any) -> None:
            loading.load(
                dataset.pipeline,
                lambda: source_of(sandbox, ALL, on_error="keep", pii_key=secret, **options),
                materialize=True,
            )

        load_again()
        # A first load drops its staging dataset, a later one leaves its rows there.
        load_again(start="2024-03-01", end="2024-03-02")
        assert any("_staging" in name for name in of_hers())
        planned = run("--contact", MARIE)
        assert planned.returncode == 3, planned.stderr
        assert f"events: {len(HERS)} rows would change" in planned.stdout

        ended = run("--contact", MARIE, "--yes")

        assert ended.returncode == 3, ended.stderr
        assert "Out of reach: the tables' dead rows" in ended.stdout
        assert not any("_staging" in name for name in of_hers())
        erased = dataset.query(all_rows)
        assert len(erased) == len(account())
        assert MARIE not in str(erased).lower()
        hers = {f"event-{n:05d}" for n in HERS}
        assert {row[2:] for row in erased if row[0] in hers} == {(None, None, None, None)}
        assert {row[2] for row in erased if row[0] not in hers} == {"P1"}
        messages = dataset.query("SELECT contact_id, recipient FROM messages_table")
        assert {contact for contact, _ in messages} == {None, "P1"}
        assert MARIE not in str(messages)
        load_again(start="2024-03-01", end="2024-03-02")
        assert dataset.query(all_rows) == erased
        assert f"{dataset.name}.events" in of_hers()
        vacuumed = run("--contact", "M1", "--yes", "--rewrite")
        assert "dead rows" not in vacuumed.stdout
        assert of_hers() == set()
        ((waiting,),) = dataset.query(
            "SELECT count(*) FROM _np6_erasures WHERE rewritten_at IS NULL"
        )
        assert waiting == 0
