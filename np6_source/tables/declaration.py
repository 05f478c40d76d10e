"""The tables, declared on the dlt resource that is about to load them.

A resource here gives several tables. Each is a *variant* of the resource's hints (dlt 1.31: hints
for one table name), declared when the resource starts: only then are the destination and all of
the host's hints known. What the host project has set with ``apply_hints`` is kept where it fits
all tables, and refused where it would change which rows they hold.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import dlt
from dlt.common.schema import Schema
from dlt.common.schema.typing import TTableFormat
from dlt.extract import DltResource

from ..destinations import Destination, destination_of
from ..dlt_internals.files import copies_parquet
from ..dlt_internals.resources import (
    DLTS_OWN_HINTS,
    MERGE_OPTIONS,
    has_variant,
    hints_of,
    hints_of_table,
)
from ..errors import SettingError
from ..lake import check_format
from ..redaction import keep_rows_out_of_logs
from ..schema import TABLES, Table
from . import hints
from .merge import IN_ONE_TRANSACTION, TName

ROW_HINTS = ("data_type", "primary_key", "merge_key", "hard_delete", "dedup_sort", "row_key")
"""Column hints that decide which rows a table holds, or whether they can be loaded at all."""


def format_by_driver(resource: DltResource) -> str | None:
    """The loader file format that a driver is there for; None: dlt's way without it is taken.

    Args:
        resource: The resource, while dlt extracts it.
    """
    pipeline = dlt.current.pipeline()
    file_format = destination_of(pipeline).driver_format
    if file_format is None or resource.compute_table_schema().get("file_format"):
        return None
    return file_format if copies_parquet(pipeline.destination) else None


def declare_tables(
    resource: DltResource,
    timestamps_are_final: bool,
    table_format: TTableFormat | None = None,
    file_format: str | None = None,
    masked: Collection[str] = (),
) -> TTableFormat | None:
    """Gives the resource the hints of its tables, beside those of the host project.

    Args:
        resource: The resource, while dlt extracts it.
        timestamps_are_final: A newer version of a row has the same timestamp.
        table_format: The format of the tables; None: the resource's, or the destination's own.
        file_format: The loader file format; None: the resource's, or the destination's own.
        masked: Classes of personal data that are not kept as they are.

    Returns:
        The format.

    Raises:
        SettingError: The host's hints cannot be kept.
    """
    keep_rows_out_of_logs()
    whole = _hints_of_the_resource(resource)
    _check_resource(resource, whole)
    pipeline = dlt.current.pipeline()
    destination = destination_of(pipeline)
    table_format = table_format or whole.get("table_format")
    check_format(pipeline.destination, table_format)
    # What the destination was made or configured with.
    preferred = pipeline.destination.capabilities().preferred_loader_file_format
    schema = dlt.current.source_schema()
    name = names_in_sql(schema) if destination.quotes else str
    # Where none is given the schema's holds, which None would hide.
    contract = {hint: whole[hint] for hint in ("schema_contract",) if whole.get(hint)}
    for table in TABLES:
        own = hints.table_hints(
            table,
            destination.kind,
            timestamps_are_final,
            name,
            [
                *_kept_out(schema, table, {"name": table.name} | contract),
                *(column.name for column in table.columns if column.personal in masked),
            ],
        )
        _let_later_columns_be_null(schema, own)
        columns = {
            name: column for name, column in whole["columns"].items() if name in own["columns"]
        }
        layout = own.get("additional_table_hints", {}) | {
            hint: value
            for hint, value in _layout(whole).items()
            if _is_about(value, own["columns"])
        }
        had_hints = has_variant(resource, table.name)
        if had_hints:
            given = hints_of_table(resource, table.name)
            # A source may be run again, to another destination: what is there then is ours.
            _check_disposition(resource, given, hints.dispositions(table, names_in_sql(schema)))
            columns |= given["columns"]
            layout |= _layout(given)
        # A variant begins as a copy of the resource's hints: take away what not all tables have.
        variant: dict[str, Any] = {"table_name": table.name, "create_table_variant": True}
        resource.apply_hints(**variant, columns={}, additional_table_hints={})
        changed: dict[str, Any] = {
            "columns": _joined(resource, table, own["columns"], columns),
            "merge_key": own.get("merge_key", []),
            "file_format": whole.get("file_format") or file_format or own.get("file_format"),
            "additional_table_hints": layout or None,
        }
        resource.apply_hints(**own | variant | changed | contract, table_format=table_format)
        declared: Mapping[str, Any] = {"name": table.name} | changed | contract
        if had_hints:
            declared = hints_of_table(resource, table.name)
        _check_format(resource, declared.get("file_format"), preferred, destination)
        _check_contract(resource, schema, declared)
    return table_format


def _let_later_columns_be_null(schema: Schema, own: dict[str, Any]) -> None:
    """Makes columns nullable that a table that is there does not have yet: its rows have none."""
    table = schema.naming.normalize_tables_path(own["table_name"])
    if schema.is_new_table(table):
        return
    there = schema.get_table_columns(table)
    for name, column in own["columns"].items():
        known = there.get(schema.naming.normalize_path(name), {})
        column["nullable"] = known.get("nullable", True)


def names_in_sql(schema: Schema) -> TName:
    """Gives columns' names as the pipeline's destination has them, quoted."""
    capabilities = dlt.current.pipeline().destination.capabilities()
    return lambda name: capabilities.escape_identifier(
        capabilities.casefold_identifier(schema.naming.normalize_path(name))
    )


def _layout(given: Mapping[str, Any]) -> dict[str, Any]:
    """The hints about a whole table that adapters give, as ``additional_table_hints``."""
    return {
        hint: value
        for hint, value in given.items()
        if (hint.startswith("x-") and not hint.startswith("x-np6-") and hint not in DLTS_OWN_HINTS)
        or hint == "description"
    }


def _is_about(value: Any, columns: Mapping[str, Any]) -> bool:
    """Whether a hint can be given to a table: one that lists columns asks for all of them."""
    return not isinstance(value, list) or set(value) <= set(columns)


def _hints_of_the_resource(resource: DltResource) -> dict[str, Any]:
    found = hints_of(resource)
    if found is None:
        raise SettingError(
            f"{resource.name}: apply_hints with a function of the row cannot be used, rows come as"
            " Arrow tables. Name one of the tables:"
            " apply_hints(table_name='events', create_table_variant=True, ...)"
        )
    return found


def _check_resource(resource: DltResource, whole: Mapping[str, Any]) -> None:
    names = ", ".join(table.name for table in TABLES)
    if whole["name"] != resource.name or "parent" in whole:
        raise SettingError(
            f"{resource.name}: table_name={whole['name']!r} cannot be used, the resource fills"
            f" several tables ({names}). Load into another dataset, or rename them in a view."
        )
    _check_disposition(resource, whole)
    for name, column in whole["columns"].items():
        if column.get("primary_key") or column.get("merge_key"):
            raise SettingError(
                f"{resource.name}: primary_key or merge_key ({name}) cannot be used: every table"
                " has a key of its own, and another one would delete or repeat events."
            )
        if not any(name == known.name for table in TABLES for known in table.columns):
            raise SettingError(
                f"{resource.name}: no table has a column {name!r}. Name the table that gets it:"
                " apply_hints(table_name='events', create_table_variant=True, columns=...)"
            )
    if resource.nested_hints:
        raise SettingError(
            f"{resource.name}: nested_hints cannot be used, the tables are flat. Name the table:"
            " apply_hints(table_name='events__hits', create_table_variant=True, columns=...)"
        )


def _check_disposition(
    resource: DltResource, given: Mapping[str, Any], own: Sequence[Any] = ("merge",)
) -> None:
    """Refuses a disposition that is not the table's own.

    Args:
        resource: The resource.
        given: The host's hints, as dlt's table schema.
        own: The table's write dispositions, as ``table_hints`` gives them.
    """
    disposition = given.get("write_disposition")
    merge_hints = {option: given[hint] for option, hint in MERGE_OPTIONS.items() if hint in given}
    if own != ("merge",) and IN_ONE_TRANSACTION in str(merge_hints.get("destination_scope")):
        del merge_hints["destination_scope"]  # Declared by an earlier run: it depends on columns.
    for known in own:
        options = dict(known) if isinstance(known, dict) else {"disposition": known}
        foreign = merge_hints.items() - {"strategy": "delete-insert", **options}.items()
        if disposition in ("merge", options["disposition"]) and not foreign:
            return
    shown = repr(disposition) + "".join(
        f", {option}={value!r}"
        for option, value in merge_hints.items()
        if (option, value) != ("strategy", "delete-insert")
    )
    raise SettingError(
        f"{resource.name}: write_disposition={shown} cannot be used: runs read an overlap again,"
        " and several resources return the same events, so that events would be lost or be in the"
        " table twice. Leave it out. To load everything again: pipeline.run(...,"
        " refresh='drop_sources')."
    )


def _joined(
    resource: DltResource,
    table: Table,
    own: Mapping[str, Any],
    given: Mapping[str, Any],
) -> dict[str, Any]:
    """The columns' hints, the host's beside the own ones."""
    joined = dict(own)
    for name, column in given.items():
        if name not in own:
            joined[name] = column
            continue
        for hint in ROW_HINTS:
            value = column.get(hint)
            if value and value != own[name].get(hint) and not _is_key(hint, name, table):
                raise SettingError(
                    f"{resource.name}: the hint {hint}={value!r} cannot be used for"
                    f" {table.name}.{name}: it would change which rows the table holds, or keep"
                    " them from being loaded. Convert or filter in a view."
                )
        kept = {hint: own[name][hint] for hint in ("name", "data_type", "nullable")}
        joined[name] = {**own[name], **column, **kept}
    return joined


def _is_key(hint: str, name: str, table: Table) -> bool:
    """Whether the hint only repeats what a previous run has declared."""
    return (hint == "primary_key" and name in table.key) or (
        hint == "merge_key" and name == table.replaced_by
    )


def _check_format(
    resource: DltResource, file_format: str | None, preferred: str | None, destination: Destination
) -> None:
    if file_format in (None, "preferred"):
        file_format = preferred
    reason = {"model": "rows come as Arrow tables", **destination.refuses}.get(file_format or "")
    if reason:
        raise SettingError(
            f"{resource.name}: loader_file_format={file_format!r} cannot be used with"
            f" {destination.kind}: {reason}. Leave it out: dlt then takes"
            f" {destination.file_format or 'Parquet'}."
        )


def _kept_out(schema: Schema, table: Table, declared: Any) -> list[str]:
    """Columns that the destination's table lacks, and that a contract keeps from it."""
    name = schema.naming.normalize_tables_path(table.name)
    if schema.is_new_table(name):
        return []
    if schema.resolve_contract_settings_for_table(name, declared)["columns"] == "evolve":
        return []
    there = schema.get_table_columns(name)
    names = (column.name for column in table.columns)
    return [column for column in names if schema.naming.normalize_path(column) not in there]


def _check_contract(resource: DltResource, schema: Schema, declared: Any) -> None:
    """Refuses contracts that would drop events: the cursor would pass them all the same."""
    name = schema.naming.normalize_tables_path(declared["name"])
    contract = schema.resolve_contract_settings_for_table(name, declared)
    if schema.is_new_table(name):
        if contract["tables"] in ("discard_row", "discard_value"):
            raise SettingError(
                f"{resource.name}: schema contract tables={contract['tables']!r} would discard all"
                f" of {name}, which is not there yet. Load once with tables='evolve'."
            )
        return
    there = schema.get_table_columns(name)
    missing = [
        column
        for column in declared["columns"]
        if schema.naming.normalize_path(column) not in there
    ]
    if missing and contract["columns"] == "discard_row":
        raise SettingError(
            f"{resource.name}: schema contract columns='discard_row' would discard the rows of"
            f" {name} that have {', '.join(missing)}, which the table does not have yet. Load once"
            " with columns='evolve', or take 'discard_value'."
        )
