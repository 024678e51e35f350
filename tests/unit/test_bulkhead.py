"""Whatever one part of the rounds meets, the worker goes on, and it is heard of."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from taskscheduler import Context, Handlers, Scheduler, StoreUnavailable, TaskStatus, Worker
from taskscheduler.application.maintenance.bulkhead import ASIDE_LAST_S, REPEATED_S, Bulkhead
from taskscheduler.application.maintenance.pruner import Retention
from taskscheduler.application.maintenance.rescuer import Rescuer
from taskscheduler.application.metrics.attempt_stats import AttemptStats
from taskscheduler.domain.errors import TaskSchedulerError
from taskscheduler.domain.retention import RetentionPolicy
from taskscheduler.domain.schedule import NewSchedule
from taskscheduler.entrypoints.metrics import Metrics
from taskscheduler.entrypoints.process import Process
from taskscheduler.testing import ManualClock, in_memory
from taskscheduler.testing.contracts.steps import LEASE, TICK, claim, join, put, until
from tests.support.faults import Faulty

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.anyio

PATIENCE_S = 20.0


class Odd(Exception):
    """What nobody foresaw."""


class NotForeseen(TaskSchedulerError):
    """An error of ours in a place where none is expected."""


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def handlers() -> Handlers:
    handlers = Handlers()

    @handlers.register("job")
    async def job(_: Context) -> None: ...

    return handlers


async def fails() -> int:
    raise Odd("no luck")  # noqa: TRY003


async def works() -> int:
    return 1


async def test_what_fails_is_put_aside_longer_each_time(clock: ManualClock) -> None:
    bulkhead = Bulkhead(clock)
    waits: list[float] = []
    for _ in range(9):
        assert await bulkhead.keep("schedule", fails, name="nightly") is None
        waits.append(bulkhead.wait_s("schedule", "nightly"))
        assert bulkhead.is_aside("schedule", "nightly")
        assert await bulkhead.keep("schedule", works, name="nightly") is None
        assert await bulkhead.keep("schedule", works, name="hourly") == 1
        clock.advance(seconds=waits[-1])
    assert waits[:3] == [1.0, 2.0, 4.0]
    assert waits[-1] == ASIDE_LAST_S
    assert await bulkhead.keep("schedule", works, name="nightly") == 1
    assert await bulkhead.keep("schedule", fails, name="nightly") is None
    assert bulkhead.wait_s("schedule", "nightly") == waits[0]


async def test_a_store_that_is_away_is_no_fault(clock: ManualClock) -> None:
    async def away() -> None:
        raise StoreUnavailable("gone")

    bulkhead = Bulkhead(clock)
    with pytest.raises(StoreUnavailable):
        await bulkhead.keep("upkeep", away)
    assert not bulkhead.is_aside("upkeep")


async def test_a_complaint_is_told_now_and_then(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    tally = AttemptStats()
    bulkhead = Bulkhead(clock, tally)
    for _ in range(5):
        bulkhead.complain("upkeep", "no room")
    assert caplog.text.count("no room") == 1
    clock.advance(seconds=REPEATED_S)
    bulkhead.complain("upkeep", "no room")
    assert caplog.text.count("no room") == 2
    assert tally.faults["upkeep"] == 6


@pytest.mark.parametrize(
    ("port", "method", "part"),
    [
        ("upkeep", "turn", "upkeep"),
        ("schedules", "outlook", "schedules"),
        ("schedules", "take", "schedules"),
        ("workers", "registered", "rescue"),
        ("archive", "expire", "retention"),
        ("tasks", "claim", "claim"),
        ("tasks", "next_due", "claim"),
        ("tasks", "reconcile", "claim"),
        ("tasks", "settle", "outcomes"),
    ],
)
async def test_a_worker_goes_on_whatever_fails(
    handlers: Handlers, caplog: pytest.LogCaptureFixture, port: str, method: str, part: str
) -> None:
    """Once in a loop of its own; tasks are run before and after."""
    scheduler = Scheduler.in_memory()
    faulty = Faulty(getattr(scheduler.store, port))
    stand_in: Any = {port: faulty}
    store = replace(scheduler.store, **stand_in)
    scheduler = Scheduler(store)
    await scheduler.schedules.put(NewSchedule(name="odd", kind="job", cron="* * * * * *"))
    faulty.refuse(method, NotForeseen("no luck") if method == "settle" else Odd("no luck"))
    if method == "reconcile":
        faulty.refuse("claim", StoreUnavailable("gone"))
    tally = AttemptStats()
    retention = Retention(scheduler.store, RetentionPolicy.parse(["1d"]))
    worker = Worker(scheduler, handlers, observer=tally, retention=retention)
    running = asyncio.create_task(worker.run())
    try:
        async with asyncio.timeout(PATIENCE_S):
            first = await scheduler.schedule("job")
            await until(lambda: tally.faults[part] > 0)
            for task_id in (first, await scheduler.schedule("job")):
                while (await scheduler.get(task_id)).status is not TaskStatus.COMPLETED:
                    await asyncio.sleep(0.01)
    finally:
        worker.stop()
        await running
    assert "no luck" in caplog.text
    (sample,) = [
        line
        for line in (await _shown(scheduler, worker, tally)).splitlines()
        if line.startswith(f'taskscheduler_faults_total{{part="{part}"}}')
    ]
    assert float(sample.split()[1]) >= 1


async def _shown(scheduler: Scheduler, worker: Worker, tally: AttemptStats) -> str:
    metrics = Metrics(scheduler.store, Process(worker=worker, stats=tally))
    return (await metrics.exposition()).decode()


async def test_one_whom_nobody_can_bury_keeps_no_other_in_the_grave(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    store = in_memory(clock).store
    task_ids = [await put(store) for _ in range(2)]
    workers = [await join(store) for _ in range(2)]
    for worker_id in workers:
        assert len(await claim(store, worker_id, limit=1)) == 1
    declare_dead = store.workers.declare_dead

    async def unlucky(worker_id: Any, beats: int) -> Sequence[Any]:
        if worker_id == workers[0]:
            raise Odd("no luck")  # noqa: TRY003
        return [*await declare_dead(worker_id, beats)]

    faulty: Any = Faulty(store.workers)
    faulty.do_instead("declare_dead", unlucky)
    rescue = Rescuer(faulty, clock)
    await rescue.turn()
    clock.advance(LEASE + TICK)
    assert await rescue.turn() == 1
    assert f"of worker {workers[0]}" in caplog.text
    assert len(task_ids) == 2


async def test_a_worker_that_dies_is_heard_though_nobody_awaits_it(
    handlers: Handlers, caplog: pytest.LogCaptureFixture
) -> None:
    scheduler = Scheduler.in_memory()
    wakeups: Any = Faulty(scheduler.store.wakeups)

    def listen(*_: Any, **__: Any) -> Any:
        raise Odd("no ears")  # noqa: TRY003

    wakeups.do_instead("listen", listen)
    worker = Worker(Scheduler(replace(scheduler.store, wakeups=wakeups)), handlers)
    with caplog.at_level(logging.CRITICAL), pytest.raises(ExceptionGroup) as died:
        await worker.run()
    assert died.group_contains(Odd)
    assert "the worker dies" in caplog.text
