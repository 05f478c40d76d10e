"""``np6-source erase``: takes a contact's values out of the tables, and keeps them out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial

import dlt

from ..dataset_lock import in_database_or_file
from ..errors import SettingError
from ..events.privacy import Privacy
from ..loading import abandon, only_one
from ..persons.copies import known_copies
from ..persons.dataset import opened
from ..persons.erasing import (
    Erasing,
    erase,
    finish_erasures,
    finish_on_files,
    found_in_tables,
    lift_erasure,
    make_messages_anew,
    out_of_reach,
    planned,
    vacuum,
)
from ..persons.finding import find
from ..persons.in_files import files_about
from .configuration import check_names, configured_privacy
from .contact_ids import add_ask_np6_options, with_ids
from .destination import open_pipeline
from .document import print_document
from .for_analysts import for_analysts
from .forgetting import (
    NOTHING_LEFT,
    Remainder,
    add_forgetting_options,
    check_has_persons,
    forget_files,
    published_again,
)
from .options import add_output_options, add_pipeline_options, configure_logging, ids_of
from .outcome import DONE, FOUND, Output

EPILOG = (
    f"Exit status {DONE}: nothing of the contact is in the tables. 1: it could not be done. 2: an"
    f" address of several contacts, or an option that cannot be used. {FOUND}: there is something"
    " to erase (without --yes), or it was erased and something is out of reach, which is said. 4:"
    " nothing was loaded yet."
)


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.description = (
        "Take a contact's values out of all tables: rows stay, so that counts stay. Nothing that is"
        " loaded later, by whatever pipeline or backfill, brings them back. Without --yes it says"
        " what would change, and changes nothing. Erase the contact in NP6 first: ids of messages"
        " and events stay, and lead to the contact through NP6 alone."
    )
    parser.epilog = EPILOG
    what = parser.add_argument_group("who").add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--contact",
        nargs="+",
        metavar="VALUE",
        help="the contact's id, address or hash; @FILE takes them from a file and - from standard"
        " input, one a line",
    )
    what.add_argument(
        "--lift", metavar="ID", help="end an erasure: what is loaded from now on is stored again"
    )
    how = parser.add_argument_group("how")
    how.add_argument(
        "--all-of-address",
        action="store_true",
        help="all contacts of an address that is, or was, of several",
    )
    add_ask_np6_options(how)
    how.add_argument("--yes", action="store_true", help="do it")
    add_forgetting_options(how)
    add_pipeline_options(parser)
    add_output_options(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    configure_logging(options)
    check_names()
    pipeline = open_pipeline(options)
    check_has_persons(pipeline, partial(_holding, options))
    analysts = for_analysts(options)
    analysts.check(pipeline)
    if options.lift is not None:
        return _lift(pipeline, options)
    values = ids_of(options.contact, "--contact")
    values = with_ids(values, options)
    if not options.yes:
        with in_database_or_file(pipeline):
            erasing, _ = _plan(pipeline, values, options.all_of_address)
        return _say(pipeline, options, erasing)
    with only_one(pipeline):
        finish_erasures(pipeline)  # Of one that was killed.
        with in_database_or_file(pipeline):
            abandon(pipeline, "A contact is erased, whose values may be in a pending package")
            erasing, privacy = _plan(pipeline, values, options.all_of_address)
            with opened(pipeline, privacy) as data:
                erasure_id = erase(pipeline, data, erasing)
        is_rewritten = finish_erasures(pipeline) or finish_on_files(
            pipeline, privacy.key, erasing.person.given
        )
        if not is_rewritten:
            with in_database_or_file(pipeline):
                make_messages_anew(pipeline)
                with opened(pipeline, privacy) as data:
                    vacuum(data, options.rewrite)
        forget_files(pipeline)
        with in_database_or_file(pipeline), opened(pipeline, privacy) as data:
            still = found_in_tables(data, erasing.person)
        published = published_again(pipeline, analysts.publish)
    copies = known_copies(pipeline, published)
    is_rewritten = is_rewritten or options.rewrite
    remainder = Remainder(still, copies, out_of_reach(pipeline, is_rewritten))
    return _say(pipeline, options, erasing, erasure_id, is_rewritten, remainder)


def _holding(options: argparse.Namespace, pipeline: dlt.Pipeline) -> list[str]:
    """The files that hold the contact, where files are only read."""
    privacy = configured_privacy()
    if options.lift is not None or privacy.key is None:
        return []
    values = ids_of(options.contact, "--contact")
    return files_about(pipeline, privacy, values, options.all_of_address)


def _plan(
    pipeline: dlt.Pipeline, values: Sequence[str], all_of_address: bool
) -> tuple[Erasing, Privacy]:
    privacy = configured_privacy()
    with opened(pipeline, privacy) as data:
        return planned(data, find(data, values, all_of_address)), privacy


def _lift(pipeline: dlt.Pipeline, options: argparse.Namespace) -> int:
    with in_database_or_file(pipeline), opened(pipeline, configured_privacy()) as data:
        entries = lift_erasure(data, options.lift)
    if not entries:
        raise SettingError(f"--lift {options.lift}: there is no such erasure")
    if options.json:
        print_document("erase", DONE, pipeline, {"lifted": options.lift, "entries": entries})
    else:
        Output(quiet=options.quiet).print(
            "Lifted: what is loaded from now on is stored again. What is erased stays erased;"
            " load the range again with --start and --end to have it back."
        )
    return DONE


def _say(
    pipeline: dlt.Pipeline,
    options: argparse.Namespace,
    erasing: Erasing,
    erasure_id: str | None = None,
    is_rewritten: bool = False,
    remainder: Remainder = NOTHING_LEFT,
) -> int:
    """Says what was or would be changed; returns the exit status."""
    if erasure_id is None:
        status = DONE if erasing.is_nothing else FOUND
    else:
        status = remainder.exit_status(pipeline)
    if options.json:
        result = {
            "erasure_id": erasure_id,
            "contacts": sorted(erasing.person.ids),
            "rows": dict(erasing.counts),
            "rewritten": is_rewritten,
            **remainder.as_json(),
        }
        print_document("erase", status, pipeline, result, remainder.problems())
        return status
    console = Output(quiet=options.quiet)
    for span in erasing.spans:
        console.print(f"contact {span}")
    verb = "would change" if erasure_id is None else "changed"
    for name, count in erasing.counts.items():
        console.print(f"{name}: {count:,} rows {verb}")
    if erasure_id is None:
        console.print(
            "Nothing of this contact is in the tables; --yes keeps it from coming."
            if erasing.is_nothing
            else "Nothing was changed. Erase the contact in NP6 first, then give --yes."
        )
        return status
    console.print(
        f"Erasure {erasure_id}: what is loaded from now on has nothing of this contact."
        f" End it with --lift {erasure_id}."
    )
    for line in remainder.lines("Still found:", "The contact may still be in"):
        console.print(line)
    return status
