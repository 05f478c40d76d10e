"""One policy for personal data per dataset: recorded, and compared before the first request."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dlt
import pytest
from dlt.pipeline.exceptions import PipelineStepFailed

from np6_source import SettingError, duck, np6_source
from np6_source.endpoints import scope_label
from np6_source.events.digests import DigestKey
from np6_source.extract.policy import key_of, privacy_of
from np6_source.ledger import note_not_loaded
from np6_source.parts import Part, load_part
from np6_source.windows import to_datetime
from tests.support import Warehouse

ALL = "actions_events"
OF_TARGET = "target_events"
OF_ADDRESS = "targets_events_hits_by_unicity"
SECRET = "a key of the company's, 32 bytes or more"
KEY = DigestKey(SECRET)
TMake = Callable[..., Any]
TAt = Callable[[str], int]


@pytest.fixture
def sandbox(serve: TMake, event: TMake, at: TAt) -> Any:
    events = [event(number, at("03-01T12:00") + number) for number in range(20)]
    return serve(events, now=at("03-02"))


@pytest.fixture
def masked(sandbox: Any, source_of: TMake) -> TMake:
    """The source under a policy, ``pseudonyms`` where no other is given."""

    def make(*resources: str, pii: Any = "pseudonyms", **options: Any) -> Any:
        return source_of(sandbox, *(resources or (ALL,)), pii=pii, pii_key=SECRET, **options)

    return make


def refusal(run: Callable[[], object]) -> str:
    with pytest.raises(PipelineStepFailed) as failed:
        run()
    cause: BaseException | None = failed.value
    while cause is not None and not isinstance(cause, SettingError):
        cause = cause.__cause__ or cause.__context__
    assert cause is not None
    return str(cause)


def test_the_ledger_and_the_state_record_the_policy(warehouse: Any, masked: TMake) -> None:
    warehouse.run(masked())

    recorded = privacy_of("pseudonyms", SECRET).recorded
    assert {row["policy"] for row in warehouse.rows("load_windows")} == {recorded}
    assert warehouse.pipeline.state["sources"]["np6"]["policy"] == recorded
    assert SECRET not in warehouse.state()


def test_without_a_policy_nothing_is_recorded_and_nothing_changes(
    warehouse: Any, masked: TMake
) -> None:
    warehouse.run(masked(pii=None))

    assert {row["policy"] for row in warehouse.rows("load_windows")} == {None}
    assert "policy" not in warehouse.pipeline.state["sources"]["np6"]
    assert "person1@example.com" in {row["recipient"] for row in warehouse.rows("events")}


@pytest.mark.parametrize(
    ("first", "then"), [("pseudonyms", None), (None, "strict"), ("pseudonyms", "strict")]
)
def test_another_policy_is_refused_before_the_first_request(
    warehouse: Any, sandbox: Any, masked: TMake, first: str | None, then: str | None
) -> None:
    warehouse.run(masked(pii=first))
    before, asked = warehouse.contents(), len(sandbox.requests)

    text = refusal(lambda: warehouse.run(masked(pii=then)))

    for policy in (first, then):
        assert (privacy_of(policy, SECRET).recorded or "everything kept") in text
    assert "--reload" in text
    assert len(sandbox.requests) == asked
    assert warehouse.contents() == before
    warehouse.run(masked(pii=first))


def test_what_was_given_up_is_under_no_policy(warehouse: Any, masked: TMake, at: TAt) -> None:
    warehouse.run(masked())
    windows = [(ALL, "", at("02-01"), at("02-02"))]
    note_not_loaded(warehouse.pipeline, "1700000000.0", windows)

    warehouse.run(masked())

    assert len(warehouse.rows("load_windows")) > 2


def test_another_key_is_refused(warehouse: Any, sandbox: Any, source_of: TMake) -> None:
    secrets = (SECRET, SECRET + " and another")
    first, second = (
        source_of(sandbox, ALL, pii="pseudonyms", pii_key=secret) for secret in secrets
    )
    warehouse.run(first)

    text = refusal(lambda: warehouse.run(second))

    assert f"key={KEY.id}" in text
    assert SECRET not in text


def test_a_name_for_ids_is_refused_as_well(warehouse: Any, sandbox: Any, masked: TMake) -> None:
    warehouse.run(masked())
    asked = len(sandbox.requests)

    refusal(lambda: warehouse.run(masked("categories", pii=None)))

    assert len(sandbox.requests) == asked


def test_another_pipeline_or_part_into_the_dataset_is_held_to_its_policy(
    warehouse: Any, new_warehouse: TMake, sandbox: Any, masked: TMake, at: TAt
) -> None:
    warehouse.run(masked())
    other = new_warehouse(name="other_pipeline", database=warehouse.database)
    part = Part(to_datetime(at("03-01")), to_datetime(at("03-02")))
    asked = len(sandbox.requests)

    refusal(lambda: other.run(masked(pii=None)))
    refusal(
        lambda: load_part(
            part,
            dlt.destinations.duckdb(str(warehouse.database)),
            api_key=sandbox.key,
            base_url=sandbox.url,
        )
    )

    assert len(sandbox.requests) == asked


def test_a_dataset_from_before_there_were_policies_kept_everything(
    warehouse: Any, new_warehouse: TMake, masked: TMake
) -> None:
    warehouse.run(masked(pii=None))
    warehouse.execute("ALTER TABLE np6.load_windows DROP COLUMN policy")
    other = new_warehouse(name="other_pipeline", database=warehouse.database)

    assert "everything kept" in refusal(lambda: other.run(masked()))


def test_tables_that_a_run_drops_have_no_policy_any_more(warehouse: Any, masked: TMake) -> None:
    warehouse.run(masked(pii=None))

    warehouse.run(masked(), refresh="drop_sources")

    assert len(warehouse.ids()) == 20
    assert "person1@example.com" not in {row["recipient"] for row in warehouse.rows("events")}
    warehouse.run(masked())


def test_a_reload_takes_all_rows_to_another_policy(
    warehouse: Any, sandbox: Any, source_of: TMake, masked: TMake, at: TAt
) -> None:
    ids = {"target_ids": ["CON00001", "CON00002"]}
    names = (ALL, OF_TARGET)
    warehouse.load(lambda: source_of(sandbox, *names, **ids, on_error="keep"))
    assert warehouse.windows(OF_TARGET, "CON00001")
    # Its clock stands still: requests of both loads could have the same millisecond.
    sandbox.now = at("03-02T06:00")

    report = warehouse.load(lambda: masked(*names, **ids, on_error="keep"), reload=True)

    assert report.failures == []
    assert len(warehouse.ids()) == 20
    recorded = privacy_of("pseudonyms", SECRET).recorded
    assert {row["policy"] for row in warehouse.rows("load_windows")} == {recorded}
    assert {row["contact_id"] for row in warehouse.rows("events")} == {
        KEY.exact(f"CON{number:05d}") for number in range(7)
    }
    assert warehouse.windows(OF_TARGET, "CON00001") == []
    assert "CON00001" not in warehouse.state()
    warehouse.load(lambda: masked(*names, **ids, on_error="keep"))


@pytest.mark.parametrize("is_direct", [False, True])
def test_a_reload_that_drops_values_takes_none_from_the_rows_of_before(
    tmp_path: Path, sandbox: Any, source_of: TMake, at: TAt, is_direct: bool
) -> None:
    destination = duck.duckdb if is_direct else dlt.destinations.duckdb
    warehouse = Warehouse(tmp_path, destination=destination)
    warehouse.load(lambda: source_of(sandbox, ALL, on_error="keep"))
    assert any(row["recipient"] for row in warehouse.rows("events"))
    sandbox.now = at("03-02T06:00")
    dropped = {"pii": {"address": "drop"}, "on_error": "keep"}

    warehouse.load(lambda: source_of(sandbox, ALL, **dropped), reload=True)

    assert not any(row["recipient"] for row in warehouse.rows("events"))
    assert all(row["message_id"] for row in warehouse.rows("events"))


def test_a_reload_to_another_policy_keeps_no_rows_of_before(
    warehouse: Any, sandbox: Any, serve: TMake, source_of: TMake, at: TAt, caplog: Any, event: TMake
) -> None:
    by_id = "action_events_activations"
    ids: dict[str, Any] = {"action_ids": ["000AA1", "000AA2"], "on_error": "keep"}
    made = [event(n, at("03-01") + n * 60_000, action=f"000AA{n % 2 + 1}") for n in range(20)]
    warehouse.load(lambda: source_of(serve(made, now=at("03-02")), by_id, **ids))
    # Action 000AA2 is deleted: its rows cannot be read again under the policy.
    left = serve(made[::2], now=at("03-02T06:00"))
    masked = {"pii": "pseudonyms", "pii_key": SECRET, **ids}

    warehouse.load(lambda: source_of(left, by_id, **masked), reload=True)

    assert f"is gone: {by_id} id 000AA2." in caplog.text
    assert warehouse.ids() == [one["id"] for one in made[::2]]
    assert not {row["recipient"] for row in warehouse.rows("events")} & {"person1@example.com"}
    warehouse.load(lambda: source_of(left, by_id, **masked))


def test_ids_of_contacts_have_keyed_labels_and_other_ids_are_shown(
    warehouse: Any, masked: TMake
) -> None:
    ids = {"target_ids": ["CON00001"], "target_unicities": ["person1@example.com"]}
    names = (OF_TARGET, OF_ADDRESS, "action_events_activations")

    warehouse.run(masked(*names, **ids, action_ids=["000AA1"]))

    assert {row["resource"]: row["scope_id"] for row in warehouse.rows("load_windows")} == {
        OF_TARGET: f"hmac:{KEY.exact('CON00001')[:16]}",
        OF_ADDRESS: f"hmac:{KEY.exact('person1@example.com')[:16]}",
        "action_events_activations": "000AA1",
    }
    assert set(warehouse.places(OF_TARGET)["places"]) == {f"hmac:{KEY.exact('CON00001')[:16]}"}


def test_contacts_go_on_under_the_labels_of_a_key_that_was_not_there_before(
    warehouse: Any, sandbox: Any, source_of: TMake, masked: TMake, at: TAt
) -> None:
    ids = {"target_ids": ["CON00001"], "target_unicities": ["person1@example.com"]}
    former = {"CON00001", scope_label("person1@example.com", is_personal=True)}
    warehouse.run(source_of(sandbox, OF_TARGET, OF_ADDRESS, **ids))
    assert {row["scope_id"] for row in warehouse.rows("load_windows")} == former
    sandbox.now = at("03-03")
    sandbox.requests.clear()

    warehouse.run(masked(OF_TARGET, OF_ADDRESS, pii=None, **ids))

    labels = {f"hmac:{KEY.exact(one)[:16]}" for one in ("CON00001", "person1@example.com")}
    assert {row["scope_id"] for row in warehouse.rows("load_windows")} == former | labels
    assert not any(label in warehouse.state() for label in former)
    # No history a second time: the one with events goes on with the overlap.
    of_target = [r.query["start"] for r in sandbox.requests if r.path.startswith("/targets/CON")]
    assert min(of_target) > "2024-03-01T23"
    assert len(warehouse.ids()) == 3


def test_contacts_given_by_id_go_on_where_they_were(
    warehouse: Any, sandbox: Any, masked: TMake, at: TAt
) -> None:
    warehouse.run(masked(OF_TARGET, target_ids=["CON00001"]))
    sandbox.now = at("03-03")

    warehouse.run(masked(OF_TARGET, target_ids=["CON00001"]))

    first, *others = warehouse.windows(OF_TARGET, f"hmac:{KEY.exact('CON00001')[:16]}")
    assert first.start == at("03-01")
    assert first.start not in {window.start for window in others}
    assert others[-1].end > at("03-02T12:00")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"pii": "secret"}, "must be one of keep, pseudonyms, strict"),
        ({"pii": {"adress": "hmac"}}, "there is no class 'adress'"),
        ({"pii": '{"address": '}, "no JSON object"),
        ({"pii": 7}, "must be one of"),
        ({"pii": "pseudonyms"}, "need a key"),
        ({"pii": "strict", "pii_key": "short but private"}, "pii_key is too short"),
        ({"pii": "strict", "pii_key": "<configure me>"}, "digests (hmac) need a key"),
        ({"pii": {"domain": "drop"}, "target_unicities": ["a@b.c"]}, "target_unicities: under"),
        ({"pii": {"domain": "drop"}, "target_ids": ["1"]}, "target_ids: under"),
    ],
)
def test_what_cannot_be_used_is_said_without_the_key(
    settings: dict[str, Any], problem: str
) -> None:
    with pytest.raises(SettingError) as refused:
        np6_source("an-api-key", **settings)

    assert problem in str(refused.value)
    assert "short but private" not in str(refused.value)


def test_a_class_that_quotes_addresses_and_is_kept_is_warned_of(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        privacy_of({"address": "drop", "free": "keep"}, None)

    assert "free is kept, but quotes addresses" in caplog.text


def test_the_policy_is_read_from_the_configuration(
    warehouse: Any, sandbox: Any, source_of: TMake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCES__NP6__PII", json.dumps({"address": "hmac"}))
    monkeypatch.setenv("SOURCES__NP6__PII_KEY", SECRET)

    warehouse.run(source_of(sandbox, ALL))

    assert {row["recipient"] for row in warehouse.rows("events")} == {
        KEY.of(f"person{number}@example.com", "address") for number in range(7)
    }
    assert "CON00001" in {row["contact_id"] for row in warehouse.rows("events")}


def test_the_placeholder_that_dlt_init_writes_is_no_key_and_no_mistake() -> None:
    assert key_of("<configure me>") is None
