"""Workers on PostgreSQL, in real time."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from taskscheduler import (
    Cancel,
    Context,
    Handlers,
    LeaseLost,
    NewTask,
    Scheduler,
    StoreUnavailable,
    TaskQuery,
    TaskStatus,
    Worker,
)
from taskscheduler.adapters.postgres.migrate import migrate
from taskscheduler.testing.contracts.steps import claim, join, new, put, subscribed, until
from taskscheduler.testing.postgres import PostgresClock, postgres_store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from taskscheduler import Task, TaskId

pytestmark = pytest.mark.anyio

PATIENCE_S = 30.0
FAR = timedelta(minutes=5)
WAKE_UP_S = 2.0
"""Generous: it takes milliseconds, but not on a machine that does ten other things."""


class Bench:
    """A scheduler, and handlers that wait to be let go."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler = scheduler
        self.handlers = Handlers()
        self.begun: Counter[TaskId] = Counter()
        self.stopped: list[TaskId] = []
        self.let_go = asyncio.Event()

        @self.handlers.register("job")
        async def job(context: Context) -> None:
            self.begun[context.id] += 1
            try:
                await self.let_go.wait()
            except asyncio.CancelledError:
                self.stopped.append(context.id)
                raise

        @self.handlers.register("quick")
        async def quick(context: Context) -> None:
            self.begun[context.id] += 1

        @self.handlers.register("nul")
        async def nul(context: Context) -> None:
            raise Cancel("a\0b \ud800")  # noqa: TRY003

    @asynccontextmanager
    async def running(self, worker: Worker) -> AsyncGenerator[asyncio.Task[None]]:
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
                await asyncio.sleep(0.005)
        return task


@pytest.fixture
async def bench(any_postgres_url: str, schema: str) -> AsyncGenerator[Bench]:
    await migrate(any_postgres_url, schema)
    async with Scheduler.postgres(any_postgres_url, schema=schema) as scheduler:
        yield Bench(scheduler)


async def test_a_wake_up_does_not_wait_for_the_poll(bench: Bench) -> None:
    worker = Worker(bench.scheduler, bench.handlers, poll_interval=FAR)
    async with bench.running(worker):
        first = await bench.scheduler.schedule("quick")
        await bench.get_when(first, TaskStatus.COMPLETED)
        late: list[float] = []
        for _ in range(5):
            task_id = await bench.scheduler.schedule("quick")
            task = await bench.get_when(task_id, TaskStatus.COMPLETED)
            assert task.started_at is not None
            late.append((task.started_at - task.process_at).total_seconds())
    assert sorted(late)[2] < WAKE_UP_S


async def test_a_task_in_the_callers_transaction_wakes_too(
    bench: Bench, any_postgres_url: str
) -> None:
    worker = Worker(bench.scheduler, bench.handlers, poll_interval=FAR)
    async with (
        await psycopg.AsyncConnection.connect(any_postgres_url) as connection,
        bench.running(worker),
    ):
        first = await bench.scheduler.schedule("quick")
        await bench.get_when(first, TaskStatus.COMPLETED)
        async with connection.transaction():
            task_id = await bench.scheduler.schedule("quick", connection=connection)
        task = await bench.get_when(task_id, TaskStatus.COMPLETED)
        with pytest.raises(ZeroDivisionError):  # noqa: PT012
            async with connection.transaction():
                task_id = await bench.scheduler.schedule("quick", connection=connection)
                raise ZeroDivisionError
    assert task.started_at is not None
    assert task_id not in bench.begun


async def test_a_task_starts_at_its_time_without_polling(bench: Bench) -> None:
    worker = Worker(bench.scheduler, bench.handlers, poll_interval=FAR)
    async with bench.running(worker):
        task_id = await bench.scheduler.schedule("quick", delay=timedelta(milliseconds=300))
        task = await bench.get_when(task_id, TaskStatus.COMPLETED)
    assert task.started_at is not None
    assert timedelta(0) <= task.started_at - task.process_at < timedelta(seconds=WAKE_UP_S)


async def test_a_task_cancelled_while_it_runs_is_stopped(bench: Bench) -> None:
    worker = Worker(bench.scheduler, bench.handlers, poll_interval=FAR)
    async with bench.running(worker):
        task_id = await bench.scheduler.schedule("job")
        other_id = await bench.scheduler.schedule("job")
        await until(lambda: len(bench.begun) == 2)
        await bench.scheduler.cancel(task_id)
        await until(lambda: bench.stopped)
    assert bench.stopped == [task_id]
    assert (await bench.scheduler.get(task_id)).status is TaskStatus.CANCELLED
    assert (await bench.scheduler.get(other_id)).status is TaskStatus.COMPLETED
    assert worker.fenced == 0


async def test_stopping_gives_back_what_has_not_begun(bench: Bench) -> None:
    ids = await bench.scheduler.schedule_many([("job", None)] * 10)
    worker = Worker(bench.scheduler, bench.handlers, concurrency=3)
    async with bench.running(worker) as run:
        await until(lambda: len(bench.begun) == 3)
        worker.stop()
        # What was claimed ahead is given back while the handlers run on.
        pending = TaskQuery(status=TaskStatus.PENDING)
        async with asyncio.timeout(PATIENCE_S):
            while len(await bench.scheduler.list(pending)) < 7:
                await asyncio.sleep(0.005)
        assert not run.done()
    tasks = [await bench.scheduler.get(task_id) for task_id in ids]
    completed = {task.id for task in tasks if task.status is TaskStatus.COMPLETED}
    assert completed == set(bench.begun) < set(ids)
    assert {task.attempt for task in tasks if task.id not in completed} == {0}
    assert list(await bench.scheduler.store.workers.registered()) == []


