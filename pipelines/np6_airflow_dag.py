"""Loads NP6 events with Airflow 3: ``np6_daily`` every day, ``np6_backfill`` years at a time.

Every task loads a span of time that Airflow names, and keeps nothing between runs: the same span
gives the same rows, so tasks may be retried, cleared and backfilled in any order.

Configuration is dlt's, by environment variables, ``.dlt/*.toml`` in the DAGs folder, or the Airflow
Variable ``dlt_secrets_toml``::

    SOURCES__NP6__API_KEY=...
    SOURCES__NP6__START=2026-01-01                          # np6_daily's first day
    SOURCES__NP6__WORKERS=5                                 # loads at once share the rate limit
    DESTINATION__NP6_WAREHOUSE__DESTINATION_TYPE=postgres   # any destination of dlt's
    DESTINATION__NP6_WAREHOUSE__CREDENTIALS=postgresql://...

Once, before the DAGs are switched on (Airflow starts no task whose pool is missing)::

    airflow pools set np6 1 "np6_daily: one load at a time"
    airflow pools set np6_backfill 4 "np6_backfill: PostgreSQL and DuckDB; elsewhere 1"
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import dlt
import pendulum
from airflow.sdk import CronDataIntervalTimetable, Param, dag, get_current_context, task
from airflow.sdk.exceptions import AirflowFailException
from dlt.helpers.airflow_helper import PipelineTasksGroup

from np6_source import SettingError, np6_source
from np6_source.orchestration import raise_if_incomplete, resource_groups, without_state
from np6_source.parts import Part, load_part, plan_parts

# dlt would ask Airflow for a Variable per setting, hundreds per task (dlt 1.31). This leaves the
# Variables that hold whole pieces of TOML: dlt_secrets_toml.
os.environ.setdefault("PROVIDERS__AIRFLOW_SECRETS__ONLY_TOML_FRAGMENTS", "true")

DATASET = "np6"
LATE = timedelta(minutes=10)  # read again before each interval, for events that arrived late
RETRIES = {
    "retries": 3,
    "retry_delay": timedelta(minutes=5),
    "retry_exponential_backoff": 2,
}


def refuse_passing_file() -> None:
    """Refuses a DuckDB file in the folder that dlt's Airflow helper makes up for each task.

    Raises:
        SettingError: The file would be lost with the task.
    """
    if dlt.destination("np6_warehouse").destination_type.endswith(".duckdb"):
        file = dlt.secrets.get("destination.np6_warehouse.credentials")
        if not str(file).startswith(("/", "duckdb:////")):
            raise SettingError(
                "The DuckDB file would be lost with each task's temporary folder: give"
                " DESTINATION__NP6_WAREHOUSE__CREDENTIALS an absolute path that all workers see."
            )


def interval_source(names: Sequence[str]) -> Any:
    """The source of the running task's data interval.

    Raises:
        AirflowFailException: There is no interval, or an empty one: nothing would be loaded, and
            the task would be green.
    """
    context = get_current_context()
    start, end = context.get("data_interval_start"), context.get("data_interval_end")
    if start is None or end is None or start >= end:
        raise AirflowFailException(
            f"The data interval [{start}, {end}) is empty, so nothing would be loaded. Airflow 3"
            ' gives such intervals for schedule="@daily" and for runs without a logical date; use'
            ' CronDataIntervalTimetable("@daily", timezone="UTC").'
        )
    source = np6_source(start=start - LATE, end=end, on_error="keep")
    return source.with_resources(*names)


@dag(
    schedule=CronDataIntervalTimetable("@daily", timezone="UTC"),
    start_date=pendulum.parse(dlt.config["sources.np6.start"], tz="UTC"),
    catchup=True,  # a day that Airflow skipped would be a hole
    max_active_runs=1,
    default_args=RETRIES | {"pool": "np6"},
    tags=["np6"],
)
def np6_daily() -> None:
    """A task per group of resources, each with a pipeline of its own."""
    # Before dlt.pipeline(), which takes its folder from it; PIPELINES_DIR must not be set.
    # (dlt's default of 1,000 rows per row group is made for rows that are no Arrow tables.)
    group = PipelineTasksGroup("load", buffer_max_items=0)
    refuse_passing_file()
    # Airflow reads this file every few seconds; that asks NP6 nothing and needs no key. Resources
    # over ids are there once their ids are: SOURCES__NP6__ACTION_IDS='["000PE4"]'.
    listed = np6_source(api_key="none-is-needed-to-list-resources")
    for name, resources in resource_groups(listed).items():
        pipeline = dlt.pipeline(
            f"np6_{name}",
            # Pipelines that share a staging dataset lose each other's rows (dlt 1.31).
            destination=dlt.destination(
                "np6_warehouse", staging_dataset_name_layout=f"%s_staging_{name}"
            ),
            dataset_name=DATASET,
        )
        group.add_run(
            without_state(pipeline),
            lambda resources=resources: interval_source(resources),
            # What is complete is loaded, then the task fails with what is not.
            post_execute=lambda *_, pipeline=pipeline: raise_if_incomplete(pipeline),
            max_active_tis_per_dag=1,
        )
    # dlt.pipeline() has made folders, and would again each time that Airflow reads this file;
    # a task makes its own.
    shutil.rmtree(os.environ["DLT_DATA_DIR"], ignore_errors=True)


@dag(
    schedule=None,
    default_args=RETRIES,
    params={
        "start": Param(type="string", format="date"),
        "end": Param(type="string", format="date", description="exclusive"),
        "days_per_part": Param(7, type="number", exclusiveMinimum=0),
        "ids": Param({}, type="object", description='{"action_ids": ["000PE4"]}; {}: the account'),
        "resources": Param(None, type=["null", "array"], description="null: the default ones"),
    },
    tags=["np6"],
)
def np6_backfill() -> None:
    """Any range of the past, in parts that many workers load at once."""

    @task
    def plan(params: Any = None) -> list[dict[str, Any]]:
        parts = plan_parts(
            params["start"],
            params["end"],
            width=timedelta(days=params["days_per_part"]),
            ids=params["ids"],
            resources=params["resources"],
        )
        return [part.to_json() for part in parts]

    @task(pool="np6_backfill", map_index_template="{{ part_name }}")
    def load(part: dict[str, Any]) -> dict[str, int]:
        loaded = Part.from_json(part)
        get_current_context()["part_name"] = loaded.name
        workers = dlt.config.get("sources.np6.workers", int) or 1
        return load_part(loaded, "np6_warehouse", DATASET, workers=workers).rows

    load.expand(part=plan())


np6_daily()
np6_backfill()
