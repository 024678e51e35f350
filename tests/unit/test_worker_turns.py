"""The worker under a clock in the test's hands, a turn at a time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from taskscheduler import Context, Handlers, RetryPolicy, Scheduler, Snooze, Worker
from taskscheduler.domain.errors import InvalidConfiguration, StoreUnavailable
from taskscheduler.domain.status import TaskStatus
from taskscheduler.testing import Drained, assert_scheduled, drain, refute_scheduled
from taskscheduler.testing.contracts.steps import claim
from tests.support.faults import Faulty

if TYPE_CHECKING:
    from taskscheduler.testing import ManualClock

pytestmark = pytest.mark.anyio

LEASE = timedelta(seconds=30)


@pytest.fixture
def scheduler(scheduler_in_memory: Scheduler) -> Scheduler:
    return scheduler_in_memory


@pytest.fixture
def ran() -> list[tuple[str, int]]:
    return []


@pytest.fixture
def handlers(ran: list[tuple[str, int]]) -> Handlers:
    handlers = Handlers()

    @handlers.register("mail")
    async def mail(context: Context) -> None:
        ran.append(("mail", context.attempt))

    @handlers.register("fail", retry=RetryPolicy(max_attempts=3, base=timedelta(minutes=1)))
    async def fail(context: Context) -> None:
        ran.append(("fail", context.attempt))
        raise ValueError("no")

    @handlers.register("chain")
    async def chain(context: Context, left: int) -> None:
        ran.append(("chain", left))
        if left:
            await context.scheduler.schedule("chain", left - 1)

    @handlers.register("snooze")
    async def snooze(context: Context) -> None:
        ran.append(("snooze", context.attempt))
        if len(ran) < 3:
            raise Snooze(timedelta(hours=1))

    return handlers


async def test_a_task_runs_at_its_time(
    scheduler: Scheduler, handlers: Handlers, manual_clock: ManualClock, ran: list[Any]
) -> None:
    at = manual_clock.now() + timedelta(days=3)
    task_id = await scheduler.schedule("mail", execute_at=at)
    worker = Worker(scheduler, handlers)
    assert await worker.turn() == 0
    manual_clock.advance(timedelta(days=3) - timedelta(microseconds=1))
    assert await worker.turn() == 0
    manual_clock.advance(timedelta(microseconds=1))
    assert await worker.turn() == 1
    assert ran == [("mail", 1)]
    task = await scheduler.get(task_id)
    assert (task.status, task.started_at, task.finished_at) == (TaskStatus.COMPLETED, at, at)
    assert await worker.turn() == 0


async def test_a_turn_takes_no_more_than_there_are_slots(
    scheduler: Scheduler, handlers: Handlers, ran: list[Any]
) -> None:
    await scheduler.schedule_many([("mail", None)] * 7)
    worker = Worker(scheduler, handlers, concurrency=3)
    assert [await worker.turn() for _ in range(4)] == [3, 3, 1, 0]
    assert len(ran) == 7


async def test_a_failing_task_is_tried_as_often_as_its_policy_says(
    scheduler: Scheduler, handlers: Handlers, manual_clock: ManualClock, ran: list[Any]
) -> None:
    task_id = await scheduler.schedule("fail")
    worker = Worker(scheduler, handlers, random=lambda: 0.0)
    waits = 0
    while (await scheduler.get(task_id)).status is not TaskStatus.FAILED:
        await worker.turn()
        manual_clock.advance(minutes=1)
        waits += 1
    assert ran == [("fail", 1), ("fail", 2), ("fail", 3)]
    assert waits == 4  # at 0, 1 and 3 minutes: the second wait is twice the first
    assert len(await scheduler.attempts(task_id)) == 3


async def test_a_snoozed_task_does_not_use_up_its_attempts(
    scheduler: Scheduler, handlers: Handlers, manual_clock: ManualClock, ran: list[Any]
) -> None:
    task_id = await scheduler.schedule("snooze", max_attempts=1)
    worker = Worker(scheduler, handlers)
    for _ in range(3):
        await worker.turn()
        manual_clock.advance(hours=1)
    assert ran == [("snooze", 1)] * 3
    assert (await scheduler.get(task_id)).status is TaskStatus.COMPLETED


async def test_draining_runs_what_tasks_schedule(
    scheduler: Scheduler, handlers: Handlers, manual_clock: ManualClock, ran: list[Any]
) -> None:
    await scheduler.schedule("chain", 3)
    later = manual_clock.now() + timedelta(hours=1)
    await scheduler.schedule("mail", execute_at=later)
    await scheduler.schedule("mail", queue="letters")
    assert await drain(scheduler, handlers) == Drained(completed=4)
    assert ran == [("chain", 3), ("chain", 2), ("chain", 1), ("chain", 0)]
    assert list(await scheduler.store.workers.registered()) == []
    assert await drain(scheduler, handlers, queue="letters") == Drained(completed=1)
    await assert_scheduled(scheduler, "mail", execute_at=later)


async def test_a_dead_workers_task_runs_elsewhere(
    scheduler: Scheduler, handlers: Handlers, manual_clock: ManualClock, ran: list[Any]
) -> None:
    dead, active = (Worker(scheduler, handlers, lease=LEASE) for _ in range(2))
    await dead.turn()
    task_id = await scheduler.schedule("mail")
    assert dead.id is not None
    assert len(await claim(scheduler.store, dead.id)) == 1
    turns = 0
    while not ran:
        manual_clock.advance(LEASE / 3)
        await active.turn()
        turns += 1
    assert turns <= 6
    assert ran == [("mail", 2)]
    assert (await scheduler.get(task_id)).status is TaskStatus.COMPLETED


async def test_clock_jumps_lose_and_double_nothing(
    scheduler: Scheduler, handlers: Handlers, manual_clock: ManualClock, ran: list[Any]
) -> None:
    workers = [Worker(scheduler, handlers, lease=LEASE) for _ in range(2)]
    ids = dict.fromkeys(workers)
    for number in range(30):
        await scheduler.schedule("mail")
        manual_clock.jump(hours=(1, -1, 3, -3)[number % 4])
        for worker in workers:
            await worker.turn()
            assert ids[worker] in {None, worker.id}
            ids[worker] = worker.id  # pyright: ignore[reportArgumentType]
        manual_clock.advance(seconds=5)
    manual_clock.jump(days=1)
    await workers[0].turn()
    assert ran == [("mail", 1)] * 30


async def test_an_outcome_the_store_did_not_hear_is_settled_with_the_next_turn(
    scheduler: Scheduler, handlers: Handlers, ran: list[Any]
) -> None:
    tasks = Faulty(scheduler.store.tasks)
    faulty = Scheduler(replace(scheduler.store, tasks=tasks))  # pyright: ignore[reportArgumentType]
    task_id = await scheduler.schedule("mail")
    worker = Worker(faulty, handlers)
    tasks.refuse("settle")
    with pytest.raises(StoreUnavailable):
        await worker.turn()
    assert (await scheduler.get(task_id)).status is TaskStatus.IN_PROGRESS
    assert await worker.turn() == 0
    assert (await scheduler.get(task_id)).status is TaskStatus.COMPLETED
    assert (ran, worker.fenced) == ([("mail", 1)], 0)


async def test_leases_whose_claim_was_never_answered_are_given_back_with_the_next_turn(
    scheduler: Scheduler, handlers: Handlers, ran: list[Any]
) -> None:
    tasks = Faulty(scheduler.store.tasks)
    faulty = Scheduler(replace(scheduler.store, tasks=tasks))  # pyright: ignore[reportArgumentType]
    task_id = await scheduler.schedule("mail", max_attempts=1)
    worker = Worker(faulty, handlers)
    tasks.lose_answer("claim")
    with pytest.raises(StoreUnavailable):
        await worker.turn()
    assert (await scheduler.get(task_id)).status is TaskStatus.IN_PROGRESS
    assert await worker.turn() == 1
    assert (await scheduler.get(task_id)).status is TaskStatus.COMPLETED
    assert ran == [("mail", 1)]


async def test_assertions_about_what_is_scheduled(
    scheduler: Scheduler, manual_clock: ManualClock
) -> None:
    at = manual_clock.now() + timedelta(hours=1)
    task_id = await scheduler.schedule("mail", {"to": "zoe"}, execute_at=at, queue="letters")
    assert (await assert_scheduled(scheduler, "mail")).id == task_id
    await assert_scheduled(scheduler, "mail", {"to": "zoe"}, execute_at=at, queue="letters")
    await refute_scheduled(scheduler, "mail", {"to": "max"})
    await refute_scheduled(scheduler, "fax")
    with pytest.raises(AssertionError, match="zoe"):
        await assert_scheduled(scheduler, "mail", {"to": "max"})
    with pytest.raises(AssertionError, match="none"):
        await assert_scheduled(scheduler, "mail", queue="default")
    with pytest.raises(AssertionError, match="is scheduled"):
        await refute_scheduled(scheduler, "mail", {"to": "zoe"})


@pytest.mark.parametrize(
    "wrong",
    [
        {"queues": []},
        {"queues": ["a b"]},
        {"concurrency": 0},
        {"lease": timedelta(seconds=0.5)},
        {"poll_interval": timedelta(0)},
        {"shutdown_timeout": timedelta(seconds=-1)},
    ],
    ids=str,
)
def test_settings_that_make_no_sense_are_refused(
    scheduler: Scheduler, wrong: dict[str, Any]
) -> None:
    (name,) = wrong
    with pytest.raises(InvalidConfiguration, match=name):
        Worker(scheduler, Handlers(), **wrong)
