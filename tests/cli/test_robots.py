"""``np6-source robots``: marks among the hits that are loaded, whatever came first."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import dlt
import pytest

from np6_source.__main__ import main
from np6_source.cli import robots
from np6_source.cli.outcome import NothingLoaded
from np6_source.robots import CLASSES, OPERATION
from np6_source.sandbox import Sandbox
from np6_source.sandbox.faults import Fault
from np6_source.sandbox.variants import Variants
from tests.support import PostgresDataset, Warehouse, at
from tests.views.accounts import END, MIDDLE, START, robots_of, small

ACCOUNT = small(events=800)
ROBOTS = robots_of(ACCOUNT)
HITS = {
    event["id"]: event
    for event in ACCOUNT.events()
    if event["type"] == "hit" and event["source"]["type"] in ("email", "sms")
}
TMake = Callable[..., Any]


def contact_of(event_id: str) -> str:
    contact: str = HITS[event_id]["source"]["detail"]["activation"]["receiver"]["id"]
    return contact


def marked(*names: str, before: str = END, start: str = START) -> dict[str, str]:
    """What should be marked of the hits of a period."""
    return {
        one: ROBOTS[one]
        for one in sorted(HITS)
        if ROBOTS.get(one) in names and at(start) <= HITS[one]["timestamp"] < at(before)
    }


@dataclass
class Dataset:
    """A dataset, the API it is loaded from, and the command line about both."""

    options: list[str]
    pipeline: dlt.Pipeline
    sandbox: Sandbox
    capture: Any
    serve: TMake
    setenv: Callable[[str, str], None]

    def behave(self, **variant: Any) -> None:
        """Has the API behave in another way from now on."""
        self.sandbox = self.serve(ACCOUNT, now=at("2025-03-11"), variants=Variants(**variant))
        self.setenv("SOURCES__NP6__BASE_URL", self.sandbox.url)

    def load(self, *options: str, end: str | None = END) -> None:
        """Loads the account as it is loaded by default, from its beginning."""
        if end:
            options = ("--end", end, *options)
        status = main(
            ["load", "--start", START, "--resources", "actions_events",
             *self.options, "--quiet", *options]
        )  # fmt: skip
        assert status == 0, self.capture.readouterr()

    def robots(self, *options: str) -> tuple[int, Any]:
        """Runs the command; its exit status and what it says of itself."""
        self.capture.readouterr()
        status = main(["robots", *self.options, "--json", *options])
        return status, json.loads(self.capture.readouterr().out)

    def marks(self) -> dict[str, str]:
        """What is marked."""
        rows = self.query("SELECT event_id, robot_class FROM events__robots")
        assert len({row[0] for row in rows}) == len(rows)
        return dict(sorted(rows))

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """What a query gives."""
        with self.pipeline.sql_client() as client:
            return [tuple(row) for row in client.execute_sql(sql) or ()]


@pytest.fixture(params=["duckdb", "postgres"])
def dataset(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    serve: TMake,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Any,
) -> Dataset:
    sandbox = serve(ACCOUNT, now=at("2025-03-11"))
    warehouse = Warehouse(tmp_path)
    options = ["--pipeline", warehouse.name, "--pipelines-dir", str(warehouse.pipelines_dir)]
    pipeline = warehouse.pipeline
    if request.param == "postgres":
        made: PostgresDataset = request.getfixturevalue("postgres_dataset")(
            f"np6_robots_{uuid4().hex[:8]}"
        )
        for variable, value in made.environment.items():
            monkeypatch.setenv(variable, value)
        options, pipeline = made.options, made.pipeline
    else:
        options += ["--duckdb-file", str(warehouse.database)]
    monkeypatch.setenv("SOURCES__NP6__API_KEY", sandbox.key)
    monkeypatch.setenv("SOURCES__NP6__BASE_URL", sandbox.url)
    monkeypatch.setenv("SOURCES__NP6__MATERIALIZE", "messages")
    return Dataset(options, pipeline, sandbox, capsys, serve, monkeypatch.setenv)


def test_the_hits_that_a_load_by_default_has_brought_are_marked(dataset: Dataset) -> None:
    dataset.load()
    assert dataset.marks() == {}
    before = sorted(dataset.query("SELECT id FROM events"))
    contacts = {contact_of(one) for one in HITS}

    planned_status, planned = dataset.robots("--plan")
    dataset.sandbox.requests.clear()
    status, said = dataset.robots()

    assert (planned_status, status) == (0, 0)
    assert len({*marked(*CLASSES).values()}) == 3
    assert dataset.marks() == marked(*CLASSES)
    assert sorted(dataset.query("SELECT id FROM events")) == before
    assert planned["result"]["requests_at_least"] == 3 * len(contacts)
    assert len(dataset.sandbox.requests) == 3 * len(contacts)
    assert {r.path for r in dataset.sandbox.requests} == {"/targets/events/hits"}
    assert said["result"]["marks_new"] == len(marked(*CLASSES))
    assert dataset.query("SELECT SUM(count_robot_hits) FROM messages") == [(len(marked(*CLASSES)),)]

    dataset.sandbox.requests.clear()
    assert dataset.robots()[0] == 0
    assert len(dataset.sandbox.requests) == 0


def test_marks_stay_when_the_hits_come_again_and_those_of_later_hits_come_beside_them(
    dataset: Dataset,
) -> None:
    dataset.load(end=MIDDLE)
    dataset.robots()
    assert dataset.marks() == marked(*CLASSES, before=MIDDLE)

    dataset.load()
    assert dataset.marks() == marked(*CLASSES, before=MIDDLE)
    assert dataset.robots()[0] == 0
    assert dataset.marks() == marked(*CLASSES)

    dataset.load("--reload", "--yes", end=None)
    assert set(dataset.marks()) <= set(marked(*CLASSES))
    dataset.robots()
    assert dataset.marks() == marked(*CLASSES)


@pytest.mark.parametrize("dataset", ["duckdb"], indirect=True)
def test_only_the_contacts_actions_periods_and_classes_that_are_named(dataset: Dataset) -> None:
    dataset.load()
    every = marked(*CLASSES)
    action, period = "", {one for one in every if HITS[one]["timestamp"] >= at(MIDDLE)}
    action = HITS[min(period)]["source"]["detail"]["activation"]["id"]
    contacts = {
        contact_of(one)
        for one, hit in HITS.items()
        if hit["source"]["detail"]["activation"]["id"] == action and hit["timestamp"] >= at(MIDDLE)
    }
    dataset.sandbox.requests.clear()

    assert dataset.robots("--action-ids", action, "--start", MIDDLE)[0] == 0

    assert {r.query["id"] for r in dataset.sandbox.requests} == contacts
    found = dataset.marks()
    assert found.keys() <= {one for one in period if contact_of(one) in contacts}
    of_action = {
        one for one in period if HITS[one]["source"]["detail"]["activation"]["id"] == action
    }
    assert of_action <= found.keys()

    contact = contact_of(min(every))
    assert dataset.robots("--target-ids", contact, "--classes", every[min(every)])[0] == 0
    assert dataset.marks().items() >= {
        (one, name) for one, name in every.items()
        if contact_of(one) == contact and name == every[min(every)]
    }  # fmt: skip


@pytest.mark.parametrize("dataset", ["duckdb"], indirect=True)
class TestWhatCannotBeKnown:
    """Marks that nothing proves, and hits that cannot be asked about."""

    @pytest.mark.parametrize(
        ("variant", "asked"),
        [
            pytest.param({"robots_parameter": "neither"}, CLASSES, id="an unknown parameter"),
            pytest.param({"robots_parameter": "neither"}, ["mpp"], id="the same, of one class"),
            pytest.param({"classified": "all"}, ["gsr", "mpp"], id="all hits for every class"),
        ],
    )
    def test_no_hit_of_a_person_is_marked(
        self, dataset: Dataset, variant: dict[str, Any], asked: Sequence[str]
    ) -> None:
        dataset.load()
        dataset.behave(**variant)

        status, said = dataset.robots("--classes", *asked)

        assert status == 1
        assert said["result"]["marks_unsure"] > 0
        assert "--again" in said["problems"][0]["advice"]
        assert dataset.marks().keys() <= ROBOTS.keys()

        dataset.behave()
        assert dataset.robots("--classes", *asked, "--again")[0] == 0
        assert dataset.marks().items() >= marked(*asked).items()

    def test_contacts_who_are_stored_as_digests_must_be_named(
        self, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SOURCES__NP6__PII", "pseudonyms")
        monkeypatch.setenv("SOURCES__NP6__PII_KEY", "k" * 40)
        dataset.load()
        contact = contact_of(min(marked(*CLASSES)))

        assert main(["robots", *dataset.options]) == 2
        assert "name the contacts to ask about" in dataset.capture.readouterr().err
        assert dataset.robots("--target-ids", contact)[0] == 0
        assert dataset.marks() == {
            one: name for one, name in marked(*CLASSES).items() if contact_of(one) == contact
        }

    def test_where_nothing_is_loaded_nothing_is_asked(self, dataset: Dataset) -> None:
        assert main(["robots", *dataset.options]) == 4
        assert len(dataset.sandbox.requests) == 0

    def test_gaps_are_not_those_of_contacts_asked_about_for_a_while(self, dataset: Dataset) -> None:
        dataset.load(end=MIDDLE)
        dataset.robots()
        dataset.load()

        span = ["--start", START, "--end", END]
        assert main(["gaps", *dataset.options, *span]) == 0
        assert main(["gaps", *dataset.options, *span, "--resources", OPERATION]) == 3


@pytest.mark.parametrize("dataset", ["duckdb"], indirect=True)
def test_contacts_whose_request_fails_are_asked_again_by_the_next_call(dataset: Dataset) -> None:
    dataset.load()
    expected = marked(*CLASSES)
    first = contact_of(min(expected))
    with dataset.sandbox.faults.during(Fault("status", value=403, id=first)):
        status, said = dataset.robots()
    assert status == 1
    assert [problem["resource"] for problem in said["problems"]] == [OPERATION]
    assert dataset.marks() == {
        one: name for one, name in expected.items() if contact_of(one) != first
    }

    dataset.sandbox.requests.clear()
    assert dataset.robots()[0] == 0
    assert {r.query["id"] for r in dataset.sandbox.requests} == {first}
    assert dataset.marks() == expected


def test_where_every_load_was_given_up_nothing_is_asked() -> None:
    with pytest.raises(NothingLoaded, match="every load was given up"):
        robots._span(Namespace(start=None, end=None), {("actions_events", ""): []})


@pytest.mark.parametrize("dataset", ["duckdb"], indirect=True)
def test_a_hit_whose_contact_has_an_empty_id_keeps_no_other_from_being_asked_about(
    dataset: Dataset,
) -> None:
    dataset.load(end=MIDDLE)
    one, *_ = (event_id for (event_id,) in dataset.query("SELECT event_id FROM events__hits"))
    dataset.query(f"UPDATE events SET contact_id = '' WHERE id = '{one}'")
    ((action,),) = dataset.query(f"SELECT action_id FROM events WHERE id = '{one}'")

    status, document = dataset.robots("--action-ids", action, "--classes", "mpp", "gsr")

    assert status == 0
    assert document["result"]["hits_without_contact"] == 1
    assert document["result"]["contacts"] > 0
