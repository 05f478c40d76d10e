"""Every row of the catalogue is served, and gives exactly the events that its path implies."""

from __future__ import annotations

from typing import Any

import pytest

from np6_source.endpoints import ENDPOINTS, WINDOW_PARAMETERS, Endpoint, default_items_events
from np6_source.sandbox import Account, Sandbox, StoredAccount

ID_COLUMNS = {
    "/actions/{id}": "action_id",
    "/campaigns/{id}": "campaign_id",
    "/targets/{id}": "contact_id",
    "/notifications/{id}": "notification_id",
    "/display/content/{id}": "display_content_id",
    "id": "contact_id",
    "unicity": "contact_unicity",
    "hash": "contact_hash",
}
CHANNELS = {
    "actions": {"email", "sms"},
    "campaigns": {"email", "sms"},
    "notifications": {"notification"},
    "display": {"display"},
}
LAST_PART = {
    "executions": {"type": "execution"},
    "activations": {"type": "activation"},
    "cancellations": {"type": "cancellation"},
    "bounces": {"type": "bounce"},
    "optouts": {"type": "optout"},
    "impressions": {"type": "impression"},
    "stop": {"type": "reply"},
    "hits": {"type": "hit"},
    "open": {"type": "hit", "subtype": "open"},
    "form": {"type": "hit", "subtype": "form"},
    "mirror": {"type": "hit", "subtype": "mirror"},
    "redirection": {"type": "hit", "subtype": "redirection"},
    "unsubscribe": {"type": "hit", "subtype": "unsubscribe"},
}
BEFORE_REACTIONS = {"execution", "activation", "cancellation"}
rows = pytest.mark.parametrize("row", ENDPOINTS, ids=lambda row: row.name)


@pytest.fixture(scope="module")
def sandbox(generated: Account) -> Any:
    with Sandbox(generated) as running:
        yield running


def id_column(row: Endpoint) -> str | None:
    if row.id_query:
        return ID_COLUMNS[row.id_query]
    owner = row.path.split("{id}")[0] + "{id}"
    return ID_COLUMNS[owner] if "{id}" in row.path else None


@pytest.fixture(scope="module")
def index(generated: Account) -> list[dict[str, Any]]:
    """The account's events, with what is known of them beside their payloads."""
    found = generated.connection.cursor().execute("SELECT * EXCLUDE (payload) FROM events")
    names = [column[0] for column in found.description or ()]
    return [dict(zip(names, values, strict=True)) for values in found.fetchall()]


def expected_ids(index: list[dict[str, Any]], row: Endpoint, scope: str | None) -> set[str]:
    """The rules of the catalogue, said once more and applied in Python."""
    wanted = LAST_PART.get(row.path.rsplit("/", 1)[-1], {})
    channels = CHANNELS.get(row.path.split("/")[1])
    column = id_column(row)
    return {
        event["event_id"]
        for event in index
        if all(event[name] == value for name, value in wanted.items())
        and (channels is None or event["channel"] in channels)
        and (column is None or event[column] == scope)
        and (row.window == "events" or event["type"] not in BEFORE_REACTIONS)
        and not (row.takes_classification and event["robot"])
    }


@rows
def test_operation_gives_exactly_its_events_in_order(
    row: Endpoint, sandbox: Sandbox, index: list[dict[str, Any]], call: Any
) -> None:
    column = id_column(row)
    scopes = sandbox.account.example_ids(column, 40) if column else [None]
    expected: dict[str | None, set[str]] = {}
    for scope in scopes:
        expected[scope] = expected_ids(index, row, scope)
        if expected[scope]:
            break
    else:
        scope = scopes[0]
    query = {row.id_query: scope} if row.id_query else {}
    answer = call(
        sandbox,
        row.path.replace("{id}", scope or ""),
        body={"itemsEvents": default_items_events()} if row.sends_items_events else None,
        sort="asc",
        **query,
    )
    events = answer.json()
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("application/json")
    assert answer.headers["x-request-id"]
    assert answer.headers["Date"]
    assert {event["id"] for event in events} == expected[scope]
    assert len(events) == len(expected[scope])
    timestamps = [event["timestamp"] for event in events]
    assert timestamps == sorted(timestamps)


