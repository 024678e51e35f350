"""The worker on the real event loop: it works until it is stopped."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from taskscheduler import Context, Handlers, NewTask, Scheduler, TaskStatus, Worker
from taskscheduler.testing.contracts.steps import until
from tests.support.faults import AWAY, Faulty

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from taskscheduler import Task, TaskId

pytestmark = pytest.mark.anyio

PATIENCE_S = 20.0
FAR = timedelta(minutes=5)


class Bench:
    """A scheduler, and a handler of kind ``job`` that waits to be let go."""

    def __init__(self) -> None:
        self.scheduler = Scheduler.in_memory()
        self.handlers = Handlers()
        self.begun: list[TaskId] = []
        self.stopped: list[TaskId] = []
        self.let_go = asyncio.Event()

        @self.handlers.register("job")
        async def job(context: Context) -> None:
            self.begun.append(context.id)
            try:
                await self.let_go.wait()
            except asyncio.CancelledError:
                self.stopped.append(context.id)
                raise

        @self.handlers.register("quick")
        async def quick(context: Context) -> None:
            self.begun.append(context.id)

    @asynccontextmanager
    async def running(self, worker: Worker) -> AsyncGenerator[asyncio.Task[None]]:
        """Run ``worker``; stop it at the end of the block, and see that it ends."""
        run = asyncio.create_task(worker.run())
        try:
            yield run
        finally:
            self.let_go.set()
            worker.stop()
            async with asyncio.timeout(PATIENCE_S):
                await run

    async def get_when(self, task_id: TaskId, status: TaskStatus) -> Task:
        async with asyncio.timeout(PATIENCE_S):
            while (task := await self.scheduler.get(task_id)).status is not status:
                await asyncio.sleep(0.001)
        return task


@pytest.fixture
async def bench() -> AsyncGenerator[Bench]:
    bench = Bench()
    async with bench.scheduler:
        yield bench


async def test_it_works_until_it_is_stopped(bench: Bench) -> None:
    worker = Worker(bench.scheduler, bench.handlers, poll_interval=FAR)
    async with bench.running(worker):
        for _ in range(3):
            task_id = await bench.scheduler.schedule("quick")
            await bench.get_when(task_id, TaskStatus.COMPLETED)
        assert worker.id is not None
    assert list(await bench.scheduler.store.workers.registered()) == []


async def test_while_idle_it_asks_what_is_due_and_claims_only_then(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A poll is one question to the store, however many workers there are."""
    tasks = bench.scheduler.store.tasks
    asked = {"claim": 0, "next_due": 0}

    def counted(name: str) -> None:
        verb = getattr(tasks, name)

        async def ask(*args: Any, **kwargs: Any) -> Any:
            asked[name] += 1
            return await verb(*args, **kwargs)

        monkeypatch.setattr(tasks, name, ask)

    for name in asked:
        counted(name)
    await bench.scheduler.schedule("quick", delay=timedelta(days=1))
    worker = Worker(bench.scheduler, bench.handlers, poll_interval=timedelta(milliseconds=2))
    async with bench.running(worker):
        await until(lambda: asked["next_due"] > 20)
        # A first look, and another once wake-ups are heard.
        assert asked["claim"] <= 3
        # Nobody rings for this one.
        await tasks.put([NewTask(id=bench.scheduler.store.new_task_id(), kind="quick")])
        await until(lambda: bench.begun)


async def test_it_starts_a_task_at_its_time_without_polling(bench: Bench) -> None:
    worker = Worker(bench.scheduler, bench.handlers, poll_interval=FAR)
    async with bench.running(worker):
        task_id = await bench.scheduler.schedule("quick", delay=timedelta(milliseconds=100))
        task = await bench.get_when(task_id, TaskStatus.COMPLETED)
    assert task.started_at is not None
    assert timedelta(0) <= task.started_at - task.process_at < timedelta(seconds=5)


async def test_it_finishes_what_runs_and_gives_the_rest_back(bench: Bench) -> None:
    ids = await bench.scheduler.schedule_many([("job", None)] * 5)
    worker = Worker(bench.scheduler, bench.handlers, concurrency=2)
    async with bench.running(worker) as run:
        await until(lambda: len(bench.begun) == 2)
        worker.stop()
        await asyncio.sleep(0)
        assert not run.done()
    tasks = [await bench.scheduler.get(task_id) for task_id in ids]
    assert sorted(task.status for task in tasks) == ["Completed"] * 2 + ["Pending"] * 3
    assert {task.attempt for task in tasks if task.status is TaskStatus.PENDING} == {0}
    assert bench.stopped == []


