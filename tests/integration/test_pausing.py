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
from taskscheduler.adapters.postgres.migrate import migrate
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
        look = sql.SQL(
            "EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) "
            "SELECT * FROM {schema}.queues_2(NULL, '', 1000, %(limit)s::bigint, 4096)"
        ).format(schema=sql.Identifier(schema))
        row = connection.execute(look, {"limit": COUNT_MAX}).fetchone()
        assert row is not None
        plan = row[0][0]["Plan"]
        # 4096 pages at most for those in progress, and what twenty thousand index entries take.
        assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 4096 + 3 * COUNT_MAX, plan
