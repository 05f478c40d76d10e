"""Under a policy every view says the same, but for what the policy takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from np6_source import np6_source, views
from np6_source.sandbox import Sandbox
from tests.support import Warehouse
from tests.views.accounts import END, HERE, START, small
from tests.views.reading import rows

SECRET = "a key of the company's, 32 bytes or more"
PERSONAL = frozenset(
    {
        *("contact_id", "contact_unicity", "contact_hash", "recipient", "recipient_domain"),
        *("client_ip", "user_agent", "diagnostic", "mta", "value_message", "unmapped"),
    }
)
LINKS = frozenset({"link_destination", "link_label"})
OF_THE_LOAD = frozenset({"last_requested_at", "requested_at", "lag_minutes", "refreshed_at"})
GROUPED_BY = {
    "strict": {"deliverability_daily", "link_performance", "bounce_reasons_daily"},
    "pseudonyms": {"link_performance", "bounce_reasons_daily"},
}
"""Views with a row per value that the policy takes: these have fewer rows."""


@pytest.fixture(scope="module")
def loaded(
    tmp_path_factory: pytest.TempPathFactory, warehouse_in: Callable[..., Warehouse]
) -> dict[str, Warehouse]:
    """The same account under each preset."""
    found = {}
    with Sandbox(small()) as sandbox:
        for pii in ("keep", "pseudonyms", "strict"):
            warehouse = warehouse_in(tmp_path_factory.mktemp(pii))
            source = np6_source(
                sandbox.key, base_url=sandbox.url, start=START, end=END, pii=pii, pii_key=SECRET
            )
            warehouse.run(source.with_resources(HERE))
            views.make(warehouse.pipeline)
            found[pii] = warehouse
    return found


def rows_of(warehouse: Warehouse, view: str) -> list[dict[str, Any]]:
    with warehouse.pipeline.sql_client() as client:
        return rows(client, view)


def without(found: list[dict[str, Any]], names: frozenset[str]) -> Counter[str]:
    return Counter(
        str({name: value for name, value in row.items() if name not in names}) for row in found
    )


@pytest.mark.parametrize("pii", ["pseudonyms", "strict"])
def test_views_say_the_same_but_for_what_the_policy_takes(
    pii: str, loaded: dict[str, Warehouse]
) -> None:
    compared = 0
    for view in views.views():
        kept, masked = (rows_of(loaded[one], view.name) for one in ("keep", pii))
        if view.name in GROUPED_BY[pii]:
            assert bool(masked) == bool(kept), view.name
            continue
        names = PERSONAL | LINKS | OF_THE_LOAD
        assert without(masked, names) == without(kept, names), view.name
        compared += len(kept)
    assert compared > 500
    contacts = rows_of(loaded[pii], "contact_engagement")
    assert len(contacts) == len(rows_of(loaded["keep"], "contact_engagement")) > 1
    assert all(len(row["contact_id"]) == 32 for row in contacts)