def test_every_operation_is_covered_by_events(
    generated: Account, index: list[dict[str, Any]]
) -> None:
    without = {
        row.name
        for row in ENDPOINTS
        if not any(
            expected_ids(index, row, scope)
            for column in [id_column(row)]
            for scope in (generated.example_ids(column, 300) if column else [None])
        )
    }
    # Forms are rare enough that no one contact of so small an account fills one in for certain.
    assert without <= {"target_events_hits_form"}


@rows
def test_wrong_key_is_401_without_body(row: Endpoint, sandbox: Sandbox, call: Any) -> None:
    answer = call(sandbox, row.path, {"X-Key": "wrong"}, method=row.method)
    assert (answer.status_code, answer.content) == (401, b"")


@pytest.mark.parametrize(
    "row", [row for row in ENDPOINTS if row.ids is not None], ids=lambda row: row.name
)
def test_unknown_id_is_404_without_body(row: Endpoint, sandbox: Sandbox, call: Any) -> None:
    query = {row.id_query: "unknown'\x00\udcff"} if row.id_query else {}
    path = row.path.replace("{id}", "unknown")
    body = {} if row.sends_items_events else None
    for parameters in [query, {row.id_query: "unknown"}] if row.id_query else [query]:
        text = {key: value.encode("utf-8", "replace") for key, value in parameters.items()}
        answer = call(sandbox, path, body=body, **text)
        assert (answer.status_code, answer.content) == (404, b"")


def test_unknown_paths_and_methods(sandbox: Sandbox, call: Any) -> None:
    assert call(sandbox, "/actions/nothing").status_code == 404
    assert call(sandbox, "/actions/events", method="POST").status_code == 405


def test_rows_of_ones_own_are_served(samples: StoredAccount, serve: Any, call: Any) -> None:
    own = (
        Endpoint("/actions/{id}/events/hits/redirection", ids="action_ids", event_type="hit"),
        Endpoint("/actions/reactivities/bounces", window="reactivities"),
    )
    sandbox = serve(samples, endpoints=(*ENDPOINTS, *own))
    (hit,) = call(sandbox, "/actions/000PE4/events/hits/redirection").json()
    assert hit["source"]["detail"]["link"]["type"] == "redirection"
    bounces = call(sandbox, "/actions/reactivities/bounces").json()
    assert [event["type"] for event in bounces] == ["bounce", "bounce"]


def test_a_row_with_ids_of_an_unknown_kind_is_refused(samples: StoredAccount) -> None:
    row = Endpoint("/workflows/{id}/events", ids=("1",))
    with pytest.raises(ValueError, match="workflow"):
        Sandbox(samples, endpoints=[row]).start()


def test_contact_operations_want_exactly_one_of_their_parameters(
    samples: StoredAccount, serve: Any, call: Any
) -> None:
    sandbox = serve(samples)
    assert call(sandbox, "/targets/events/hits").status_code == 400
    both = call(sandbox, "/targets/events/hits", id="000R4M0T", unicity="example@np6.com")
    assert both.status_code == 400
    assert len(call(sandbox, "/targets/events/hits", unicity="example@np6.com").json()) == 3


