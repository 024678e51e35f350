"""Tasks that bring workers down are found out without costing others their attempts."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from taskscheduler import Context, Handlers, TaskStatus, Worker
from taskscheduler.application.scheduler import Scheduler
from taskscheduler.domain.lease import SUSPECT_AFTER
from taskscheduler.domain.worker import Subscription, WorkerProfile
from taskscheduler.testing import ManualClock, drain, in_memory

pytestmark = pytest.mark.anyio

LEASE = timedelta(seconds=30)


async def crash(scheduler: Scheduler, clock: ManualClock) -> int:
    """Claim all that is due as a worker that then falls silent for ever."""
    store = scheduler.store
    profile = WorkerProfile(
        name="doomed",
        queues=frozenset({"default"}),
        kinds={"quiet": 20},
        concurrency=9,
        lease=LEASE,
    )
    worker_id = await store.workers.join(profile)
    wanted = Subscription(queues=profile.queues, kinds=frozenset(profile.kinds))
    leases = await store.tasks.claim(worker_id, wanted, 100)
    clock.advance(LEASE + timedelta(seconds=1))
    return len(await store.workers.bury(worker_id, 0)) or len(leases)


async def test_suspects_run_one_at_a_time() -> None:
    """In turns, after as many crashes in company as make a suspect."""
    clock, handlers = ManualClock(), Handlers()
    running, most = 0, 0

    @handlers.register("quiet")
    async def quiet(_: Context) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1

    async with in_memory(clock) as scheduler:
        ids = [await scheduler.schedule("quiet") for _ in range(3)]
        for _ in range(SUSPECT_AFTER):
            assert await crash(scheduler, clock) == len(ids)
        assert await drain(scheduler, handlers) == len(ids)
        assert most == 1
        for task_id in ids:
            task = await scheduler.get(task_id)
            assert (task.status, task.attempt) == (TaskStatus.COMPLETED, SUSPECT_AFTER + 1)


async def test_a_running_worker_sets_a_suspect_apart() -> None:
    """What else it holds runs before or after it, never beside it."""
    clock, handlers = ManualClock(), Handlers()
    together: list[set[str]] = []
    running: set[str] = set()

    @handlers.register("quiet")
    async def quiet(_: Context) -> None:
        running.add("suspect")
        together.append(set(running))
        await asyncio.sleep(0)
        running.discard("suspect")

    @handlers.register("other")
    async def other(context: Context) -> None:
        running.add(str(context.id))
        await asyncio.sleep(0)
        together.append(set(running))
        running.discard(str(context.id))

    async with in_memory(clock) as scheduler:
        for _ in range(2):
            await scheduler.schedule("quiet")
        for _ in range(SUSPECT_AFTER):
            await crash(scheduler, clock)
        others = [await scheduler.schedule("other") for _ in range(20)]
        worker = Worker(scheduler, handlers)
        async with asyncio.timeout(20):
            await worker.run(until_drained=True)
        for task_id in others:
            task = await scheduler.get(task_id)
            assert (task.status, task.attempt) == (TaskStatus.COMPLETED, 1)
        assert all(seen == {"suspect"} for seen in together if "suspect" in seen)
        assert sum("suspect" in seen for seen in together) == 2


async def test_after_its_deadline_a_task_is_not_started() -> None:
    """It ends without an attempt, and says why."""
    clock, handlers = ManualClock(), Handlers()
    begun: list[Context] = []
    handlers.register("quiet")(begun.append)
    async with in_memory(clock) as scheduler:
        task_id = await scheduler.schedule("quiet", expires_at=clock.now() + timedelta(seconds=1))
        clock.advance(seconds=1)
        await drain(scheduler, handlers)
        task = await scheduler.get(task_id)
        assert (task.status, task.attempt) == (TaskStatus.FAILED, 0)
        assert list(await scheduler.attempts(task_id)) == []
        (cause,) = (await scheduler.why(task_id)).causes
        assert "expires_at" in cause.detail
        assert not begun
