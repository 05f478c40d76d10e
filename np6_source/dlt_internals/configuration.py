"""dlt's configuration: where a value comes from, and what a destination was given."""

from __future__ import annotations

import copy
from pathlib import Path

import dlt
from dlt.common.configuration import configspec, known_sections, resolve_configuration
from dlt.common.configuration.container import Container
from dlt.common.configuration.specs import BaseConfiguration
from dlt.common.configuration.specs.config_section_context import ConfigSectionContext
from dlt.common.configuration.specs.pluggable_run_context import PluggableRunContext
from dlt.common.destination.reference import AnyDestination
from dlt.common.pipeline import PipelineContext, get_dlt_pipelines_dir

STAGING_LAYOUT = "staging_dataset_name_layout"
"""Field of a destination's configuration that names its staging dataset (dlt 1.31)."""


DEFAULT_STAGING_LAYOUT = "%s_staging"
"""dlt's own value for it (dlt 1.31): one staging dataset for all pipelines into a dataset."""


@configspec
class _FailedJobs(BaseConfiguration):
    """The one field of dlt's ``LoaderConfiguration`` that is of interest."""

    raise_on_failed_jobs: bool = True


def fails_with_its_jobs() -> bool:
    """Whether a load package fails when a job of it does, by the configuration in force.

    ``pipeline.load`` resolves it under ``load``, and that of a pipeline's name first (dlt 1.31).
    """
    configured = resolve_configuration(_FailedJobs(), sections=(known_sections.LOAD,))
    return configured.raise_on_failed_jobs


@configspec
class _WorkingFolder(BaseConfiguration):
    """The one field of dlt's ``PipelineConfiguration`` that is of interest."""

    pipelines_dir: str | None = None


def working_folder(pipeline_name: str) -> Path:
    """The folder of dlt's working files, by the configuration in force; nothing is made.

    ``dlt.pipeline`` resolves ``pipelines_dir`` under ``pipelines`` and the pipeline's name, and
    takes dlt's own folder where it finds none (dlt 1.31).

    Args:
        pipeline_name: Name of the pipeline.
    """
    sections = (known_sections.PIPELINES, pipeline_name)
    found = resolve_configuration(_WorkingFolder(), sections=sections).pipelines_dir
    return Path(found or get_dlt_pipelines_dir())


def current_source() -> tuple[str, str]:
    """Section and name of the source whose function is running, as its host has named it.

    dlt looks below ``sources``, the section and the name, then one shorter each time (dlt 1.31).
    """
    context = Container()[ConfigSectionContext]
    return context.source_section(), context.source_name()


def active_pipeline_name() -> str | None:
    """Name of the active pipeline, whose section dlt reads first; None: none is (dlt 1.31).

    ``dlt.current.pipeline()`` makes one where there is none, so that this one asks the context.
    """
    context = Container()[PipelineContext]
    return context.pipeline().pipeline_name if context.is_active() else None


def configuration_files() -> list[str]:
    """The files of dlt's configuration that are there, of whichever provider (dlt 1.31)."""
    return [
        str(file)
        for provider in Container()[PluggableRunContext].providers.providers
        for file in getattr(provider, "present_locations", ())
    ]


def with_staging_layout(destination: AnyDestination, layout: str) -> AnyDestination:
    """A copy of a destination with a staging dataset of another name.

    Args:
        destination: The destination, which stays as it is.
        layout: The name; ``%s`` is the dataset.

    Returns:
        The copy; the destination itself where it has no staging dataset (dlt 1.31).
    """
    if STAGING_LAYOUT not in destination.spec.get_resolvable_fields():
        return destination
    own = copy.copy(destination)
    own.config_params = {**destination.config_params, STAGING_LAYOUT: layout}
    return own


def with_database(destination: AnyDestination, database: str) -> AnyDestination:
    """A copy of a DuckDB destination into a file, with all else that it was given (dlt 1.31).

    Credentials that were given in code may be a text, an open connection or an object.
    """
    given = destination.config_params.get("credentials")
    if given is not None and not isinstance(given, (str, Path)):
        return destination
    own = copy.copy(destination)
    own.config_params = {**destination.config_params, "credentials": database}
    return own


def given_staging_layout(destination: AnyDestination) -> str | None:
    """The name of a destination's staging dataset as it was given in code; None: it was not."""
    given: str | None = destination.config_params.get(STAGING_LAYOUT)
    return None if given == DEFAULT_STAGING_LAYOUT else given


def configured_staging_layout(destination: AnyDestination) -> str:
    """The same as dlt's configuration has it, in the sections in which dlt looks (dlt 1.31)."""
    for section in (f"destination.{destination.destination_name}", "destination"):
        found = dlt.config.get(f"{section}.{STAGING_LAYOUT}", str)
        if found:
            return found
    return DEFAULT_STAGING_LAYOUT


def where_configured(field: str, value: str, *sections: str) -> str | None:
    """Where dlt's configuration has a value for a field, in words for a message.

    ``dlt.current.run_context()`` hands out no providers, so that they come from the injection
    container (dlt 1.31).

    Args:
        field: Name of the field.
        value: The value looked for; blanks around it do not count.
        *sections: The sections, exactly: dlt's search in ever shorter ones is not repeated.

    Returns:
        ``the environment variable SOURCES__NP6__API_KEY``, ``sources.np6.api_key in
        .dlt/secrets.toml``; None where no provider has the value there.
    """
    pipeline_name = active_pipeline_name()
    for provider in Container()[PluggableRunContext].providers.providers:
        if sections and not provider.supports_sections:
            continue
        for name in dict.fromkeys((pipeline_name, "")):
            found, key = provider.get_value(field, str, name, *sections)
            if found is None or str(found).strip() != value.strip():
                continue
            if provider.name == "Environment Variables":
                return f"the environment variable {key}"
            file = provider.get_value_location(field, name, *sections) or provider.name
            return f"{key} in {file}"
    return None