class TestRobots:
    """``classification``; what the operations without it do is an assumption."""

    def hits(self, call: Any, sandbox: Sandbox, scope: str, **query: str) -> set[str]:
        found = call(sandbox, "/targets/events/hits", id=scope, **query).json()
        return {event["id"] for event in found}

    def by_class(self, account: Account, robot: str) -> tuple[str, set[str]]:
        cursor = account.connection.cursor()
        contact, ids = cursor.execute(
            "SELECT contact_id, list(event_id) FROM events WHERE robot = ? GROUP BY 1 ORDER BY 1",
            [robot],
        ).fetchall()[0]
        return contact, set(ids)

    @pytest.mark.parametrize("robot", ["genericrobot", "mpp", "gsr"])
    def test_named_class_only(self, robot: str, sandbox: Sandbox, call: Any) -> None:
        contact, ids = self.by_class(sandbox.account, robot)
        assert self.hits(call, sandbox, contact, classification=robot) == ids
        assert not ids & self.hits(call, sandbox, contact)
        others = {"genericrobot", "mpp", "gsr"} - {robot}
        assert not ids & self.hits(call, sandbox, contact, classification=",".join(others))

    def test_mixed_operations_include_them(self, sandbox: Sandbox, call: Any) -> None:
        contact, ids = self.by_class(sandbox.account, "mpp")
        mixed = {event["id"] for event in call(sandbox, f"/targets/{contact}/events").json()}
        assert ids <= mixed

    def test_no_field_says_it(self, sandbox: Sandbox, call: Any) -> None:
        contact, _ = self.by_class(sandbox.account, "gsr")
        (hit, *_) = call(sandbox, "/targets/events/hits", id=contact, classification="gsr").json()
        assert set(hit) == {"type", "id", "timestamp", "identity", "source"}

    def test_unknown_class_is_400(self, sandbox: Sandbox, call: Any) -> None:
        contact, _ = self.by_class(sandbox.account, "gsr")
        answer = call(sandbox, "/targets/events/hits", id=contact, classification="human")
        assert answer.status_code == 400


class TestCampaignBody:
    def events(self, call: Any, sandbox: Sandbox, *entries: dict[str, Any]) -> list[Any]:
        (campaign,) = sandbox.account.example_ids("campaign_id", 1)
        path = f"/campaigns/{campaign}/events"
        found: list[Any] = call(sandbox, path, body={"itemsEvents": list(entries)}).json()
        return found

    def test_an_entry_returns_its_channel_only(self, sandbox: Sandbox, call: Any) -> None:
        found = self.events(call, sandbox, {"type": "email"})
        assert {event["source"]["type"] for event in found} == {"email"}

    def test_an_entry_returns_its_types_and_subtypes_only(
        self, sandbox: Sandbox, call: Any
    ) -> None:
        choice = [{"type": "hit", "subtypes": ["redirection"]}, {"type": "bounce"}]
        found = self.events(call, sandbox, {"type": "email", "events": choice})
        shown = {
            (event["type"], event["source"]["detail"].get("link", {}).get("type"))
            for event in found
        }
        assert shown == {("hit", "redirection"), ("bounce", None)}

    def test_an_entry_returns_its_items_only(self, sandbox: Sandbox, call: Any) -> None:
        everything = self.events(call, sandbox, {"type": "email"})
        actions = {
            (event["source"]["detail"].get("activation") or event["source"]["detail"]["execution"])[
                "id"
            ]
            for event in everything
        }
        one = sorted(actions)[0]
        found = self.events(call, sandbox, {"type": "email", "items": [one]})
        assert 0 < len(found) < len(everything)

    def test_entries_add_up(self, sandbox: Sandbox, call: Any) -> None:
        email = self.events(call, sandbox, {"type": "email"})
        sms = self.events(call, sandbox, {"type": "sms"})
        both = self.events(call, sandbox, {"type": "email"}, {"type": "sms"})
        assert len(both) == len(email) + len(sms)

    @pytest.mark.parametrize(
        "body",
        [[], "text", {"itemsEvents": 1}, {"itemsEvents": [1]}, {"itemsEvents": [{"type": 1}]}],
    )
    def test_anything_but_an_object_is_400(self, body: Any, sandbox: Sandbox, call: Any) -> None:
        (campaign,) = sandbox.account.example_ids("campaign_id", 1)
        answer = call(sandbox, f"/campaigns/{campaign}/items/events", body=body)
        assert answer.status_code == 400
        assert answer.json()["message"]

    def test_no_body_is_400(self, sandbox: Sandbox, call: Any) -> None:
        (campaign,) = sandbox.account.example_ids("campaign_id", 1)
        answer = call(sandbox, f"/campaigns/{campaign}/events", method="POST")
        assert answer.status_code == 400


def test_both_windows_have_names() -> None:
    assert {row.window for row in ENDPOINTS} == set(WINDOW_PARAMETERS)
