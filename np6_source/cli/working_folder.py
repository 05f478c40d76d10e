"""dlt's working folder of a pipeline, looked into without opening the pipeline, which may write."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..bookkeeping.source_state import has_progress
from ..dlt_internals import packages
from ..dlt_internals.configuration import working_folder
from ..dlt_internals.pipelines import state_on_disk
from ..errors import SettingError


def pipelines_dir(options: argparse.Namespace) -> Path:
    """The folder of all pipelines' working files: the given one, or the configured one.

    Args:
        options: Those of ``add_pipeline_options``.
    """
    given: str | None = options.pipelines_dir
    return working_folder(options.pipeline) if given is None else Path(given)


def working_dir(options: argparse.Namespace) -> Path:
    """The folder in which dlt keeps the pipeline's working files; it need not be there."""
    return pipelines_dir(options) / str(options.pipeline)


def pending_packages(options: argparse.Namespace) -> list[str]:
    """The load packages that are extracted and not loaded.

    Raises:
        SettingError: This user may not read the folder.
    """
    try:
        return packages.pending_packages(working_dir(options))
    except PermissionError as error:
        raise _unreadable(error) from None


def sources_in_state(options: argparse.Namespace) -> Mapping[str, Any]:
    """The states of the pipeline's sources, by name, as the folder has them.

    Raises:
        SettingError: This user may not read the folder.
    """
    try:
        found: Mapping[str, Any] = state_on_disk(working_dir(options)).get("sources", {})
    except PermissionError as error:
        raise _unreadable(error) from None
    return found


def what_it_knows(options: argparse.Namespace) -> str:
    """A sentence for a destination that has nothing, where the folder knows of loads; or empty.

    The folder does not tell which file or database they went into.
    """
    try:
        known = any(has_progress(state) for state in sources_in_state(options).values())
    except SettingError:
        return ""
    if not known:
        return ""
    return (
        f" The working folder {working_dir(options)} knows of loads: if they went there, it is"
        " gone, and the next load begins where the history began; if not, name the other."
    )


def _unreadable(error: PermissionError) -> SettingError:
    return SettingError(
        f"dlt's working folder: {error.filename} cannot be read by this user: change its"
        " permissions or its owner, or name another folder with --pipelines-dir"
    )
