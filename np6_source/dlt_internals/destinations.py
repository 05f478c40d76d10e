"""A pipeline's destination, known without a client: dlt reads its schema anew for each (1.31)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, TypeVar

import dlt
from dlt.common.configuration.container import Container
from dlt.common.configuration.resolve import inject_section
from dlt.common.configuration.specs import BaseConfiguration
from dlt.common.configuration.specs.config_section_context import ConfigSectionContext
from dlt.common.destination import Destination
from dlt.common.destination.reference import AnyDestination
from dlt.dataset.utils import get_destination_client_initial_config
from dlt.destinations.job_client_impl import SqlJobClientBase

TConfiguration = TypeVar("TConfiguration", bound=BaseConfiguration)


def configuration_of(pipeline: dlt.Pipeline) -> Any:
    """The configuration that a pipeline's clients get, as ``pipeline.sql_client`` resolves it.

    Raises:
        ConfigurationException: The destination is not configured.
    """
    destination: AnyDestination = pipeline.destination
    initial = get_destination_client_initial_config(destination, pipeline.dataset_name)
    section = ConfigSectionContext(
        pipeline_name=pipeline.pipeline_name, merge_style=ConfigSectionContext.prefer_existing
    )
    with inject_section(section):
        return destination.configuration(initial)


def has_sql(destination: AnyDestination) -> bool:
    """Whether a destination is a database, and not files; its client library must be there.

    Raises:
        MissingDependencyException: It is not.
    """
    return issubclass(destination.client_class, SqlJobClientBase)


def what_is_resolved(
    destination: Destination[Any, Any], initial: BaseConfiguration, accept_partial: bool
) -> Hashable:
    """Everything but the configuration itself that decides what a destination resolves to.

    dlt 1.31 resolves a destination's configuration for each client, dozens of times in a load. It
    looks under the destination's section, and first under the name of the current pipeline.

    Args:
        destination: The destination, with what it was given in code.
        initial: What dlt begins with: the names of the dataset and the schema.
        accept_partial: Whether fields may be missing.
    """
    current = Container()[ConfigSectionContext].pipeline_name
    return _hashable(destination.config_params), _hashable(initial), accept_partial, current


def _hashable(value: object) -> Hashable:
    if isinstance(value, Mapping):  # A configuration is one as well.
        return type(value), tuple((name, _hashable(one)) for name, one in value.items())
    return value if isinstance(value, (str, int, type(None))) else repr(value)


def resolved_copy(known: TConfiguration) -> TConfiguration:
    """A copy of a resolved DuckDB configuration, with connections of its own (dlt 1.31)."""
    own = known.copy()
    credentials = own["credentials"]
    if credentials.is_resolved():
        credentials.on_resolved()
    return own