async def test_stopped_twice_it_gives_back_what_runs(bench: Bench) -> None:
    task_id = await bench.scheduler.schedule("job", max_attempts=1)
    worker = Worker(bench.scheduler, bench.handlers)
    run = asyncio.create_task(worker.run())
    await until(lambda: bench.begun)
    worker.stop()
    worker.stop()
    async with asyncio.timeout(PATIENCE_S):
        await run
    task = await bench.scheduler.get(task_id)
    assert (task.status, task.attempt) == (TaskStatus.PENDING, 0)
    assert bench.stopped == [task_id]


async def test_its_patience_with_handlers_ends(bench: Bench) -> None:
    task_id = await bench.scheduler.schedule("job", max_attempts=1)
    worker = Worker(bench.scheduler, bench.handlers, shutdown_timeout=timedelta(milliseconds=10))
    run = asyncio.create_task(worker.run())
    await until(lambda: bench.begun)
    worker.stop()
    async with asyncio.timeout(PATIENCE_S):
        await run
    task = await bench.scheduler.get(task_id)
    assert (task.status, task.attempt) == (TaskStatus.PENDING, 0)


async def test_cancelled_it_gives_everything_back(bench: Bench) -> None:
    ids = await bench.scheduler.schedule_many([("job", None)] * 3)
    worker = Worker(bench.scheduler, bench.handlers, concurrency=2)
    run = asyncio.create_task(worker.run())
    await until(lambda: len(bench.begun) == 2)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    for task_id in ids:
        task = await bench.scheduler.get(task_id)
        assert (task.status, task.attempt) == (TaskStatus.PENDING, 0)
    assert list(await bench.scheduler.store.workers.registered()) == []


async def test_a_task_cancelled_while_it_runs_is_stopped(bench: Bench) -> None:
    task_id = await bench.scheduler.schedule("job")
    other_id = await bench.scheduler.schedule("job")
    worker = Worker(bench.scheduler, bench.handlers, poll_interval=FAR)
    async with bench.running(worker):
        await until(lambda: len(bench.begun) == 2)
        await bench.scheduler.cancel(task_id)
        await until(lambda: bench.stopped)
        assert bench.stopped == [task_id]
    assert (await bench.scheduler.get(task_id)).status is TaskStatus.CANCELLED
    assert (await bench.scheduler.get(other_id)).status is TaskStatus.COMPLETED


async def test_it_stops_by_itself_when_nothing_is_due(bench: Bench) -> None:
    ids = await bench.scheduler.schedule_many([("quick", None)] * 200)
    later = await bench.scheduler.schedule("quick", delay=FAR)
    async with asyncio.timeout(PATIENCE_S):
        await Worker(bench.scheduler, bench.handlers, concurrency=10).run(until_drained=True)
    assert sorted(bench.begun) == sorted(ids)
    assert (await bench.scheduler.get(later)).status is TaskStatus.PENDING


async def test_stopped_before_it_ran_it_ends_at_once(bench: Bench) -> None:
    await bench.scheduler.schedule("quick")
    worker = Worker(bench.scheduler, bench.handlers)
    worker.stop()
    async with asyncio.timeout(PATIENCE_S / 5):
        await worker.run()
    assert bench.begun == []


async def test_it_waits_for_a_store_that_is_away(bench: Bench) -> None:
    store = bench.scheduler.store
    tasks, workers = Faulty(store.tasks), Faulty(store.workers)
    workers.refuse("register")
    tasks.refuse("claim", AWAY, AWAY)
    tasks.lose_answer("claim")
    tasks.refuse("settle")
    faulty = replace(store, tasks=tasks, workers=workers)  # pyright: ignore[reportArgumentType]
    task_id = await bench.scheduler.schedule("quick", max_attempts=1)
    worker = Worker(Scheduler(faulty), bench.handlers, poll_interval=timedelta(milliseconds=20))
    async with bench.running(worker):
        task = await bench.get_when(task_id, TaskStatus.COMPLETED)
    assert task.attempt == 1
    assert bench.begun == [task_id]
    assert tasks.calls["reconcile"] >= 1


async def test_two_share_the_work(bench: Bench) -> None:
    ids = await bench.scheduler.schedule_many([("quick", None)] * 500)
    workers = [Worker(bench.scheduler, bench.handlers, concurrency=5) for _ in range(2)]
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(*(worker.run(until_drained=True) for worker in workers))
    assert sorted(bench.begun) == sorted(ids)
