from __future__ import annotations

import doctest
import inspect
import json
from typing import Any

import pytest

import np6_source.endpoints
from np6_source import np6_source as source
from np6_source.endpoints import (
    CAMPAIGN_EVENT_TYPES,
    ENDPOINTS,
    EVENT_TYPES,
    HIT_SUBTYPES,
    ID_ARGUMENTS,
    WINDOW_PARAMETERS,
    Endpoint,
    default_items_events,
    resource_name,
)

OPERATIONS = {
    "actions_reactivities_bounces": "GET /actions/reactivities/bounces",
    "actions_reactivities_hits": "GET /actions/reactivities/hits",
    "actions_reactivities_hits_redirection": "GET /actions/reactivities/hits/redirection",
    "action_reactivities_hits_mirror": "GET /actions/{id}/reactivities/hits/mirror",
    "targets_events_by_id": "GET /targets/events?id=",
    "notifications_reactivities_impressions": "GET /notifications/reactivities/impressions",
    "notifications_reactivities_optouts": "GET /notifications/reactivities/optouts",
    "notification_reactivities": "GET /notifications/{id}/reactivities",
    "notification_reactivities_hits": "GET /notifications/{id}/reactivities/hits",
    "notification_reactivities_bounces": "GET /notifications/{id}/reactivities/bounces",
    "actions_events": "GET /actions/events",
    "actions_events_cancellations": "GET /actions/events/cancellations",
    "action_events_activations": "GET /actions/{id}/events/activations",
    "action_events_bounces": "GET /actions/{id}/events/bounces",
    "action_events_cancellations": "GET /actions/{id}/events/cancellations",
    "action_events_responses_stop": "GET /actions/{id}/events/responses/stop",
    "action_events_hits_mirror": "GET /actions/{id}/events/hits/mirror",
    "actions_reactivities": "GET /actions/reactivities",
    "actions_reactivities_hits_open": "GET /actions/reactivities/hits/open",
    "actions_reactivities_hits_mirror": "GET /actions/reactivities/hits/mirror",
    "actions_reactivities_hits_form": "GET /actions/reactivities/hits/form",
    "action_reactivities": "GET /actions/{id}/reactivities",
    "action_reactivities_hits_redirection": "GET /actions/{id}/reactivities/hits/redirection",
    "action_reactivities_hits_unsubscribe": "GET /actions/{id}/reactivities/hits/unsubscribe",
    "campaign_events": "POST /campaigns/{id}/events",
    "campaign_items_events": "POST /campaigns/{id}/items/events",
    "target_events": "GET /targets/{id}/events",
    "target_events_activations": "GET /targets/{id}/events/activations",
    "target_events_bounces": "GET /targets/{id}/events/bounces",
    "target_events_hits_open": "GET /targets/{id}/events/hits/open",
    "target_events_hits_form": "GET /targets/{id}/events/hits/form",
    "targets_events_hits_by_id": "GET /targets/events/hits?id=",
    "targets_events_hits_by_unicity": "GET /targets/events/hits?unicity=",
    "targets_events_hits_by_hash": "GET /targets/events/hits?hash=",
    "targets_events_activations_by_hash": "GET /targets/events/activations?hash=",
    "targets_events_responses_stop_by_id": "GET /targets/events/responses/stop?id=",
    "targets_events_responses_stop_by_unicity": "GET /targets/events/responses/stop?unicity=",
    "notification_events_executions": "GET /notifications/{id}/events/executions",
    "notification_events_cancellations": "GET /notifications/{id}/events/cancellations",
    "notification_events_activations": "GET /notifications/{id}/events/activations",
    "notifications_reactivities": "GET /notifications/reactivities",
    "notifications_reactivities_hits": "GET /notifications/reactivities/hits",
    "notifications_reactivities_bounces": "GET /notifications/reactivities/bounces",
    "notification_reactivities_optouts": "GET /notifications/{id}/reactivities/optouts",
    "display_events_activations": "GET /display/events/activations",
    "display_content_events_activations": "GET /display/content/{id}/events/activations",
}
IDS_BY_ROOT = {
    "actions": "action_ids",
    "campaigns": "campaign_ids",
    "targets": "target_ids",
    "notifications": "notification_ids",
    "display": "display_content_ids",
}
TYPES_BY_LAST_NOUN = {
    "activations": "activation",
    "bounces": "bounce",
    "cancellations": "cancellation",
    "executions": "execution",
    "hits": "hit",
    "optouts": "optout",
    "impressions": "impression",
    "stop": "reply",
}
EACH_ROW = pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: endpoint.name)


def operation(endpoint: Endpoint) -> str:
    query = f"?{endpoint.id_query}=" if endpoint.id_query else ""
    return f"{endpoint.method} {endpoint.path}{query}"


def test_the_resources_are_those_promised() -> None:
    assert {endpoint.name: operation(endpoint) for endpoint in ENDPOINTS} == OPERATIONS


def test_every_name_stands_once() -> None:
    assert len({endpoint.name for endpoint in ENDPOINTS}) == len(ENDPOINTS)


@EACH_ROW
def test_reactivities_are_bounded_by_the_moment_of_the_reaction(endpoint: Endpoint) -> None:
    is_reactivity = "reactivities" in endpoint.path

    assert WINDOW_PARAMETERS[endpoint.window] == (
        ("reactivityStart", "reactivityEnd") if is_reactivity else ("start", "end")
    )


