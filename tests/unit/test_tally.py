"""What a worker tells of its work, and what looking at the store costs."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from taskscheduler import Context, Handlers, RetryPolicy, Worker
from taskscheduler.application.metrics.attempt_stats import ENDINGS, AttemptStats
from taskscheduler.application.metrics.observer import Ran
from taskscheduler.application.metrics.store_sampler import StoreSampler
from taskscheduler.domain.errors import StoreUnavailable
from taskscheduler.domain.status import Event
from taskscheduler.entrypoints.metrics import Metrics
from taskscheduler.entrypoints.process import Process
from taskscheduler.testing import ManualClock, in_memory

pytestmark = pytest.mark.anyio

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def values(text: bytes) -> dict[tuple[str, tuple[str, ...]], float]:
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


def test_attempts_add_up_by_kind():
    tally = AttemptStats()
    tally.set_clock(NOW, 100.0)
    late = NOW - timedelta(seconds=2)
    tally.ran([Ran("a", late, 100.0, 100.5, Event.COMPLETE), Ran("a", NOW, 99.0, 99.002, None)])
    assert tally.outcomes == {("a", "complete"): 1, ("a", "lost"): 1}
    assert tally.run_s["a"].sum == pytest.approx(0.502)
    assert tally.late_s["a"].sum == pytest.approx(2.0)  # one second early counts as on time
    assert sum(tally.late_s["a"].counts) == 2


async def test_a_worker_tells_and_metrics_show_it():
    handlers, clock, tally = Handlers(), ManualClock(), AttemptStats()

    @handlers.register("good")
    async def good(_: Context) -> None: ...

    @handlers.register("bad", retry=RetryPolicy(max_attempts=2))
    async def bad(_: Context) -> None:
        raise ValueError

    async with in_memory(clock) as scheduler:
        for kind in ("good", "good", "bad"):
            await scheduler.schedule(kind)
        worker = Worker(scheduler, handlers, observer=tally)
        assert await worker.turn() == 3
        clock.advance(days=1)
        await worker.turn()
        await scheduler.schedule("good", execute_at=clock.now() + timedelta(hours=1))
        metrics = Metrics(scheduler.store, Process(worker=worker, stats=tally))
        await worker.turn()  # what ended since is told with the next claim, at the latest
        found = values(await metrics.exposition())
    assert found["taskscheduler_attempts_total", ("good", "complete")] == 2
    assert found["taskscheduler_attempts_total", ("bad", "retry")] == 1
    assert found["taskscheduler_attempts_total", ("bad", "fail")] == 1
    assert found["taskscheduler_retries_total", ("bad",)] == 1
    assert found["taskscheduler_run_seconds_count", ("good",)] == 2
    assert found["taskscheduler_start_lateness_seconds_count", ("bad",)] == 2
    assert found["taskscheduler_claim_tasks_sum", ()] == 4
    assert found["taskscheduler_tasks", ("default", "scheduled")] == 1
    assert found["taskscheduler_tasks", ("default", "due")] == 0
    assert found["taskscheduler_slots", ("free",)] == 50
    assert found["taskscheduler_workers", ("live",)] == 1
    assert found["taskscheduler_store_up", ()] == 1


async def test_a_first_failure_is_a_rise():
    handlers = Handlers()

    @handlers.register("bad", retry=RetryPolicy(max_attempts=1))
    async def bad(_: Context) -> None:
        raise ValueError

    clock, tally = ManualClock(), AttemptStats(handlers)
    async with in_memory(clock) as scheduler:
        worker = Worker(scheduler, handlers, observer=tally)
        metrics = Metrics(scheduler.store, Process(worker=worker, stats=tally))
        before = values(await metrics.exposition())
        await scheduler.schedule("bad")
        await worker.turn()
        await worker.turn()
        after = values(await metrics.exposition())
    failed = "taskscheduler_attempts_total", ("bad", "fail")
    assert (before[failed], after[failed]) == (0, 1)
    assert before["taskscheduler_retries_total", ("bad",)] == 0
    told = {name for name in before if name[0] == "taskscheduler_attempts_total"}
    assert told == {("taskscheduler_attempts_total", ("bad", ending)) for ending in ENDINGS}


async def test_of_many_who_ask_one_looks_and_the_answer_keeps():
    clock = ManualClock()
    looks = 0
    async with in_memory(clock) as scheduler:

        class BacklogStats:
            async def backlog(self, **asked: Any) -> Any:
                nonlocal looks
                looks += 1
                await asyncio.sleep(0)
                return await scheduler.store.backlog_stats.backlog(**asked)

            def connections(self) -> dict[str, int]:
                return {}

        sampler = StoreSampler(replace(scheduler.store, backlog_stats=BacklogStats()), fresh_s=5)
        await asyncio.gather(*(sampler.latest() for _ in range(20)))
        await sampler.latest()
        assert looks == 1
        clock.advance(seconds=5)
        await sampler.latest()
        assert looks == 2


async def test_a_store_that_is_away_is_told_of_and_the_last_look_kept():
    clock = ManualClock()
    away = False
    async with in_memory(clock) as scheduler:

        class BacklogStats:
            async def backlog(self, **asked: Any) -> Any:
                if away:
                    raise StoreUnavailable("away")
                return await scheduler.store.backlog_stats.backlog(**asked)

            def connections(self) -> dict[str, int]:
                return {}

        await scheduler.schedule("good")
        metrics = Metrics(replace(scheduler.store, backlog_stats=BacklogStats()), Process())
        assert values(await metrics.exposition())["taskscheduler_store_up", ()] == 1
        away = True
        clock.advance(seconds=60)
        found = values(await metrics.exposition())
    assert found["taskscheduler_store_up", ()] == 0
    assert found["taskscheduler_tasks", ("default", "due")] == 1
    assert found["taskscheduler_sample_age_seconds", ()] == 60