async def test_stopping_twice_gives_back_what_runs(bench: Bench) -> None:
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


async def test_two_workers_run_each_task_once(
    bench: Bench, any_postgres_url: str, schema: str
) -> None:
    ids = await bench.scheduler.schedule_many([("quick", None)] * 2000)
    async with Scheduler.postgres(any_postgres_url, schema=schema) as other:
        workers = [
            Worker(scheduler, bench.handlers, concurrency=20)
            for scheduler in (bench.scheduler, other)
        ]
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*(worker.run(until_drained=True) for worker in workers))
    assert bench.begun == dict.fromkeys(ids, 1)
    assert [worker.fenced for worker in workers] == [0, 0]
    (task,) = {(await bench.scheduler.get(each)).status for each in ids[:50]}
    assert task is TaskStatus.COMPLETED


async def test_a_workers_broken_connections_are_replaced(
    bench: Bench, any_postgres_url: str
) -> None:
    """Every connection but ours is cut; no task is lost or run twice."""
    worker = Worker(bench.scheduler, bench.handlers, poll_interval=timedelta(milliseconds=100))
    cut = """SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
             WHERE application_name = 'taskscheduler' AND pid <> pg_backend_pid()"""
    ids: list[TaskId] = []
    async with bench.running(worker):
        for _ in range(3):
            tasks = [bench.scheduler.prepare("quick") for _ in range(50)]
            async with asyncio.timeout(PATIENCE_S):
                while not await stored(bench.scheduler, tasks):
                    pass
            ids += [task.id for task in tasks]
            await until(lambda: len(bench.begun) == len(ids))  # noqa: B023 - awaited here
            with psycopg.connect(any_postgres_url) as connection:
                assert connection.execute(cut).fetchone() != (0,)
        for task_id in ids:
            await bench.get_when(task_id, TaskStatus.COMPLETED)
    assert bench.begun == dict.fromkeys(ids, 1)


async def stored(scheduler: Scheduler, tasks: list[NewTask]) -> bool:
    """Store ``tasks``; return whether the store could be reached."""
    try:
        await scheduler.put_many(tasks)
    except StoreUnavailable:
        return False
    return True


async def test_reasons_that_no_database_takes_are_stored_all_the_same(bench: Bench) -> None:
    task_id = await bench.scheduler.schedule("nul")
    await Worker(bench.scheduler, bench.handlers).turn()
    assert (await bench.scheduler.get(task_id)).status is TaskStatus.CANCELLED
    (attempt,) = await bench.scheduler.attempts(task_id)
    assert attempt.error is not None
    assert attempt.error.message.startswith("a\\0b")


async def test_effects_in_the_transaction_happen_once(
    bench: Bench, any_postgres_url: str, schema: str
) -> None:
    """A lost lease rolls them back; the next attempt's are kept."""
    counter = sql.Identifier(schema, "counter")
    with psycopg.connect(any_postgres_url, autocommit=True) as setup:
        setup.execute(sql.SQL("CREATE TABLE {} (id uuid)").format(counter))
    lost: list[LeaseLost] = []

    @bench.handlers.register("count")
    async def count(context: Context) -> None:
        try:
            async with context.transaction() as connection:
                await connection.execute(
                    sql.SQL("INSERT INTO {} VALUES (%s)").format(counter), [context.id]
                )
                if context.attempt == 1 and not lost:
                    assert worker.id is not None
                    await context.scheduler.store.workers.deregister(worker.id)
        except LeaseLost as error:
            lost.append(error)
            raise

    task_id = await bench.scheduler.schedule("count")
    worker = Worker(bench.scheduler, bench.handlers)
    await worker.turn()
    await worker.turn()
    assert len(lost) == 1
    assert (await bench.scheduler.get(task_id)).status is TaskStatus.COMPLETED
    with psycopg.connect(any_postgres_url) as look:
        assert look.execute(sql.SQL("SELECT id FROM {}").format(counter)).fetchall() == [(task_id,)]


async def test_a_claim_from_before_a_reconciliation_is_void(
    any_postgres_url: str, schema: str
) -> None:
    """It carries an epoch that is over, however late it arrives."""
    with PostgresClock(any_postgres_url, schema) as clock:
        async with (
            postgres_store(any_postgres_url, schema, clock) as store,
            postgres_store(any_postgres_url, schema, clock) as late,
        ):
            worker_id = await join(store)
            await store.tasks.put([new(store)])
            await store.tasks.reconcile(worker_id, [])
            assert list(await claim(late, worker_id)) == []
            assert len(await store.tasks.claim(worker_id, subscribed(), 5)) == 1


async def test_a_task_that_somebody_changes_does_not_hold_up_a_claim(
    any_postgres_url: str, schema: str
) -> None:
    """The claim takes the others."""
    with PostgresClock(any_postgres_url, schema) as clock:
        async with postgres_store(any_postgres_url, schema, clock) as store:
            worker_id = await join(store)
            held, free = await put(store), await put(store)
            live = sql.Identifier(schema, "live")
            with psycopg.connect(any_postgres_url) as other:
                other.execute(
                    sql.SQL("SELECT FROM {} WHERE id = %s FOR UPDATE").format(live), [held]
                )
                async with asyncio.timeout(5):
                    leases = await claim(store, worker_id)
            assert [lease.task_id for lease in leases] == [free]


async def test_a_listener_that_is_stopped_early_leaves_no_connection(
    bench: Bench, any_postgres_url: str
) -> None:
    """At whatever point it is stopped."""
    for turns in range(40):
        async with bench.scheduler.store.wakeups.listen(["default"], on_cancellation=lambda: None):
            for _ in range(turns):
                await asyncio.sleep(0.0005)
    # pytest fails the test that leaves a connection to the collector.
    gc.collect()
