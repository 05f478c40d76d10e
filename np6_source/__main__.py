"""``np6-source``, also ``python -m np6_source``: the commands."""

from __future__ import annotations

import argparse
import sys

from .cli import (
    check,
    digest,
    documentation,
    erase,
    gaps,
    ids,
    load,
    person,
    plan,
    probe,
    recheck,
    reconcile,
    retain,
    robots,
    status,
    views,
)
from .cli.document import installed_version
from .cli.options import Parser
from .cli.outcome import run

COMMANDS = {
    "load": load,
    "check": check,
    "plan": plan,
    "probe": probe,
    "gaps": gaps,
    "recheck": recheck,
    "reconcile": reconcile,
    "status": status,
    "views": views,
    "robots": robots,
    "ids": ids,
    "digest": digest,
    "erase": erase,
    "person": person,
    "retain": retain,
}
"""The modules of the commands, each with ``SUMMARY``, ``add_options`` and ``run``."""
INTERNAL = {"documentation": documentation}
"""Those that only this repository has a use for; the help does not list them."""


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line's options, with the command's ``run``."""
    parser = Parser(COMMANDS, prog="np6-source", description="NP6 events into tables.")
    parser.add_argument("--version", action="version", version=installed_version())
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        command = commands.add_parser(name, help=module.SUMMARY)
        module.add_options(command)
        command.set_defaults(run=module.run, parser=command)
    for name, internal in INTERNAL.items():
        command = commands.add_parser(name)
        internal.add_options(command)
        command.set_defaults(run=internal.run, parser=command)
    options: argparse.Namespace = parser.parse_args(arguments)
    return options


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; returns the exit status."""
    options = parse(arguments)
    return run(options.run, options)


if __name__ == "__main__":
    sys.exit(main())
