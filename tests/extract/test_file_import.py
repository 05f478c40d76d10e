"""Large tables go into dlt's load package as files, wherever nobody wants to see their rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dlt
import pytest

from np6_source.dlt_internals.files import ImportedTable
from np6_source.extract import batches, spool
from np6_source.sandbox import Sandbox

ALL = "actions_events"
HOUR = 3_600_000
COUNT = 48

TMake = Callable[..., Any]


@pytest.fixture
def sandbox(serve: TMake, event: TMake, at: Callable[[str], int]) -> Sandbox:
    made = (event(n, at("03-01") + n * HOUR) for n in range(COUNT))
    sandbox: Sandbox = serve(made, now=at("03-03"))
    return sandbox


@pytest.fixture
def source(sandbox: Sandbox, source_of: TMake) -> Any:
    return source_of(sandbox, ALL, window=86_400 * 365)


@pytest.fixture(autouse=True)
def files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Lets small tables be large; gives the tables that dlt was offered as files."""
    monkeypatch.setattr(spool, "IN_MEMORY", 1)
    monkeypatch.setattr(spool, "FEWEST_IMPORTED", 20)
    offered: list[str] = []
    begin = ImportedTable.__init__

    def noted(mark: ImportedTable, table_name: str, file: Path, row_count: int) -> None:
        offered.append(table_name)
        begin(mark, table_name, file, row_count)

    monkeypatch.setattr(ImportedTable, "__init__", noted)
    return offered


def extracted(pipeline: Any, source: Any, **options: Any) -> int:
    """Extracts only; rows of ``events`` in the load package."""
    info = pipeline.extract(source, **options)
    ((metrics, *_),) = info.metrics.values()
    return int(metrics["table_metrics"]["events"].items_count)


def without_times(tables: dict[str, Any]) -> dict[str, Any]:
    return {
        name: [
            {key: value for key, value in row.items() if key not in ("requested_at", "load_id")}
            for row in rows
        ]
        for name, rows in tables.items()
    }


