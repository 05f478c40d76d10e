"""The views as a dbt project's models, with sources, descriptions and tests."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import SettingError
from ..schema import TABLES
from .base_tables import BASE_TABLES, LOADS, REMOVALS
from .definitions import View, views
from .descriptions import described
from .message_keys import TMessageKey, with_key
from .translation import EVERYWHERE, Names, translated

SOURCE = "np6"
"""What the sources are called in the models."""

RETENTION = "np6_retention"
"""The project's variable that is true where rows were removed by age. Before that the table that
says so is not there, and ``dbt run`` fails on a source that is not."""

WITH_REMOVALS: Mapping[str, frozenset[str]] = {
    **EVERYWHERE,
    REMOVALS: frozenset(BASE_TABLES[REMOVALS]),
}


def write_project(
    folder: Path, dialect: str, dataset: str, message_key: TMessageKey = "stamp"
) -> list[Path]:
    """Writes ``models/np6/*.sql``, ``_np6__sources.yml`` and ``_np6__models.yml``.

    Args:
        folder: The dbt project's folder; made where it is not there.
        dialect: The SQL of the models, by sqlglot's name.
        dataset: The dataset or schema that the connector loads into.
        message_key: What makes events one message.

    Returns:
        The files.

    Raises:
        SettingError: The folder cannot be written to.
    """
    models = folder / "models" / "np6"
    contents = {f"{name}.sql": sql for name, sql in model_texts(dialect, message_key)}
    # JSON is YAML.
    contents["_np6__sources.yml"] = json.dumps(sources(dataset), indent=2, ensure_ascii=False)
    contents["_np6__models.yml"] = json.dumps(models_properties(), indent=2, ensure_ascii=False)
    try:
        models.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (models / name).write_text(content + "\n", encoding="utf-8")
    except OSError as error:
        raise SettingError(f"--dbt {folder}: cannot be written to ({error.strerror})") from None
    return [models / name for name in contents]


def model_texts(dialect: str, message_key: TMessageKey = "stamp") -> Iterator[tuple[str, str]]:
    """Name and text of every model."""
    for view in views():
        sql = _model(view, dialect, message_key, EVERYWHERE)
        if REMOVALS in view.reads:
            with_removals = _model(view, dialect, message_key, WITH_REMOVALS)
            sql = (
                f"{{% if var('{RETENTION}', false) %}}\n{with_removals}\n"
                f"{{% else %}}\n{sql}\n{{% endif %}}"
            )
        yield view.name, f"-- {view.description}\n{sql}"


def _model(
    view: View, dialect: str, message_key: TMessageKey, present: Mapping[str, frozenset[str]]
) -> str:
    ours = {one.name for one in views()}

    def path(name: str) -> list[str]:
        return [f"np6_model_{name}" if name in ours else f"np6_source_{name}"]

    names = Names(dialect, path, lambda name: name, present)
    sql = translated(with_key(view, message_key).query, names, pretty=True)
    for name in view.reads & ours:
        sql = sql.replace(_quoted(f"np6_model_{name}", dialect), f"{{{{ ref('{name}') }}}}")
    for name in view.reads - ours:
        macro = f"{{{{ source('{SOURCE}', '{name}') }}}}"
        sql = sql.replace(_quoted(f"np6_source_{name}", dialect), macro)
    return sql


def sources(dataset: str) -> dict[str, Any]:
    """The tables that the connector loads, as dbt's sources."""
    loaded = [
        {
            "name": table.name,
            "description": table.description,
            "columns": [
                {"name": c.name, "description": c.description} | _tests(not c.nullable)
                for c in table.columns
            ],
        }
        for table in TABLES
    ]
    loads = {"name": LOADS, "description": "One row per load package, by dlt"}
    removals = {
        "name": REMOVALS,
        "description": f"Up to when events were removed by age; read where {RETENTION} is true",
    }
    return {
        "version": 2,
        "sources": [{"name": SOURCE, "schema": dataset, "tables": [*loaded, loads, removals]}],
    }


def models_properties() -> dict[str, Any]:
    """Descriptions and tests of the models: one key unique, what cannot be NULL is not."""
    return {
        "version": 2,
        "models": [
            {
                "name": view.name,
                "description": view.description,
                "columns": [
                    {"name": name, "description": column.comment}
                    | _tests(not column.nullable, unique=view.key == (name,))
                    for name, column in described(view).items()
                ],
            }
            for view in views()
        ],
    }


def _tests(not_null: bool, unique: bool = False) -> dict[str, list[str]]:
    tests = ["not_null"] * not_null + ["unique"] * unique
    return {"data_tests": tests} if tests else {}


def _quoted(name: str, dialect: str) -> str:
    return f"`{name}`" if dialect in ("bigquery", "databricks") else f'"{name}"'
