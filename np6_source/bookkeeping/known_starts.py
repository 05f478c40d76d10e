"""Where the histories began that a pipeline has loaded, for the day on which its dataset is gone.

dlt 1.31 wipes a pipeline's folder, and the state with it, where the dataset is not there any more:
a DuckDB file that was removed. The starts are therefore in a file beside that folder, by dataset.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlt.common.configuration.exceptions import ConfigurationException

from ..dataset_lock import duckdb_file
from ..dlt_internals.destinations import configuration_of
from .source_state import earliest_start

if TYPE_CHECKING:
    import dlt

logger = logging.getLogger(__name__)

BEGINS_AT = "begins_at"
"""Key of the source's state: from where everything is loaded again after a dataset was gone."""


def remember_starts(pipeline: dlt.Pipeline) -> None:
    """Notes where the histories of a pipeline's sources begin, as far as its state knows.

    Args:
        pipeline: The pipeline.
    """
    sources = pipeline.state.get("sources", {})
    known = {name: earliest_start(state) for name, state in sources.items()}
    starts = {name: start for name, start in known.items() if start is not None}
    if not starts:
        return  # Nothing was loaded, or all of it is gone: what was noted before stays.
    file, dataset = _file(pipeline), _dataset(pipeline)
    if dataset is None:
        return
    noted = _noted(file)
    changed = {**noted, dataset: {**noted.get(dataset, {}), **starts}}
    if changed == noted:
        return
    new = file.with_name(f"{file.name}.new")
    try:
        new.write_text(json.dumps(changed))
        new.replace(file)
    except OSError as error:
        logger.debug("The starts are not noted in %s: %s", file, error)


def are_noted(pipeline: dlt.Pipeline) -> bool:
    """Whether any start is noted of a pipeline."""
    return _file(pipeline).is_file()


def known_start(pipeline: dlt.Pipeline, source: str) -> int | None:
    """Where the history of a source began in the dataset; None: it never had one.

    Args:
        pipeline: The pipeline.
        source: Name of the source.

    Returns:
        Milliseconds since the epoch.
    """
    noted = _noted(_file(pipeline))
    if not noted:
        return None  # Nothing was loaded from here: an extraction needs no destination.
    dataset = _dataset(pipeline)
    start = None if dataset is None else noted.get(dataset, {}).get(source)
    return start if isinstance(start, int) else None


def _file(pipeline: dlt.Pipeline) -> Path:
    return Path(pipeline.pipelines_dir) / f"{pipeline.pipeline_name}.np6.json"


def _dataset(pipeline: dlt.Pipeline) -> str | None:
    """The dataset and where it is: another file or server never had the history.

    None: the destination is not configured here, which extracting does not need.
    """
    try:
        file = duckdb_file(pipeline)
        if file is not None:
            return f"{pipeline.dataset_name} of {file.resolve()}"
        config = configuration_of(pipeline)
    except ConfigurationException:
        return None
    return f"{pipeline.dataset_name} of {config.destination_name} {config.fingerprint()}"


def _noted(file: Path) -> Mapping[str, Mapping[str, Any]]:
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
