"""Loads NP6 events with Dagster: an asset per resource in daily partitions, and one per table.

``dagster dev -f pipelines/np6_dagster.py``; a backfill of years is a selection of partitions. A run
keeps nothing for the next: a partition gives the same rows whenever and however often it is
materialized.

Configuration is dlt's, by environment variables or ``.dlt/*.toml``::

    SOURCES__NP6__API_KEY=...
    SOURCES__NP6__START=2026-01-01                          # the first partition
    SOURCES__NP6__WORKERS=2                                 # loads at once share the rate limit
    DESTINATION__NP6_WAREHOUSE__DESTINATION_TYPE=postgres   # any destination of dlt's
    DESTINATION__NP6_WAREHOUSE__CREDENTIALS=postgresql://...

``dagster instance concurrency set np6 2`` lets Dagster start as many. Loads into PostgreSQL or a
DuckDB file take turns; with any other destination set it to 1.
"""

from collections.abc import Iterator
from datetime import timedelta

import dagster as dg
import dlt
from dagster_dlt import DagsterDltResource, DagsterDltTranslator, dlt_assets
from dagster_dlt.translator import DltResourceTranslatorData

from np6_source import np6_source
from np6_source.orchestration import raise_if_incomplete, resource_groups, temporary_pipeline
from np6_source.schema import TABLES
from np6_source.settings import moment_ms
from np6_source.windows import to_datetime

DATASET = "np6"
WAREHOUSE = dlt.destination("np6_warehouse")
LATE = timedelta(minutes=10)  # read again before each partition, for events that arrived late
DAYS = dg.DailyPartitionsDefinition(
    to_datetime(moment_ms(dlt.config["sources.np6.start"], "start")), timezone="UTC"
)


class ResourceAssets(DagsterDltTranslator):
    """Names the asset of a resource like the API's operation."""

    def get_asset_spec(self, data: DltResourceTranslatorData) -> dg.AssetSpec:
        """``np6_api/actions_events``, which no other asset feeds."""
        spec = super().get_asset_spec(data)
        return spec.replace_attributes(key=["np6_api", data.resource.name], deps=[])


def loading_assets(group: str, names: tuple[str, ...]) -> dg.AssetsDefinition:
    """The assets of a group of resources, which are loaded together."""

    @dlt_assets(
        name=group,
        group_name="np6",
        dlt_source=LISTED.with_resources(*names),
        dlt_pipeline=dlt.pipeline("np6_dagster", destination=WAREHOUSE, dataset_name=DATASET),
        dagster_dlt_translator=ResourceAssets(),
        partitions_def=DAYS,
        # A backfill asks NP6 for months, not for days, and is still spread over many runs.
        backfill_policy=dg.BackfillPolicy.multi_run(max_partitions_per_run=31),
        pool="np6",
    )
    def load(
        context: dg.AssetExecutionContext, dlt_resource: DagsterDltResource
    ) -> Iterator[dg.MaterializeResult | dg.AssetMaterialization]:
        start, end = context.partition_time_window
        source = np6_source(start=start - LATE, end=end, on_error="keep").with_resources(*names)
        with temporary_pipeline(f"np6_{group}", WAREHOUSE, DATASET) as pipeline:
            results = list(dlt_resource.run(context, dlt_source=source, dlt_pipeline=pipeline))
            # What is complete is loaded; the partition counts as materialized when all of it is.
            raise_if_incomplete(pipeline)
            rows = pipeline.last_trace.last_normalize_info.row_counts
        for table in TABLES:
            if written := rows.get(table.name):
                context.log_event(
                    dg.AssetMaterialization(["np6", table.name], metadata={"rows written": written})
                )
        yield from results

    return load


# Lists the resources; asks NP6 nothing and needs no key. Those over ids are there once their ids
# are: SOURCES__NP6__ACTION_IDS='["000PE4"]'.
LISTED = np6_source(api_key="none-is-needed-to-list-resources")
RESOURCES = [loading_assets(*group) for group in resource_groups(LISTED).items()]
TABLE_ASSETS = [
    dg.AssetSpec(
        ["np6", table.name],
        description=table.description,
        deps=[key for assets in RESOURCES for key in assets.keys],
        group_name="np6",
        metadata={
            "dagster/column_schema": dg.TableSchema(
                [
                    dg.TableColumn(column.name, column.data_type, column.description)
                    for column in table.columns
                ]
            )
        },
    )
    for table in TABLES
]
DAILY = dg.define_asset_job(
    "np6_daily",
    RESOURCES,
    op_retry_policy=dg.RetryPolicy(max_retries=3, delay=300, backoff=dg.Backoff.EXPONENTIAL),
)

definitions = dg.Definitions(
    assets=[*RESOURCES, *TABLE_ASSETS],
    jobs=[DAILY],
    schedules=[dg.build_schedule_from_partitioned_job(DAILY)],
    resources={"dlt_resource": DagsterDltResource()},
)
