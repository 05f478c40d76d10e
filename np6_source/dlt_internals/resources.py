"""Resources while they are extracted: their steps, limits, cursors and hints."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import dlt
from dlt.common.schema.typing import MERGE_DISPOSITION_HINTS, TTableSchema
from dlt.extract import DltResource
from dlt.extract.exceptions import DataItemRequiredForDynamicTableHints
from dlt.extract.incremental import Incremental, IncrementalResourceWrapper
from dlt.extract.items import DataItemWithMeta, TableNameMeta
from dlt.extract.items_transform import MetricsItem


def cursor_of(resource: DltResource) -> Incremental[Any] | None:
    """The incremental of a resource that has not started; None where it has none.

    dlt binds the one that is a parameter's default only when the resource starts (dlt 1.31).
    """
    if resource.incremental is None:
        return None
    if resource.incremental.incremental is not None:
        return resource.incremental.incremental
    generator: Any = resource._pipe.gen
    if not callable(generator):
        return None
    defaults = (parameter.default for parameter in inspect.signature(generator).parameters.values())
    return next((value for value in defaults if isinstance(value, Incremental)), None)


def transformers_of(resource: str) -> list[str]:
    """The selected transformers of a resource, while its source is extracted (dlt 1.31)."""
    edges = dlt.current.source().resources.selected_dag
    return sorted({child for parent, child in edges if parent == resource and child != parent})


def extracted_resources() -> frozenset[str]:
    """The resources that the source being extracted goes through, transformers' too (dlt 1.31)."""
    return frozenset(found.name for found in dlt.current.source().resources.extracted)


def is_limit_reached(resource: DltResource) -> bool:
    """Whether ``add_limit`` has ended a resource; dlt then closes its generator (dlt 1.31)."""
    return resource.limit is not None and resource.limit.exhausted


class _LastOfItsWindows(TableNameMeta):
    """Marks a batch that is the last of its windows."""

    __slots__ = ("handed_on",)

    def __init__(self, table_name: str, handed_on: Callable[[], None]) -> None:
        super().__init__(table_name)
        self.handed_on = handed_on


def last_of_its_windows(rows: Any, table: str, handed_on: Callable[[], None]) -> DataItemWithMeta:
    """A batch that tells when dlt has taken it; ``dlt.mark`` has nothing that does (dlt 1.31).

    Args:
        rows: The batch.
        table: Name of its table.
        handed_on: To be called once ``add_limit`` has let the batch pass, see ``HandedOn``.
    """
    return DataItemWithMeta(_LastOfItsWindows(table, handed_on), rows)


class HandedOn(MetricsItem):
    """The last step of a resource: tells which batches dlt's ``add_limit`` let pass."""

    placement_affinity = 1.2
    """After dlt's limit, which has 1.1 (dlt 1.31)."""

    def __init__(self) -> None:
        super().__init__(self._tell)

    @staticmethod
    def _tell(_items: Any, meta: Any, _metrics: dict[str, Any]) -> None:
        if isinstance(meta, _LastOfItsWindows):
            meta.handed_on()


MERGE_OPTIONS: Mapping[str, str] = MERGE_DISPOSITION_HINTS
"""The hint in a table's schema for each option of a merge disposition (dlt 1.31)."""


DLTS_OWN_HINTS = frozenset({"x-normalizer", *MERGE_OPTIONS.values()})
"""Hints whose names begin with ``x-`` that are no adapter's (dlt 1.31)."""


def hints_of(resource: DltResource) -> dict[str, Any] | None:
    """The resource-wide hints, as a table's schema; None where a function of the row gives them.

    dlt 1.31 raises for those ``DataItemRequiredForDynamicTableHints``.
    """
    try:
        return dict(resource.compute_table_schema())
    except DataItemRequiredForDynamicTableHints:
        return None


def hints_of_table(resource: DltResource, table: str) -> TTableSchema:
    """The hints of one of a resource's tables: its variant's, or the resource-wide ones.

    ``TableNameMeta`` chooses the variant (dlt 1.31).
    """
    return resource.compute_table_schema(meta=TableNameMeta(table))


def has_variant(resource: DltResource, table: str) -> bool:
    """Whether a table has hints of its own, without computing them: that takes 3 ms (dlt 1.31)."""
    return table in resource._hints_variants


def contract_of_table(resource: DltResource, table: str) -> Any:
    """The schema contract among ``hints_of_table``, likewise; None: the schema's (dlt 1.31)."""
    hints = resource._hints_variants.get(table, resource._hints)
    return (hints or {}).get("schema_contract")


def captured_by(resource: DltResource) -> Mapping[str, Any]:
    """The variables that the function of a resource took from where it was made.

    A resource carries nothing else from there that survives its copies (dlt 1.31).
    """
    generator: Any = resource._pipe.gen
    return (
        inspect.getclosurevars(inspect.unwrap(generator)).nonlocals if callable(generator) else {}
    )


def hands_items_on_at_once(resource: DltResource, *own_steps: type) -> bool:
    """Whether dlt writes each item before the resource goes on, and nobody looks at it.

    Args:
        resource: The resource, while it is extracted.
        own_steps: Steps that want no rows.

    Returns:
        False where there is a step of the host's, a limit, or threads in between (dlt 1.31:
        ``parallelize`` wraps the generator in a function of this name).
    """
    steps = (IncrementalResourceWrapper, Incremental, *own_steps)
    pipe = resource._pipe
    if any(type(step) not in steps for step in pipe.steps if step is not pipe.gen):
        return False
    generator: Any = pipe.gen
    while generator is not None:
        code = getattr(generator, "__code__", None) or getattr(generator, "gi_code", None)
        if code is not None and code.co_name == "_gen_wrapper":
            return False
        generator = getattr(generator, "__wrapped__", None)
    return True
