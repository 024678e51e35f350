"""Tasks that are committed long after the time from which they wait are found all the same."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest

from taskscheduler import Context, Handlers, NewTask, Scheduler, TaskQuery, TaskStatus, Worker
from taskscheduler.adapters.postgres.claim import Claims
from taskscheduler.adapters.postgres.database import Database
from taskscheduler.adapters.postgres.migrate import migrate
from taskscheduler.domain.worker import Subscription, WorkerProfile
from taskscheduler.testing import ManualClock

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio

NUMBER = 1_000
CONCURRENCY = 5
PATIENCE_S = 30.0
LEASE = timedelta(seconds=30)


@pytest.fixture
def done() -> list[int]:
    return []


@pytest.fixture
def handlers(done: list[int]) -> Handlers:
    handlers = Handlers()

    @handlers.register("note")
    async def note(_: Context, number: int) -> None:
        done.append(number)

    return handlers


def tasks(scheduler: Scheduler, number: int) -> list[NewTask]:
    return [
        NewTask(id=scheduler.store.new_task_id(), kind="note", payload=1) for _ in range(number)
    ]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_batch_that_commits_late_is_worked_off_without_a_poll(
    postgres_url: str, schema: str, handlers: Handlers, done: list[int]
) -> None:
    """Others of its lane were claimed meanwhile. No poll helps here: its one hint must do."""
    await migrate(postgres_url, schema)
    async with Scheduler.postgres(postgres_url, schema=schema) as scheduler:
        worker = Worker(
            scheduler, handlers, concurrency=CONCURRENCY, poll_interval=timedelta(hours=1)
        )
        running = asyncio.create_task(worker.run())
        await scheduler.schedule("note", 0)
        await until(lambda: len(done) == 1)
        async with (
            await psycopg.AsyncConnection.connect(postgres_url) as connection,
            connection.transaction(),
        ):
            late = tasks(scheduler, NUMBER)
            await scheduler.store.tasks.put(late, transaction=connection)
            await asyncio.sleep(0.1)  # longer than the margin of the floors
            await scheduler.schedule("note", 0)
            await until(lambda: len(done) == 2)
        await until(lambda: len(done) == 2 + NUMBER)
        worker.stop()
        await running


async def test_draining_ends_with_nothing_due(
    postgres_url: str, schema: str, handlers: Handlers, done: list[int]
) -> None:
    """Though every look from the beginning were dear: its pause is not waited for."""
    await migrate(postgres_url, schema)
    async with Scheduler.postgres(postgres_url, schema=schema) as scheduler:
        worker = Worker(scheduler, handlers, concurrency=CONCURRENCY)
        async with (
            await psycopg.AsyncConnection.connect(postgres_url) as connection,
            connection.transaction(),
        ):
            await scheduler.store.tasks.put(tasks(scheduler, NUMBER), transaction=connection)
            await asyncio.sleep(0.1)
            await scheduler.put_many(tasks(scheduler, NUMBER))
            draining = asyncio.create_task(worker.run(until_drained=True))
            await until(lambda: len(done) > 0)
        await draining
        left = await scheduler.list(TaskQuery(status=TaskStatus.PENDING))
        assert left == []
        assert len(done) == 2 * NUMBER


PAGES = (
    "SELECT idx_blks_read + idx_blks_hit FROM pg_statio_all_indexes WHERE indexrelid = %s::regclass"
)


async def pages_looked_at(database: Database) -> int:
    """Return how many pages of the index of claims were looked at so far, by its only session."""
    async with database.connection() as connection:
        await connection.execute("SELECT pg_stat_force_next_flush()")
        index = f'"{database.schema}".live_lane'
        row = await (await connection.execute(PAGES, [index], prepare=False)).fetchone()
        assert row is not None
        return row[0]


async def test_one_moment_shared_by_very_many_is_left_behind_under_an_old_snapshot(
    embedded_url: str, schema: str, handlers: Handlers
) -> None:
    """The last of its tasks cost as little to claim as the first, in pages looked at."""
    await migrate(embedded_url, schema)
    wanted = Subscription(queues=frozenset({"default"}), kinds=frozenset(handlers))
    database = Database(embedded_url, schema=schema, pool_size=1)
    async with (
        await psycopg.AsyncConnection.connect(embedded_url) as old,
        Scheduler.postgres(embedded_url, schema=schema) as scheduler,
        database.opened(),
    ):
        await old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        await old.execute("SELECT pg_current_snapshot()")
        profile = WorkerProfile(
            name="", queues=wanted.queues, kinds={"note": 1}, concurrency=1, lease=LEASE
        )
        worker_id = await scheduler.store.workers.register(profile)
        await scheduler.put_many(tasks(scheduler, 20_000))
        claims = Claims(database, ManualClock())  # for which no look is due
        spent: list[int] = []
        for number in range(100):
            if number % 40 == 0:
                spent.append(-await pages_looked_at(database))
            assert len(await claims.claim(worker_id, wanted, 200, epoch=0)) == 200
            if number % 40 == 9:
                spent[-1] += await pages_looked_at(database)
        assert max(spent[1:]) <= spent[0] * 1.5, spent
