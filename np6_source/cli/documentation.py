"""``np6-source documentation``: the parts of the documentation that are derived from the code.

It makes them anew between their markers.
"""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Iterable
from pathlib import Path

from .. import np6_source
from ..dataset_lock import WAITS
from ..dimensions import DIMENSIONS, dimension_tables
from ..endpoints import ENDPOINTS
from ..events.privacy import KEEP, POLICIES, PRESETS
from ..schema import EVENTS, TABLES, Column, Table
from ..views import views
from ..views.descriptions import described
from .for_analysts import SETTINGS

OF_WAITS = {
    "lock_wait": "Seconds that a load waits for another load into the same dataset.",
    "file_wait": "Seconds that a load waits for another program that has the DuckDB file open.",
}
"""What the settings of ``dataset_lock`` mean."""


def entity_diagram() -> str:
    """The tables as a Mermaid entity relationship diagram."""
    lines = ["erDiagram"]
    for table in TABLES:
        if table.is_child:
            many = "o|" if table.key == ("event_id",) else "o{"
            lines.append(f'    {EVENTS.name} ||--{many} {table.name} : "event_id"')
    for table in TABLES:
        lines.append(f"    {table.name} {{")
        for column in table.columns:
            key = " PK" if column.name in table.key else ""
            lines.append(f"        {column.data_type} {column.name}{key}")
        lines.append("    }")
    return "```mermaid\n" + "\n".join(lines) + "\n```"


def data_dictionary() -> str:
    """Every table and column, as Markdown."""
    return _dictionary(TABLES)


def _dictionary(tables: Iterable[Table]) -> str:
    parts = []
    for table in tables:
        parts.append(f"## `{table.name}`\n\n{table.description}. {_key(table)}{_layout(table)}\n")
        parts.append("| column | type | meaning | personal data |\n|---|---|---|---|")
        for column in table.columns:
            personal = "" if column.personal == "no" else column.personal
            kind = (
                f"{column.data_type}, UTC" if column.data_type == "timestamp" else column.data_type
            )
            parts.append(f"| `{column.name}` | {kind} | {_meaning(column)} | {personal} |")
        parts.append("")
    return "\n".join(parts).rstrip()


def _key(table: Table) -> str:
    return f"Key: {_names(table.key)}." if table.key else "Without a key."


def parameters() -> str:
    """Every parameter of ``np6_source``, as Markdown: a heading and a table for each group.

    The comments between the parameters in the source's signature are the headings.
    """
    described = _described_arguments(inspect.getdoc(np6_source) or "")
    headings = _headings_of_parameters()
    lines: list[str] = []
    for name, parameter in inspect.signature(np6_source).parameters.items():
        if name in headings:
            table = "| parameter | default | meaning |", "|---|---|---|"
            lines += [*([""] if lines else []), f"## {headings[name]}", "", *table]
        default = "required" if name == "api_key" else f"`{parameter.default!r}`"
        lines.append(f"| `{name}` | {default} | {described[name]} |")
    return "\n".join(lines)


def _headings_of_parameters() -> dict[str, str]:
    """The comments in the source's signature, each by the parameter after it."""
    signature = inspect.getsource(np6_source).split(") -> ", 1)[0]
    commented = re.finditer(r"^ +# (?P<heading>.+)\n +(?P<name>\w+):", signature, re.MULTILINE)
    return {found["name"]: found["heading"] for found in commented}


def command_settings() -> str:
    """The settings of the commands alone, as a Markdown table."""
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    lines += [f"| `{name}` | `{s.default!r}` | {s.meaning} |" for name, s in SETTINGS.items()]
    lines += [f"| `{name}` | `{WAITS[name]!r}` | {meaning} |" for name, meaning in OF_WAITS.items()]
    return "\n".join(lines)


def resources() -> str:
    """Every resource, as a Markdown table."""
    lines = ["| resource | operation | ids | selected by default |", "|---|---|---|---|"]
    for endpoint in ENDPOINTS:
        query = f"?{endpoint.id_query}=" if endpoint.id_query else ""
        ids = f"`{endpoint.ids}`" if endpoint.ids else ""
        selected = "with its ids" if endpoint.ids else "without ids"
        if not endpoint.selected:
            selected = "" if endpoint.confirmed else "(known by its title only)"
        lines.append(
            f"| `{endpoint.name}` | {endpoint.method} {endpoint.path}{query} | {ids} | {selected} |"
        )
    return "\n".join(lines)


