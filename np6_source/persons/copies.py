"""Copies of a dataset's rows elsewhere, as far as this machine's files show."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dlt

from ..dataset_lock import duckdb_file
from ..dlt_internals.packages import files_of_loads
from ..dlt_internals.pipelines import state_on_disk

SPOOL = "np6_spool"
"""Where responses are while they are read, in a pipeline's folder or in ``spool_dir``."""

_MAGIC = b"DUCK"
"""Bytes 8 to 12 of a DuckDB file."""


def known_copies(
    pipeline: dlt.Pipeline, published: Path | None = None, pipelines_dir: Path | None = None
) -> tuple[str, ...]:
    """Files that are known of, and that erasing and masking leave as they are; each in a sentence.

    Those are DuckDB files beside the pipeline's own that begin with its name, as backups do, and
    what the folders of other pipelines into a dataset of the same name keep of loads.

    Args:
        pipeline: The pipeline.
        published: A copy that is left out.
        pipelines_dir: Where the folders of pipelines are; None: where this one has its own.
    """
    folders = pipelines_dir or Path(pipeline.pipelines_dir)
    found = [f"the DuckDB file {file}" for file in _beside(pipeline) if not _is(file, published)]
    for folder in _other_pipelines(pipeline, folders):
        kept = files_of_loads(folder)
        if responses := [*(folder / SPOOL).glob("spool-*")]:
            kept.append(f"folders of responses ({len(responses)})")
        if kept:
            found.append(f"{' and '.join(kept)} of pipeline {folder.name} in {folder}")
    return tuple(found)


def _beside(pipeline: dlt.Pipeline) -> Iterator[Path]:
    """DuckDB files beside the pipeline's own whose names begin as its does."""
    own = duckdb_file(pipeline)
    if own is None:
        return
    for file in sorted(own.parent.glob(f"{_escaped(own.stem)}*")):
        if file.is_file() and not _is(file, own) and _is_duckdb(file):
            yield file


def _other_pipelines(pipeline: dlt.Pipeline, folders: Path) -> Iterator[Path]:
    """Folders of other pipelines into a dataset of the same name, on a destination of the kind."""
    own = pipeline.state
    for folder in sorted(folders.iterdir()) if folders.is_dir() else ():
        if not folder.is_dir() or folder.name == pipeline.pipeline_name:
            continue
        state = state_on_disk(folder)
        same = ("dataset_name", "destination_type")
        if state and all(state.get(name) == own.get(name) for name in same):
            yield folder


def _is_duckdb(file: Path) -> bool:
    try:
        with file.open("rb") as content:
            return content.read(12)[8:] == _MAGIC
    except OSError:
        return False


def _is(file: Path, other: Path | None) -> bool:
    return other is not None and other.exists() and file.samefile(other)


def _escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
