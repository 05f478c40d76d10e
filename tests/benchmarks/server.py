"""A server that is never the bottleneck: it answers prepared bytes with ``sendfile``.

Run by ``serving`` as a process of its own. It knows one operation, ``GET /actions/events``: the
window that begins where the hits begin is answered with the file, every other with ``[]``. The key
may also stand in the query, for clients that cannot send a header.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import psutil

KEY = "benchmark-key"
"""What requests must send in ``X-Key``."""


@dataclass(frozen=True)
class Served:
    """A running server.

    Attributes:
        url: Root of the API, with a slash at its end.
        process: The server.
    """

    url: str
    process: psutil.Process

    def cpu_seconds(self) -> float:
        """CPU time the server has used so far."""
        times = self.process.cpu_times()
        return times.user + times.system


@contextmanager
def serving(file: Path, start: datetime) -> Iterator[Served]:
    """Serves a file as the answer for windows that begin at ``start``.

    Args:
        file: A JSON array of events.
        start: The first moment of the window.
    """
    command = [sys.executable, __file__, str(file), start.isoformat()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield Served(server.stdout.readline().strip(), psutil.Process(server.pid))
        finally:
            server.terminate()


def _moment(text: str) -> datetime:
    """A moment as clients send it: ISO 8601, or milliseconds since the epoch."""
    if text.isdigit():
        return datetime.fromtimestamp(int(text) / 1000, timezone.utc)
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def main() -> None:
    """Serves until it is terminated; the first line of output is the URL."""
    import asyncio

    from aiohttp import web

    file, start = Path(sys.argv[1]), _moment(sys.argv[2])

    async def events(request: web.Request) -> web.StreamResponse:
        if KEY not in (request.headers.get("X-Key"), request.query.get("key")):
            return web.Response(status=401)
        if _moment(request.query["start"]) == start:
            return web.FileResponse(file, headers={"Content-Type": "application/json"})
        return web.json_response([])

    async def serve() -> None:
        application = web.Application()
        application.router.add_get("/actions/events", events)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print(f"http://127.0.0.1:{runner.addresses[0][1]}/", flush=True)  # noqa: T201
        await asyncio.Event().wait()

    asyncio.run(serve())


if __name__ == "__main__":
    main()
