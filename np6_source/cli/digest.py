"""``np6-source digest``: the digests by which your own addresses are found in the tables."""

from __future__ import annotations

import argparse
import sys

from ..errors import SettingError
from ..events.digests import DIALECTS, TForm, sql_of
from ..events.privacy import HMAC, POLICIES
from ..extract.policy import KEY_ADVICE
from .configuration import check_names, configured_key
from .document import print_document
from .options import add_output_options, configure_logging
from .outcome import DONE

FORMS: dict[str, TForm] = {"address": "address", "contact_hash": "address"}
"""How values are read by class; those of the other classes as they are."""
CLASSES = [name for name, policies in POLICIES.items() if HMAC in policies]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.description = (
        "Reads values on standard input, one a line, and prints their digests in the same order,"
        " made with the secret sources.np6.pii_key. With --sql it prints the same function for a"
        " database instead, and reads nothing. Nothing leaves this machine."
    )
    parser.epilog = "Exit status 0: done. 2: there is no key, or it is too short."
    parser.add_argument(
        "--class",
        dest="personal",
        choices=CLASSES,
        default="address",
        help="what the values are (%(default)s)",
    )
    parser.add_argument(
        "--sql",
        choices=DIALECTS,
        metavar="DIALECT",
        help=f"print the SQL expression: {', '.join(DIALECTS)}; the last two were not run. Its"
        " parameters ipad and opad are made of the key, see docs/privacy.md, and never printed",
    )
    parser.add_argument(
        "--column",
        metavar="SQL",
        default="v",
        help="with --sql, the column or expression with the value (%(default)s)",
    )
    add_output_options(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    configure_logging(options)
    check_names()
    form = FORMS.get(options.personal, "exact")
    if options.sql:
        expression = sql_of(options.sql, form, options.column)
        if options.json:
            result = {"class": options.personal, "dialect": options.sql, "sql": expression}
            print_document("digest", DONE, result=result)
        else:
            print(expression)
        return DONE
    key = configured_key()
    if key is None:
        raise SettingError(f"There is no key: {KEY_ADVICE}")
    digests = [key.of(value, form) for value in _values()]
    if options.json:
        result = {"class": options.personal, "key": key.id, "digests": digests}
        print_document("digest", DONE, result=result)
        return DONE
    for digest in digests:
        print(digest)
    return DONE


def _values() -> list[str]:
    """The lines of standard input; other characters that end lines are part of a value."""
    if sys.stdin is None:
        raise SettingError("Standard input is closed: digest reads the values from it")
    try:
        text = sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SettingError("Standard input is no UTF-8 text") from None
    lines = text.replace("\r\n", "\n").split("\n")
    return lines[:-1] if lines[-1] == "" else lines
