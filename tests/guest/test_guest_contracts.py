"""Schema contracts of the host's: drift of the payload trips none, and none loses events."""

from __future__ import annotations

from typing import Any

import dlt
import pyarrow as pa
import pytest
from dlt.common.schema.exceptions import DataValidationError
from dlt.pipeline.exceptions import PipelineStepFailed

from np6_source.sandbox import Sandbox
from tests.guest.conftest import ALL, EVERY_ID, HOUR, TAt, TMake, refusal

MODES = ("evolve", "freeze", "discard_row", "discard_value")
ENTITIES = ("tables", "columns", "data_type")


def with_contract(source: Any, contract: Any, where: str) -> dict[str, Any]:
    """Sets a contract in one of the three places where dlt takes one; gives options for ``run``."""
    if where == "run":
        return {"schema_contract": contract}
    if where == "source":
        source.schema_contract = contract
    else:
        source.resources[ALL].apply_hints(schema_contract=contract)
    return {}


@pytest.fixture
def drifting(serve: TMake, event: TMake, at: TAt) -> Sandbox:
    """Day one as documented; day two with unknown fields, an unknown type, and other JSON types."""
    changes: list[dict[str, Any]] = [{}] * 24
    changes += [{"wave": {"of": n}} for n in range(8)]
    changes += [{"type": "teleportation"}] * 8
    changes += [{"identity": [7, {"agency": True}]}] * 8
    events = (event(n, at("03-01") + n * HOUR, **change) for n, change in enumerate(changes))
    sandbox: Sandbox = serve(events, now=at("03-02"))
    return sandbox


@pytest.mark.parametrize(
    ("mode", "where"),
    [*((mode, "run") for mode in MODES), ("freeze", "source"), ("discard_row", "resource")],
)
def test_drift_trips_no_contract_of_later_runs(
    warehouse: Any, drifting: Sandbox, source_of: TMake, at: TAt, mode: str, where: str
) -> None:
    warehouse.run(source_of(drifting, ALL))
    drifting.now = at("03-03")
    source = source_of(drifting, ALL)
    warehouse.run(source, **with_contract(source, mode, where))
    assert warehouse.ids() == EVERY_ID
    unmapped = [row["unmapped"] for row in warehouse.rows("events", "id")]
    assert [text is not None for text in unmapped[:32]] == [False] * 24 + [True] * 8
    assert {row["type"] for row in warehouse.rows("events")} == {"activation", "teleportation"}


@pytest.mark.parametrize("entity", ENTITIES)
@pytest.mark.parametrize("mode", MODES[1:])
def test_contracts_of_a_first_run(
    warehouse: Any, sandbox: Sandbox, source_of: TMake, entity: str, mode: str
) -> None:
    source = source_of(sandbox, ALL)
    contract = {entity: mode}
    if entity == "tables" and mode.startswith("discard"):
        message = refusal(lambda: warehouse.run(source, schema_contract=contract))
        assert f"tables={mode!r} would discard all of events" in message
    elif entity == "tables" and mode == "freeze":
        with pytest.raises(PipelineStepFailed) as raised:
            warehouse.run(source, schema_contract=contract)
        assert isinstance(raised.value.__cause__, DataValidationError)
    else:
        warehouse.run(source, schema_contract=contract)
        assert warehouse.ids() == EVERY_ID
    warehouse.run(source_of(sandbox, ALL))
    assert warehouse.ids() == EVERY_ID


def without_action_version(pipeline: dlt.Pipeline) -> None:
    """The schema and table as an earlier version of this package could have left them."""
    schema = pipeline.default_schema
    del schema.tables["events"]["columns"]["action_version"]
    pipeline.schemas.save_schema(schema)
    with pipeline.sql_client() as client:
        client.execute_sql("ALTER TABLE events DROP COLUMN action_version")


class TestColumnOfANewerVersion:
    """A column that an upgrade of this package brings."""

    @pytest.fixture(autouse=True)
    def upgraded(self, warehouse: Any, sandbox: Sandbox, source_of: TMake, at: TAt) -> None:
        sandbox.now = at("03-02")
        pipeline = warehouse.run(source_of(sandbox, ALL))
        without_action_version(pipeline)
        sandbox.now = at("03-03")

    def test_discarding_rows_with_it_is_refused(
        self, warehouse: Any, sandbox: Sandbox, source_of: TMake
    ) -> None:
        message = refusal(
            lambda: warehouse.run(
                source_of(sandbox, ALL), schema_contract={"columns": "discard_row"}
            )
        )
        assert "events that have action_version" in message
        assert len(warehouse.ids()) == 24

    def test_discarding_its_values_loads_the_rest(
        self, warehouse: Any, sandbox: Sandbox, source_of: TMake
    ) -> None:
        contract = {"columns": "discard_value"}
        warehouse.run(source_of(sandbox, ALL), schema_contract=contract)
        assert warehouse.ids() == EVERY_ID
        assert "action_version" not in warehouse.rows("events")[0]

    def test_a_frozen_schema_says_which(
        self, warehouse: Any, sandbox: Sandbox, source_of: TMake
    ) -> None:
        with pytest.raises(PipelineStepFailed, match="action_version") as raised:
            warehouse.run(source_of(sandbox, ALL), schema_contract={"columns": "freeze"})
        assert raised.value.step == "extract"
        warehouse.run(source_of(sandbox, ALL))
        assert warehouse.ids() == EVERY_ID


def test_a_column_that_the_host_adds_is_subject_to_its_contract(
    warehouse: Any, sandbox: Sandbox, source_of: TMake
) -> None:
    def with_shop(table: pa.Table, meta: Any = None) -> pa.Table:
        return table.append_column("shop", pa.array(["Lyon"] * table.num_rows, pa.string()))

    warehouse.run(source_of(sandbox, ALL))
    source = source_of(sandbox, ALL)
    source.resources[ALL].add_map(with_shop)
    warehouse.run(source, schema_contract={"columns": "discard_value"})
    assert warehouse.ids() == EVERY_ID
    assert "shop" not in warehouse.rows("events")[0]
