"""The dbt models are the views, over sources that are the tables."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from np6_source import views
from np6_source.errors import SettingError
from np6_source.schema import TABLES
from np6_source.upkeep.removals import remove
from np6_source.views.dbt import write_project
from np6_source.views.translation import FUNCTIONS
from tests.support import Warehouse
from tests.views.accounts import samples
from tests.views.reading import load, reading, rows

OF_NOW = ("days_since_open", "days_since_click", "lag_minutes")


IF_REMOVED = re.compile(
    r"\{% if var\('np6_retention', false\) %\}\n(.*)\n\{% else %\}\n(.*)\n\{% endif %\}", re.S
)


@pytest.mark.parametrize("is_removed", [False, True])
def test_models_give_what_the_views_give(tmp_path: Path, is_removed: bool) -> None:
    warehouse = Warehouse(tmp_path / "loaded")
    load(warehouse.pipeline, samples())
    if is_removed:
        (day,) = {row["timestamp"] for row in warehouse.rows("events")[:1]}
        removed = remove(warehouse.pipeline, day + 1)
        assert removed.rows["events"] > 0
        views.make(warehouse.pipeline)
    with reading(warehouse.pipeline) as client:
        expected = {view.name: rows(client, view.name) for view in views.views()}
    views.drop(warehouse.pipeline)
    write_project(tmp_path / "dbt", "duckdb", "np6")
    models = tmp_path / "dbt" / "models" / "np6"

    warehouse.execute("CREATE SCHEMA dbt")
    for view in views.views():  # Each after those it reads, as dbt orders them.
        text = (models / f"{view.name}.sql").read_text(encoding="utf-8")
        text = IF_REMOVED.sub(r"\1" if is_removed else r"\2", text)
        text = re.sub(r"\{\{ ref\('(\w+)'\) \}\}", r"dbt.\1", text)
        text = re.sub(r"\{\{ source\('np6', '(\w+)'\) \}\}", r"np6.\1", text)
        assert "{" not in text
        warehouse.execute(f"CREATE VIEW dbt.{view.name} AS {text}")

    with reading(warehouse.pipeline) as client:
        for view in views.views():
            client.execute_sql(f"CREATE VIEW np6.{view.name} AS FROM dbt.{view.name}")
            found = rows(client, view.name)
            assert sorted(map(without_now, found)) == sorted(map(without_now, expected[view.name]))


def without_now(row: dict[str, object]) -> str:
    return repr({name: value for name, value in row.items() if name not in OF_NOW})


@pytest.mark.parametrize("dialect", sorted(FUNCTIONS))
def test_every_table_and_column_is_described_and_keys_are_tested(
    dialect: str, tmp_path: Path
) -> None:
    write_project(tmp_path, dialect, "marketing")
    folder = tmp_path / "models" / "np6"
    (source,) = json.loads((folder / "_np6__sources.yml").read_text("utf-8"))["sources"]
    models = json.loads((folder / "_np6__models.yml").read_text("utf-8"))["models"]

    assert source["schema"] == "marketing"
    tables = [*(table.name for table in TABLES), "_dlt_loads", "_np6_removals"]
    assert [table["name"] for table in source["tables"]] == tables
    assert [m["name"] for m in models] == [view.name for view in views.views()]
    for view, model in zip(views.views(), models, strict=True):
        assert [column["name"] for column in model["columns"]] == list(view.columns)
        unique = [c["name"] for c in model["columns"] if "unique" in c.get("data_tests", ())]
        assert unique == (list(view.key) if len(view.key) == 1 else [])
        text = (folder / f"{view.name}.sql").read_text("utf-8")
        assert set(re.findall(r"ref\('(\w+)'\)", text)) == view.reads & {v["name"] for v in models}


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "models").write_text("a file")

    with pytest.raises(SettingError, match="cannot be written to"):
        write_project(tmp_path, "duckdb", "np6")
