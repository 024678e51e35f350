"""Why a task is not running, for every reason there is."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from taskscheduler import Context, Handlers, RetryPolicy, TaskNotFound, Worker
from taskscheduler.application.client.scheduler import Scheduler
from taskscheduler.domain.queue import Count
from taskscheduler.domain.why import Cause, Reason
from taskscheduler.testing import ManualClock, in_memory
from taskscheduler.testing.contracts.steps import claim, join

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def scheduler(clock: ManualClock) -> Scheduler:
    return in_memory(clock)


async def causes(scheduler: Scheduler, task_id: object) -> tuple[Cause, ...]:
    return (await scheduler.why(task_id)).causes  # pyright: ignore[reportArgumentType]


async def test_an_unknown_task_has_no_reasons(scheduler: Scheduler):
    with pytest.raises(TaskNotFound):
        await scheduler.why(uuid4())


async def test_a_ready_task_waits_its_turn(scheduler: Scheduler, clock: ManualClock):
    await join(scheduler.store)
    await scheduler.schedule("mail")
    task_id = await scheduler.schedule("mail")
    clock.advance(seconds=1)
    (cause,) = await causes(scheduler, task_id)
    assert (cause.reason, cause.before) == (Reason.READY, Count(1))
    assert cause.since == (await scheduler.get(task_id)).process_at


async def test_a_task_whose_time_has_not_come(scheduler: Scheduler, clock: ManualClock):
    await join(scheduler.store)
    at = clock.now() + timedelta(hours=1)
    (cause,) = await causes(scheduler, await scheduler.schedule("mail", execute_at=at))
    assert (cause.reason, cause.until) == (Reason.NOT_DUE, at)


async def test_all_reasons_that_hold_are_told(scheduler: Scheduler, clock: ManualClock):
    at = clock.now() + timedelta(hours=1)
    await scheduler.pause_queue("default")
    found = await causes(scheduler, await scheduler.schedule("mail", execute_at=at))
    assert [cause.reason for cause in found] == [
        Reason.NOT_DUE,
        Reason.QUEUE_PAUSED,
        Reason.NO_WORKER,
    ]
    assert found[1].since == clock.now()


async def test_the_worker_that_is_missing_is_named(scheduler: Scheduler, clock: ManualClock):
    task_id = await scheduler.schedule("mail", queue="letters")

    async def missing() -> str:
        (cause,) = await causes(scheduler, task_id)
        assert cause.reason is Reason.NO_WORKER
        return cause.detail

    assert await missing() == "no worker is alive"
    await join(scheduler.store)
    assert "from the queue 'letters'" in await missing()
    await join(scheduler.store, "fax", queues=["letters"])
    assert "handler for 'mail'" in await missing()
    await join(scheduler.store, queues=["letters"])
    assert [cause.reason for cause in await causes(scheduler, task_id)] == [Reason.READY]
    clock.advance(minutes=1)
    assert await missing() == "no worker is alive"


async def test_a_failed_attempt_is_waited_upon(scheduler: Scheduler, clock: ManualClock):
    handlers = Handlers()

    @handlers.register("mail", retry=RetryPolicy(max_attempts=3, base=timedelta(hours=1)))
    async def mail(_: Context) -> None:
        raise ValueError("no such address")  # noqa: TRY003

    worker = Worker(scheduler, handlers)
    task_id = await scheduler.schedule("mail")
    await worker.turn()
    failed_at = clock.now()
    clock.advance(seconds=1)
    (cause,) = await causes(scheduler, task_id)
    assert (cause.reason, cause.since) == (Reason.WAITING_FOR_RETRY, failed_at)
    assert cause.until == (await scheduler.get(task_id)).process_at
    assert "attempt 1 failed (ValueError: no such address)" in cause.detail
    await worker.deregister()


async def test_a_running_task_says_who_runs_it(scheduler: Scheduler, clock: ManualClock):
    worker_id = await join(scheduler.store)
    task_id = await scheduler.schedule("mail")
    await claim(scheduler.store, worker_id)
    (cause,) = await causes(scheduler, task_id)
    assert (cause.reason, cause.worker_id, cause.since) == (
        Reason.RUNNING,
        worker_id,
        clock.now(),
    )
    assert cause.detail == f"worker {worker_id} (worker of a test) holds it"
    clock.advance(minutes=1)
    (cause,) = await causes(scheduler, task_id)
    assert "fallen silent" in cause.detail


async def test_a_finished_task_says_how_it_ended(scheduler: Scheduler, clock: ManualClock):
    task_id = await scheduler.schedule("mail")
    await scheduler.cancel(task_id)
    (cause,) = await causes(scheduler, task_id)
    assert (cause.reason, cause.detail, cause.since) == (
        Reason.FINISHED,
        "it is Cancelled",
        clock.now(),
    )