def test_a_file_leads_to_the_same_tables(
    warehouse: Any,
    new_warehouse: TMake,
    sandbox: Sandbox,
    source_of: TMake,
    source: Any,
    files: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    warehouse.run(source)
    assert files == ["events"]
    monkeypatch.setattr(spool, "FEWEST_IMPORTED", 10**9)
    plain = new_warehouse("plain")
    plain.run(source_of(sandbox, ALL, window=86_400 * 365))
    assert files == ["events"]
    assert without_times(warehouse.contents()) == without_times(plain.contents())
    assert len(warehouse.ids()) == COUNT
    assert warehouse.windows(ALL)
    assert list(Path(warehouse.pipeline.working_dir, "np6_spool").iterdir()) == []


def test_a_second_load_replaces_what_the_first_has_imported(
    warehouse: Any, sandbox: Sandbox, source_of: TMake, files: list[str]
) -> None:
    for _ in range(2):
        warehouse.run(source_of(sandbox, ALL, window=86_400 * 365, overlap=100 * HOUR))
    assert files == ["events", "events"]
    assert len(warehouse.ids()) == len(set(warehouse.ids())) == COUNT


def test_the_load_package_has_one_file_of_an_imported_table(
    warehouse: Any, source: Any, files: list[str]
) -> None:
    pipeline = warehouse.pipeline
    assert extracted(pipeline, source) == COUNT
    folder = Path(pipeline.working_dir) / "normalize" / "extracted"
    assert len(list(folder.glob("*/new_jobs/events.*"))) == 1
    assert files == ["events"]


@pytest.mark.parametrize(
    "wanted",
    [
        lambda resource, see: resource.add_map(see),
        lambda resource, see: resource.add_filter(lambda rows: see(rows) is not None),
        lambda resource, see: resource.add_yield_map(lambda rows: iter([see(rows)])),
        lambda resource, see: resource.add_metrics(lambda rows, meta, metrics: see(rows)),
        lambda resource, see: resource.add_limit(1_000).add_map(see),
    ],
    ids=["map", "filter", "yield map", "metrics", "limit and map"],
)
def test_a_step_of_the_host_sees_every_row(
    warehouse: Any, source: Any, files: list[str], wanted: Callable[[Any, Any], Any]
) -> None:
    seen = 0

    def see(rows: Any, meta: Any = None) -> Any:
        nonlocal seen
        for table in rows if isinstance(rows, list) else [rows]:
            seen += table.num_rows if "recipient_domain" in table.column_names else 0
        return rows

    wanted(source.resources[ALL], see)
    assert extracted(warehouse.pipeline, source) == seen == COUNT
    assert files == []


@pytest.mark.parametrize("limit", [{"max_items": 1_000}, {"max_time": 1_000}])
def test_a_limit_counts_batches_of_rows(
    warehouse: Any, source: Any, files: list[str], limit: Any
) -> None:
    source.resources[ALL].add_limit(**limit)
    assert extracted(warehouse.pipeline, source) == COUNT
    assert files == []


def test_a_parallelized_resource_hands_rows_on(
    warehouse: Any, source: Any, files: list[str]
) -> None:
    source.resources[ALL].parallelize()
    assert extracted(warehouse.pipeline, source) == COUNT
    assert files == []


def test_selected_tables_are_selected(warehouse: Any, source: Any, files: list[str]) -> None:
    source.resources[ALL].select_tables("load_windows")
    info = warehouse.pipeline.extract(source)
    ((metrics, *_),) = info.metrics.values()
    assert "events" not in metrics["table_metrics"]
    assert files == []


@pytest.mark.parametrize("mode", ["discard_value", "discard_row", "freeze"])
def test_a_contract_looks_at_rows(warehouse: Any, source: Any, files: list[str], mode: str) -> None:
    contract = {"tables": "evolve", "columns": mode, "data_type": "evolve"}
    assert extracted(warehouse.pipeline, source, schema_contract=contract) == COUNT
    assert files == []


@pytest.mark.parametrize(
    "setting",
    [
        ("DATA_WRITER__FILE_MAX_ITEMS", "1000000"),
        ("DATA_WRITER__FILE_MAX_BYTES", "1000000"),
        ("NORMALIZE__PARQUET_NORMALIZER__ADD_DLT_LOAD_ID", "true"),
    ],
)
def test_what_dlt_does_to_files_it_does_to_all_rows(
    warehouse: Any,
    source: Any,
    files: list[str],
    setting: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(*setting)
    assert extracted(warehouse.pipeline, source) == COUNT
    assert files == []


def events_in(items: Any) -> list[str]:
    return [
        one
        for rows in items
        if "recipient_domain" in rows.column_names
        for one in rows["id"].to_pylist()
    ]


def test_who_looks_at_a_source_without_loading_it_sees_every_row(
    source: Any, files: list[str], warehouse: Any
) -> None:
    assert warehouse.pipeline
    assert len(events_in(source)) == COUNT
    assert files == []


def test_a_resource_that_iterates_over_the_source_gets_every_row(
    warehouse: Any, source: Any, files: list[str]
) -> None:
    """There is a load package then, but the file does not go into it."""

    @dlt.resource
    def ids() -> Iterator[Any]:
        yield [{"id": one} for one in events_in(source.resources[ALL])]

    warehouse.run(ids())
    assert len(warehouse.rows("ids")) == COUNT
    assert set(files) <= {"events"}


def test_a_file_larger_than_the_destination_takes_is_handed_on_as_rows(
    warehouse: Any, source: Any, files: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = warehouse.pipeline
    pipeline.destination.caps_params["recommended_file_size"] = 10
    assert extracted(pipeline, source) == COUNT
    assert files == []


class TestLargeRows:
    """They are gathered over windows, and handed on as files too."""

    @pytest.fixture(autouse=True)
    def rows_are_large(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(spool, "FEWEST_IMPORTED", 10**9)
        monkeypatch.setattr(spool, "LARGE_ROW", 1)
        monkeypatch.setattr(spool, "BYTES_PER_GROUP", 4_000)
        monkeypatch.setattr(batches, "FEWEST_BYTES", 1)
        monkeypatch.setattr(batches, "BYTES_AT_ONCE", 10_000)

    def test_files_lead_to_the_same_tables(
        self,
        warehouse: Any,
        new_warehouse: TMake,
        sandbox: Sandbox,
        source_of: TMake,
        files: list[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        warehouse.run(source_of(sandbox, ALL, window=3 * 3_600))
        offered = files.count("events")
        assert offered > 1
        monkeypatch.setattr(spool, "LARGE_ROW", 10**9)
        plain = new_warehouse("plain")
        plain.run(source_of(sandbox, ALL, window=3 * 3_600))
        assert files.count("events") == offered
        assert without_times(warehouse.contents()) == without_times(plain.contents())
        assert len(warehouse.ids()) == COUNT
        assert list(Path(warehouse.pipeline.working_dir, "np6_spool").iterdir()) == []

    def test_a_resource_that_iterates_over_the_source_gets_every_row(
        self, warehouse: Any, source: Any, files: list[str]
    ) -> None:
        @dlt.resource
        def ids() -> Iterator[Any]:
            yield [{"id": one} for one in events_in(source.resources[ALL])]

        warehouse.run(ids())
        assert len(warehouse.rows("ids")) == COUNT

    def test_a_file_larger_than_the_destination_takes_is_handed_on_as_rows(
        self, warehouse: Any, source: Any, files: list[str]
    ) -> None:
        pipeline = warehouse.pipeline
        pipeline.destination.caps_params["recommended_file_size"] = 10
        assert extracted(pipeline, source) == COUNT
        assert files == []

    def test_a_step_of_the_host_sees_every_row(
        self, warehouse: Any, source: Any, files: list[str]
    ) -> None:
        seen = []
        source.resources[ALL].add_map(lambda rows: seen.extend(events_in([rows])) or rows)
        assert extracted(warehouse.pipeline, source) == len(seen) == COUNT
        assert files == []
