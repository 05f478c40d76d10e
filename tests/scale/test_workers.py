"""Several processes load parts of a backfill into one PostgreSQL dataset."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dlt
import pytest

from np6_source import np6_source
from np6_source.ledger import coverage, missing
from np6_source.loading import load as load_all
from np6_source.parts import Part, plan_parts
from np6_source.sandbox import Sandbox, generated_account
from np6_source.windows import Window, to_ms
from tests.scale.part_workers import Job, before_merging, load, load_and_die, run_plainly

pytestmark = [pytest.mark.destinations, pytest.mark.timeout(300)]

START = datetime(2024, 3, 1, tzinfo=timezone.utc)
END = START + timedelta(days=8)
OF_ACCOUNT = ("actions_events", "actions_reactivities")
TMake = Callable[..., Any]


@pytest.fixture
def sandbox(serve: TMake) -> Sandbox:
    sandbox: Sandbox = serve(generated_account(events=4_000, seed=5, start=START, end=END))
    return sandbox


@pytest.fixture
def job(sandbox: Sandbox, postgres: Any, request: pytest.FixtureRequest) -> Job:
    """A dataset of the test's own."""
    options = {"api_key": sandbox.key, "base_url": sandbox.url, "backoff": 0.01}
    dataset = request.node.name.partition("[")[0].removeprefix("test_")[:40]
    return Job(("postgres", postgres.url), dataset, options)


def until(condition: Callable[[], object]) -> None:
    """Waits for something that another process does."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


class TestBackfill:
    def test_parts_in_any_order_twice_and_killed_give_what_one_load_gives(
        self,
        sandbox: Sandbox,
        postgres: Any,
        job: Job,
        workers: ProcessPoolExecutor,
        process: TMake,
    ) -> None:
        actions = sandbox.account.example_ids("action_id", 6)
        by_time = plan_parts(START, END, timedelta(days=2))
        by_id = plan_parts(START, END, timedelta(days=4), {"action_ids": actions}, ids_per_part=2)
        parts = by_time + by_id
        assert len(parts) == 10
        order = [part.to_json() for part in parts + random.Random(5).sample(parts, 3)]
        random.Random(6).shuffle(order)

        victim = process(load_and_die, job, order[0])
        futures = [workers.submit(load, job, part, 4) for part in order[1:]]
        victim.join()
        futures.append(workers.submit(load, job, order[0], 4))
        for future in futures:
            future.result()

        assert victim.exitcode == -signal.SIGKILL
        one = dlt.pipeline(
            "one", destination=job.make_destination(), dataset_name="one", pipelines_dir="one"
        )
        options = {**job.options, "start": START, "end": END, "action_ids": actions}

        def whole() -> Any:
            # With ids, the resources over the account are selected by name only.
            source = np6_source(**options, on_error="keep")
            return source.with_resources(*source.selected_resources, *OF_ACCOUNT)

        assert load_all(one, whole).failures == []
        assert postgres.contents(job.dataset) == postgres.contents("one")
        assert len(postgres.ids("one")) > 3_000
        assert postgres.covered(job.dataset) == postgres.covered("one")
        # What is left behind: a row per part in _dlt_loads, and nothing else.
        assert not [name for name in postgres.datasets() if name.startswith(f"{job.dataset}_")]
        assert len(postgres.rows(job.dataset, "_dlt_loads")) == len(order)
        assert "_dlt_pipeline_state" not in {
            name
            for (name,) in postgres.query(
                "SELECT table_name FROM information_schema.tables"
                f" WHERE table_schema = '{job.dataset}'"
            )
        }

    def test_a_scheduled_pipeline_goes_on_where_the_backfill_ended(
        self, sandbox: Sandbox, postgres: Any, job: Job, workers: ProcessPoolExecutor
    ) -> None:
        handed_over = START + timedelta(days=6)
        parts = plan_parts(START, handed_over, timedelta(days=2))
        list(workers.map(load, [job] * 3, [part.to_json() for part in parts]))
        pipeline = dlt.pipeline(
            "schedule",
            destination=job.make_destination(),
            dataset_name=job.dataset,
            pipelines_dir="schedule",
        )
        asked = Window(to_ms(START), to_ms(END))
        (gap, _) = missing(asked, coverage(pipeline))
        assert gap.window == Window(to_ms(handed_over), to_ms(END))

        sandbox.now = END + timedelta(hours=1)
        load_all(pipeline, lambda: np6_source(**job.options, start=handed_over, on_error="keep"))

        served = {event["id"] for event in sandbox.account.events() if is_default(event)}
        assert postgres.ids(job.dataset) == sorted(served)
        assert missing(asked, coverage(pipeline)) == []


def is_default(event: dict[str, Any]) -> bool:
    """Whether the account's default resources answer with it."""
    return event["source"]["type"] in ("email", "sms")


class TestPlainRuns:
    """``pipeline.run(np6_source(...))`` in two processes, into one dataset at once."""

    def test_disjoint_days_are_all_there(
        self, postgres: Any, job: Job, process: TMake, tmp_path: Path
    ) -> None:
        """dlt 1.31, issue 4297: pipelines into one dataset share its staging dataset."""
        job = Job(job.destination, f"{job.dataset}_plain", job.options)
        first, second = (part.to_json() for part in plan_parts(START, END, timedelta(days=4)))
        others = []

        def let_the_other_get_there() -> None:
            others.append(process(run_plainly, job, second, "second"))
            until(lambda: list(tmp_path.glob("second/second/load/normalized/*/new_jobs/events.*")))
            time.sleep(1)

        take_back = before_merging("events", let_the_other_get_there)
        try:
            run_plainly(job, first, "first")
        finally:
            take_back()
        for other in others:
            other.join()
        assert [other.exitcode for other in others] == [0]
        counts = dict(
            postgres.query(
                f"SELECT timestamp < '2024-03-05', count(*) FROM {job.dataset}.events GROUP BY 1"
            )
        )
        assert counts[False] > 500
        assert counts[True] > 500
        ids = postgres.ids(job.dataset)
        assert len(ids) == len(set(ids))
        assert [name for name in postgres.datasets() if name.startswith(f"{job.dataset}_st")] == []

    def test_the_same_day_stands_there_once(
        self, postgres: Any, job: Job, process: TMake, tmp_path: Path
    ) -> None:
        """Two merges that see nothing to delete would both insert."""
        part = Part(START, START + timedelta(days=1)).to_json()
        load(job, part)
        once = postgres.ids(job.dataset)
        # Whoever is about to insert events waits for the test.
        postgres.query(f"""
            TRUNCATE {job.dataset}.events;
            CREATE FUNCTION {job.dataset}.hold_up() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN PERFORM pg_advisory_xact_lock_shared(4297); RETURN NULL; END $$;
            CREATE TRIGGER hold_up BEFORE INSERT ON {job.dataset}.events
                FOR EACH STATEMENT EXECUTE FUNCTION {job.dataset}.hold_up()
        """)
        with postgres.holding(4297):
            both = [process(run_plainly, job, part, name) for name in ("first", "second")]
            until(lambda: postgres.waiting() >= 1)
            for name in ("first", "second"):
                until(
                    lambda name=name: list(tmp_path.glob(f"{name}/*/load/normalized/*/*/events.*"))
                )
            time.sleep(1)
        for one in both:
            one.join()
        assert [one.exitcode for one in both] == [0, 0]
        assert postgres.ids(job.dataset) == once
        postgres.query(f"DROP SCHEMA {job.dataset} CASCADE")
