"""``np6-source``, also ``python -m np6_source``: the commands.

What takes long to import is imported within ``_ending_cleanly``: a Ctrl-C in the first second is
one line as well.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

COMMANDS = {
    "load": "load what is new, incrementally",
    "check": "find out whether a load would succeed, without loading anything",
    "plan": "say how much a period holds, and what loading it takes; loads nothing",
    "probe": "find out for this account what NP6's reference leaves open; loads nothing",
    "gaps": "list the spans of time between two dates that no load covers",
    "recheck": "read days again for events that became visible late, and load what is missing",
    "reconcile": "compare what NP6 returns with what the tables have, by day, action and type",
    "status": "say how far every resource has got, what came, and what is wrong; makes no request",
    "views": "make the views for analysts, or drop, print or export them",
    "robots": "ask NP6 which of the loaded hits are robots', and mark them",
    "ids": "tell which of your ids belongs to a digest",
    "digest": "print the digests that the tables have instead of addresses and ids",
    "mask": "bring a dataset that is there under the policy for personal data",
    "erase": "take a contact's values out of the tables, for good",
    "person": "show all that the tables have about a contact, as JSON",
    "retain": "remove the events that are older than they are kept",
    "duplicates": "remove earlier versions of events that are in the tables twice",
}
"""What each command does. Its module in ``cli`` has ``add_options`` and ``run``."""
INTERNAL = ("documentation",)
"""Commands that only this repository has a use for; the help does not list them."""
INTERRUPTED = 130
"""The exit status of a process that Ctrl-C ended, as in ``cli.outcome``."""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line's options, with the command's ``run``."""
    from .cli.document import installed_version
    from .cli.options import Parser

    given = sys.argv[1:] if arguments is None else arguments
    parser = Parser(COMMANDS, prog="np6-source", description="NP6 events into tables.")
    parser.add_argument("--version", action="version", version=installed_version())
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        _add_options(name, commands.add_parser(name, help=summary), given)
    for name in INTERNAL:
        _add_options(name, commands.add_parser(name), given)
    options: argparse.Namespace = parser.parse_args(given)
    return options


def _add_options(name: str, command: argparse.ArgumentParser, given: list[str]) -> None:
    """Adds the options of one command; the modules of the others are not imported."""
    if name in given:
        module: Any = import_module(f".cli.{name}", __package__)
        module.add_options(command)
        command.set_defaults(run=module.run, parser=command)


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; returns the exit status."""
    return _ending_cleanly(lambda: _main(arguments))


def load(arguments: list[str] | None = None) -> int:
    """Runs ``load`` for a script of its own, whose options are those of ``load``.

    Returns:
        The exit status.
    """
    return _ending_cleanly(lambda: _load(arguments))


def _main(arguments: list[str] | None) -> int:
    from .cli.outcome import run

    options = parse(arguments)
    return run(options.run, options)


def _load(arguments: list[str] | None) -> int:
    from .cli.load import main as run_load

    return run_load(arguments)


def _ending_cleanly(run: Callable[[], int]) -> int:
    """Runs a command, and ends in one line where Ctrl-C comes before it has begun."""
    try:
        return run()
    except KeyboardInterrupt:
        print("Ended by Ctrl-C before anything began; nothing was changed.", file=sys.stderr)
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
