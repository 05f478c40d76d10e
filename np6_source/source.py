"""The source: what ``np6_source`` takes, checked, and the resources made from it."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import dlt
from dlt.common.schema.typing import TTableFormat
from dlt.extract import DltResource

from .api.credentials import (
    MaskedKey,
    checked_base_url,
    checked_key,
    key_origin,
    refuse_foreign_key,
)
from .dimensions import DIMENSIONS, wanted_dimensions
from .dlt_internals.configuration import current_source
from .endpoints import ENDPOINTS, ID_ARGUMENTS, Endpoint, default_items_events
from .errors import SettingError
from .extract.chosen_actions import ChosenActions
from .extract.configured_names import check_names
from .extract.dimension import make_dimension
from .extract.policy import check_ids_can_be_hidden, privacy_of
from .extract.resource import make_cursor, make_resource
from .extract.session import ExtractSession
from .parameters import (
    TBadEvents,
    TMoment,
    TOnError,
    TTimestampFormat,
    at_least_one,
    checked_folder,
    classes,
    ids,
    interval_between,
    moment_ms,
    one_of,
    span_ms,
)
from .runs.isolation import go_on_apart
from .settings import (
    ClientSettings,
    Retention,
    Settings,
    check_days_are_kept,
    kept_from,
    recheck_of,
)
from .windows import SECOND

BASE_URL = "https://api-cm.np6.com/"
"""The production server of the reference."""


@dlt.source(name="np6", section="np6")
def np6_source(
    # What is loaded
    api_key: str = dlt.secrets.value,
    base_url: str = BASE_URL,
    start: TMoment | None = None,
    end: TMoment | None = None,
    action_ids: str | Sequence[str] | None = None,
    campaign_ids: str | Sequence[str] | None = None,
    target_ids: str | Sequence[str] | None = None,
    target_unicities: str | Sequence[str] | None = None,
    target_hashes: str | Sequence[str] | None = None,
    notification_ids: str | Sequence[str | int] | None = None,
    display_content_ids: str | Sequence[str] | None = None,
    *,
    # Operations, and what they are asked
    endpoints: Sequence[Endpoint] = (),
    dimensions: Sequence[str] | bool = (),
    account: str = "",
    classification: str | None = None,
    classification_parameter: str = "classification",
    campaign_items_events: Sequence[Any] | None = None,
    # Windows of time, and when one is complete
    window: float = 86_400.0,
    overlap: float = 600.0,
    settle: float = 30.0,
    clock_tolerance: float = 60.0,
    accept_fewer_events: bool = False,
    timestamps_are_final: bool = False,
    recheck: str | None = None,
    recheck_every: str = "1d",
    recheck_resources: str | Sequence[str] | None = None,
    # Requests
    concurrency: int = ClientSettings.concurrency,
    requests_per_minute: float | None = None,
    workers: int = 1,
    attempts: int = ClientSettings.attempts,
    backoff: float = ClientSettings.backoff,
    longest_wait: float = ClientSettings.longest_wait,
    connect_timeout: float = ClientSettings.connect_timeout,
    read_timeout: float = ClientSettings.read_timeout,
    request_timeout: float | None = ClientSettings.request_timeout,
    # Responses, and what the reference leaves open
    largest_answer: int = ClientSettings.largest_answer,
    spool_dir: str | None = None,
    timestamp_format: TTimestampFormat = ClientSettings.timestamp_format,
    widen_bounds: float = 0.0,
    row_limit: int | None = None,
    # A run, and what ends it
    largest_load: int | None = None,
    stop_when: Callable[[], object] | None = None,
    on_error: TOnError = "raise",
    bad_events: TBadEvents = "refuse",
    same_account: bool = False,
    # Tables and personal data
    table_format: TTableFormat | None = None,
    pii: str | Mapping[str, str] | None = None,
    pii_key: dlt.TSecretStrValue | None = None,
    retention: str | None = None,
) -> Iterator[DltResource]:
    """NP6 events, one resource per API operation, incremental on the event timestamp.

    Without ids, ``actions_events`` and ``actions_reactivities`` are selected; with ids, every
    resource over those ids and nothing else. ``with_resources`` selects others, also account-wide
    resources beside ids. All load into the tables of ``np6_source.schema``.

    Args:
        api_key: NP6's API key. Looked up by dlt under ``sources.np6``.
        base_url: Root of the API.
        start: First moment to load, on a resource's or id's first run. Default: 30 days ago.
        end: Moment to load up to, exclusive. With ``start``: a backfill of just that range that
            touches no cursor and may run beside a schedule. Alone: a cap on this run.
        action_ids: Actions (e-mail and SMS messages) to load by id. In place of ids ``all``,
            ``active`` (neither deleted nor archived, and created, started or last sent within 180
            days) or ``category:456``: each run takes them from the account's list of actions.
        campaign_ids: Campaigns to load.
        target_ids: Contacts to load by id.
        target_unicities: Contacts to load by unicity, usually the e-mail address.
        target_hashes: Contacts to load by hash.
        notification_ids: Push notifications to load.
        display_content_ids: Display contents to load.
        endpoints: Further operations, or others in place of rows of the same name.
        dimensions: Resources of ``np6_source.dimensions`` to select beside the events: their
            names; True: all over the whole account, and those whose ids are given but contacts'.
        account: Value of the dimensions' column ``account`` where several accounts share a
            dataset: the customer number, as in ``events.customer``.
        classification: Robot classes to ask the hit operations for: ``genericrobot``, ``mpp``,
            ``gsr``, as a comma list. Each is one more request for every window. Hits of people are
            requested beside them where they have been before, or by an empty entry: ``,mpp``.
        classification_parameter: Name of that query parameter; the reference has two spellings.
        campaign_items_events: ``itemsEvents`` of the campaign requests, in place of the default.
        window: Width of the first requests in seconds; later ones adapt to the responses.
        overlap: Seconds before its progress that each run reads again for late events.
        settle: Seconds after which the API's response about a moment is taken as final.
        clock_tolerance: Seconds by which the server's clock and this machine's may differ. Windows
            count as complete up to the earlier of both; a greater difference, or a server that
            sends no ``Date``, is a failure of the run.
        accept_fewer_events: Take a response that lacks events which the run before saw in the
            overlap, and let a reload remove all events that NP6 does not return again. False: the
            window fails and its progress stays, and the reload removes none where they are many,
            as in an outage in which the API returns empty arrays.
        timestamps_are_final: NP6 never changes the timestamp of an event; the reference only says
            that it is the time of publication. True: merges into DuckDB, MotherDuck and DuckLake
            read only the part of a table that lies in the increment's range of time; an event that
            comes with another timestamp all the same is then in the table twice. False: they look
            for every id in the whole table, half a second per 10 million rows.
        recheck: For events that become visible days late: ``14d`` reads days again when they are
            1, 2, 4, 8 and 14 days old, and loads what the tables lack. ``np6-source load`` does it,
            and ``np6_source.loading.load``; dlt's ``pipeline.run`` does not. None: no day.
        recheck_every: How often days are looked for that are due.
        recheck_resources: Resources whose days are read again. None: the selected ones over the
            whole account; those by id only where they are named.
        concurrency: Requests that may run at once.
        requests_per_minute: Requests that may begin in a minute, evenly spread. None: as many as
            the API takes.
        workers: Processes that load from the account at the same time: each takes its share of
            ``concurrency`` (one at least) and of ``requests_per_minute``.
        attempts: How often a request is tried.
        backoff: Seconds before the second attempt; doubles with each further one.
        longest_wait: Seconds that a run may wait at a time because the API asks it to.
        connect_timeout: Seconds to wait for a connection.
        read_timeout: Seconds to wait for the next bytes.
        request_timeout: Seconds that a request may take from its beginning to the last byte, after
            which its window is halved. None: ten times ``read_timeout``.
        largest_answer: Bytes (uncompressed) that one response may have before its window is halved.
        spool_dir: Folder for responses while they are read, as NP6 sent them; one on a ``tmpfs``
            keeps them off the disk. None: the pipeline's folder.
        timestamp_format: ``iso`` or ``ms``: how window bounds are sent.
        widen_bounds: Seconds by which requests reach beyond their window on both sides, for an API
            that does not keep to bounds as documented (`np6-source probe` finds out). What comes
            from there is merged: no event is in the tables twice.
        row_limit: Rows at which the API cuts a response without saying so (`np6-source probe` finds
            out): a response of just so many is not taken, and its window is halved.
        largest_load: Events after which a run stops at the next complete window. The next run
            goes on there. None: no run stops early.
        stop_when: Asked between windows, and by other threads while a request waits; anything true
            ends the run there, and what is complete is loaded.
        on_error: ``raise``: a failure ends the run and nothing of it is loaded; only an id that NP6
            does not know (404) is logged and left out. ``keep``: what is complete is loaded, an id
            that fails stops no other, and the failures are in the resources' metrics.
        bad_events: What happens to an event without an id or a usable timestamp, or larger than
            32 MB. ``refuse``: its window fails, and each run requests it again. ``keep``: it goes
            as text, with the reason, into the table ``rejected_events``, and the window completes.
        same_account: True: a new ``base_url`` or key belongs to the account that the pipeline has
            loaded before. False: another ``base_url`` is refused, and so is another key unless it
            returns an event that earlier runs have seen.
        table_format: ``delta`` or ``iceberg``: the format of the tables on
            ``np6_source.lake.filesystem``; on another destination, dlt's table format.
        pii: What becomes of personal data before it is stored: ``pseudonyms``, ``strict``, or a
            policy by class, such as ``{"address": "hmac"}``; see ``docs/privacy.md``. A dataset has
            one policy only. None: everything is kept.
        pii_key: Secret key of the digests that ``hmac`` puts in place of values, at least 32 bytes
            of text. Looked up by dlt under ``sources.np6``.
        retention: How long events are kept, such as ``25 months``, ``400 days`` or ``2 years``:
            nothing older is requested. ``np6-source load`` and ``retain`` also remove what has
            become older, see ``docs/privacy.md``. None: for ever.

    Returns:
        A dlt source.

    Raises:
        SettingError: A parameter cannot be used, or a name in the source's section of dlt's
            configuration is read by nobody and resembles a parameter.
    """
    # The frames of an error show it as stars.
    api_key = MaskedKey(api_key) if isinstance(api_key, str) else api_key
    pii_key = MaskedKey(pii_key) if isinstance(pii_key, str) else pii_key
    refuse_foreign_key(api_key)
    check_names(*current_source(), inspect.signature(np6_source).parameters)
    own_concurrency = max(
        1, at_least_one(concurrency, "concurrency") // at_least_one(workers, "workers")
    )
    one_of(on_error, "on_error")
    one_of(bad_events, "bad_events")
    if table_format is not None:
        one_of(table_format, "table_format")
    start_ms = None if start is None else moment_ms(start, "start")
    end_ms = None if end is None else moment_ms(end, "end")
    if start_ms is not None and end_ms is not None and start_ms >= end_ms:
        raise SettingError(f"start={start!r} must be before end={end!r}")
    now = int(time.time() * SECOND)
    cutoff = None if retention is None else Retention.parse(retention).cutoff(now)
    rechecked = recheck_of(recheck, recheck_every, recheck_resources)
    if rechecked is not None:
        check_days_are_kept(rechecked.days, cutoff, now, f"recheck={recheck!r}")
    settings = Settings(
        start=kept_from(start_ms, end_ms, cutoff),
        end=end_ms,
        cutoff=cutoff,
        window=span_ms(window, "window", least=1),
        overlap=span_ms(overlap, "overlap"),
        settle=span_ms(settle, "settle"),
        clock_tolerance=span_ms(clock_tolerance, "clock_tolerance"),
        accept_fewer_events=accept_fewer_events,
        same_account=same_account,
        concurrency=own_concurrency,
        largest_load=None if largest_load is None else at_least_one(largest_load, "largest_load"),
        stop_when=stop_when or (lambda: False),
        timestamps_are_final=timestamps_are_final,
        widen_bounds=span_ms(widen_bounds, "widen_bounds"),
        row_limit=None if row_limit is None else at_least_one(row_limit, "row_limit"),
        on_error=on_error,
        classification=classes(classification),
        classification_parameter=classification_parameter,
        items_events=(
            default_items_events() if campaign_items_events is None else campaign_items_events
        ),
        table_format=table_format,
        bad_events=bad_events,
        account=account,
        privacy=privacy_of(pii, pii_key),
        spool_dir=None if spool_dir is None else checked_folder(spool_dir, "spool_dir"),
        recheck=rechecked,
    )
    client = ClientSettings(
        base_url=checked_base_url(base_url),
        api_key=checked_key(api_key),
        connect_timeout=connect_timeout,
        read_timeout=read_timeout,
        request_timeout=request_timeout,
        attempts=attempts,
        backoff=backoff,
        longest_wait=longest_wait,
        largest_answer=largest_answer,
        concurrency=own_concurrency,
        interval=interval_between(requests_per_minute) * workers,
        timestamp_format=timestamp_format,
        key_origin=key_origin(api_key),
    )
    given_ids = dict(
        zip(
            ID_ARGUMENTS,
            (
                action_ids,
                campaign_ids,
                target_ids,
                target_unicities,
                target_hashes,
                notification_ids,
                display_content_ids,
            ),
            strict=True,
        )
    )
    check_ids_can_be_hidden(settings.privacy, given_ids)
    go_on_apart()
    session = ExtractSession(client, settings)
    cursor = make_cursor(session)
    own = {endpoint.name: endpoint for endpoint in endpoints}
    has_ids = any(ids(values, name) for name, values in given_ids.items())
    for endpoint in ({endpoint.name: endpoint for endpoint in ENDPOINTS} | own).values():
        argument = endpoint.id_argument
        if argument is not None and argument not in given_ids:
            raise SettingError(
                f"{endpoint.name}: there is no argument ids={argument!r};"
                f" take one of {', '.join(ID_ARGUMENTS)}, or give the ids as a tuple"
            )
        values: Any = endpoint.ids if argument is None else given_ids[argument]
        chosen = ChosenActions.parse(values) if argument == "action_ids" else None
        scope_ids = chosen or ids(values, str(endpoint.ids))
        is_meant = bool(scope_ids) if endpoint.ids else not has_ids or endpoint.name in own
        is_selected = endpoint.selected and is_meant
        yield make_resource(endpoint, scope_ids, session, cursor, is_selected)
    wanted = wanted_dimensions(dimensions, given_ids)
    for row in DIMENSIONS:
        values = given_ids[row.ids] if row.ids else None
        chosen = ChosenActions.parse(values) if row.ids == "action_ids" else None
        row_ids = chosen or ids(values, str(row.ids))
        yield make_dimension(row, row_ids, session, row.name in wanted)
