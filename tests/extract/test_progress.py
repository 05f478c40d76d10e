from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from np6_source.endpoints import scope_label
from np6_source.extract.progress import (
    Progress,
    Scope,
    ScopeRun,
    Stretch,
    as_proven,
    least_advanced_first,
    of_cursor,
    read_together,
    stretch_of_backfill,
    stretch_of_run,
)
from np6_source.windows import Window

PROGRESS = st.builds(
    Progress,
    start=st.integers(0, 2**53),
    complete_until=st.integers(0, 2**53),
    read_at=st.integers(0, 2**53),
    tail=st.dictionaries(st.integers(0, 2**40), st.integers(1, 10**9), max_size=5),
    bucket=st.integers(0, 10**9),
)


@given(PROGRESS)
def test_progress_survives_the_state_that_dlt_stores_as_json(progress: Progress) -> None:
    assert Progress.from_state(json.loads(json.dumps(progress.to_state()))) == progress


def test_progress_without_counts_is_read() -> None:
    assert Progress.from_state({"start": 1, "until": 2}) == Progress(1, 2)


@pytest.mark.parametrize("scope_id", ["", "000PE4", "156"])
def test_a_plain_id_is_its_own_label(scope_id: str) -> None:
    assert scope_label(scope_id, is_personal=False) == scope_id


def test_the_label_of_an_address_is_a_digest() -> None:
    label = scope_label("example@np6.com", is_personal=True)

    assert label == "sha256:" + label.removeprefix("sha256:")
    assert "example" not in label
    assert len(label) == len("sha256:") + 16


def test_the_label_of_an_address_is_always_the_same() -> None:
    assert scope_label("example@np6.com", is_personal=True) == "sha256:274f69369e87fca0"


@given(st.lists(st.text(min_size=1), unique=True, max_size=20))
def test_different_ids_have_different_labels(scope_ids: list[str]) -> None:
    labels = {scope_label(scope_id, is_personal=True) for scope_id in scope_ids}

    assert len(labels) == len(scope_ids)


class TestWhereARunGoesOn:
    def test_a_first_run_reads_from_the_start_to_what_has_settled(self) -> None:
        assert stretch_of_run(None, 10, 50, overlap=5, cap=None) == Stretch(10, 50)

    def test_a_later_run_reads_the_overlap_before_its_progress_again(self) -> None:
        stretch = stretch_of_run(Progress(10, 40), 99, 50, overlap=5, cap=None)

        assert stretch == Stretch(35, 50, Window(35, 40))

    def test_the_overlap_never_reaches_before_the_beginning_of_the_history(self) -> None:
        assert stretch_of_run(Progress(10, 12), 0, 50, overlap=5, cap=None).start == 10

    def test_progress_ahead_of_what_has_settled_still_reads_its_overlap(self) -> None:
        stretch = stretch_of_run(Progress(10, 60), 0, 50, overlap=5, cap=None)

        assert stretch == Stretch(55, 60, Window(55, 60))

    def test_progress_at_the_cap_reads_nothing(self) -> None:
        stretch = stretch_of_run(Progress(10, 60), 0, 60, overlap=5, cap=60)

        assert stretch.start == stretch.end

    def test_a_backfill_goes_on_where_an_interrupted_one_has_got_to(self) -> None:
        assert stretch_of_backfill(None, 10, 50) == Stretch(10, 50)
        assert stretch_of_backfill(Progress(10, 30), 10, 50) == Stretch(30, 50)

    def test_the_cursor_of_dlt_has_the_last_word_about_the_account(self) -> None:
        assert of_cursor(None, 10, start=10) is None
        assert of_cursor(None, 20, start=10) == Progress(20, 20)
        assert of_cursor(Progress(5, 30), 20, start=0) == Progress(5, 20)
        assert of_cursor(Progress(5, 30, 7), 30, start=0) == Progress(5, 30, 7)


class TestHowFarARunGot:
    def test_a_run_without_a_complete_window_leaves_the_progress(self) -> None:
        assert ScopeRun(Scope("", "", 10, 50), {"": None}).reached() is None

    def test_a_first_run_begins_the_history_where_it_began_to_read(self) -> None:
        run = ScopeRun(Scope("", "", 10, 50), {"": None}, complete_until=30, read_at=60)

        assert run.reached() == Progress(10, 30, 60)
        assert not run.is_done

    def test_an_overlap_that_was_read_in_part_moves_nothing_back(self) -> None:
        run = ScopeRun(Scope("", "", 35, 50), {"": Progress(10, 40)}, complete_until=37, read_at=60)

        assert run.reached() == Progress(10, 40, 60)

    def test_the_least_advanced_scope_is_read_first(self) -> None:
        far, near = (ScopeRun(Scope(n, n, 0, 9), {"": Progress(0, int(n))}) for n in ("8", "2"))
        new = ScopeRun(Scope("0", "0", 0, 9), {"": None})

        assert least_advanced_first([far, near, new]) == [new, near, far]


class TestWhatTheLedgerProves:
    @pytest.mark.parametrize(
        ("covered", "until"),
        [
            ([Window(0, 90)], 80),
            ([Window(10, 80)], 80),
            ([Window(10, 50)], 50),
            ([Window(10, 50), Window(60, 80)], 50),
            ([Window(0, 10), Window(60, 80)], 10),
            ([Window(20, 80)], 10),
            ([], 10),
        ],
    )
    def test_progress_ends_where_unbroken_coverage_from_its_start_does(
        self, covered: list[Window], until: int
    ) -> None:
        assert as_proven(Progress(10, 80), covered).complete_until == until

    def test_progress_that_is_proven_stays_with_its_counts(self) -> None:
        progress = Progress(10, 80, 90, {7: 1}, 10)

        assert as_proven(progress, [Window(10, 80)]) is progress

    def test_progress_that_goes_back_forgets_the_counts_of_its_end(self) -> None:
        assert as_proven(Progress(10, 80, 90, {7: 1}, 10), []) == Progress(10, 10)


def test_classes_are_read_together_where_they_are_as_far_as_each_other() -> None:
    progress_of = {"": Progress(0, 100), "mpp": Progress(0, 95), "gsr": Progress(0, 40), "x": None}

    groups = [tuple(group) for group in read_together(progress_of, overlap=10)]

    assert groups == [("x",), ("gsr",), ("", "mpp")]