def dimensions() -> str:
    """Every resource of a dimension, as a Markdown table."""
    lines = ["| resource | operation | ids | tables | in the reference |", "|---|---|---|---|---|"]
    for row in DIMENSIONS:
        query = f"?{row.id_query}=" if row.id_query else ""
        known = ("with a response" if row.documented else "in part or not at all") + (
            ", flagged as deprecated" if row.deprecated else ""
        )
        ids = f"`{row.ids}`" if row.ids else ""
        tables = _names(tuple(table.name for table in row.tables))
        lines.append(f"| `{row.name}` | GET {row.path}{query} | {ids} | {tables} | {known} |")
    return "\n".join(lines)


def dimension_dictionary() -> str:
    """Every table and column of the dimensions, as Markdown."""
    return _dictionary(dimension_tables())


def personal_columns() -> str:
    """The classes of personal data with their policies and columns, as a Markdown table."""
    lines = ["| class | columns | can be | pseudonyms | strict |", "|---|---|---|---|---|"]
    for name, policies in POLICIES.items():
        columns = [
            f"`{table.name}.{column.name}`"
            for table in (*TABLES, *dimension_tables())
            for column in table.columns
            if column.personal == name and column.name not in ("event_id", "unmapped")
        ]
        if name == "free":
            columns.append("`unmapped` of every table")
        if name == "record":
            columns.append("`event_id` of every table")
        of_presets = [PRESETS[preset].get(name, KEEP) for preset in ("pseudonyms", "strict")]
        cells = [name, ", ".join(columns), ", ".join(policies), *of_presets]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def table_list() -> str:
    """Every table with its description, as a Markdown list."""
    return "\n".join(f"- `{table.name}`: {table.description}" for table in TABLES)


def resource_list() -> str:
    """Every resource with its operation, as a Markdown list."""
    return "\n".join(f"- `{e.name}`: {e.method} {e.path}" for e in ENDPOINTS)


def _layout(table: Table) -> str:
    if table.partition_by is None:
        return ""
    clustered = f", clusters by {_names(table.cluster_by)}" if table.cluster_by else ""
    return f" Partitions by `{table.partition_by}`{clustered}."


def _meaning(column: Column) -> str:
    return column.description.replace("|", "\\|")


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _described_arguments(docstring: str) -> dict[str, str]:
    section = docstring.split("Args:\n", 1)[1].split("\n\n", 1)[0]
    entries = re.split(r"\n(?=    \w+: )", "\n" + section)
    return {
        name: " ".join(text.split()).replace("``", "`")
        for name, text in (entry.strip().split(": ", 1) for entry in entries if entry.strip())
    }


def view_list() -> str:
    """Every view and its grain, as a Markdown table."""
    lines = ["| view | |", "|---|---|"]
    lines += [f"| `{view.name}` | {view.description} |" for view in views()]
    return "\n".join(lines)


def view_dictionary() -> str:
    """Every view and column, as Markdown."""
    parts = []
    for view in views():
        reads = _names(tuple(sorted(view.reads)))
        parts.append(
            f"## `{view.name}`\n\n{view.description} Key: {_names(view.key)}. Reads {reads};"
            f" the formulas: [`{view.name}.sql`](../np6_source/views/{view.name}.sql).\n"
        )
        parts.append("| column | type | meaning | personal data |\n|---|---|---|---|")
        for name, column in described(view).items():
            kind = column.data_type + (", UTC" if column.data_type == "timestamp" else "")
            personal = "" if column.personal == "no" else column.personal
            meaning = column.comment.replace("|", "\\|")
            parts.append(f"| `{name}` | {kind} | {meaning} | {personal} |")
        parts.append("")
    return "\n".join(parts).rstrip()


BLOCKS = {
    "diagram": entity_diagram,
    "dictionary": data_dictionary,
    "parameters": parameters,
    "command_settings": command_settings,
    "resources": resources,
    "personal": personal_columns,
    "table_list": table_list,
    "resource_list": resource_list,
    "dimensions": dimensions,
    "dimension_dictionary": dimension_dictionary,
    "view_list": view_list,
    "views": view_dictionary,
}
"""Derived parts by the name of their markers, ``<!-- begin NAME -->`` and ``<!-- end NAME -->``."""


def refreshed(text: str) -> str:
    """A Markdown text with its derived parts made anew."""
    for name, make in BLOCKS.items():
        begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->"
        if begin in text:
            before, rest = text.split(begin, 1)
            text = before + begin + make() + "\n" + end + rest.split(end, 1)[1]
    return text


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.description = "Make the derived parts of Markdown files anew."
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")


def run(options: argparse.Namespace) -> int:
    """Makes the files' derived parts anew; returns the exit status."""
    for file in options.files:
        file.write_text(refreshed(file.read_text(encoding="utf-8")), encoding="utf-8")
    return 0
