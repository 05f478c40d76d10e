"""``np6-source person``, as a process: all about a contact, and nothing about another."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable
from typing import Any

import pytest

from np6_source.events.digests import DigestKey
from tests.cli.test_erase import ALL, FAMILY, HERS, KEY, MARIE, OLD, PIERRE, about, account
from tests.support import Warehouse, at

SECRET = KEY["SOURCES__NP6__PII_KEY"]


@pytest.fixture
def sandbox(serve: Any) -> Any:
    return serve(account(), now=at("03-02T03:00"))


@pytest.fixture
def person(command_line: Any, warehouse: Warehouse) -> Callable[..., Any]:
    def call(*options: str, stdin: str | None = None, **environment: str) -> Any:
        return command_line.run(
            *("-m np6_source", "person", *command_line.where(warehouse), *options),
            stdin=stdin,
            **(KEY | environment),
        )

    return call


def test_all_about_her_and_nothing_about_others(
    person: Any, warehouse: Warehouse, sandbox: Any, source_of: Any, command_line: Any
) -> None:
    (command_line.folder / ".dlt").mkdir()
    (command_line.folder / ".dlt" / "config.toml").write_text(
        '[sources.np6.privacy]\npurpose = "newsletters"\ncontact = "dpo@lab.example"\n'
    )
    warehouse.load(
        lambda: source_of(sandbox, ALL, "target_events", target_ids=["M1"], pii_key=SECRET)
    )
    before = warehouse.database.read_bytes()

    ended = person("--contact", MARIE, "--json")

    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout)["result"]
    ids = {f"event-{n:05d}" for n in HERS}
    assert {event["id"] for event in result["events"]} == ids
    (hit,) = (event for event in result["events"] if event["id"] == "event-00009")
    assert hit["events__hits"][0]["client_ip"] == "203.0.113.9"
    (execution,) = (event for event in result["events"] if event["id"] == "event-00012")
    assert {row["key"]: row["value"] for row in execution["events__execution_data"]} == {
        "first_name": "Marie",
        "city": "Paris",
    }
    identifiers = {(one["kind"], one["value"]): one["events"] for one in result["identifiers"]}
    assert identifiers[("contact_id", "M1")] == 6
    assert identifiers[("contact_unicity", OLD)] == 1
    assert identifiers[("recipient", FAMILY)] == 1
    assert result["others_at_address"] == 1
    assert result["mentions_elsewhere"] == 3
    assert {row["resource"] for row in result["tables"]["load_windows"]} == {"target_events"}
    assert result["source"]["operations"] == ["actions_events", "target_events"]
    assert result["controller"] == {"purpose": "newsletters", "contact": "dpo@lab.example"}
    assert result["erasures"] == []
    for text in (PIERRE, '"P1"', "Offers"):
        assert text not in ended.stdout
    assert warehouse.database.read_bytes() == before


def test_a_file_is_its_owners_alone_and_never_written_over(
    person: Any, warehouse: Warehouse, sandbox: Any, source_of: Any, command_line: Any
) -> None:
    warehouse.load(lambda: source_of(sandbox, ALL, pii_key=SECRET))

    ended = person("--contact", "M1", "--out", "marie.json")

    assert ended.returncode == 0, ended.stderr
    assert MARIE not in ended.stdout
    file = command_line.folder / "marie.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(json.loads(file.read_text())["result"]["events"]) == len(HERS)
    again = person("--contact", "M1", "--out", "marie.json")
    assert again.returncode == 2
    assert "is there already" in again.stderr


def test_under_a_policy_the_digests_are_shown_and_that_they_are(
    person: Any, warehouse: Warehouse, sandbox: Any, source_of: Any
) -> None:
    warehouse.load(lambda: source_of(sandbox, ALL, pii="pseudonyms", pii_key=SECRET))

    ended = person("--contact", MARIE, "--json", SOURCES__NP6__PII="pseudonyms")

    result = json.loads(ended.stdout)["result"]
    assert len(result["events"]) == len(HERS)
    assert "contact_id" in result["holds_digests"]
    values = {one["value"] for one in result["identifiers"] if one["kind"] == "contact_id"}
    assert values == {DigestKey(SECRET).exact("M1")}


def test_nobody_is_an_answer_and_several_are_asked_about(
    person: Any, warehouse: Warehouse, serve: Any, source_of: Any
) -> None:
    shared = serve([about(1, "A1", MARIE), about(2, "A2", MARIE)], now=at("03-02T03:00"))
    warehouse.load(lambda: source_of(shared, ALL, pii_key=SECRET))

    nobody = person("--contact", "nobody@lab.example", "--json")
    several = person("--contact", MARIE, "--json")
    one = person("--contact", "A2", "--json")

    assert nobody.returncode == 0, nobody.stderr
    assert json.loads(nobody.stdout)["result"]["events"] == []
    assert several.returncode == 2
    assert "is of 2 contacts: A1 (1 events" in several.stderr
    assert [e["id"] for e in json.loads(one.stdout)["result"]["events"]] == ["event-00002"]


def test_where_no_address_is_kept_the_id_is_asked_for(
    person: Any, warehouse: Warehouse, sandbox: Any, source_of: Any
) -> None:
    warehouse.load(lambda: source_of(sandbox, ALL, pii="strict", pii_key=SECRET))

    by_address = person("--contact", MARIE, SOURCES__NP6__PII="strict")
    by_id = person("--contact", "M1", "--json", SOURCES__NP6__PII="strict")

    assert by_address.returncode == 2
    assert "Give the contact's id" in by_address.stderr
    assert len(json.loads(by_id.stdout)["result"]["events"]) == 6


def test_np6_is_asked_for_the_id_where_that_is_wanted(
    person: Any, warehouse: Warehouse, sandbox: Any, source_of: Any
) -> None:
    warehouse.load(lambda: source_of(sandbox, ALL, pii="strict", pii_key=SECRET))
    environment = {
        "SOURCES__NP6__PII": "strict",
        "SOURCES__NP6__API_KEY": sandbox.key,
        "SOURCES__NP6__BASE_URL": sandbox.url,
    }
    sandbox.requests.clear()

    asked = person("--contact", "-", "--ask-np6", "--json", stdin=MARIE, **environment)
    unknown = person("--contact", "nobody@lab.example", "--ask-np6", **environment)

    assert asked.returncode == 0, asked.stderr
    assert len(json.loads(asked.stdout)["result"]["events"]) == 6
    assert [r.path for r in sandbox.requests] == ["/targets", "/targets"]
    assert unknown.returncode == 2
    assert "NP6 knows no contact sha256:" in unknown.stderr
    assert MARIE not in asked.stderr
    assert "nobody@lab" not in unknown.stderr
