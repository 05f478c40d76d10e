"""``python -m np6_source.sandbox``: a local NP6 API on the command line."""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path

from ..sandbox import (
    Account,
    Fault,
    RateLimit,
    Sandbox,
    SandboxUnavailable,
    Variants,
    generated_account,
    sample_account,
)

EXAMPLE_IDS = (
    ("action", "action_id"),
    ("campaign", "campaign_id"),
    ("target", "contact_id"),
    ("unicity", "contact_unicity"),
    ("hash", "contact_hash"),
    ("notification", "notification_id"),
    ("display content", "display_content_id"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the sandbox until it is interrupted.

    Args:
        arguments: Command line without the program's name. None: the process's own.

    Returns:
        Exit status: 0 after an interruption, 1 where it could not start.
    """
    options = _parser().parse_args(arguments)
    stopping = threading.Event()
    # The handler only sets a flag: the sandbox ends in the main thread, outside of any handler.
    before = {
        number: signal.signal(number, lambda *_: stopping.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        return _run(options, stopping)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(options: argparse.Namespace, stopping: threading.Event) -> int:
    try:
        account = _account(options)
        sandbox = Sandbox(
            account,
            key=options.key,
            port=options.port,
            faults=options.fault,
            latency=options.latency,
            rate_limit=options.rate_limit,
            gzip=not options.no_gzip,
            variants=Variants.parse(options.variant),
            variants_from=options.variants_from,
        ).start()
    except (SandboxUnavailable, OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    try:
        sys.stdout.write(f"{_introduction(sandbox, account)}\n")
        sys.stdout.flush()
        if options.ready_file:
            # Whoever waits for the file finds it whole.
            draft = options.ready_file.with_name(options.ready_file.name + ".draft")
            draft.write_text(f"{sandbox.url}\n", encoding="utf-8")
            draft.replace(options.ready_file)
        # A wait without a time-out would keep signals from being handled on some systems.
        while not stopping.wait(0.2):
            pass
    finally:
        sandbox.stop()
        account.close()
        if options.ready_file:
            options.ready_file.unlink(missing_ok=True)
    return 0


def _account(options: argparse.Namespace) -> Account:
    if options.samples:
        return sample_account()
    end = datetime.now(timezone.utc).replace(hour=0, minute=0, second=0, microsecond=0)
    start = end - timedelta(days=options.days)
    return generated_account(
        options.events,
        seed=options.seed,
        start=start,
        end=end,
        growth=options.growth,
        holidays=options.holidays,
        unequal_mailings=options.unequal_mailings,
    )


def _introduction(sandbox: Sandbox, account: Account) -> str:
    examples = [
        f"  {name:<16} {found[0]}"
        for name, column in EXAMPLE_IDS
        if (found := account.example_ids(column, 1))
    ]
    actions = account.example_ids("action_id", 1)
    return "\n".join(
        [
            f"NP6 sandbox at {sandbox.url}",
            f"X-Key: {sandbox.key}",
            f"{sum(account.type_counts().values())} events; some ids:",
            *examples,
            "Load it:",
            "  from np6_source import np6_source",
            f"  pipeline.run(np6_source({sandbox.key!r}, base_url={sandbox.url!r},"
            f" action_ids={actions!r}))",
            f"What was served: {sandbox.url}sandbox/statistics. Stop with Ctrl-C.",
        ]
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m np6_source.sandbox",
        description="A local NP6 API with made-up events, for demos and tests.",
    )
    parser.add_argument("--port", type=int, default=0, help="port to listen on (0: a free one)")
    parser.add_argument("--key", default="sandbox-key", help="the API key to ask for")
    content = parser.add_mutually_exclusive_group()
    content.add_argument(
        "--events", type=int, default=20_000, help="roughly how many events to make up"
    )
    content.add_argument(
        "--samples", action="store_true", help="serve the nine documented samples instead"
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed, another account")
    parser.add_argument(
        "--days", type=int, default=56, help="days up to last midnight (UTC) that events cover"
    )
    parser.add_argument(
        "--growth",
        type=float,
        default=1.0,
        metavar="FACTOR",
        help="what is sent in the end, of what is sent in the beginning (%(default)s)",
    )
    parser.add_argument(
        "--holidays", type=int, default=0, metavar="N", help="days with half as many sends"
    )
    parser.add_argument(
        "--unequal-mailings", action="store_true", help="mass mailings of very unequal sizes"
    )
    parser.add_argument(
        "--latency", type=float, default=0.0, help="milliseconds before every response"
    )
    parser.add_argument(
        "--rate-limit", type=RateLimit.parse, metavar="10/second", help="429 beyond this rate"
    )
    parser.add_argument("--no-gzip", action="store_true", help="never compress responses")
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        type=Fault.parse,
        metavar="RULE",
        help="misbehave, e.g. 'status=503,times=2,path=/actions/events' (repeatable)",
    )
    parser.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="settle a question that the reference leaves open in another way than the connector"
        " assumes, e.g. mixed_robots=left_out (repeatable)",
    )
    parser.add_argument(
        "--variants-from",
        metavar="MOMENT",
        help="behave so from this moment on (ISO, UTC), before as assumed: a trouble that begins",
    )
    parser.add_argument(
        "--ready-file", type=Path, help="file that holds the URL as soon as the port listens"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
