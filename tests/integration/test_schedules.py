"""Schedules on PostgreSQL: killed workers, broken connections, and what a look costs."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, LiteralString

import psycopg
import pytest
from psycopg import sql

from taskscheduler import Scheduler, TaskQuery
from taskscheduler.adapters.postgres.migrate import migrate
from taskscheduler.adapters.postgres.schedules import NEXT
from taskscheduler.application.firing import Firing
from taskscheduler.domain.schedule import CatchUp, NewSchedule
from tests.integration.processes import Programs, eventually, every_task

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

pytestmark = pytest.mark.anyio

SECOND: Final = timedelta(seconds=1)
PATIENCE_S: Final = 20.0
MANY: Final = 20_000
BUFFERS_MAX: Final = 10
OVERDUE: Final[LiteralString] = "UPDATE {}.schedule SET next_fire_at = now() - interval '1 s'"
HOLD: Final[LiteralString] = "SELECT FROM {}.schedule FOR UPDATE"
WAITING: Final = """
SELECT pid FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND query LIKE '%%' || %s || '%%FOR UPDATE%%'"""
FILL: Final[LiteralString] = """
INSERT INTO {}.schedule
    (name, revision, kind, every, time_zone, payload, queue, priority, catch_up, overlap,
     created_at, changed_at, next_fire_at)
SELECT 's' || n, 1, 'mail', '1 day', 'UTC', 'null', 'default', 5, 'latest', 'allow', now(), now(),
       CASE WHEN n % 2 = 0 THEN now() + n * interval '1 minute' END
FROM generate_series(1, {}) AS n"""


@pytest.fixture
async def scheduler(postgres_url: str, schema: str) -> AsyncGenerator[Scheduler]:
    await migrate(postgres_url, schema)
    async with Scheduler.postgres(postgres_url, schema=schema, pool_size=4) as scheduler:
        yield scheduler


def hourly(**fields: Any) -> NewSchedule:
    return NewSchedule(name="hourly", kind="mail", cron="0 * * * *", **fields)


async def test_a_fire_whose_connection_breaks_is_made_once(
    scheduler: Scheduler, postgres_url: str, schema: str
):
    """It is repeated on another connection, and by every other worker as well."""
    await scheduler.schedules.put(hourly())
    name = sql.Identifier(schema)
    async with (
        await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as admin,
        await psycopg.AsyncConnection.connect(postgres_url) as holder,
    ):
        await admin.execute(sql.SQL(OVERDUE).format(name))
        await holder.execute(sql.SQL(HOLD).format(name))
        firing = [asyncio.create_task(Firing(scheduler.store).turn()) for _ in range(3)]

        async def waiting() -> list[int]:
            rows = await (await admin.execute(WAITING, [schema])).fetchall()
            return [pid for (pid,) in rows]

        async with asyncio.timeout(PATIENCE_S):
            while len(before := await waiting()) < len(firing):
                await asyncio.sleep(0.01)
            await admin.execute("SELECT pg_terminate_backend(%s)", [before[0]])
            while before[0] in (now := await waiting()) or len(now) < len(firing):
                await asyncio.sleep(0.01)
        await holder.rollback()
        for each in firing:
            wait = await each
            assert wait is not None
            assert wait > timedelta(0)
    (task,) = await scheduler.list(TaskQuery())
    kept = await scheduler.schedules.get("hourly")
    assert kept.last_task_id == task.id


async def test_the_least_time_is_found_at_once_among_many(
    scheduler: Scheduler, postgres_url: str, schema: str
):
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as admin:
        await admin.execute(sql.SQL(FILL).format(sql.Identifier(schema), sql.Literal(MANY)))
        await admin.execute("ANALYZE")
        look = sql.SQL("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + NEXT)  # pyright: ignore[reportArgumentType]
        cursor = await admin.execute(look.format(schema=sql.Identifier(schema)))
        row = await cursor.fetchone()
    assert row is not None
    plan = row[0][0]["Plan"]
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] <= BUFFERS_MAX, plan
    wait = await scheduler.store.schedules.next_fire_in()
    assert wait is not None
    assert timedelta(minutes=1) < wait <= timedelta(minutes=2)


def test_killed_workers_miss_no_fire_and_double_none(
    tmp_path: Path, postgres_url: str, schema: str
):
    """Of several one after the other is killed, and for a while there is none at all."""

    async def put() -> None:
        async with Scheduler.postgres(postgres_url, schema=schema) as scheduler:
            await scheduler.schedules.put(
                NewSchedule(name="often", kind="Baz", every=SECOND, catch_up=CatchUp.ALL)
            )

    asyncio.run(migrate(postgres_url, schema))
    asyncio.run(put())

    def fired(count: int) -> bool:
        return len(every_task(postgres_url, schema)) >= count

    env = {"DATABASE_URL": postgres_url, "TASKSCHEDULER_SCHEMA": schema}
    with Programs(tmp_path, **env) as programs:
        first, second = programs.start("worker"), programs.start("worker")
        eventually(lambda: fired(2), "it fires")
        first.kill()
        eventually(lambda: fired(4), "the other goes on")
        second.kill()
        third = programs.start("worker")
        eventually(lambda: fired(7), "a third catches up")
        third.stop()
    times = sorted(task.execute_at for task in every_task(postgres_url, schema))
    assert {later - earlier for earlier, later in pairwise(times)} == {SECOND}
