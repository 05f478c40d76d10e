"""dlt's filesystem destination, with every event once in its Delta and Iceberg tables.

This destination is configured as dlt's own (``destination.filesystem``); its merges get each key
once, with the row that was requested last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dlt.destinations

from . import destinations
from .errors import SettingError

if TYPE_CHECKING:
    from dlt.common.destination import Destination
    from dlt.common.schema.typing import TTableFormat
    from dlt.destinations.impl.filesystem.filesystem import FilesystemClient

FILES = destinations.destination("filesystem")

KEEPS_COPIES = (
    "The filesystem destination appends: an event that several operations return, or that is read"
    " again, has several rows. Read with np6_source.deduplication, or set table_format to 'delta'"
    " or 'iceberg'."
)
"""What to say where ``keeps_copies``."""


class filesystem(dlt.destinations.filesystem):  # noqa: N801 - named as dlt names destinations
    """``dlt.destinations.filesystem``, whose Delta and Iceberg merges get every key once.

    ``dlt.pipeline(destination="np6_source.lake.filesystem")`` names it too.
    """

    @property
    def client_class(self) -> type[FilesystemClient]:
        """The client that dlt loads with."""
        from .open_tables.jobs import LakeClient

        return super().client_class if self.is_hf else LakeClient


def check_format(
    destination: Destination[Any, Any] | None, table_format: TTableFormat | None
) -> None:
    """Refuses tables in which events would silently be twice.

    Args:
        destination: Where a resource is about to load to.
        table_format: The format of its tables, None: the destination's own.

    Raises:
        SettingError: dlt's own filesystem destination would be asked to merge.
    """
    if (
        isinstance(destination, dlt.destinations.filesystem)
        and not isinstance(destination, filesystem)
        and table_format in FILES.merges_into
    ):
        raise SettingError(
            f"dlt's filesystem destination does not merge an event that is twice in one load"
            f" into a {table_format} table. Take the one that does, with the same configuration:"
            " destination='np6_source.lake.filesystem'"
        )


def check_writers(pipeline: dlt.Pipeline) -> None:
    """Refuses to load beside others into tables that take one writer at a time.

    Args:
        pipeline: A pipeline that is about to load what it has extracted.

    Raises:
        SettingError: Rows would be lost, or be in the table twice.
    """
    one_writer = destinations.destination_of(pipeline).one_writer
    in_force = {
        table.get("table_format")
        for name in pipeline.schema_names
        for table in pipeline.schemas[name].data_tables()
    }
    if refused := sorted(one_writer & in_force):
        raise SettingError(
            f"{refused[0].capitalize()} tables cannot be merged into by several processes at once:"
            " rows would be lost, or be in the table twice. Take table_format='delta', or give a"
            " lock (turn=...)."
        )


def keeps_copies(
    destination: Destination[Any, Any] | None, table_format: TTableFormat | None
) -> bool:
    """Whether dlt appends to the tables of a destination, so that copies of a row stay."""
    is_files = isinstance(destination, dlt.destinations.filesystem)
    return is_files and FILES.appends_to(table_format)
