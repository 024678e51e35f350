"""Leases of workers that are in no registry: found, and rescued."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from taskscheduler import Context, Handlers, Scheduler, TaskStatus, Worker
from taskscheduler.adapters.postgres.migrate import migrate
from taskscheduler.testing.contracts.steps import claim, join, new, until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from taskscheduler import TaskId

pytestmark = pytest.mark.anyio

STRIKE_OUT = "DELETE FROM {schema}.worker WHERE id = %s"


class Orphaning:
    """Leases tasks to workers that are gone by then."""

    def __init__(self, scheduler: Scheduler, url: str, schema: str) -> None:
        self.scheduler = scheduler
        self._url = url
        self._schema = sql.Identifier(schema)

    async def tasks(self, number: int, *, max_attempts: int | None = None) -> list[TaskId]:
        """Return tasks that one worker held alone, which was struck out behind its back."""
        store = self.scheduler.store
        await store.tasks.put([new(store, "job", max_attempts=max_attempts) for _ in range(number)])
        worker_id = await join(store)
        leases = await claim(store, worker_id, "job")
        async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as connection:
            await connection.execute(sql.SQL(STRIKE_OUT).format(schema=self._schema), [worker_id])
        return [lease.task_id for lease in leases]


@pytest.fixture
async def orphaning(embedded_url: str, schema: str) -> AsyncGenerator[Orphaning]:
    await migrate(embedded_url, schema)
    async with Scheduler.postgres(embedded_url, schema=schema) as scheduler:
        yield Orphaning(scheduler, embedded_url, schema)


async def test_they_are_rescued_as_those_of_a_silent_worker(orphaning: Orphaning) -> None:
    """One that was held alone may be to blame, and counts; of several each is excused."""
    scheduler = orphaning.scheduler
    alone, last, several = (
        await orphaning.tasks(1),
        await orphaning.tasks(1, max_attempts=1),
        await orphaning.tasks(3),
    )
    registered = await join(scheduler.store)
    kept = await scheduler.schedule("mail")
    (lease,) = await claim(scheduler.store, registered)
    rescued = await scheduler.store.workers.rescue_orphans()
    assert sorted(rescued) == sorted([*alone, *last, *several])
    assert (await scheduler.get(kept)).token == lease.token
    for task_id in alone:
        task = await scheduler.get(task_id)
        assert (task.status, task.attempt, task.excused) == (TaskStatus.PENDING, 1, 0)
    for task_id in several:
        task = await scheduler.get(task_id)
        assert (task.status, task.attempt, task.excused) == (TaskStatus.PENDING, 1, 1)
    for task_id in last:
        assert (await scheduler.get(task_id)).status is TaskStatus.FAILED
        (attempt,) = await scheduler.attempts(task_id)
        assert attempt.error is not None
        assert attempt.error.type == "WorkerLost"
    assert list(await scheduler.store.workers.rescue_orphans()) == []


async def test_one_that_is_being_changed_is_not_waited_for(
    orphaning: Orphaning, embedded_url: str, schema: str
) -> None:
    """Nor is the other to blame: there were two of them."""
    first, second = await orphaning.tasks(2, max_attempts=1)
    workers = orphaning.scheduler.store.workers
    async with await psycopg.AsyncConnection.connect(embedded_url) as other:
        lock = sql.SQL("SELECT FROM {}.live WHERE id = %s FOR UPDATE")
        await other.execute(lock.format(sql.Identifier(schema)), [first])
        async with asyncio.timeout(10):
            assert list(await workers.rescue_orphans()) == [second]
    task = await orphaning.scheduler.get(second)
    assert (task.status, task.attempt, task.excused) == (TaskStatus.PENDING, 1, 1)
    assert list(await workers.rescue_orphans()) == [first]


async def test_a_worker_at_work_finds_them(orphaning: Orphaning) -> None:
    handlers = Handlers()
    ran: list[TaskId] = []

    @handlers.register("job")
    async def job(context: Context) -> None:
        ran.append(context.id)

    task_ids = await orphaning.tasks(2)
    worker = Worker(orphaning.scheduler, handlers, lease=timedelta(seconds=2))
    run = asyncio.create_task(worker.run())
    async with asyncio.timeout(20):
        await until(lambda: len(ran) == len(task_ids))
    worker.stop()
    await run
    assert set(ran) == set(task_ids)
