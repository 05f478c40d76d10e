"""From one policy to another: what can be made of what is there, and what cannot."""

from __future__ import annotations

from typing import Any

import pytest

from np6_source.bookkeeping.source_state import PROGRESS
from np6_source.endpoints import scope_label
from np6_source.errors import SettingError
from np6_source.events.digests import DigestKey
from np6_source.events.privacy import PRESETS, Privacy, policies_of
from np6_source.extract.account import ACCOUNT
from np6_source.extract.policy import POLICY
from np6_source.masking.changes import changes_of
from np6_source.masking.labels import labels_in_state, new_labels, to_rename
from np6_source.schema import EVENTS, EXECUTION_DATA_TABLE

KEY = DigestKey("a key of the company's, 32 bytes or more")
OTHER = DigestKey("another key of the company's, as long as that")
BY_ADDRESS, BY_ID = "targets_events_hits_by_unicity", "target_events"


def policy(named: Any, key: DigestKey | None = KEY) -> Privacy:
    return Privacy(policies_of(PRESETS[named] if isinstance(named, str) else named), key)


def test_only_classes_that_differ_change() -> None:
    there = policy("pseudonyms")
    changes = changes_of([there.recorded], policy("strict"))

    assert changes.classes["address"] == "drop"
    assert "contact_id" not in changes.classes
    # What is a digest already is digested no second time.
    assert "contact_id" not in {column.name for column in changes.columns(EVENTS)}
    assert changes.columns(EXECUTION_DATA_TABLE) == ()


def test_of_what_was_kept_everything_can_be_made() -> None:
    changes = changes_of([""], policy("pseudonyms"))
    assert set(changes.classes) == set(PRESETS["pseudonyms"])
    assert [column.name for column in changes.columns(EXECUTION_DATA_TABLE)] == ["key", "value"]


@pytest.mark.parametrize(
    ("there", "wanted", "problem"),
    [
        ({"ip": "truncate"}, {"ip": "hmac"}, "ip is truncate and cannot become hmac"),
        ({"ip": "hmac"}, {"ip": "truncate"}, "ip is hmac and cannot become truncate"),
        ({"url": "host"}, {"url": "truncate"}, "url is host and cannot become truncate"),
        ({"user_agent": "drop"}, {"ip": "drop"}, "user_agent is drop and cannot become keep"),
    ],
)
def test_what_is_gone_cannot_be_made(there: Any, wanted: Any, problem: str) -> None:
    with pytest.raises(SettingError, match=problem):
        changes_of([policy(there).recorded], policy(wanted))


def test_another_key_is_refused_only_where_digests_stay() -> None:
    there = [policy({"ip": "hmac"}).recorded]
    with pytest.raises(SettingError, match="old digests cannot be turned into new ones"):
        changes_of(there, policy({"ip": "hmac", "user_agent": "drop"}, OTHER))
    assert changes_of(there, policy({"ip": "drop"}, OTHER)).classes == {"ip": "drop"}


def test_rows_under_several_policies_are_refused() -> None:
    with pytest.raises(SettingError, match="which value is a digest already could not be told"):
        changes_of(["", policy("strict").recorded], policy("strict"))


def test_labels_are_made_of_ids_that_are_known() -> None:
    known, lost = scope_label("a@b.example", True), scope_label("c@d.example", True)
    there = [(BY_ADDRESS, known), (BY_ADDRESS, lost), (BY_ID, "M1"), (BY_ID, "hmac:0"), ("x", "M1")]
    labels = new_labels(to_rename(there, KEY), KEY, ["A@B.example", "e@f.example"])

    assert labels.of(BY_ADDRESS, known) == f"hmac:{KEY.exact('a@b.example')[:16]}"
    assert labels.of(BY_ADDRESS, lost) is None
    assert labels.of(BY_ID, "M1") == f"hmac:{KEY.exact('M1')[:16]}"
    assert (labels.of(BY_ID, "hmac:0"), labels.of("x", "M1")) == ("hmac:0", "M1")
    assert (labels.renamed, labels.forgotten) == (2, 1)


def test_the_state_of_a_pipeline_comes_along() -> None:
    lost = scope_label("c@d.example", True)
    source = {
        ACCOUNT: {},
        "resources": {
            BY_ID: {PROGRESS: {"M1": {"until": 1}, "M1 robots=mpp": {"until": 2}}},
            BY_ADDRESS: {PROGRESS: {lost: {"until": 3}}},
            "actions_events": {PROGRESS: {"": {"until": 4}}},
        },
    }
    state = {"sources": {"np6": source, "another": {"resources": {}}}}
    labels = new_labels(to_rename(labels_in_state(state), KEY), KEY, [])

    labels.change_state(state, "free=drop")

    name = f"hmac:{KEY.exact('M1')[:16]}"
    places = {resource: its[PROGRESS] for resource, its in source["resources"].items()}  # type: ignore[attr-defined]
    assert places == {
        BY_ID: {name: {"until": 1}, f"{name} robots=mpp": {"until": 2}},
        BY_ADDRESS: {},
        "actions_events": {"": {"until": 4}},
    }
    assert source[POLICY] == "free=drop"
    assert POLICY not in state["sources"]["another"]