@EACH_ROW
def test_ids_come_from_the_argument_of_their_kind(endpoint: Endpoint) -> None:
    if endpoint.id_query in ("unicity", "hash"):
        expected = {"unicity": "target_unicities", "hash": "target_hashes"}[endpoint.id_query]
    elif endpoint.id_query or "{id}" in endpoint.path:
        expected = IDS_BY_ROOT[endpoint.path.split("/")[1]]
    else:
        expected = None

    assert endpoint.ids == expected


@EACH_ROW
def test_single_type_operations_know_their_type(endpoint: Endpoint) -> None:
    segments = [s for s in endpoint.path.split("/") if s in TYPES_BY_LAST_NOUN]

    assert endpoint.event_type == (TYPES_BY_LAST_NOUN[segments[-1]] if segments else None)
    assert endpoint.event_type is None or endpoint.event_type in EVENT_TYPES


@EACH_ROW
def test_only_campaigns_are_posted_and_carry_a_body(endpoint: Endpoint) -> None:
    is_campaign = endpoint.path.startswith("/campaigns/")

    assert (endpoint.method == "POST") is is_campaign
    assert endpoint.sends_items_events is is_campaign


def test_robot_classes_can_be_asked_of_the_documented_hit_operations() -> None:
    assert {endpoint.name for endpoint in ENDPOINTS if endpoint.takes_classification} == {
        "action_events_hits_mirror",
        "target_events_hits_open",
        "target_events_hits_form",
        "targets_events_hits_by_id",
        "targets_events_hits_by_unicity",
        "targets_events_hits_by_hash",
    }


def test_without_ids_only_the_two_account_wide_mixtures_are_selected() -> None:
    assert [e.name for e in ENDPOINTS if e.selected and e.ids is None] == [
        "actions_events",
        "actions_reactivities",
    ]


def test_every_resource_over_ids_is_selected_once_it_has_ids() -> None:
    assert all(e.selected for e in ENDPOINTS if e.ids is not None and e.confirmed)


def test_what_only_a_title_tells_of_is_never_selected_by_itself() -> None:
    rows = [endpoint for endpoint in ENDPOINTS if not endpoint.confirmed]

    assert len(rows) == 9
    assert not any(endpoint.selected for endpoint in rows)


def test_addresses_and_hashes_are_personal_and_other_ids_are_not() -> None:
    assert {endpoint.name for endpoint in ENDPOINTS if endpoint.ids_are_personal} == {
        "targets_events_hits_by_unicity",
        "targets_events_hits_by_hash",
        "targets_events_activations_by_hash",
        "targets_events_responses_stop_by_unicity",
    }


@pytest.mark.parametrize(
    ("row", "message"),
    [
        pytest.param({"path": "actions/events"}, "must start with '/'", id="relative path"),
        pytest.param({"path": "/actions/{id}/events"}, "'ids' must be given", id="no ids"),
        pytest.param(
            {"path": "/actions/events", "ids": "action_ids"},
            "'ids' must be given",
            id="ids without a place",
        ),
        pytest.param(
            {"path": "/targets/events", "id_query": "hash"},
            "'ids' must be given",
            id="query without ids",
        ),
        pytest.param(
            {"path": "/targets/{id}/events", "ids": "target_ids", "id_query": "id"},
            "in the path or in the query",
            id="two places for the id",
        ),
    ],
)
def test_a_row_that_makes_no_sense_is_refused(row: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Endpoint(**row)


def test_a_row_may_bring_its_own_ids_and_name() -> None:
    row = Endpoint("/sms/{id}/events", ids=("1", "2"), name="my_sms")

    assert (row.ids, row.name) == (("1", "2"), "my_sms")


@pytest.mark.parametrize(
    ("path", "id_query", "name"),
    [
        ("/actions/{id}/events/bounces", None, "action_events_bounces"),
        ("/display/content/{id}/events", None, "display_content_events"),
        ("/targets/events/hits", "unicity", "targets_events_hits_by_unicity"),
        ("/actions/events/", None, "actions_events"),
    ],
)
def test_a_name_follows_from_the_path(path: str, id_query: str | None, name: str) -> None:
    assert resource_name(path, id_query) == name


def test_the_examples_in_the_documentation_hold() -> None:
    result = doctest.testmod(np6_source.endpoints)

    assert result.attempted >= 2
    assert result.failed == 0


def test_the_default_campaign_body_names_the_likely_types_of_both_channels() -> None:
    body = default_items_events()

    assert [entry["type"] for entry in body] == ["email", "sms"]
    for entry in body:
        assert [event["type"] for event in entry["events"]] == list(CAMPAIGN_EVENT_TYPES)
        hit = next(event for event in entry["events"] if event["type"] == "hit")
        assert hit["subtypes"] == list(HIT_SUBTYPES)
    assert json.loads(json.dumps(body)) == body


def test_the_default_campaign_body_is_new_each_time() -> None:
    default_items_events()[0]["events"].clear()

    assert default_items_events()[0]["events"]


def test_the_source_has_an_argument_for_each_kind_of_id() -> None:
    parameters = inspect.signature(source).parameters

    assert [name for name in parameters if name in ID_ARGUMENTS] == list(ID_ARGUMENTS)
    assert {e.id_argument for e in ENDPOINTS} - {None} <= set(ID_ARGUMENTS)
