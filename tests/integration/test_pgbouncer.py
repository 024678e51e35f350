"""Behind PgBouncer, which pools by transaction, everything works but LISTEN."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from taskscheduler import Context, Handlers, Scheduler, TaskStatus, Worker
from taskscheduler.adapters.postgres.migrate import migrate
from taskscheduler.testing.contracts import (
    KindCatalogueContract,
    NotesContract,
    TaskReaderContract,
    TaskRepositoryContract,
    TransactionContract,
    WorkerRegistryContract,
)
from taskscheduler.testing.contracts.steps import until
from taskscheduler.testing.postgres import PostgresClock, postgres_store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from taskscheduler import TaskId
    from taskscheduler.application.store import Store

PATIENCE_S = 30.0


@pytest.fixture
def clock(pgbouncer_url: str, schema: str) -> Iterator[PostgresClock]:
    with PostgresClock(pgbouncer_url, schema) as clock:
        yield clock


@pytest.fixture
async def store(pgbouncer_url: str, schema: str, clock: PostgresClock) -> AsyncGenerator[Store]:
    async with postgres_store(pgbouncer_url, schema, clock) as store:
        yield store


class TestTasks(TaskRepositoryContract, TransactionContract):
    """``PostgresTaskRepository``."""


class TestBoard(TaskReaderContract):
    """``PostgresTaskReader``."""


class TestWorkers(WorkerRegistryContract):
    """``PostgresWorkerRegistry``."""


class TestNotes(NotesContract):
    """``PostgresNotes``."""


class TestKinds(KindCatalogueContract):
    """``PostgresKindCatalogue``."""


@pytest.fixture
def ran() -> list[TaskId]:
    return []


@pytest.fixture
def handlers(ran: list[TaskId]) -> Handlers:
    handlers = Handlers()

    @handlers.register("quick")
    async def quick(context: Context) -> None:
        ran.append(context.id)

    @handlers.register("write")
    async def write(context: Context) -> None:
        async with context.transaction() as connection:
            await context.scheduler.schedule("quick", connection=connection)

    return handlers


@pytest.mark.anyio
async def test_a_worker_runs_by_polling(
    pgbouncer_url: str, schema: str, handlers: Handlers, ran: list[TaskId]
) -> None:
    """It says why it must."""
    await migrate(pgbouncer_url, schema)
    async with Scheduler.postgres(pgbouncer_url, schema=schema) as scheduler:
        ids = await scheduler.schedule_many([("quick", None)] * 300)
        worker = Worker(scheduler, handlers, poll_interval=timedelta(milliseconds=50))
        run = asyncio.create_task(worker.run())
        await until(lambda: len(ran) == len(ids))
        await until(lambda: worker.degraded is not None and "pooler" in worker.degraded)
        await scheduler.schedule("write")
        await until(lambda: len(ran) == len(ids) + 1)
        worker.stop()
        async with asyncio.timeout(PATIENCE_S):
            await run
        assert sorted(ran[: len(ids)]) == sorted(ids)
        assert {task.status for task in await scheduler.list()} == {TaskStatus.COMPLETED}


@pytest.mark.anyio
async def test_a_way_past_the_pooler_brings_wake_ups_back(
    pgbouncer_url: str, postgres_url: str, schema: str, handlers: Handlers, ran: list[TaskId]
) -> None:
    """Only listening goes that way."""
    await migrate(pgbouncer_url, schema)
    async with Scheduler.postgres(
        pgbouncer_url, schema=schema, listen_url=postgres_url
    ) as scheduler:
        worker = Worker(scheduler, handlers, poll_interval=timedelta(minutes=5))
        run = asyncio.create_task(worker.run())
        await until(lambda: worker.id is not None)
        # The worker says what holds each time it looks; a task makes it look.
        for count in range(1, 50):
            await scheduler.schedule("quick")
            await until(lambda count=count: len(ran) == count)
            if worker.degraded is None:
                break
        assert worker.degraded is None
        worker.stop()
        async with asyncio.timeout(PATIENCE_S):
            await run
