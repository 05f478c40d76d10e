"""An element of a dimension's response becomes rows; nothing is lost but what may be a secret."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from np6_source.dimensions import DIMENSIONS, Dimension
from np6_source.extract.dimension_rows import NoRow, is_secret, rows_of
from np6_source.sandbox import documented_dimensions

NOW = datetime(2025, 1, 1, tzinfo=timezone.utc)


def row_named(name: str) -> Dimension:
    return next(row for row in DIMENSIONS if row.name == name)


def rows(name: str, element: Any) -> list[tuple[str, dict[str, Any]]]:
    return list(rows_of(element, row_named(name), "028", NOW))


def own(name: str, element: Any) -> dict[str, Any]:
    return rows(name, element)[0][1]


class TestDocumentedSamples:
    def test_an_action(self) -> None:
        campaign, message = documented_dimensions()["actions"]
        at = datetime(2015, 10, 30, 15, 23, tzinfo=timezone.utc)
        assert own("actions", campaign) == {
            "account": "028",
            "id": "000AB1",
            "type": "mailCampaign",
            "name": "Test Campaign",
            "created_at": at,
            "folder_id": 123,
            "category_id": 456,
            "state": 10,
            "templating_version": "2",
            "scheduler_type": "asap",
            "starts_at": at,
            "ends_at": None,
            "last_sent_at": at,
            "unmapped": None,
            "requested_at": NOW,
        }
        assert own("actions", message)["last_sent_at"] is None
        assert own("actions", message)["unmapped"] is None

    @pytest.mark.parametrize("name", sorted(documented_dimensions().keys() - {"targets"}))
    def test_nothing_of_a_sample_is_unmapped(self, name: str) -> None:
        for element in documented_dimensions()[name]:
            assert own(name, element)["unmapped"] is None

    def test_a_value_list_has_its_values_beside(self) -> None:
        (element,) = documented_dimensions()["value_lists"]
        _, (table, value) = rows("value_lists", element)
        assert table == "value_lists__values"
        assert value == {
            "account": "028",
            "value_list_id": 23,
            "index": 1,
            "value": "Football",
            "requested_at": NOW,
        }


class TestChildren:
    def test_segments_of_an_action_by_what_they_are_for(self) -> None:
        segments = {"selected": [41, {"id": 42}], "excluded": [43]}
        found = rows("action", {"id": "A", "scheduler": {"segments": segments}})
        assert [(r["segment_id"], r["is_excluded"]) for _, r in found[1:]] == [
            (41, False),
            (42, False),
            (43, True),
        ]
        assert found[0][1]["unmapped"] is None

    def test_fields_of_a_contact_as_json_text(self) -> None:
        fields = {"1": "a@example.com", "2": None, "5": 12, "6": ["x", "y"]}
        found = rows("target", {"id": "C1", "fields": fields})
        assert {r["field_id"]: r["value"] for _, r in found[1:]} == {
            "1": '"a@example.com"',
            "2": "null",
            "5": "12",
            "6": '["x","y"]',
        }
        assert found[0][1]["unmapped"] is None

    def test_what_makes_no_row_stays_with_the_parent(self) -> None:
        values = [{"index": 1, "value": "x"}, {"value": "without a place"}, "text"]
        found = rows("value_lists", {"id": 1, "values": values})
        assert len(found) == 2
        assert json.loads(found[0][1]["unmapped"]) == {"values": values[1:]}

    def test_what_a_child_has_no_column_for_stays_with_the_parent(self) -> None:
        found = rows("notifications", {"id": 1, "versions": [{"id": "v", "title": "T"}]})
        assert found[1][1]["version_id"] == "v"
        assert json.loads(found[0][1]["unmapped"]) == {"versions": [{"title": "T"}]}


class TestValues:
    @pytest.mark.parametrize(
        "value", ["2024-05-01T10:00:00+02:00", "2024-05-01T08:00:00", 1714550400000]
    )
    def test_moments_come_as_text_or_milliseconds(self, value: Any) -> None:
        found = own("actions", {"id": "A", "creationDate": value})
        assert found["created_at"] == datetime(2024, 5, 1, 8, tzinfo=timezone.utc)

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("creationDate", "soon"),
            ("creationDate", 10**30),
            ("informations", {"category": "red"}),
            ("informations", {"category": 2**63}),
            ("informations", {"state": True}),
            ("name", {"en": "Name"}),
        ],
    )
    def test_what_does_not_fit_its_column_is_kept(self, field: str, value: Any) -> None:
        found = own("actions", {"id": "A", field: value})
        assert json.loads(found["unmapped"]) == {field: value}

    @pytest.mark.parametrize("element", [{}, {"id": None}, {"id": {}}, [], "A", None])
    def test_without_an_id_there_is_no_row(self, element: Any) -> None:
        with pytest.raises(NoRow):
            rows("actions", element)


class TestSecrets:
    def test_are_taken_nowhere(self) -> None:
        element = {
            "id": "u",
            "providers": [{"type": "fcm", "key": "S1"}],
            "apiToken": "S2",
            "routes": [{"url": "x", "clientSecret": "S3", "deep": {"PassWord": "S4"}}],
        }
        found = own("applications", element)
        assert json.loads(found["unmapped"]) == {"routes": [{"url": "x"}]}
        provider = {"type": "fcm", "token": "S5", "endpoint": "S6"}
        assert own("target_subscriptions", {"id": "s", "provider": provider})["unmapped"] is None

    @pytest.mark.parametrize(
        "name",
        [
            *("key", "x-key", "API_KEY", "deviceToken", "smtpPass", "pwd", "passphrase", "auth"),
            *("Authorization", "credentials", "serviceAccount", "service_account", "p12", "cookie"),
            *("connection-string", "sessionId", "certificate", "bearer", "jwt", "signature"),
        ],
    )
    def test_are_known_by_many_names(self, name: str) -> None:
        found = own("applications", {"id": "u", "deep": [{name: "S", "kept": 1}]})
        assert json.loads(found["unmapped"]) == {"deep": [{"kept": 1}]}

    @pytest.mark.parametrize("name", ["author", "bypass", "passenger", "spinner", "compass", "url"])
    def test_a_name_that_has_a_part_like_it_is_none(self, name: str) -> None:
        assert json.loads(own("applications", {"id": "u", name: "x"})["unmapped"]) == {name: "x"}

    @pytest.mark.parametrize(
        "value",
        [
            "https://user:S1@push.example/",
            "-----BEGIN PRIVATE KEY-----\nMIIE",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
            "Bearer 0123456789abcdef",
        ],
    )
    def test_are_known_by_what_they_look_like(self, value: str) -> None:
        element = {"id": "u", "routes": [{"url": value, "to": "https://shop.example/a:b@c"}]}
        assert json.loads(own("applications", element)["unmapped"]) == {
            "routes": [{"to": "https://shop.example/a:b@c"}]
        }

    def test_of_an_actions_content_only_what_has_a_column_is_taken(self) -> None:
        found = own("action", {"id": "A", "content": {"subject": "Hello", "html": "<p>"}})
        assert (found["subject"], found["unmapped"]) == ("Hello", None)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=12,
)


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for part in value.values() for leaf in leaves(part)]
    if isinstance(value, list):
        return [leaf for part in value for leaf in leaves(part)]
    return [] if value is None else [value]


def names_in(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [*value, *(name for part in value.values() for name in names_in(part))]
    return [name for part in value for name in names_in(part)] if isinstance(value, list) else []


@given(element=st.dictionaries(st.text("abcxyz", max_size=6), PLAIN, max_size=4))
def test_nothing_unknown_is_lost(element: dict[str, Any]) -> None:
    found = own("categories", element | {"id": 1})
    element = {name: part for name, part in element.items() if name != "id"}
    secret = any(map(is_secret, names_in(element)))
    if not secret:
        kept = leaves(json.loads(found["unmapped"] or "null"))
        assert sorted(map(repr, kept)) == sorted(map(repr, leaves(element)))
