"""Who a contact is: by all that NP6 may send of it, also where a footprint is not whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import md5
from typing import Any

import pytest

from np6_source.events.digests import DigestKey
from np6_source.events.privacy import Privacy
from np6_source.persons.access import all_about
from np6_source.persons.dataset import opened
from np6_source.persons.erasing import erase, planned
from np6_source.persons.finding import find
from tests.support import Warehouse, at, event

KEY = "a key of the company's, 32 bytes or more"
ALL = "actions_events"
MARIE, PIERRE = "marie@lab.example", "pierre@lab.example"
HERS, SHARED = "+33612345678", "+33698765432"
HASH = md5(MARIE.encode(), usedforsecurity=False).hexdigest()
FIRST_LOAD = at("03-01T13:00")


def about(number: int, receiver: dict[str, Any], recipient: str | None = None, **more: Any) -> Any:
    """An event about a contact; numbers from 100 on are published after the first load's end."""
    later = FIRST_LOAD if number >= 100 else at("03-01T12:00")
    one = event(number, later + number * 1000, **more)
    activation = one["source"]["detail"]["activation"]
    activation["receiver"] = receiver
    activation.pop("recipient")
    if recipient is not None:
        activation["recipient"] = recipient
    return one


def footprint(contact: str, unicity: Any) -> dict[str, Any]:
    return {"type": "footprint", "id": contact, "unicity": unicity}


@pytest.fixture
def load(warehouse: Warehouse, serve: Any, source_of: Any) -> Callable[..., None]:
    """Loads up to a moment, from an account of given events."""
    served: list[Any] = []

    def call(*events: Any, **options: Any) -> None:
        if events:
            served[:] = [serve(list(events), now=at("03-02T03:00"))]
        warehouse.load(lambda: source_of(served[0], ALL, on_error="keep", pii_key=KEY, **options))

    return call


def erased(warehouse: Warehouse, *values: str) -> None:
    pipeline = warehouse.pipeline
    with opened(pipeline, Privacy(key=DigestKey(KEY))) as data:
        erase(pipeline, data, planned(data, find(data, values)))


def everything(warehouse: Warehouse) -> str:
    tables = ("events", "events__hits", "events__execution_data", "rejected_events")
    return json.dumps([warehouse.rows(table) for table in tables])


def test_the_hash_of_an_address_that_came_without_one_is_hers_as_well(
    load: Any, warehouse: Warehouse
) -> None:
    load(
        about(1, footprint("M1", MARIE), MARIE),
        about(100, {"type": "hash", "value": HASH}),
        about(101, footprint("P1", PIERRE), PIERRE, forwarded_from=HASH.upper()),
        end="2024-03-01T13:00:00",
    )

    erased(warehouse, "M1")
    load()

    assert len(warehouse.ids()) == 3
    assert HASH not in everything(warehouse).lower()


class TestUnicitiesOfSeveralValues:
    def test_each_value_is_hers_in_what_is_there_and_in_what_comes(
        self, load: Any, warehouse: Warehouse
    ) -> None:
        load(
            about(1, footprint("M1", [MARIE, HERS]), MARIE),
            about(2, footprint("P1", PIERRE), PIERRE, sponsor=MARIE, called=HERS),
            about(3, footprint("P1", PIERRE), MARIE),
            about(100, {"type": "unicity", "value": [MARIE]}),
            about(101, {"type": "unicity", "value": [HERS, "x"]}),
            about(102, footprint("P1", PIERRE), MARIE, sponsor=HERS),
            end="2024-03-01T13:00:00",
        )

        erased(warehouse, MARIE)
        load()

        assert len(warehouse.ids()) == 6
        assert MARIE not in everything(warehouse)
        assert HERS.strip("+") not in everything(warehouse)

    def test_a_value_that_another_has_as_well_stays_the_others(
        self, load: Any, warehouse: Warehouse
    ) -> None:
        load(
            about(1, footprint("M1", [MARIE, SHARED]), SHARED),
            about(2, footprint("P1", [PIERRE, SHARED]), SHARED),
        )

        erased(warehouse, "M1")

        hers, his = warehouse.rows("events", "id")
        assert (hers["contact_unicity"], hers["recipient"]) == (None, None)
        assert (json.loads(his["contact_unicity"]), his["recipient"]) == ([PIERRE, SHARED], SHARED)


class TestEventsThatCouldNotBeTaken:
    def events(self) -> list[Any]:
        """Without an id, which none of them can do without: hers by id alone, and another's."""
        by_id = {"type": "id", "value": "M1"}
        return [
            about(1, footprint("M1", MARIE)),
            about(2, by_id, id=None),
            about(3, footprint("P1", PIERRE), id=None, sponsor=MARIE),
            about(4, footprint("P1", PIERRE), id=None),
            about(100, by_id, id=None),
        ]

    def test_she_is_shown_those_about_her_and_the_others_are_counted(
        self, load: Any, warehouse: Warehouse
    ) -> None:
        load(*self.events(), bad_events="keep")

        with opened(warehouse.pipeline, Privacy(key=DigestKey(KEY))) as data:
            found = all_about(data, find(data, ["M1"]))

        contents = [row["content"] for row in found["tables"]["rejected_events"]]
        assert len(contents) == 2
        assert all('"M1"' in content for content in contents)
        assert found["mentions_elsewhere"] == 1

    def test_their_texts_go_with_her_id_in_what_is_there_and_in_what_comes(
        self, load: Any, warehouse: Warehouse
    ) -> None:
        load(*self.events(), bad_events="keep", end="2024-03-01T13:00:00")

        erased(warehouse, "M1")
        load(bad_events="keep")

        contents = [row["content"] for row in warehouse.rows("rejected_events")]
        kept = {content for content in contents if content is not None}
        assert len(contents) == 7  # One that is read again has another row.
        assert {json.loads(content)["timestamp"] for content in kept} == {at("03-01T12:00") + 4000}
        assert '"M1"' not in everything(warehouse)
