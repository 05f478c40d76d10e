"""Two NP6 accounts in one project: two named sources, two keys."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from dlt.common.configuration.exceptions import ConfigFieldMissingException

from np6_source import SettingError, np6_source
from np6_source.ledger import coverage, missing
from np6_source.loading import load
from np6_source.sandbox import Sandbox
from np6_source.windows import Window
from tests.guest.conftest import ALL, EVERY_ID, HOUR, TAt, TMake

SHOP_IDS = [f"event-{n:05d}" for n in range(100, 110)]

shop_source = np6_source.clone(name="np6_shop", section="np6_shop")
"""The second account, configured in its own section."""


@pytest.fixture
def shop(serve: TMake, event: TMake, at: TAt) -> Sandbox:
    shop: Sandbox = serve(
        (event(n, at("03-01") + (n - 100) * HOUR) for n in range(100, 110)),
        key="the-shop-s-key",
        now=at("03-10"),
    )
    return shop


@pytest.fixture(autouse=True)
def configured(sandbox: Sandbox, shop: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    for section, api in (("NP6", sandbox), ("NP6_SHOP", shop)):
        monkeypatch.setenv(f"SOURCES__{section}__API_KEY", api.key)
        monkeypatch.setenv(f"SOURCES__{section}__BASE_URL", api.url)
        monkeypatch.setenv(f"SOURCES__{section}__START", "2024-03-01")


def keys(api: Sandbox) -> set[str]:
    return {request.headers["X-Key"] for request in api.requests}


def test_in_two_pipelines_and_datasets(
    warehouse: Any, new_warehouse: TMake, sandbox: Sandbox, shop: Sandbox
) -> None:
    other = new_warehouse("np6_of_the_shop")
    warehouse.run(np6_source().with_resources(ALL))
    other.run(shop_source().with_resources(ALL))
    assert (warehouse.ids(), other.ids()) == (EVERY_ID, SHOP_IDS)
    assert (keys(sandbox), keys(shop)) == ({sandbox.key}, {shop.key})
    assert list(other.pipeline.state["sources"]) == ["np6_shop"]


def test_in_one_pipeline_with_a_dataset_each(
    warehouse: Any,
    sandbox: Sandbox,
    shop: Sandbox,
    at: TAt,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("USE_SINGLE_DATASET", "false")
    span = Window(at("03-01"), at("03-02"))
    for now in ("03-02", "03-03"):
        sandbox.now = at(now)
        sources = [np6_source().with_resources(ALL), shop_source().with_resources(ALL)]
        pipeline = warehouse.run(sources)
        for name, ids in (("np6", EVERY_ID), ("np6_np6_shop", SHOP_IDS)):
            found = warehouse.query(f"SELECT id FROM {name}.events ORDER BY id")
            expected = ids[:24] if (name, now) == ("np6", "03-02") else ids
            assert [row[0] for row in found] == expected
    assert (keys(sandbox), keys(shop)) == ({sandbox.key}, {shop.key})
    for name in ("np6", "np6_shop"):
        assert missing(span, coverage(pipeline, name)) == []
    warehouse.run(shop_source().with_resources(ALL), refresh="drop_sources")
    assert warehouse.query("SELECT count(*) FROM np6.events") == [(48,)]
    assert warehouse.query("SELECT count(*) FROM np6_np6_shop.events") == [(10,)]


def test_in_one_dataset_the_ledgers_prove_each_its_own(
    warehouse: Any, sandbox: Sandbox, shop: Sandbox, at: TAt
) -> None:
    sandbox.now = at("03-02")
    warehouse.run([np6_source().with_resources(ALL), shop_source().with_resources(ALL)])
    pipeline = warehouse.pipeline
    span = Window(at("03-01"), at("03-03"))
    assert missing(span, coverage(pipeline, "np6_shop")) == []
    (gap,) = missing(span, coverage(pipeline, "np6"))
    assert at("03-01T23:00") < gap.window.start < gap.window.end == at("03-03")
    with pytest.raises(SettingError, match="name one of the sources np6, np6_shop"):
        coverage(pipeline)


def test_their_cursors_stay_apart(warehouse: Any, sandbox: Sandbox, shop: Sandbox, at: TAt) -> None:
    sandbox.now = at("03-02")
    warehouse.run([np6_source().with_resources(ALL), shop_source().with_resources(ALL)])
    states = warehouse.pipeline.state["sources"]
    until = {name: state["resources"][ALL]["places"][""]["until"] for name, state in states.items()}
    assert until["np6"] < at("03-02") < until["np6_shop"] < at("03-10")


def test_a_renamed_source_is_one_of_its_own(warehouse: Any, shop: Sandbox) -> None:
    pipeline = warehouse.run(shop_source().with_resources(ALL))
    assert pipeline.schema_names == ["np6_shop"]
    assert warehouse.ids() == SHOP_IDS
    assert list(coverage(pipeline)) == [(ALL, "")]
    report = load(warehouse.pipeline, lambda: shop_source(on_error="keep").with_resources(ALL))
    assert (report.failures, warehouse.ids()) == ([], SHOP_IDS)


def test_a_source_that_was_renamed_says_where_it_begins_and_why(
    warehouse: Any, shop: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    renamed = np6_source.clone(name="np6_boutique", section="np6_shop")
    warnings = []
    said = "np6_boutique has no progress yet and begins at 2024-03-01T00:00:00Z"
    for source in (shop_source, shop_source, renamed, renamed):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "np6_source"):
            warehouse.run(source().with_resources(ALL))
        warnings.append(caplog.text)
    first, second, third, fourth = warnings
    assert first == second == fourth == ""
    assert said in third
    assert "some of np6_shop" in third


def test_a_key_of_one_section_is_not_the_other_s(
    sandbox: Sandbox, shop: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SOURCES__NP6_SHOP__API_KEY")
    with pytest.raises(ConfigFieldMissingException):
        shop_source()
