"""What the resources of one source share while they are extracted."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import dlt
import pyarrow as pa

from ..api.client import Client
from ..api.server_clock import ServerClock
from ..bookkeeping.erasures import read_changes, read_maskings, suppression_of
from ..bookkeeping.known_starts import BEGINS_AT, known_start
from ..bookkeeping.maskings import Masking, present_policies
from ..bookkeeping.row_counts import NEVER_READ_AGAIN
from ..bookkeeping.source_state import earliest_start, has_progress
from ..dataset_lock import in_database_or_file, patience, to_read
from ..dimensions import Dimension
from ..dlt_internals.packages import current_load_id, note_changes
from ..dlt_internals.pipelines import is_stop_requested
from ..endpoints import Endpoint
from ..errors import RequestFailed
from ..events.privacy import Privacy
from ..events.reader import PARSES_AT_ONCE, EventReader
from ..events.suppression import NOBODY, Suppression
from ..ledger import DAYS_APART_MS, TCoverage, policies, proven, speaks_sql
from ..runs.isolation import keep_apart
from ..settings import SPOT_CHECKS_TO, ClientSettings, Settings
from ..windows import DAY, SECOND, iso, to_datetime, to_ms
from .account import ACCOUNT, key_digest
from .action_list import ActionList
from .guards import check_lake, is_emptied
from .policy import POLICY, check_policy, label_of, policies_in_state
from .reload_intent import INTENT
from .row_limits import RowLimits
from .spool import spool_folder

logger = logging.getLogger(__name__)

TPurpose = Literal["load", "backfill", "fill", "part", "recheck"]
"""What a response was read for, as the ledger says it."""

ERASURES = "erasures"
"""Key of the source's state: when somebody was erased from the dataset last, milliseconds since the
epoch."""


@dataclass(frozen=True)
class Tools:
    """What is open during an extraction.

    Attributes:
        client: One HTTP session with one rate limit.
        reader: One DuckDB that parses responses.
        executor: The threads that fetch.
        parsers: The threads that parse what was fetched.
        spool: Folder for temporary files.
        privacy: What becomes of values about persons.
        suppression: The persons of whom nothing is stored.
    """

    client: Client
    reader: EventReader
    executor: Executor
    parsers: Executor
    spool: Path
    privacy: Privacy
    suppression: Suppression


class ExtractSession:
    """One clock, one budget of events, one set of tools for all resources of a source.

    The tools are opened by the first resource that starts and closed by the last that ends; dlt may
    end one resource before it starts the next. What the session knows of a run stays until the
    source is extracted again.

    Attributes:
        settings: What the source was asked to do.
        client_settings: How to talk to the API.
        base_url: Root of the API, in its normal form.
        key: A digest by which the API key is known again.
        clock: The API's time.
        default_start: The initial value of the resources' cursors, unless the host gives another.
        loaded_events: Events handed to dlt so far.
        failed_in_a_row: Scopes that have failed one after the other.
        limits: Numbers of rows at which the API may cut its responses.
        ended_by: The failure that ended the run for every resource, if one did.
        actions: The account's list of actions.
        suppression: The persons of whom nothing is stored.
        filled_tables: Tables of which the run has handed rows to dlt.
        purpose: What a given span is read for, as the ledger says it.
    """

    def __init__(self, client: ClientSettings, settings: Settings) -> None:
        """Prepares a session; nothing is opened yet."""
        self.settings = settings
        self.client_settings = client
        self.base_url = client.base_url
        self.key = key_digest(client.base_url, client.api_key)
        self.clock = ServerClock()
        self.default_start = to_datetime(settings.beginning(int(time.time() * SECOND)))
        self.purpose: TPurpose = "backfill"
        self._reset(None)
        self._lock = threading.Lock()
        self._users = 0
        self._tools: Tools | None = None
        self._close_tools = ExitStack()

    def kept_apart(self, endpoint: Endpoint) -> int:
        """Milliseconds before a request in which the ledger has a row for every UTC day.

        Zero for an operation over contacts that no recheck names: nobody reads its days, and a
        question about the robots of each contact would leave 36 rows.
        """
        recheck = self.settings.recheck
        named = (recheck.resources if recheck else None) or ()
        if endpoint.ids_are_of_contacts and endpoint.name not in named:
            return 0
        days = recheck.days if recheck else 0
        return max(DAYS_APART_MS, days * SPOT_CHECKS_TO * DAY)

    @contextmanager
    def tools(self) -> Iterator[Tools]:
        """Opens the tools, and closes them when the last user leaves."""
        with self._lock:
            load_id = current_load_id()
            if self._users == 0 and (load_id is None or load_id != self._load_id):
                keep_apart(dlt.current.pipeline())
                self._reset(load_id)
                self._check_dataset()
                self._warn_of_other_progress()
                self._restore_start()
            self._users += 1
            if self._tools is None:
                with ExitStack() as stack:
                    self._tools = self.open_tools(stack, Path(dlt.current.pipeline().working_dir))
                    self._close_tools = stack.pop_all()
            tools = self._tools
        try:
            yield tools
        finally:
            with self._lock:
                self._users -= 1
                if self._users == 0:
                    self._tools = None
                    self._close_tools.close()

    def _reset(self, load_id: str | None) -> None:
        """Begins a run: all resources of a source are extracted into one load package."""
        self._load_id = load_id
        self.loaded_events = 0
        self.failed_in_a_row = 0
        self.ended_by: RequestFailed | None = None
        self._said: set[str] = set()
        self.limits = RowLimits()
        if self.settings.row_limit is not None:
            self.limits.prove(self.settings.row_limit)
        self._ledger: TCoverage | None = None
        self._ledger_is_read = False
        self.actions = ActionList(self.settings.account)
        self.suppression = NOBODY
        self.filled_tables: set[str] = set()

    def _check_dataset(self) -> None:
        """Learns what holds for the dataset, before anything is requested.

        Raises:
            SettingError: It was loaded under another policy, or the key of its erasures is missing.
        """
        if self._load_id is None:
            return  # Somebody looks at the source's rows without loading them.
        try:
            # One lock for both: a DuckDB file is opened each time that it is taken.
            with self._to_read(dlt.current.pipeline()):
                check_lake()
                self._check_policy()
                self._read_erasures()
        except BaseException:
            self._load_id = None  # The next resource is refused as well.
            raise

    def _check_policy(self) -> None:
        """Makes sure that the dataset has one policy for personal data, and notes which.

        Raises:
            SettingError: It was loaded under another.
        """
        state, schema = dlt.current.source_state(), dlt.current.source_schema()
        policy = self.settings.privacy.recorded
        if INTENT not in state and not is_emptied(schema):
            remembered = policies_in_state(state)
            if remembered - {policy}:
                # A state of before the dataset was masked is none of another policy.
                remembered = present_policies(remembered, self._maskings())
            check_policy(self._policies() | remembered, policy, schema.name)
        if policy:
            state[POLICY] = policy
        else:
            state.pop(POLICY, None)

    def _warn_of_other_progress(self) -> None:
        """Warns where a source has no progress, but one of another name has: it may be the same."""
        state, name = dlt.current.source_state(), dlt.current.source_schema().name
        if self.settings.is_backfill or INTENT in state or has_progress(state):
            return
        sources = dlt.current.pipeline().state.get("sources", {})
        others = sorted(one for one, its in sources.items() if one != name and has_progress(its))
        if others:
            begin = self.settings.beginning(int(time.time() * SECOND))
            logger.warning(
                "Source %s has no progress yet and begins at %s. Progress is kept under a source's"
                " name, and this pipeline has some of %s: if that is the same account, give the"
                " source that name again: it then goes on.",
                name,
                iso(begin),
                ", ".join(others),
            )

    def _restore_start(self) -> None:
        """Loads from where the history began once more where its dataset is gone."""
        state, name = dlt.current.source_state(), dlt.current.source_schema().name
        is_new = earliest_start(state) is None and INTENT not in state
        if self._load_id is None or self.settings.is_backfill or not is_new:
            return
        pipeline = dlt.current.pipeline()
        known = known_start(pipeline, name)
        if known is None or is_emptied(dlt.current.source_schema()):
            return
        gone = f"Dataset {pipeline.dataset_name!r} is gone or empty, into which this pipeline has"
        start = self.settings.start
        if start is None:
            state[BEGINS_AT] = known
        if start is not None and known < start:
            how = f"it begins at start={iso(start)} now, and what was before is not loaded again."
        else:
            how = "all of it is loaded again. To begin later, give start."
        logger.warning("%s loaded from %s on: %s", gone, iso(known), how)

    def _policies(self) -> frozenset[str]:
        pipeline = dlt.current.pipeline()
        # Without a policy an extraction needs no destination.
        must_be_known = bool(self.settings.privacy.masked) or POLICY in dlt.current.source_state()
        return policies(pipeline, dlt.current.source_schema(), must_be_known)

    def _maskings(self) -> tuple[Masking, ...]:
        pipeline, schema = dlt.current.pipeline(), dlt.current.source_schema()
        return read_maskings(pipeline, schema) if speaks_sql(pipeline, schema) else ()

    def _read_erasures(self) -> None:
        """Learns of whom nothing may be stored.

        Raises:
            SettingError: Somebody is listed, and the key that tells whom is not there.
        """
        state, schema = dlt.current.source_state(), dlt.current.source_schema()
        pipeline, key = dlt.current.pipeline(), self.settings.privacy.key
        # Erasing needs a key: where none is and none was, an extraction needs no destination.
        must_be_known = key is not None or ERASURES in state
        erasures, maskings = read_changes(pipeline, schema, must_be_known)
        latest = max((to_ms(one.erased_at) for one in erasures), default=0)
        # Earlier versions noted no more than that there are some.
        if latest < int(state.get(ERASURES, 0)) and must_be_known:
            logger.warning(
                "Contacts were erased from dataset %r, and its table _np6_erasures does not list"
                " them any more: was it put back from a backup, or made anew? Then they are in it"
                " again: erase them again. After erase --lift nothing is to be done.",
                pipeline.dataset_name,
            )
        if latest:
            state[ERASURES] = latest
        elif must_be_known:
            state.pop(ERASURES, None)
        self.suppression = suppression_of(erasures, key, schema.name)
        known = {one.erasure_id for one in erasures} | {one.change_id for one in maskings}
        note_changes(known)

    def _to_read(self, pipeline: dlt.Pipeline) -> AbstractContextManager[None]:
        """The lock that reading takes, waited for until the run is asked to stop."""
        return to_read(pipeline, partial(in_database_or_file, wait=patience(self.should_stop)))

    def label_of(self, scope_id: str, endpoint: Endpoint | Dimension) -> str:
        """The id as it is stored, logged and shown; see ``policy.label_of``."""
        return label_of(scope_id, endpoint, self.settings.privacy.key)

    def without_erased(
        self, scope_ids: tuple[str, ...], row: Endpoint | Dimension
    ) -> tuple[str, ...]:
        """The ids to request: those of contacts who were erased are left out, with a warning.

        Args:
            scope_ids: The ids that were given.
            row: The operation that takes them.
        """
        if self.suppression.is_empty or not row.ids_are_of_contacts:
            return scope_ids
        by_address = row.ids_are_personal
        is_erased = self.suppression.is_address if by_address else self.suppression.is_contact
        kept = tuple(one for one in scope_ids if not is_erased(one))
        for one in scope_ids:
            if one not in kept:
                self.say_once(
                    f"Contact {self.label_of(one, row)} was erased from this dataset and is not"
                    " requested: take the id out of those that you load by."
                )
        return kept

    def open_tools(self, stack: ExitStack, folder: Path) -> Tools:
        """Tools for one use, whoever else has tools.

        Args:
            stack: Closes them.
            folder: Where their temporary files are, unless the settings name another.
        """
        # What Arrow keeps for later is not wanted any more; the load step has its own needs.
        stack.callback(pa.default_memory_pool().release_unused)
        parent = self.settings.spool_dir or folder
        spool = stack.enter_context(spool_folder(parent / "np6_spool"))
        client = Client(self.client_settings, self.clock, self.should_stop)
        stack.callback(client.close)
        privacy, suppression = self.settings.privacy, self.suppression
        reader = EventReader(spool, tombstones=True, privacy=privacy, suppression=suppression)
        stack.callback(reader.close)
        parsers = stack.enter_context(
            ThreadPoolExecutor(PARSES_AT_ONCE, thread_name_prefix="np6-parse")
        )
        executor = stack.enter_context(
            ThreadPoolExecutor(self.settings.concurrency, thread_name_prefix="np6-fetch")
        )
        return Tools(client, reader, executor, parsers, spool, privacy, suppression)

    def ledger(self) -> TCoverage | None:
        """What the destination proves to be loaded, read once in a run; see ``ledger.proven``."""
        with self._lock:
            if not self._ledger_is_read:
                pipeline = dlt.current.pipeline()
                schema, state = dlt.current.source_schema(), dlt.current.source_state()
                keys = state.get(ACCOUNT, {}).get("keys", ())
                package, cutoff = self._load_id or NEVER_READ_AGAIN, self.settings.cutoff
                with self._to_read(pipeline):
                    self._ledger = proven(pipeline, schema, state, package, keys, cutoff)
                self._ledger_is_read = True
            return self._ledger

    def clocks_differ(self) -> str | None:
        """What keeps a run from knowing up to where it is complete; None: nothing does."""
        if not self.clock.is_known:
            return (
                "the responses have no usable Date header: windows count as complete by this"
                " machine's clock alone"
            )
        if abs(self.clock.offset_ms) <= self.settings.clock_tolerance:
            return None
        seconds = abs(self.clock.offset_ms) // SECOND
        order = "behind" if self.clock.offset_ms < 0 else "ahead of"
        return (
            f"the server's clock is {seconds} s {order} this machine's: windows count as complete"
            " up to the earlier of the two"
        )

    def settled(self, requested_at: int) -> int:
        """Up to where windows are settled, whole seconds.

        The earlier of both clocks counts: a ``Date`` header that is ahead, or a fast local clock,
        would call windows complete that are not over.

        Args:
            requested_at: When a request was sent, see ``client.ResponseFacts``.
        """
        local = int(time.time() * SECOND)
        return (min(requested_at, local) - self.settings.settle) // SECOND * SECOND

    def say_once(self, text: str) -> None:
        """Warns, once for all resources of a run."""
        if self.is_first_to_say(text):
            logger.warning(text)

    def should_stop(self) -> bool:
        """Whether the host's ``stop_when``, or a signal that dlt received, asks the run to end."""
        return bool(self.settings.stop_when()) or is_stop_requested()

    def is_first_to_say(self, text: str) -> bool:
        """Whether no resource of the run has said it."""
        with self._lock:
            is_new = text not in self._said
            self._said.add(text)
        return is_new

    def is_full(self) -> bool:
        """Whether the run has loaded as many events as it may."""
        largest = self.settings.largest_load
        return largest is not None and self.loaded_events >= largest
