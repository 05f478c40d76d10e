"""Step 6: what an earlier load left behind, and whether its progress is what the ledger proves."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import Any

from dlt.destinations.job_client_impl import SqlJobClientBase
from dlt.extract import DltSource

from ...bookkeeping.source_state import PROGRESS
from ...errors import SettingError, TableMissing, TypeChanged, listed, scope_name
from ...extract.account import ACCOUNT, Account, check_base_url
from ...extract.policy import check_policy, policies_in_state
from ...extract.progress import Progress, as_proven
from ...extract.selection import session_of
from ...ledger import TCoverage, recorded_policies
from ...upkeep.changed_tables import check_tables
from ...windows import iso
from ..configuration import configured_privacy
from ..coverage import coverage_of
from ..destination import looking
from ..outcome import NothingLoaded
from ..working_folder import pending_packages, sources_in_state, working_dir
from .findings import Finding, Step, skipped

SHOWN = 3
"""Resources that a sentence names."""


def check_packages(options: argparse.Namespace) -> Step:
    """Whether packages can be made, and some are pending, which the next load deals with first."""
    folder = working_dir(options)
    there = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if not (there.is_dir() and os.access(there, os.W_OK)):
        return Step(
            "packages",
            Finding(
                f"dlt's working folder cannot be made: {there} cannot be written to",
                "error",
                "Name a folder that this user may write to with --pipelines-dir.",
            ),
        )
    pending = pending_packages(options)
    if not pending:
        return Step("packages", Finding("none pending"))
    text = f"{len(pending)} pending; the next load deals with that first"
    return Step("packages", Finding(text))


def check_progress(
    options: argparse.Namespace, base_url: str | None, key: str | None, is_reachable: bool
) -> Step:
    """Compares the progress that the pipeline's state says with the destination's ledger.

    Tables that are gone, or that somebody has changed, are a problem, as they are for a load.

    Args:
        options: Where the pipeline is.
        base_url: Root of the API; None: not known, as there is no key.
        key: A digest of the key; None likewise.
        is_reachable: Whether the destination can be asked.
    """
    state = _state_of_source(options)
    progress = progress_in(state)
    covered = None
    if is_reachable:
        try:
            with looking(options, waits=False) as pipeline:
                if isinstance(pipeline.destination_client(), SqlJobClientBase):
                    covered = coverage_of(pipeline)
                else:
                    pipeline.sync_destination()
                check_tables(pipeline, changes=False)
        except (TableMissing, TypeChanged) as error:
            return Step("progress", Finding(str(error), "error"))
        except NothingLoaded as nothing:
            # A load drops the state, then, whatever account it is of.
            if not progress:
                return Step("progress", Finding("nothing was loaded yet"))
            what = f"{nothing} The pipeline's state is ahead: the next load begins again"
            return Step("progress", Finding(what, "warning"))
    if base_url is not None and ACCOUNT in state:
        account = Account.from_state(state[ACCOUNT])
        try:
            check_base_url(account, base_url, "np6")
        except SettingError as error:
            return Step("progress", Finding(str(error), "error"))
        if key not in account.keys:
            what = "the state was loaded with another key; a load asks whether it is of one account"
            return Step("progress", Finding(what, "warning"))
    if not is_reachable:
        return Step("progress", skipped("the destination"))
    if covered is None:
        return Step("progress", Finding("files prove nothing; the state alone counts"))
    return Step("progress", compare(progress, covered))


def check_privacy(
    options: argparse.Namespace, source: DltSource | None, is_reachable: bool
) -> Step:
    """Compares the policy for personal data with the one that the dataset was loaded under.

    Args:
        options: Where the pipeline is.
        source: What would be loaded; None: there is no key.
        is_reachable: Whether the destination can be asked.
    """
    privacy = session_of(source).settings.privacy if source is not None else configured_privacy()
    recorded = policies_in_state(_state_of_source(options))
    if is_reachable:
        with looking(options) as pipeline:
            try:
                if isinstance(pipeline.destination_client(), SqlJobClientBase):
                    coverage_of(pipeline)
                pipeline.sync_destination()
                recorded |= recorded_policies(pipeline)
            except NothingLoaded:
                # A load drops the state, then.
                recorded = frozenset()
    try:
        check_policy(recorded, privacy.recorded, "np6")
    except SettingError as error:
        return Step("policy", Finding(str(error), "error"))
    return Step("policy", Finding(privacy.recorded or "everything is kept (pii is not set)"))


def _state_of_source(options: argparse.Namespace) -> Mapping[str, Any]:
    found: Mapping[str, Any] = sources_in_state(options).get("np6", {})
    return found


def progress_in(state: Mapping[str, Any]) -> dict[tuple[str, str], Progress]:
    """The progress in a source's state, by resource and id as the ledger stores it."""
    return {
        (resource, label): Progress.from_state(entry)
        for resource, own in state.get("resources", {}).items()
        for label, entry in own.get(PROGRESS, {}).items()
    }


def compare(progress: Mapping[tuple[str, str], Progress], covered: TCoverage) -> Finding:
    """Whether the ledger proves all of the progress.

    Args:
        progress: By resource and id as the ledger stores it.
        covered: The ledger's coverage.
    """
    ahead = {
        key: (one.complete_until, proven.complete_until)
        for key, one in progress.items()
        if (proven := as_proven(one, covered.get(key, ()))) != one
    }
    if ahead:
        scopes = [
            f"{scope_name(resource, label)} ({iso(says)}, proven {iso(until)})"
            for (resource, label), (says, until) in ahead.items()
        ]
        what = f"the state is ahead of the ledger: {listed(scopes, SHOWN)}"
        return Finding(what, "warning", "The next load goes back by itself and reads it again.")
    if not progress:
        return Finding("no state on this machine; the next load takes it from the destination")
    least = min(one.complete_until for one in progress.values())
    return Finding(f"as the ledger proves, complete up to {iso(least)} at least")
