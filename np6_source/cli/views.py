"""``np6-source views``: makes, drops, prints or exports the views for analysts."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import dlt

from ..dlt_internals.destinations import has_sql
from ..errors import SettingError
from ..upkeep.upgrading import fill_all_columns
from ..views import drop, make, statements
from ..views.dbt import write_project
from ..views.translation import FUNCTIONS, plain_names
from .configuration import check_names
from .coverage import coverage_of
from .destination import alone, open_pipeline
from .document import print_document
from .for_analysts import ForAnalysts, add_analysts_options, for_analysts, message_key_of
from .options import add_output_options, add_pipeline_options, configure_logging
from .outcome import DONE, Output


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.description = (
        "Make the views for analysts in the destination, or make them anew where they have changed."
        " Every load does that by itself, but with --views off."
    )
    parser.epilog = (
        f"Exit status {DONE}: done. 4: nothing is loaded here. 75: another program has the"
        " DuckDB file open."
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
    check_names()
    if options.dialect and not (options.print or options.dbt):
        raise SettingError("--dialect goes with --print or --dbt; a destination has its own")
    console = Output(quiet=options.quiet or options.json)
    dialect = options.dialect or "duckdb"
    if options.print:
        names, key = plain_names(dialect, options.dataset), message_key_of(options) or "stamp"
        pretty = not options.json
        texts = [statement for _, statement in statements(names, message_key=key, pretty=pretty)]
        if options.json:
            print_document("views", DONE, result={"dialect": dialect, "statements": texts})
        else:
            sys.stdout.writelines(f"{statement};\n" for statement in texts)
        return DONE
    if options.dbt:
        key = message_key_of(options) or "stamp"
        files = write_project(options.dbt, dialect, options.dataset, key)
        console.print(f"{len(files)} files are in {options.dbt}.")
        if options.json:
            written = sorted(map(str, files))
            print_document("views", DONE, result={"dialect": dialect, "files": written})
        return DONE
    analysts = for_analysts(options)
    pipeline = open_pipeline(options)
    analysts.check(pipeline)
    with alone(pipeline):
        if has_sql(pipeline.destination):
            # Views of nothing would answer every question with 0.
            coverage_of(pipeline, still_there=False)
        else:
            pipeline.sync_destination()
        result = _dropped(pipeline, console) if options.drop else _made(pipeline, analysts, console)
        if analysts.make_copy(pipeline):
            console.print(f"Published as {analysts.publish}.")
    if options.json:
        published = str(analysts.publish) if analysts.publish else None
        print_document("views", DONE, pipeline, {**result, "published": published})
    return DONE


def _dropped(pipeline: dlt.Pipeline, console: Output) -> dict[str, Any]:
    dropped = drop(pipeline)
    console.print(f"{len(dropped)} views dropped; the tables are as they were.")
    return {"views": [], "made": False, "dropped": sorted(dropped)}


def _made(pipeline: dlt.Pipeline, analysts: ForAnalysts, console: Output) -> dict[str, Any]:
    fill_all_columns(pipeline)
    made = make(pipeline, analysts.materialize, analysts.message_key)
    if not made.views:
        console.print("The destination has no views: it holds files. --print gives the SQL.")
    else:
        is_new = "made" if made.changed else "are up to date"
        console.print(f"{len(made.views)} views {is_new}.")
    return {"views": sorted(made.views), "made": made.changed, "dropped": []}
