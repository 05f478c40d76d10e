"""``np6-source views``: makes, drops, prints or exports the views for analysts."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..dataset_lock import in_database_or_file
from ..errors import SettingError
from ..upgrading import fill_all_columns
from ..views import drop, make, statements
from ..views.dbt import write_project
from ..views.translation import FUNCTIONS, plain_names
from .destination import open_pipeline
from .for_analysts import add_analysts_options, for_analysts
from .options import add_output_options, add_pipeline_options, configure_logging
from .outcome import DONE, Output

SUMMARY = "make the views for analysts, or drop, print or export them"


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.description = (
        "Make the views for analysts in the destination, or make them anew where they have changed."
        " Every load does that by itself, but with --views off."
    )
    what = parser.add_argument_group("what").add_mutually_exclusive_group()
    what.add_argument("--drop", action="store_true", help="drop the views; the tables stay")
    what.add_argument(
        "--print",
        action="store_true",
        help="print the statements for --dialect and --dataset; touches no destination",
    )
    what.add_argument(
        "--dbt",
        type=Path,
        metavar="FOLDER",
        help="write the views as dbt models, with sources, tests and descriptions",
    )
    parser.add_argument(
        "--dialect",
        choices=sorted(FUNCTIONS),
        metavar="NAME",
        help=f"the SQL to print or export: {', '.join(sorted(FUNCTIONS))}; default: duckdb",
    )
    add_analysts_options(parser, has_views=False)
    add_pipeline_options(parser)
    add_output_options(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    configure_logging(options)
    if options.dialect and not (options.print or options.dbt):
        raise SettingError("--dialect goes with --print or --dbt; a destination has its own")
    console = Output(quiet=options.quiet)
    dialect = options.dialect or "duckdb"
    if options.print:
        for _, statement in statements(plain_names(dialect, options.dataset)):
            sys.stdout.write(f"{statement};\n")
        return DONE
    if options.dbt:
        files = write_project(options.dbt, dialect, options.dataset)
        console.print(f"{len(files)} files are in {options.dbt}.")
        return DONE
    analysts = for_analysts(options)
    pipeline = open_pipeline(options)
    analysts.check(pipeline)
    pipeline.sync_destination()
    with in_database_or_file(pipeline):
        if options.drop:
            dropped = drop(pipeline)
            console.print(f"{len(dropped)} views dropped; the tables are as they were.")
        else:
            fill_all_columns(pipeline)
            made = make(pipeline, analysts.materialize)
            console.print(
                f"{len(made.views)} views {'made' if made.changed else 'are up to date'}."
                if made.views
                else "The destination has no views: it holds files. --print gives the SQL."
            )
        if analysts.make_copy(pipeline):
            console.print(f"Published as {analysts.publish}.")
    return DONE
