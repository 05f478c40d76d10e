"""Every column of every view is described as it is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from np6_source import views
from np6_source.views.descriptions import COMMON, KEYS, OF_VIEW, described
from tests.support import Warehouse
from tests.views.accounts import samples
from tests.views.reading import load

DUCKDB_TYPES = {
    "text": "VARCHAR",
    "timestamp": "TIMESTAMP WITH TIME ZONE",
    "date": "DATE",
    "bool": "BOOLEAN",
    "bigint": "BIGINT",
    "double": "DOUBLE",
}


@pytest.fixture(scope="module")
def columns(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[Any, ...]]]:
    """Name and type of the columns of every view, as the destination has them."""
    folder: Path = tmp_path_factory.mktemp("columns")
    pipeline = Warehouse(folder).pipeline
    load(pipeline, samples())
    with pipeline.sql_client() as client:
        return {
            view.name: [
                tuple(row)
                for row in client.execute_sql(
                    "SELECT column_name, data_type FROM duckdb_columns()"
                    f" WHERE schema_name = 'np6' AND table_name = '{view.name}'"
                    " ORDER BY column_index"
                )
                or ()
            ]
            for view in views.views()
        }


@pytest.mark.parametrize("view", views.views(), ids=lambda view: view.name)
def test_columns_and_types_are_as_described(
    columns: dict[str, list[tuple[Any, ...]]], view: views.View
) -> None:
    assert columns[view.name] == [
        (name, DUCKDB_TYPES[column.data_type]) for name, column in described(view).items()
    ]


@pytest.mark.parametrize("view", views.views(), ids=lambda view: view.name)
def test_every_column_has_a_meaning(view: views.View) -> None:
    lacking = [name for name, column in described(view).items() if not column.comment]
    assert [name for name in lacking if name != "recipient_domain"] == []
    assert set(view.key) <= set(view.columns)


def test_nothing_is_described_that_is_not_there() -> None:
    there = {view.name: set(view.columns) for view in views.views()}
    assert KEYS.keys() == there.keys()
    assert COMMON.keys() <= set.union(*there.values())
    for name, meanings in OF_VIEW.items():
        assert meanings.keys() <= there[name], name


def test_columns_that_hold_personal_data_say_so() -> None:
    hits = described(next(view for view in views.views() if view.name == "hits"))
    assert hits["client_ip"].personal != "no"
    assert hits["recipient"].personal != "no"
    assert hits["channel"].personal == "no"
