"""What a load says when it ends."""

from __future__ import annotations

from typing import Any

from np6_source.cli.report import Loaded, grouped, print_report
from np6_source.loading import LoadReport

UNTIL = {"actions_events": 1_709_424_000_000}
HERE = "np6 of np6.duckdb"


def said(report: LoadReport, done: Loaded, capsys: Any) -> str:
    print_report(report, done)
    return str(capsys.readouterr().out)


def test_a_load_that_was_stopped_before_its_first_window_does_not_say_that_all_is_loaded(
    capsys: Any,
) -> None:
    stopped = LoadReport(stopped=True)
    text = said(stopped, Loaded(0, {"events": 5}, 0, UNTIL, HERE), capsys)
    assert text == (
        f"Nothing was loaded into {HERE}: it was stopped before."
        " Complete up to 2024-03-03T00:00:00Z.\n"
    )


def test_nothing_written_is_nothing_new_where_the_rows_before_are_not_known(capsys: Any) -> None:
    report = LoadReport(windows={"actions_events": 1}, packages=1)
    counted = said(report, Loaded(0, {"events": 5}, None, UNTIL, HERE), capsys)
    assert counted == f"Nothing new. Complete up to 2024-03-03T00:00:00Z; 5 events in {HERE}.\n"
    uncounted = said(report, Loaded(0, None, None, UNTIL, "np6 of postgres"), capsys)
    assert uncounted == "Nothing new. Complete up to 2024-03-03T00:00:00Z; np6 of postgres.\n"


def test_what_a_reload_did_not_find_again_is_not_nothing_new(capsys: Any) -> None:
    report = LoadReport(windows={"actions_events": 1}, packages=1)
    again = said(report, Loaded(0, {"events": 5}, None, UNTIL, HERE, is_again=True), capsys)
    assert again.startswith(f"0 events loaded again into {HERE}.\n")


def test_failures_of_one_cause_name_their_resources_in_order() -> None:
    failures = [
        {"kind": "NotFound", "problem": "NP6 does not know this id", "advice": "Check the id."}
        | {"resource": resource, "id": "000PE4", "message": ""}
        for resource in ("b", "a")
    ]
    [group] = grouped(failures)
    assert str(group) == (
        "NotFound: NP6 does not know this id (000PE4) in 2 resources (a, b). Check the id."
    )
