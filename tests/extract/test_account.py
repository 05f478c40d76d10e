"""One account per state: another's key or address never goes on from its progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from dlt.pipeline.exceptions import PipelineStepFailed
from hypothesis import given
from hypothesis import strategies as st

from np6_source.extract.account import Account, key_digest
from np6_source.windows import SECOND
from tests.support import Warehouse, at, event

ALL = "actions_events"
HOUR = 3600 * SECOND
SHOP = {"type": "customer", "agency": "SHOP", "customer": "001"}
TMake = Callable[..., Any]


class Api:
    """A sandbox under an address and a key that may be given."""

    def __init__(self, url: str, key: str) -> None:
        self.url, self.key = url, key


@pytest.fixture
def make(source_of: TMake) -> Callable[..., Any]:
    return lambda api, *names, **options: source_of(
        api, *(names or (ALL,)), **{"same_account": False, **options}
    )


def days(count: int, first: int = 0, **changes: Any) -> list[Any]:
    return [event(first + n, at("03-01") + n * HOUR + 1, **changes) for n in range(24 * count)]


def test_another_address_is_refused_and_says_what_to_do(
    warehouse: Warehouse, serve: TMake, make: Callable[..., Any]
) -> None:
    first, second = (serve(days(2), now=at("03-02")) for _ in range(2))
    warehouse.run(make(first))
    before = warehouse.contents()
    with pytest.raises(PipelineStepFailed, match=r"account at .*same_account=True"):
        warehouse.run(make(second))
    assert warehouse.contents() == before
    assert second.requests == []
    second.now = at("03-03")
    warehouse.run(make(second, same_account=True))
    assert len(warehouse.ids()) == 48
    warehouse.run(make(second))


def test_the_same_address_in_another_form_is_the_same(
    warehouse: Warehouse, serve: TMake, make: Callable[..., Any]
) -> None:
    sandbox = serve(days(1), now=at("03-02"))
    warehouse.run(make(sandbox))
    warehouse.run(make(Api(sandbox.url.rstrip("/").replace("http", "HTTP"), sandbox.key)))


def test_an_address_that_never_answered_is_no_account(
    warehouse: Warehouse, serve: TMake, make: Callable[..., Any]
) -> None:
    sandbox = serve(days(2), now=at("03-02"))
    misspelt = Api("http://127.0.0.1:9/", sandbox.key)
    for _ in range(2):
        warehouse.run(make(misspelt, on_error="keep", attempts=1))
    warehouse.run(make(sandbox))
    assert len(warehouse.ids()) == 24


def test_an_address_that_answered_without_events_is_an_account(
    warehouse: Warehouse, serve: TMake, make: Callable[..., Any]
) -> None:
    empty, sandbox = serve([], now=at("03-02")), serve(days(2), now=at("03-02"))
    warehouse.run(make(empty))
    with pytest.raises(PipelineStepFailed, match=r"account at .*SAME_ACCOUNT=true"):
        warehouse.run(make(sandbox))


class TestAnotherKey:
    """Under one address: the sandbox there is exchanged for one with another key."""

    def test_of_the_same_account_goes_on(
        self, warehouse: Warehouse, serve: TMake, make: Callable[..., Any]
    ) -> None:
        sandbox = serve(days(2), key="first-key", now=at("03-02"))
        warehouse.run(make(sandbox))
        address = sandbox.url
        port = int(address.rstrip("/").rsplit(":", 1)[1])
        sandbox.stop()
        rotated = serve(days(2), key="second-key", now=at("03-03"), port=port)
        warehouse.run(make(rotated))
        assert len(warehouse.ids()) == 48
        starts = [request.query["start"] for request in rotated.requests]
        # The event that shows the account, and then the overlap: not the whole history.
        assert min(starts) > "2024-03-01T22"
        assert "second-key" not in warehouse.state()
        rotated.requests.clear()
        warehouse.run(make(rotated))
        assert min(request.query["start"] for request in rotated.requests) > "2024-03-02T23"

    @pytest.mark.parametrize("on_error", ["raise", "keep"])
    @pytest.mark.parametrize(
        "events",
        [
            days(2, first=100, identity=SHOP),
            [event(900, at("03-02T12:00"), identity=SHOP)],
            [],
        ],
        ids=["other events at the same time", "later events", "no events"],
    )
    def test_of_another_account_is_refused_and_nothing_is_loaded(
        self,
        warehouse: Warehouse,
        serve: TMake,
        make: Callable[..., Any],
        on_error: str,
        events: list[Any],
    ) -> None:
        sandbox = serve(days(2), key="first-key", now=at("03-02"))
        warehouse.run(make(sandbox))
        before = (warehouse.contents(), warehouse.places(ALL))
        port = int(sandbox.url.rstrip("/").rsplit(":", 1)[1])
        sandbox.stop()
        other = serve(events, key="second-key", now=at("03-03"), port=port)
        with pytest.raises(PipelineStepFailed, match=r"DEMO/028.* Nothing was loaded"):
            warehouse.run(make(other, on_error=on_error))
        assert (warehouse.contents(), warehouse.places(ALL)) == before

    def test_of_another_account_is_refused_for_a_resource_that_begins(
        self, warehouse: Warehouse, serve: TMake, make: Callable[..., Any]
    ) -> None:
        sandbox = serve(days(1), key="first-key", now=at("03-02"))
        warehouse.run(make(sandbox))
        port = int(sandbox.url.rstrip("/").rsplit(":", 1)[1])
        sandbox.stop()
        hits = days(1, first=100, identity=SHOP, type="hit")
        other = serve(hits, key="second-key", now=at("03-03"), port=port)
        with pytest.raises(PipelineStepFailed, match="events are of SHOP/001"):
            warehouse.run(make(other, "actions_reactivities"))

    def test_two_accounts_as_two_sources_in_one_run_are_refused(
        self, warehouse: Warehouse, serve: TMake, make: Callable[..., Any]
    ) -> None:
        first = serve(days(1), now=at("03-02"))
        second = serve(days(1, first=100, identity=SHOP), now=at("03-02"))
        with pytest.raises(PipelineStepFailed, match=r"np6_source\.clone"):
            warehouse.run([make(first), make(second)])


def test_an_account_without_events_so_far_gives_its_whole_history_to_the_next_key(
    warehouse: Warehouse, serve: TMake, make: Callable[..., Any]
) -> None:
    sandbox = serve([], key="first-key", now=at("03-02"))
    warehouse.run(make(sandbox))
    port = int(sandbox.url.rstrip("/").rsplit(":", 1)[1])
    sandbox.stop()
    warehouse.run(make(serve(days(1), key="second-key", now=at("03-03"), port=port)))
    assert len(warehouse.ids()) == 24


@given(st.text(min_size=8), st.frozensets(st.tuples(st.text(), st.text()), max_size=4))
def test_an_account_survives_its_state_which_has_no_key(
    key: str, identities: frozenset[tuple[str, str]]
) -> None:
    account = Account("https://a/", frozenset({key_digest("https://a/", key)}), identities)

    assert Account.from_state(account.to_state()) == account
    assert key not in account.to_state()["keys"]
