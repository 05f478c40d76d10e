"""``np6-source ids``: which of your ids belongs to a digest in a message or a table."""

from __future__ import annotations

import argparse

from rich.table import Table

from ..endpoints import ENDPOINTS, ID_ARGUMENTS
from ..errors import SettingError
from ..extract.policy import KEYED, label_of
from .configuration import check_names, label_key
from .document import print_document
from .options import add_id_options, add_output_options, configure_logging, given_ids
from .outcome import DONE, FAILED, Output

OPEN = "sha256:"
"""What digests begin with that are made without a key."""
ARGUMENTS_OF_CONTACTS = tuple(name for name in ID_ARGUMENTS if name.startswith("target_"))
"""The kinds of which messages and tables may show digests only."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.description = (
        "Addresses and hashes given as ids appear as digests (sha256:…) in messages and in"
        " load_windows; with a key (pii_key) all ids of contacts do (hmac:…). Give the ids that you"
        " load by, and the digests to look up. Nothing leaves this machine."
    )
    parser.epilog = "Exit status 0: every digest is of one of the ids. 1: one is of none."
    parser.add_argument(
        "--digest",
        nargs="+",
        metavar="DIGEST",
        help="what to look up, as it was shown; default: list every id with its digest",
    )
    add_id_options(
        parser,
        ARGUMENTS_OF_CONTACTS,
        "The ids to look among: those that your loads take.",
    )
    add_output_options(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    configure_logging(options)
    check_names()
    by_digest = _by_digest(given_ids(options))
    wanted = list(by_digest) if options.digest is None else [_digest(d) for d in options.digest]
    if label_key() is None and any(digest.startswith(KEYED) for digest in wanted):
        raise SettingError(
            f"A digest that begins with {KEYED} is made with a secret: configure pii_key here"
            " as for the load"
        )
    unknown = [digest for digest in wanted if digest not in by_digest]
    status = FAILED if unknown else DONE
    if options.json:
        found = {
            digest: {"id": by_digest[digest][0], "number": by_digest[digest][1]}
            for digest in wanted
            if digest in by_digest
        }
        print_document("ids", status, result={"ids": found})
        return status
    table = Table("digest", "id", "number in the list")
    for digest in wanted:
        if digest in by_digest:
            one, number = by_digest[digest]
            table.add_row(digest, one, f"{number:,}")
    console = Output(quiet=options.quiet)
    if table.row_count:
        console.print(table)
    for digest in unknown:
        console.print(f"{digest}: none of the given ids.")
    return status


def _by_digest(ids: dict[str, list[str]]) -> dict[str, tuple[str, int]]:
    """Each personal id, with its number in the list it was given in, by its digests.

    Where a policy is configured, rows and messages of the time before it have another digest.

    Raises:
        SettingError: No such ids were given.
    """
    key = label_key()
    by_kind = {endpoint.id_argument: endpoint for endpoint in ENDPOINTS}
    found = {
        label: (one, number)
        for kind in ARGUMENTS_OF_CONTACTS
        for number, one in enumerate(ids.get(kind, ()), start=1)
        for each in dict.fromkeys((key, None))
        if (label := label_of(one, by_kind[kind], each)) != one
    }
    if not found:
        kinds = [kind for kind in ARGUMENTS_OF_CONTACTS if key or kind != "target_ids"]
        options = " or ".join("--" + kind.replace("_", "-") for kind in kinds)
        raise SettingError(
            f"Give the ids to look among, those that your loads take: {options}, for instance"
            " @ids.txt (a file, one id a line). A digest cannot be turned back without them."
        )
    return found


def _digest(text: str) -> str:
    """A digest as it is shown, with or without what it begins with."""
    digest = text.strip().rstrip(",;]").lower()
    if digest.startswith((OPEN, KEYED)):
        return digest
    return (OPEN if label_key() is None else KEYED) + digest
