"""A pause has happened when it is answered, and queues are counted at a cost that is bounded."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
import pytest
from psycopg import sql

from taskscheduler import Context, Handlers, Scheduler, TaskStatus, Worker
from taskscheduler.adapters.postgres.backlog import COUNT
from taskscheduler.adapters.postgres.migrate import migrate
from taskscheduler.adapters.postgres.queues import LOOK
from taskscheduler.adapters.postgres.reader import POSITION
from taskscheduler.domain.queue import COUNT_MAX, Count

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

pytestmark = pytest.mark.anyio

PATIENCE_S = 20
MANY = 400_000
CLAIM: LiteralString = """
SELECT o_id FROM {schema}.claim_6(
    ARRAY(SELECT id FROM {schema}.lane),
    ARRAY(SELECT '-infinity'::timestamptz FROM {schema}.lane),
    ARRAY(SELECT '00000000-0000-0000-0000-000000000000'::uuid FROM {schema}.lane), 10,
    %(worker)s, 0, 2::smallint)"""
WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND query LIKE '%%' || %(schema)s || '%%await_claims%%'"""
FILL: LiteralString = """
INSERT INTO {schema}.live (id, process_at, lane)
SELECT lpad(to_hex(n), 32, '0')::uuid, now() + (n %% 2 - 0.5) * interval '1 day',
       (SELECT min(id) FROM {schema}.lane)
FROM generate_series(1, %(many)s::integer) n"""


@pytest.fixture
async def scheduler(postgres_url: str, schema: str) -> AsyncGenerator[Scheduler]:
    await migrate(postgres_url, schema)
    async with Scheduler.postgres(postgres_url, schema=schema, pool_size=4) as scheduler:
        yield scheduler


def handlers_of(ran: list[object]) -> Handlers:
    handlers = Handlers()

    @handlers.register("mail")
    async def mail(context: Context) -> None:
        ran.append(context.id)

    return handlers


async def until(look: Any, what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not await look():
        assert time.monotonic() < deadline, what
        await asyncio.sleep(0.01)


async def test_a_pause_waits_for_a_claim_under_way(
    scheduler: Scheduler, postgres_url: str, schema: str
) -> None:
    worker = Worker(scheduler, handlers_of([]))
    await worker.turn()
    await scheduler.schedule("mail")

    def text(statement: LiteralString) -> sql.Composed:
        return sql.SQL(statement).format(schema=sql.Identifier(schema))

    values = {"worker": worker.id}
    async with await psycopg.AsyncConnection.connect(postgres_url) as claiming:
        assert len(await (await claiming.execute(text(CLAIM), values)).fetchall()) == 1
        pausing = asyncio.create_task(scheduler.pause_queue("default"))

        async def pause_waits() -> bool:
            async with await psycopg.AsyncConnection.connect(postgres_url) as looking:
                row = await (await looking.execute(WAITING, {"schema": schema})).fetchone()
                return row is not None and row[0] == 1

        await until(pause_waits, "the pause waits")
        assert not pausing.done()
        await claiming.commit()
        queue = await pausing
        assert (queue.is_paused, queue.running) == (True, Count(1))
        await scheduler.schedule("mail")
        assert await (await claiming.execute(text(CLAIM), values)).fetchall() == []
    await worker.deregister()


async def test_a_resumed_queue_wakes_a_worker_that_sleeps_long(scheduler: Scheduler) -> None:
    ran: list[object] = []
    worker = Worker(scheduler, handlers_of(ran), poll_interval=timedelta(hours=1))
    await scheduler.pause_queue("default")
    running = asyncio.create_task(worker.run())
    kept = await scheduler.schedule("mail")

    async def listens() -> bool:
        # It hears of nothing before it listens, and looks once when it begins to.
        return worker.id is not None and worker.degraded is None

    await until(listens, "the worker listens")
    assert (await scheduler.get(kept)).status is TaskStatus.PENDING
    assert (await scheduler.resume_queue("default")).paused_at is None

    async def completed() -> bool:
        return (await scheduler.get(kept)).status is TaskStatus.COMPLETED

    await until(completed, "the task runs")
    assert ran == [kept]
    worker.stop()
    await running


async def test_a_long_backlog_is_counted_so_far(
    scheduler: Scheduler, postgres_url: str, schema: str
) -> None:
    """And no further: neither the look nor its buffers grow with it."""
    await scheduler.schedule("mail")
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        text = sql.SQL(FILL).format(schema=sql.Identifier(schema))
        connection.execute(text, {"many": MANY})
        (queue,) = await scheduler.queues()
        assert (queue.due, queue.later) == (Count(COUNT_MAX, exact=False),) * 2
        rows = connection.execute(
            sql.SQL("SELECT max(id::text) FROM {}.live WHERE process_at < now()").format(
                sql.Identifier(schema)
            )
        )
        (last,) = rows.fetchone() or ("",)
        values = {"queue": None, "after": "", "number": 1000, "limit": COUNT_MAX, "pages": 4096}
        values |= {"lanes": 2000, "id": last}
        for counting in (LOOK, COUNT, POSITION):
            look = sql.SQL("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + counting)
            found = connection.execute(look.format(schema=sql.Identifier(schema)), values)
            ((plan,),) = found.fetchall()
            root = plan[0]["Plan"]
            # 4096 pages at most for those in progress, and what 20,000 index entries take.
            assert root["Shared Hit Blocks"] + root["Shared Read Blocks"] < 4096 + 3 * COUNT_MAX
