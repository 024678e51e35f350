"""Steps are not computed again, and progress is told without being in the way."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from taskscheduler import (
    Context,
    Handlers,
    InvalidProgress,
    InvalidStep,
    RetryPolicy,
    Scheduler,
    TaskStatus,
    Worker,
)
from taskscheduler.application.client.change_feed import Watched
from taskscheduler.application.client.shared_look import Lookout
from taskscheduler.application.worker.progress import Reporter
from taskscheduler.domain.errors import StoreUnavailable
from taskscheduler.domain.notes import Report
from taskscheduler.testing.contracts.steps import lease_one
from tests.support.faults import Faulty

if TYPE_CHECKING:
    from collections.abc import Callable

    from taskscheduler import Task
    from taskscheduler.testing import ManualClock

pytestmark = pytest.mark.anyio

POLICY = RetryPolicy(max_attempts=3, base=timedelta(seconds=1), jitter=0)


async def run(
    scheduler: Scheduler, clock: ManualClock, handler: Callable[..., Any], payload: object = None
) -> Task:
    """Run one task until it has ended."""
    handlers = Handlers()
    handlers.register("job", retry=POLICY)(handler)
    task_id = await scheduler.schedule("job", payload)
    worker = Worker(scheduler, handlers, random=lambda: 0.0)
    for _ in range(POLICY.max_attempts):
        await worker.turn()
        clock.advance(minutes=1)
    await worker.deregister()
    return await scheduler.get(task_id)


async def test_a_step_is_computed_once(scheduler_in_memory: Scheduler, manual_clock: ManualClock):
    """Later attempts are given what it came to, as from JSON, and so is the first."""
    calls: list[object] = []

    async def charge(cents: int, *, to: str) -> tuple[int, str]:
        calls.append((cents, to))
        return cents, to

    async def handle(context: Context) -> list[object]:
        first = await context.step("charge", charge, 5, to="ada")
        nothing = await context.step("nothing", calls.append, "plain")
        if not context.is_last_attempt:
            message = "again"
            raise ValueError(message)
        return [first, nothing]

    task = await run(scheduler_in_memory, manual_clock, handle)
    assert task.status is TaskStatus.COMPLETED
    assert task.attempt == 3
    assert calls == [(5, "ada"), "plain"]
    assert await scheduler_in_memory.result(task.id) == [[5, "ada"], None]


async def test_what_a_step_raises_is_not_kept(
    scheduler_in_memory: Scheduler, manual_clock: ManualClock
):
    calls: list[int] = []

    def flaky() -> int:
        calls.append(1)
        if len(calls) < 3:
            message = "not yet"
            raise ValueError(message)
        return len(calls)

    async def handle(context: Context) -> int:
        return await context.step("flaky", flaky)

    task = await run(scheduler_in_memory, manual_clock, handle)
    assert await scheduler_in_memory.result(task.id) == 3


async def test_steps_and_progress_of_a_plain_function(
    scheduler_in_memory: Scheduler, manual_clock: ManualClock
):
    """In a thread nothing is awaited; a step runs there, unless it is a coroutine."""
    calls: list[str] = []

    def plain() -> int:
        calls.append("plain")
        return 1

    async def waits() -> int:
        await asyncio.sleep(0)
        calls.append("waits")
        return 2

    def handle(context: Context) -> int:
        done: Any = context.progress(0.5, "half")
        assert done is None
        total = context.step("plain", plain) + context.step("waits", waits)
        if context.attempt == 1:
            message = "again"
            raise ValueError(message)
        return total

    task = await run(scheduler_in_memory, manual_clock, handle)
    assert await scheduler_in_memory.result(task.id) == 3
    assert calls == ["plain", "waits"]
    progress = (await scheduler_in_memory.notes(task.id)).progress
    assert progress is not None
    assert (progress.fraction, progress.message) == (0.5, "half")


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("twice", 1, "step 'twice' is there twice in one attempt"),
        ("", 1, "must be named by 1 to 256 printable characters"),
        ("x" * 257, 1, "must be named by 1 to 256 printable characters"),
        (5, 1, "must be named by 1 to 256 printable characters"),
        ("odd", object(), "step 'odd' has no JSON form"),
        ("large", "x" * 1024 * 1024, "is more than the 1048576 that a task may keep"),
    ],
)
async def test_a_step_that_cannot_be_kept_is_refused(
    scheduler_in_memory: Scheduler, manual_clock: ManualClock, name: Any, value: object, why: str
):
    async def handle(context: Context) -> None:
        await context.step("twice", dict)
        with pytest.raises(InvalidStep, match=why):
            await context.step(name, lambda: value)

    task = await run(scheduler_in_memory, manual_clock, handle)
    assert task.status is TaskStatus.COMPLETED


async def test_steps_at_the_same_time(scheduler_in_memory: Scheduler, manual_clock: ManualClock):
    """They are asked for once."""
    notes = Faulty(scheduler_in_memory.store.notes)
    scheduler = Scheduler(replace(scheduler_in_memory.store, notes=notes))  # pyright: ignore[reportArgumentType]

    async def handle(context: Context) -> list[int]:
        return await asyncio.gather(
            *(context.step(f"number {number}", int, number) for number in range(20))
        )

    task = await run(scheduler, manual_clock, handle)
    assert await scheduler.result(task.id) == [*range(20)]
    assert (notes.calls["steps"], notes.calls["keep_step"]) == (1, 20)


async def test_a_step_is_kept_though_the_store_is_away_for_a_while(
    scheduler_in_memory: Scheduler, manual_clock: ManualClock
):
    """The function is not called again for that."""
    notes = Faulty(scheduler_in_memory.store.notes)
    scheduler = Scheduler(replace(scheduler_in_memory.store, notes=notes))  # pyright: ignore[reportArgumentType]
    calls: list[int] = []

    async def handle(context: Context) -> None:
        notes.refuse("keep_step", StoreUnavailable("away"))
        await context.step("charge", calls.append, 1)

    task = await run(scheduler, manual_clock, handle)
    assert (task.status, task.attempt, calls) == (TaskStatus.COMPLETED, 1, [1])


@pytest.mark.parametrize(
    ("fraction", "message", "data", "why"),
    [
        (1.5, None, None, "progress: fraction must be 0 to 1, not 1.5"),
        (float("nan"), None, None, "fraction must be 0 to 1"),
        ("half", None, None, "fraction must be 0 to 1, not 'half'"),
        (None, 5, None, "message must be a text, not int"),
        (None, "x" * 1001, None, "message must be at most 1000 characters"),
        (None, "\ud800", None, "halves of surrogate pairs"),
        (None, None, object(), "data has no JSON form"),
        (None, None, "x" * 20_000, "data must be at most 16384 bytes of JSON"),
    ],
)
async def test_progress_that_makes_no_sense_is_refused(
    scheduler_in_memory: Scheduler,
    manual_clock: ManualClock,
    fraction: Any,
    message: Any,
    data: object,
    why: str,
):
    async def handle(context: Context) -> None:
        with pytest.raises(InvalidProgress, match=why):
            await context.progress(fraction, message, data)

    task = await run(scheduler_in_memory, manual_clock, handle)
    assert task.status is TaskStatus.COMPLETED


async def test_progress_is_written_seldom_and_before_the_outcome(
    scheduler_in_memory: Scheduler, manual_clock: ManualClock
):
    """A hundred attempts that say a hundred things each share the writes; the last word stays."""
    notes = Faulty(scheduler_in_memory.store.notes)
    scheduler = Scheduler(replace(scheduler_in_memory.store, notes=notes))  # pyright: ignore[reportArgumentType]

    async def handle(context: Context) -> None:
        for number in range(100):
            await context.progress(number / 100, "importing", {"rows": number})
            await asyncio.sleep(0)

    handlers = Handlers()
    handlers.register("job")(handle)
    ids = await scheduler.schedule_many([("job", None)] * 50)
    worker = Worker(scheduler, handlers, concurrency=50)
    await worker.turn()
    await worker.deregister()
    for task_id in ids:
        progress = (await scheduler.notes(task_id)).progress
        assert progress is not None
        assert (progress.fraction, progress.message) == (0.99, "importing")
        assert (progress.data, progress.at) == (b'{"rows":99}', manual_clock.now())
    assert notes.calls["report"] <= 55, "of 5,000 words"


async def test_progress_is_worth_no_attempt(
    scheduler_in_memory: Scheduler, manual_clock: ManualClock
):
    notes = Faulty(scheduler_in_memory.store.notes)
    scheduler = Scheduler(replace(scheduler_in_memory.store, notes=notes))  # pyright: ignore[reportArgumentType]
    notes.refuse("report", *[StoreUnavailable("away")] * 5)

    async def handle(context: Context) -> None:
        await context.progress(0.5)
        await asyncio.sleep(0)
        await context.progress(0.6)

    task = await run(scheduler, manual_clock, handle)
    assert (task.status, task.attempt) == (TaskStatus.COMPLETED, 1)


async def test_a_look_at_running_tasks_shows_their_progress(scheduler_in_memory: Scheduler):
    store = scheduler_in_memory.store
    lease = await lease_one(store)
    reporter = Reporter(store.notes)
    reporter.add(Report(lease.task_id, lease.token, 0.5, None, None))
    await reporter.settle(lease.token)
    states = await Lookout(store).look(Watched(kind="mail"))
    progress = states[lease.task_id].progress
    assert progress is not None
    assert progress.fraction == 0.5
