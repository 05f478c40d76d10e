"""The catalog of Iceberg tables that have none: the newest metadata file in a folder is the table.

dlt 1.31 registers that file in a catalog of its own for each process, in memory: of two commits at
once both succeed, and one is lost. It takes the last file by name, which from version 100,000 on is
an old one: ``99999-...`` comes after ``100000-...``. Here the file of a version has one name,
whoever writes it, and only the first can: the other reads the table anew and merges again.

pyiceberg 0.12: ``_update_and_stage_table`` and ``_write_metadata`` are not promised.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import uuid
from pathlib import Path
from typing import Any

from dlt.common.destination.exceptions import DestinationTransientException
from fsspec import AbstractFileSystem  # type: ignore[import-untyped]
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchTableError

from ..errors import SettingError
from .maintenance import NOT_YET_THERE

logger = logging.getLogger(__name__)

_METADATA = re.compile(r"(?P<version>\d+)-(?P<id>[\w-]{36})(?P<ending>(\.\w+)?\.metadata\.json)")
"""The name of a metadata file, as pyiceberg reads and writes it."""


class TableChanged(DestinationTransientException):
    """Another process has committed to the table since this one read it; nothing was written."""


class FolderCatalog(SqlCatalog):  # type: ignore[misc]
    """A process's own catalog, whose commits fail where another process's came first."""

    def __init__(self, name: str, files: AbstractFileSystem, **properties: str) -> None:
        """A catalog without tables.

        Args:
            name: dlt's name of it.
            files: The file system of the tables.
            properties: Those of dlt's catalog.
        """
        super().__init__(name, **properties)
        self._files = files

    def find(self, identifier: str, folder: str) -> None:
        """Registers a table as its folder has it now; nothing where there is no such table.

        Args:
            identifier: Namespace and name.
            folder: The table's folder.

        Raises:
            SettingError: Its files lie in another folder.
        """
        newest = self._newest(f"{folder.rstrip('/')}/metadata")
        try:
            known = _name(self.load_table(identifier).metadata_location)
        except NoSuchTableError:
            known = None
        except FileNotFoundError:
            known = "removed since"
        if known is not None and (newest is None or known != _name(newest)):
            self.drop_table(identifier)
            known = None
        if known is None and newest is not None:
            self.register_table(identifier, newest)
        if newest is not None:
            _refuse_elsewhere(self.load_table(identifier).location(), folder)

    def _newest(self, folder: str) -> str | None:
        self._files.invalidate_cache(folder)
        try:
            names = [_name(path) for path in self._files.ls(folder, detail=False)]
        except FileNotFoundError:
            return None
        newest = max((name for name in names if _METADATA.fullmatch(name)), key=_age, default=None)
        return newest and f"{folder}/{newest}"

    def _update_and_stage_table(self, current_table: Any, *arguments: Any, **options: Any) -> Any:
        staged = super()._update_and_stage_table(current_table, *arguments, **options)
        if current_table is not None:
            folder, _, name = staged.metadata_location.rpartition("/")
            staged.metadata_location = f"{folder}/{_the_only(name)}"
        return staged

    def _write_metadata(self, metadata: Any, io: Any, metadata_path: str) -> None:
        content = metadata.model_dump_json(exclude_none=True).encode()
        folder, _, name = metadata_path.rpartition("/")
        try:
            create_file(self._files, metadata_path, content)
        except FileExistsError as error:
            raise TableChanged(f"{name} is there already") from error
        # Of an old version nothing is left that would have refused this one.
        newest = self._newest(folder)
        if newest is not None and _age(_name(newest))[0] > _age(name)[0]:
            raise TableChanged(f"{name} is not the newest version")


def _refuse_elsewhere(location: str, folder: str) -> None:
    """Refuses a table that was moved or copied: Iceberg's metadata has the paths of all files.

    A load would write into the folder from which it came, and remove files there that only its own
    old snapshots name.
    """
    there, here = (_comparable(one) for one in (location, folder))
    if there != here and there.partition("://")[0] == here.partition("://")[0]:
        raise SettingError(
            f"The Iceberg table in {folder} was moved or copied: by its metadata its files are in"
            f" {location}, and loads would change them there. Nothing was loaded. Put it back where"
            " it was, as bucket_url says; or give bucket_url a new folder, and load anew."
        )


def _comparable(folder: str) -> str:
    """A folder as it can be compared: a local one by what it is, whatever leads to it."""
    scheme, _, path = folder.rpartition("://")
    if scheme in ("", "file"):
        return f"file://{os.path.realpath(path)}"
    return f"{scheme}://{path.rstrip('/')}"


def _name(path: str) -> str:
    return path.rpartition("/")[2]


def _age(name: str) -> tuple[int, str]:
    """What the newest metadata file has most of."""
    return int(name.partition("-")[0]), name


def _the_only(name: str) -> str:
    """The name of a version's metadata file, in place of one of many."""
    found = _METADATA.fullmatch(name)
    if found is None:
        return name
    only = uuid.uuid5(uuid.NAMESPACE_OID, f"np6 {int(found['version'])}")
    return f"{found['version']}-{only}{found['ending']}"


def create_file(files: AbstractFileSystem, path: str, content: bytes) -> None:
    """Writes a file that is not there yet: whole, or not at all.

    Args:
        files: Its file system.
        path: Where.
        content: What.

    Raises:
        FileExistsError: It is there.
    """
    if isinstance(files, LocalFileSystem):
        _create_local_file(Path(files._strip_protocol(path)), content)
        return
    try:
        files.pipe_file(path, content, mode="create")
    except FileExistsError:
        raise
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno != errno.ENOSYS:
            raise
        logger.warning(
            "The bucket cannot make a file for one writer alone (If-None-Match): run one load at a"
            " time into its Iceberg tables."
        )
        if files.exists(path):
            raise FileExistsError(path) from error
        files.pipe_file(path, content)


def _create_local_file(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{uuid.uuid4().hex}{NOT_YET_THERE}")
    try:
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(new, path)
        except FileExistsError:
            raise
        except OSError:  # A file system without links.
            with path.open("xb") as file:
                file.write(content)
    finally:
        new.unlink(missing_ok=True)
