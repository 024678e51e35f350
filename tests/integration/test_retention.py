"""Days are dropped whole, by one of many, and never one that is still needed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
import pytest
from psycopg import sql

from taskscheduler.domain.query import TaskQuery
from taskscheduler.domain.retention import Expiry, RetentionPolicy
from taskscheduler.domain.status import TaskStatus
from taskscheduler.testing.contracts.steps import bring, put
from taskscheduler.testing.postgres import PostgresClock, postgres_store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from taskscheduler.application.store import Store

pytestmark = pytest.mark.anyio

ALL = TaskQuery()
POLICY = RetentionPolicy.parse(["30d"])
TODAY: LiteralString = "SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')"
TABLES = """
SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname IN ('task_' || %s, 'finished_' || %s, 'attempt_' || %s)"""


@pytest.fixture
def clock(postgres_url: str, schema: str) -> Iterator[PostgresClock]:
    """Give a clock that begins today: ids are made by this machine's."""
    with psycopg.connect(postgres_url) as connection:
        row = connection.execute("SELECT now()").fetchone()
    assert row is not None
    with PostgresClock(postgres_url, schema, row[0]) as clock:
        yield clock


@pytest.fixture
async def store(postgres_url: str, schema: str, clock: PostgresClock) -> AsyncGenerator[Store]:
    async with postgres_store(postgres_url, schema, clock) as store:
        yield store


def ask(url: str, statement: Any, *values: Any) -> Any:
    with psycopg.connect(url) as connection:
        row = connection.execute(statement, values or None).fetchone()
        assert row is not None
        return row[0]


def tables_of_today(url: str, schema: str) -> int:
    today = ask(url, TODAY)
    return ask(url, TABLES, schema, today, today, today)


async def test_a_day_that_is_over_age_is_dropped_as_tables(
    store: Store, clock: PostgresClock, postgres_url: str, schema: str
) -> None:
    for status in (TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED):
        await bring(store, status)
    assert tables_of_today(postgres_url, schema) == 3
    clock.advance(days=32)
    planned = await store.archive.expire(POLICY, dry_run=True)
    assert tables_of_today(postgres_url, schema) == 3
    done = await store.archive.expire(POLICY)
    assert planned.dropped == done.dropped == 3
    assert (len(done.days), done.deleted, done.more) == (3, 0, False)  # those around it, too
    assert tables_of_today(postgres_url, schema) == 0
    assert await store.archive.expire(POLICY) == Expiry()
    # Whoever brings a task with an id of that day is served all the same.
    assert await store.tasks.get(await put(store))


@pytest.mark.parametrize("status", [TaskStatus.PENDING, TaskStatus.IN_PROGRESS])
async def test_a_day_that_is_needed_stays_and_its_rows_go(
    store: Store, clock: PostgresClock, postgres_url: str, schema: str, status: TaskStatus
) -> None:
    gone = await bring(store, TaskStatus.COMPLETED)
    needed = await bring(store, status)
    clock.advance(days=40)
    done = await store.archive.expire(POLICY)
    assert (done.dropped, done.deleted) == (0, 1)
    assert tables_of_today(postgres_url, schema) == 3
    assert (await store.tasks.get(needed)).status is status
    assert [task.id for task in await store.board.list(ALL)] == [needed]
    assert gone != needed


async def test_what_ended_late_keeps_its_day(
    store: Store, clock: PostgresClock, postgres_url: str, schema: str
) -> None:
    waiting = await put(store)
    clock.advance(days=40)
    await store.tasks.cancel(waiting)
    assert (await store.archive.expire(POLICY)).dropped == 0
    assert (await store.tasks.get(waiting)).status is TaskStatus.CANCELLED
    clock.advance(days=31)
    assert (await store.archive.expire(POLICY)).dropped == 1
    assert tables_of_today(postgres_url, schema) == 0


async def test_of_many_at_once_one_works(store: Store, clock: PostgresClock) -> None:
    for _ in range(4):
        await bring(store, TaskStatus.COMPLETED)
    clock.advance(days=40)
    done = await asyncio.gather(*(store.archive.expire(POLICY) for _ in range(5)))
    assert sum(each.dropped for each in done) == 4
    assert sum(each.deleted for each in done) == 0


async def test_a_day_that_somebody_reads_is_left_for_another_time(
    store: Store, clock: PostgresClock, postgres_url: str, schema: str
) -> None:
    await bring(store, TaskStatus.COMPLETED)
    clock.advance(days=32)
    table = sql.Identifier(schema, "finished")
    with psycopg.connect(postgres_url) as reading:
        reading.execute(sql.SQL("SELECT count(*) FROM {}").format(table))
        async with asyncio.timeout(20):
            done = await store.archive.expire(POLICY)
        assert (done.dropped, done.deleted) == (0, 0)
    assert (await store.archive.expire(POLICY)).dropped == 1
