"""``np6-source mask``: brings a dataset that is there under the policy that is configured."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial

import dlt

from ..dataset_lock import duckdb_file, in_database_or_file
from ..errors import SettingError
from ..events.privacy import Privacy
from ..ledger import recorded_policies
from ..loading import abandon, only_one
from ..masking.changes import policy_of
from ..masking.dataset import (
    Masking,
    change_state,
    copying,
    described,
    mask_in_place,
    not_masked,
    planned,
)
from ..persons.copies import known_copies
from ..persons.dataset import Dataset, check_destination, connected
from ..persons.duckdb_file import rewrite
from ..persons.erasing import finish_erasures, out_of_reach, vacuum
from .configuration import check_names, configured_ids, configured_privacy
from .coverage import coverage_of
from .destination import open_pipeline
from .document import print_document
from .for_analysts import for_analysts
from .forgetting import (
    NOTHING_LEFT,
    Remainder,
    add_forgetting_options,
    forget_files,
    published_again,
)
from .options import (
    add_id_options,
    add_output_options,
    add_pipeline_options,
    configure_logging,
    given_ids,
)
from .outcome import DONE, FOUND, Output

KINDS = ("target_unicities", "target_hashes")
"""The kinds of ids of which the ledger has digests, where it has no key."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.description = (
        "Bring all that is loaded under the policy that pii configures: rows stay, and values about"
        " persons become digests, shorter, or NULL. It cannot be taken back. DuckDB's file is"
        " written anew, for which it needs twice its size in free space. Without --yes it says what"
        " would change, and changes nothing."
    )
    parser.epilog = (
        f"Exit status {DONE}: the dataset is under the policy. 1: it could not be done. 2: the"
        " policy, or an option, cannot be used: mask makes a policy stricter, never weaker."
        f" {FOUND}: there is something to mask (without --yes), or it was masked and something is"
        " out of reach, which is said. 4: nothing was loaded yet."
    )
    how = parser.add_argument_group("how")
    how.add_argument("--yes", action="store_true", help="do it")
    add_forgetting_options(how)
    add_id_options(
        parser,
        KINDS,
        "Addresses and hashes that you load by, where neither the tables nor the configuration have"
        " them: those that are not known here lose their progress, and are loaded from their start"
        " again.",
    )
    add_pipeline_options(parser)
    add_output_options(parser)


def run(options: argparse.Namespace) -> int:
    """Runs the command; returns the exit status."""
    configure_logging(options)
    check_names()
    after = configured_privacy()
    if not after.masked:
        raise SettingError(
            "mask: no policy is configured (pii), everything is kept: configure the one that the"
            " dataset is to have, as docs/privacy.md says."
        )
    given = [one for ids in given_ids(options).values() for one in ids]
    given += [one for kind in KINDS for one in configured_ids(kind)]
    pipeline = open_pipeline(options)
    check_destination(pipeline)
    analysts = for_analysts(options)
    analysts.check(pipeline)
    coverage_of(pipeline)
    with in_database_or_file(pipeline), _connected(pipeline, after) as data:
        masking = _planned(pipeline, data, after, given)
    if not options.yes:
        return _say(pipeline, options, masking)
    with only_one(pipeline):
        finish_erasures(pipeline)  # An erasure that was killed.
        with in_database_or_file(pipeline):
            abandon(pipeline, "Rows are masked, and a pending package has them as before")
            masking = _mask(pipeline, after, given)
        # With a lock of its own: the one before has the old file of DuckDB open.
        with in_database_or_file(pipeline), _connected(pipeline, after) as data:
            if data.dialect != "duckdb":
                vacuum(data, options.rewrite)
            still = not_masked(data, masking.changes)
        forget_files(pipeline)
        published = published_again(pipeline, analysts.publish)
    copies = known_copies(pipeline, published)
    is_rewritten = options.rewrite or duckdb_file(pipeline) is not None
    remainder = Remainder(still, copies, out_of_reach(pipeline, is_rewritten))
    return _say(pipeline, options, masking, remainder)


def _mask(pipeline: dlt.Pipeline, after: Privacy, given: Sequence[str]) -> Masking:
    with _connected(pipeline, after) as data:
        # Once more: what was abandoned is in the ledger now.
        masking = _planned(pipeline, data, after, given)
        if masking.is_nothing:
            return masking
        copy = None
        if data.dialect == "duckdb":
            copy = copying(pipeline, data, masking)
        else:
            mask_in_place(pipeline, data, masking)
    if copy is not None:  # The file has to be closed.
        rewrite(pipeline, [], copy)
    change_state(pipeline, masking)
    return masking


def _planned(
    pipeline: dlt.Pipeline, data: Dataset, after: Privacy, given: Sequence[str]
) -> Masking:
    return planned(data, recorded_policies(pipeline), after, given, pipeline.state)


def _connected(pipeline: dlt.Pipeline, after: Privacy) -> AbstractContextManager[Dataset]:
    return connected(pipeline, partial(_stored, after))


def _stored(after: Privacy, recorded: frozenset[str]) -> Privacy:
    """The policy of the rows that are there, with the key that is configured."""
    classes, _ = policy_of(recorded)
    return Privacy(classes, after.key)


def _say(
    pipeline: dlt.Pipeline,
    options: argparse.Namespace,
    masking: Masking,
    remainder: Remainder = NOTHING_LEFT,
) -> int:
    """Says what was or would be changed; returns the exit status."""
    is_done = bool(options.yes)
    to_do = DONE if masking.is_nothing else FOUND
    status = remainder.exit_status(pipeline) if is_done else to_do
    if options.json:
        result = {
            "masked": is_done,
            "policy_before": masking.policy_before or None,
            "policy": masking.changes.after.recorded,
            "classes": dict(masking.changes.classes),
            "values": dict(masking.counts),
            "ids_renamed": masking.labels.renamed,
            "ids_forgotten": masking.labels.forgotten,
            **remainder.as_json(),
        }
        print_document("mask", status, pipeline, result, remainder.problems())
        return status
    console = Output(quiet=options.quiet)
    for line in _lines(masking, is_done):
        console.print(line)
    for line in remainder.lines("Not masked:", "Values as before are in"):
        console.print(line)
    return status


def _lines(masking: Masking, is_done: bool) -> list[str]:
    if masking.is_nothing:
        return ["The dataset is under the policy already."]
    lines = [
        f"{name}: {described(masking.changes.before[name])} before, {described(policy)} now"
        for name, policy in masking.changes.classes.items()
    ]
    verb = "changed" if is_done else "would change"
    lines += [f"{name}: {count:,} values {verb}" for name, count in masking.counts.items()]
    if masking.labels.renamed:
        lines.append(f"{masking.labels.renamed:,} ids of contacts {verb} their name in the ledger")
    if masking.labels.forgotten:
        lines.append(
            f"{masking.labels.forgotten:,} ids of contacts are not known here: their progress goes,"
            " and they are loaded from their start again. Give them with --target-unicities and"
            " --target-hashes to keep it."
        )
    lines.append(
        "The dataset is under the policy; loads under it go on."
        if is_done
        else "Nothing was changed. It cannot be taken back; --yes does it."
    )
    return lines
