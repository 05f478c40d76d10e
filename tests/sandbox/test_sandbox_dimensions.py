"""The dimensions' operations: names that fit the events, and the documented samples."""

from __future__ import annotations

from typing import Any

import pytest

from np6_source.dimensions import DIMENSIONS, Dimension
from np6_source.sandbox import (
    Account,
    Fault,
    StoredAccount,
    account_from_events,
    documented_dimensions,
    generated_account,
)

LISTS = [row for row in DIMENSIONS if row.ids is None]
BY_ID = [row for row in DIMENSIONS if row.ids is not None]


def by_name(row: Dimension) -> str:
    return row.name


def column(account: Account, name: str) -> set[str]:
    return {value for value in account.example_ids(name, 10_000) if value}


class TestDocumentedSamples:
    @pytest.mark.parametrize("row", LISTS, ids=by_name)
    def test_are_served_as_they_are(
        self, row: Dimension, samples: StoredAccount, serve: Any, call: Any
    ) -> None:
        response = call(serve(samples), row.path)
        assert response.status_code == 200
        assert response.headers["Content-Type"] == row.accept
        if row.name in documented_dimensions():
            assert response.json() == documented_dimensions()[row.name]

    def test_a_contact_is_one_object(self, samples: StoredAccount, serve: Any, call: Any) -> None:
        (target,) = documented_dimensions()["targets"]
        sandbox = serve(samples)
        assert call(sandbox, "/targets", hash="string").json() == target
        assert call(sandbox, "/targets/string").json() == target
        assert call(sandbox, "/targets").status_code == 400

    def test_actions_have_bounds(self, samples: StoredAccount, serve: Any, call: Any) -> None:
        sandbox = serve(samples)
        created = "2015-10-30T15:23:00Z"
        assert len(call(sandbox, "/actions", creation_start=created).json()) == 2
        assert call(sandbox, "/actions", creation_end=created).json() == []
        assert call(sandbox, "/actions", creation_end="soon").status_code == 400


class TestMadeUp:
    def test_every_list_has_elements(self, generated: Account, serve: Any, call: Any) -> None:
        sandbox = serve(generated)
        for row in LISTS:
            found = call(sandbox, row.path).json()
            assert found, row.name
            ids = [element["id"] for element in found]
            assert len(set(ids)) == len(ids), row.name

    def test_names_fit_the_events(self, generated: Account, serve: Any, call: Any) -> None:
        sandbox = serve(generated)
        actions = {action["id"]: action for action in call(sandbox, "/actions").json()}
        assert set(actions) == column(generated, "action_id")
        assert len({action["name"] for action in actions.values()}) == len(actions)
        categories = {category["id"] for category in call(sandbox, "/categories").json()}
        assert {a["informations"]["category"] for a in actions.values()} <= categories
        campaigns = {campaign["id"] for campaign in call(sandbox, "/campaigns").json()}
        assert campaigns == column(generated, "campaign_id")
        pushes = {str(push["id"]): push for push in call(sandbox, "/notifications").json()}
        assert set(pushes) == column(generated, "notification_id")
        for event in generated.events():
            activation = event["source"]["detail"].get("activation", {})
            channel = event["source"]["type"]
            if channel in ("email", "sms") and activation:
                kind = actions[activation["id"]]["type"]
                assert kind.startswith("sms" if channel == "sms" else "mail")
            if channel == "notification" and activation:
                versions = pushes[str(activation["id"])]["versions"]
                assert {"id": activation["version"]} in versions

    @pytest.mark.parametrize("row", BY_ID, ids=by_name)
    def test_by_id_it_is_the_one_asked_for(
        self, row: Dimension, generated: Account, serve: Any, call: Any
    ) -> None:
        sandbox = serve(generated)
        columns = {
            "action_ids": "action_id",
            "campaign_ids": "campaign_id",
            "target_ids": "contact_id",
            "target_unicities": "contact_unicity",
            "target_hashes": "contact_hash",
        }
        pushed = "channel = 'notification'" if row.gives == "array" else "true"
        (scope,) = next(
            iter(
                generated.connection.cursor()
                .execute(f"SELECT {columns[str(row.ids)]} FROM events WHERE {pushed} ORDER BY 1")
                .fetchall()
            )
        )
        query = {row.id_query: scope} if row.id_query else {}
        found = call(sandbox, row.path.replace("{id}", scope), **query).json()
        if row.gives == "object":
            assert scope in (found["id"], found.get("hash"), found.get("fields", {}).get("1"))
        else:
            (subscription,) = found
            assert scope in subscription["contact"]["footprint"].values()
        unknown = {row.id_query: "unknown"} if row.id_query else {}
        path = row.path.replace("{id}", "unknown")
        assert call(sandbox, path, **unknown).status_code == 404

    def test_who_left_is_on_the_redlist(self, generated: Account, serve: Any, call: Any) -> None:
        listed = {row["id"] for row in call(serve(generated), "/targets/redlist/mail").json()}
        left = {
            event["source"]["detail"]["activation"]["receiver"]["id"]
            for event in generated.events()
            if event["type"] == "complaint"
            or event["source"]["detail"].get("link", {}).get("type") == "unsubscribe"
        }
        assert left
        assert listed == left

    def test_five_hundred_actions(self, serve: Any, call: Any) -> None:
        account = generated_account(2000, actions=500)
        found = call(serve(account), "/actions").json()
        assert len({action["id"] for action in found}) == 500
        assert len({action["name"] for action in found}) == 500
        # Most have events, and those that have none are known all the same.
        assert column(account, "action_id") <= {action["id"] for action in found}
        assert all(account.knows("action_id", action["id"]) for action in found)


class TestOwnElements:
    def test_actions_follow_from_events_where_nothing_is_described(
        self, event: Any, serve: Any, call: Any
    ) -> None:
        account = account_from_events([event(1, 1)])
        (action,) = call(serve(account), "/actions").json()
        assert (action["id"], action["name"]) == ("000AA1", "Action 000AA1")

    def test_what_is_described_is_served(self, event: Any, serve: Any, call: Any) -> None:
        account = account_from_events([event(1, 1)])
        account.describe("actions", [{"id": "000ZZ1", "name": "Mine"}])
        sandbox = serve(account)
        assert call(sandbox, "/actions").json() == [{"id": "000ZZ1", "name": "Mine"}]
        assert call(sandbox, "/actions/000ZZ1/events/bounces").json() == []
        account.describe("actions", [])
        assert call(sandbox, "/actions").json() == []

    def test_faults_strike(self, generated: Account, serve: Any, call: Any) -> None:
        sandbox = serve(generated)
        with sandbox.faults.during(Fault("cut_event", 2, path="/actions")):
            assert not call(sandbox, "/actions").text.endswith("]")
        with sandbox.faults.during(Fault("status", 410, path="/fields")):
            assert call(sandbox, "/fields").status_code == 410
        assert call(sandbox, "/actions", headers={"X-Key": "wrong"}).status_code == 401
