"""Loads a span of a scope, with every class of robots, in the threads that fetch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..api.client import WindowRequest
from ..endpoints import Endpoint
from ..errors import WindowTooLarge
from ..ledger import scope_key
from ..windows import Window
from .lateness import LatenessProbe
from .progress import Scope
from .request import window_request
from .session import ExtractSession, Tools
from .short_responses import is_cut, refuse_fewer_events
from .spool import Importing
from .times import RunTimes
from .window import LoadableSpan, LoadableWindow, ReadingOptions, load_window

TProbes = Mapping[str, LatenessProbe]
"""What counts late events, by ``ledger.scope_key``."""


@dataclass(frozen=True)
class SpanLoader:
    """Loads spans of one resource. Safe for threads.

    Attributes:
        endpoint: The operation.
        session: What the resources of the source share.
        tools: The session's tools, open.
        times: The moments of the run.
        importing: Which tables may be handed on as files; None: none.
    """

    endpoint: Endpoint
    session: ExtractSession
    tools: Tools
    times: RunTimes
    importing: Importing | None = None

    def load(self, scope: Scope, requested: Window, probes: TProbes) -> LoadableSpan:
        """All responses of a span, or none.

        Args:
            scope: Whose events, and which classes of robots.
            requested: The span; the first response says how much of it has settled.
            probes: Count in the responses.

        Raises:
            RequestFailed: A response is not whole, or could not be had; none was kept.
        """
        parts: dict[str, LoadableWindow] = {}
        span = LoadableSpan(parts)
        try:
            for name in scope.classes:
                key = scope_key(scope.label, name)
                window = span.window if parts else requested
                part = self._load(scope, window, probes[key], name, must_be_whole=bool(parts))
                parts[name] = part
                if not self.session.settings.accept_fewer_events:
                    refuse_fewer_events(part, probes[key])
                self._refuse_cut(scope, part, name)
        except BaseException:
            span.discard()
            raise
        return span

    def look(self, scope: Scope, window: Window, classification: str) -> LoadableWindow:
        """Reads a window whose events are not to be loaded.

        Args:
            scope: Whose events.
            window: The window; nothing of it may be unsettled.
            classification: The class of robots to request; empty: none.

        Raises:
            RequestFailed: It could not be read.
        """
        probe = LatenessProbe.counting_nothing()
        found = self._load(scope, window, probe, classification, must_be_whole=True)
        found.discard()
        return found

    def _load(
        self,
        scope: Scope,
        requested: Window,
        probe: LatenessProbe,
        classification: str,
        must_be_whole: bool,
    ) -> LoadableWindow:
        return load_window(
            self.session,
            self.tools,
            self._request(scope, requested, classification),
            probe,
            ReadingOptions(
                must_be_whole=self.times.is_backfill or must_be_whole,
                keep_bad_events=self.session.settings.bad_events == "keep",
                robot_class=classification or None,
                keep_ids=len(scope.classes) > 1,
                importing=self.importing,
            ),
        )

    def _request(self, scope: Scope, window: Window, classification: str) -> WindowRequest:
        key, settings = scope_key(scope.label, classification), self.session.settings
        return window_request(self.endpoint, window, scope.id, key, settings, classification)

    def _refuse_cut(self, scope: Scope, loadable: LoadableWindow, classification: str) -> None:
        """Compares a window with parts of it where the server may have cut the response.

        Raises:
            WindowTooLarge: The parts hold more; the halves of the window are requested instead.
        """

        def count_events(part: Window) -> int:
            return self.look(scope, part, classification).contents.event_count

        key = scope_key(scope.label, classification)
        if not is_cut(loadable, key, self.session.limits, count_events):
            return
        count = loadable.contents.row_count
        self.session.say_once(
            f"{self.endpoint.name}: the API returns {count} events at most and does not say so;"
            " windows are halved until they hold fewer."
        )
        raise WindowTooLarge(
            loadable.context,
            f"the response has {count} events, at which the API cuts responses",
            "Nothing of the window was loaded.",
        )
