"""``np6-source person``: all that the tables have about a contact, as JSON."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import dlt

from ..dataset_lock import duckdb_file
from ..errors import SettingError
from ..extract.configured_names import CONTROLLER
from ..persons.access import all_about
from ..persons.copies import known_copies
from ..persons.dataset import opened
from ..persons.erasing import OUT_OF_REACH
from ..persons.finding import find
from .configuration import check_names, configured_privacy
from .contact_ids import add_ask_np6_options, with_ids
from .destination import looking
from .document import document_of, print_document
from .for_analysts import SECTION, for_analysts
from .forgetting import check_has_persons
from .options import add_output_options, add_pipeline_options, configure_logging, ids_of
from .outcome import DONE, Output
from .working_folder import pending_packages, pipelines_dir


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.description = (
        "Collect all that the tables have about a contact, for a request for access: every column"
        " of every row, and no value of another contact. Writes nothing but --out."
    )
    parser.epilog = (
        "Exit status 0: done, also where nobody is found. 2: an address of several contacts, or an"
        " option that cannot be used. 4: nothing was loaded yet."
    )
    what = parser.add_argument_group("who")
    what.add_argument(
        "--contact",
        nargs="+",
        required=True,
        metavar="VALUE",
        help="the contact's id, address or hash; @FILE takes them from a file and - from standard"
        " input, one a line",
    )
    what.add_argument(
        "--all-of-address",
        action="store_true",
        help="all contacts of an address that is, or was, of several",
    )
    add_ask_np6_options(what)
    what.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="write the JSON object to FILE, which its owner alone can read",
    )
    add_pipeline_options(parser)
    add_output_options(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    configure_logging(options)
    check_names()
    values = ids_of(options.contact, "--contact")
    values = with_ids(values, options)
    with looking(options) as pipeline:
        check_has_persons(pipeline)
        with opened(pipeline, configured_privacy()) as data:
            found = all_about(data, find(data, values, options.all_of_address))
        result = found | {
            "retention": dlt.config.get(f"{SECTION}.retention", str),
            "copies": _copies(pipeline, options),
            "controller": dlt.config.get(f"{SECTION}.{CONTROLLER}", dict) or None,
        }
        document = document_of("person", DONE, pipeline, result)
        if options.out:
            _write(options.out, document)
        if options.json:
            print_document("person", DONE, pipeline, result)
            return DONE
    console = Output(quiet=options.quiet)
    console.print(
        f"{len(result['events'])} events, {len(result['identifiers'])} identifiers, rows of"
        f" {', '.join(result['tables']) or 'no other table'}."
        + (f" All of it is in {options.out}." if options.out else " --json prints all of it.")
    )
    return DONE


def _copies(pipeline: dlt.Pipeline, options: argparse.Namespace) -> dict[str, Any]:
    """Where else the values may be, as far as can be told from here."""
    kind = pipeline.destination.to_name(pipeline.destination.destination_type)
    file = duckdb_file(pipeline)
    return {
        "database": str(file) if file else pipeline.destination.destination_name,
        "pending_packages": pending_packages(options),
        "files": _files(pipeline, options),
        "not_known_here": list(OUT_OF_REACH.get(kind, ())),
    }


def _files(pipeline: dlt.Pipeline, options: argparse.Namespace) -> list[str]:
    """Files that are known of: the copy for readers, backups, what other pipelines keep."""
    folder = pipelines_dir(options)
    published = for_analysts(argparse.Namespace()).publish
    found = [f"the copy for readers {published}"] if published and published.exists() else []
    return [*found, *known_copies(pipeline, published, folder)]


def _write(file: Path, document: dict[str, Any]) -> None:
    """Writes a file that its owner alone can read.

    Raises:
        SettingError: It is there already, or cannot be written.
    """
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as target:
            json.dump(document, target, indent=2, ensure_ascii=False)
            target.write("\n")
    except FileExistsError:
        raise SettingError(f"--out {file}: the file is there already; name another") from None
    except OSError as error:
        raise SettingError(f"--out {file} cannot be written: {error.strerror}") from None
