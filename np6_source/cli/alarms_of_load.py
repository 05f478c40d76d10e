"""What a load says of alarms when it has caught up, and whom it tells.

Alarms do not change what was loaded. One that is new goes to the Slack channel and to the Sentry
project that dlt's configuration names (``[runtime]`` ``slack_incoming_hook``, ``sentry_dsn``): dlt
itself sends Slack nothing (1.31), and starts Sentry's client. New is what was not on at the last
request of the package before, by the same rules: nothing is remembered.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

import dlt
import pyarrow as pa
import pyarrow.compute as pc
from dlt.common.runtime.slack import send_slack_message
from dlt.destinations.exceptions import DatabaseException, DestinationConnectionError

from ..alarms import LOOKS_BACK_MS, Alarm, alarms
from ..ledger import recent_windows, speaks_sql
from ..windows import to_ms
from .document import Problem

logger = logging.getLogger(__name__)

FAIL_ON = {"error": ("error",), "warning": ("error", "warning"), "never": ()}
"""The severities of alarms that set the exit status, by the value of ``--fail-on``."""

SLACK_WAIT = 10.0
"""Seconds that a message may take: dlt's function sets no limit (1.31)."""
SENTRY_WAIT = 5.0
"""Seconds that events may take to leave; a process that ends soon would take them along."""


def alarms_of_load(pipeline: dlt.Pipeline) -> tuple[Alarm, ...]:
    """The alarms that are on after a load; tells Slack of those that are new.

    Args:
        pipeline: The pipeline that has loaded. On files there is no ledger to ask.
    """
    if not speaks_sql(pipeline, pipeline.default_schema):
        return ()
    try:
        windows = recent_windows(pipeline, LOOKS_BACK_MS, pipeline.default_schema_name)
    except (DatabaseException, DestinationConnectionError) as error:
        logger.warning("The load is complete, but its alarms are not known: %s", error)
        return ()
    if not windows.num_rows:
        return ()
    # The newest request is this load's, or that of the last which had something to do.
    on = alarms(windows, to_ms(pc.max(windows["requested_at"]).as_py()))
    if on and (new := _new(on, windows)):
        _tell(pipeline, new)
    return on


def problem_of(alarm: Alarm) -> Problem:
    """An alarm, as ``--json`` has it."""
    return Problem(
        alarm.severity,
        alarm.rule,
        alarm.what,
        alarm.resource,
        alarm.scope_id or None,
        alarm.advice,
    )


def _new(on: Sequence[Alarm], windows: pa.Table) -> list[Alarm]:
    """The alarms that were not on when the package before the last was requested."""
    last = pc.max(windows["requested_at"]).as_py()
    of_last = windows.filter(pc.field("requested_at") == last)["_dlt_load_id"][0]
    before = windows.filter(pc.field("_dlt_load_id") != of_last)
    if not before.num_rows:
        return list(on)
    moment = to_ms(pc.max(before["requested_at"]).as_py())
    known = {(a.rule, a.resource, a.scope_id) for a in alarms(before, moment)}
    return [alarm for alarm in on if (alarm.rule, alarm.resource, alarm.scope_id) not in known]


def _tell(pipeline: dlt.Pipeline, new: Sequence[Alarm]) -> None:
    text = "\n".join(f"np6_source, {alarm.severity}: {alarm}" for alarm in new)
    hook = pipeline.runtime_config.slack_incoming_hook
    if hook:
        thread = threading.Thread(target=_to_slack, args=(hook, text), daemon=True)
        thread.start()
        thread.join(SLACK_WAIT)
        if thread.is_alive():
            logger.warning("Slack did not take the message about alarms within %.0f s.", SLACK_WAIT)
    if pipeline.run_context.runtime_config.sentry_dsn:
        _to_sentry(new)


def _to_slack(hook: str, text: str) -> None:
    try:
        send_slack_message(hook, text, is_markdown=False)
    except Exception as error:  # Its text may have the hook, which is a secret.
        logger.warning("Slack did not take the message about alarms: %s", type(error).__name__)


def _to_sentry(new: Sequence[Alarm]) -> None:
    """One event for each, by the client that dlt has started for the configured project."""
    # dlt refuses a DSN where the package is not there.
    import sentry_sdk

    for alarm in new:
        with sentry_sdk.new_scope() as scope:
            scope.set_tag("np6.rule", alarm.rule)
            scope.set_tag("np6.resource", alarm.resource)
            # Alarms of one kind are one issue, however their figures differ.
            scope.fingerprint = ["np6_source", alarm.rule, alarm.resource, alarm.scope_id]
            scope.capture_message(f"np6_source: {alarm}", level=alarm.severity)
    sentry_sdk.flush(timeout=SENTRY_WAIT)
