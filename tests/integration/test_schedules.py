"""Schedules on PostgreSQL: killed workers, broken connections, and what a look costs."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, LiteralString

import psycopg
import pytest
from psycopg import sql

from taskscheduler import Scheduler, TaskQuery
from taskscheduler.adapters.postgres.fires import OUTLOOK
from taskscheduler.adapters.postgres.migrate import migrate
from taskscheduler.application.maintenance.schedule_runner import ScheduleRunner
from taskscheduler.domain.errors import ScheduleUnread
from taskscheduler.domain.schedule import CatchUp, NewSchedule, key_of
from taskscheduler.testing.postgres import PostgresClock, postgres_store
from tests.fire_storm import require_each_once, storm
from tests.integration.processes import Programs, eventually, every_task

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from datetime import datetime
    from pathlib import Path

pytestmark = pytest.mark.anyio

SECOND: Final = timedelta(seconds=1)
PATIENCE_S: Final = 20.0
MANY: Final = 20_000
BUFFERS_MAX: Final = 10
OVERDUE: Final[LiteralString] = """
UPDATE {}.schedule SET next_fire_at = date_trunc('second', now()) - interval '1 s'"""
OVERDUE_ALL: Final[LiteralString] = OVERDUE + " + interval '1 ms' WHERE problem IS NULL"
TAKE_KEY: Final[LiteralString] = """
INSERT INTO {}.unique_key (kind, key, id, expires_at)
VALUES (%s, %s, gen_random_uuid(), now() + interval '1 day')"""
HOLD: Final[LiteralString] = "SELECT FROM {}.schedule FOR UPDATE"
WAITING: Final = """
SELECT pid FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND query LIKE '%%' || %s || '%%fire_5%%'"""
LATE: Final[LiteralString] = """
SELECT extract(epoch FROM now() - min(next_fire_at))::float FROM {}.schedule"""
STOPS: Final = 5
STANDS_S: Final = 4.0
OVERDUE_S_MAX: Final = 6.0
"""What was taken by whoever stands still is given to others after two; the rest is leeway."""
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


async def overdue(admin: psycopg.AsyncConnection[Any], schema: sql.Identifier, name: str) -> str:
    """Let every schedule be due; return the unique key of the fire of ``name``."""
    await admin.execute(sql.SQL(OVERDUE).format(schema))
    row = await (
        await admin.execute(sql.SQL("SELECT next_fire_at FROM {}.schedule").format(schema))
    ).fetchone()
    assert row is not None
    return key_of(name, row[0])


async def waiting_for_a_lock(admin: psycopg.AsyncConnection[Any], schema: str) -> int:
    """Return who waits for a lock in a fire, as soon as somebody does."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            row = await (await admin.execute(WAITING, [schema])).fetchone()
            if row is not None:
                return row[0]
            await asyncio.sleep(0.01)


async def test_a_fire_whose_connection_breaks_is_made_once(
    scheduler: Scheduler, postgres_url: str, schema: str
):
    """It is repeated on another connection, and tried by every other worker as well."""
    made, _ = await scheduler.schedules.put(hourly())
    name = sql.Identifier(schema)
    async with (
        await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as admin,
        await psycopg.AsyncConnection.connect(postgres_url) as holder,
    ):
        due_at = await overdue(admin, name, "hourly")
        await holder.execute(sql.SQL(TAKE_KEY).format(name), [made.definition.kind, due_at])
        firing = [asyncio.create_task(ScheduleRunner(scheduler.store).turn()) for _ in range(3)]
        before = await waiting_for_a_lock(admin, schema)
        await admin.execute("SELECT pg_terminate_backend(%s)", [before])
        while before == await waiting_for_a_lock(admin, schema):
            await asyncio.sleep(0.01)
        await holder.rollback()
        await asyncio.gather(*firing)
    (task,) = await scheduler.list(TaskQuery())
    kept = await scheduler.schedules.get("hourly")
    assert kept.last_task_id == task.id
    assert kept.next_fire_at == made.next_fire_at


async def test_a_key_that_another_transaction_holds_delays_one_fire_alone(
    scheduler: Scheduler, postgres_url: str, schema: str
):
    """Anybody who may store tasks may hold one, for as long as he likes."""
    for number in range(20):
        await scheduler.schedules.put(replace(hourly(), name=f"s{number}"))
    name = sql.Identifier(schema)
    async with (
        await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as admin,
        await psycopg.AsyncConnection.connect(postgres_url) as holder,
    ):
        due_at = await overdue(admin, name, "s7")
        await holder.execute(sql.SQL(TAKE_KEY).format(name), ["mail", due_at])
        firing = ScheduleRunner(scheduler.store)
        wait = await firing.turn()
        assert wait is not None
        assert wait > timedelta(0)
        assert len(await scheduler.list(TaskQuery())) == 19
        problem = (await scheduler.schedules.get("s7")).problem
        assert problem is not None
        assert "another transaction" in problem
        await holder.rollback()
    async with asyncio.timeout(PATIENCE_S):
        while len(await scheduler.list(TaskQuery())) < 20:
            await asyncio.sleep(0.1)
            await firing.turn()
    assert (await scheduler.schedules.get("s7")).problem is None


async def test_a_schedule_that_somebody_has_locked_keeps_nobody_waiting(
    scheduler: Scheduler, postgres_url: str, schema: str
):
    """Not even its own change of a moment ago: it is fired as soon as it can be."""
    for number in range(20):
        await scheduler.schedules.put(replace(hourly(), name=f"s{number}"))
    name = sql.Identifier(schema)
    async with (
        await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as admin,
        await psycopg.AsyncConnection.connect(postgres_url) as holder,
    ):
        await overdue(admin, name, "")
        await holder.execute(sql.SQL(HOLD).format(name) + sql.SQL(" LIMIT 5"))
        firing = ScheduleRunner(scheduler.store)
        async with asyncio.timeout(PATIENCE_S):
            await firing.turn()
        assert len(await scheduler.list(TaskQuery())) == 15
        await holder.rollback()
        await firing.turn()
    assert len(await scheduler.list(TaskQuery())) == 20


BAD: Final[dict[str, LiteralString]] = {
    "a newer policy": "catch_up = 'window'",
    "a newer overlap": "overlap = 'terminate'",
    "no expression any more": "cron = '1 2 3'",
    "a zone that is none": "time_zone = 'Mars/Olympus'",
    "a priority that is none": "priority = 77",
    "a time that is too far": "starts_at = 'infinity'",
    "a time that is long ago": "created_at = '4000-01-01 BC'",
    "a time of no calendar": "ends_at = '200000-01-01'",
    "a span that is too long": "cron = NULL, every = '170000000 years'",
}


@pytest.mark.parametrize("what", BAD)
async def test_a_row_that_is_not_understood_harms_no_other(
    scheduler: Scheduler, postgres_url: str, schema: str, what: str
):
    """A newer version has written it, or somebody by hand."""
    for number in range(3):
        await scheduler.schedules.put(replace(hourly(), name=f"s{number}"))
    name = sql.Identifier(schema)
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as admin:
        await admin.execute(
            sql.SQL("UPDATE {}.schedule SET {} WHERE name = 's1'").format(name, sql.SQL(BAD[what]))
        )
        await overdue(admin, name, "")
        firing = ScheduleRunner(scheduler.store)
        for count in (2, 4):
            wait = await firing.turn()
            assert wait is not None
            assert timedelta(0) < wait <= SECOND
            assert len(await scheduler.list(TaskQuery())) == count
            await admin.execute(sql.SQL(OVERDUE_ALL).format(name))
        problem = await (
            await admin.execute(
                sql.SQL("SELECT problem FROM {}.schedule ORDER BY name").format(name)
            )
        ).fetchall()
    assert [each is not None for (each,) in problem] == [False, True, False]
    names = {each.name for each in await scheduler.schedules.list()}
    assert {"s0", "s2"} <= names
    await scheduler.schedules.delete("s1")
    assert [each.name for each in await scheduler.schedules.list()] == ["s0", "s2"]


@pytest.mark.parametrize("what", ["catch_up = 'window'", "priority = 77", "starts_at = 'infinity'"])
async def test_what_is_not_understood_is_said_so(
    scheduler: Scheduler, postgres_url: str, schema: str, what: LiteralString
):
    await scheduler.schedules.put(hourly())
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as admin:
        await admin.execute(
            sql.SQL("UPDATE {}.schedule SET {}").format(sql.Identifier(schema), sql.SQL(what))
        )
    schedules = scheduler.schedules
    for verb in (schedules.get, schedules.pause, schedules.resume, schedules.preview):
        with pytest.raises(ScheduleUnread, match="hourly"):
            await verb("hourly")
    assert await schedules.list() == []
    await schedules.delete("hourly")


async def test_the_least_time_is_found_at_once_among_many(
    scheduler: Scheduler, postgres_url: str, schema: str
):
    async with await psycopg.AsyncConnection.connect(postgres_url, autocommit=True) as admin:
        await admin.execute(sql.SQL(FILL).format(sql.Identifier(schema), sql.Literal(MANY)))
        await admin.execute("ANALYZE")
        look = sql.SQL("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + OUTLOOK)
        values: dict[str, Any] = {"zone_data": "2026a", "take": "2 s", "aside": []}
        cursor = await admin.execute(look.format(schema=sql.Identifier(schema)), values)
        row = await cursor.fetchone()
    assert row is not None
    plan = row[0][0]["Plan"]
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] <= BUFFERS_MAX, plan
    wait = (await scheduler.store.schedules.outlook(zone_data="2026a")).wait
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


def test_a_worker_that_stands_still_stops_no_schedule(
    tmp_path: Path, postgres_url: str, schema: str
):
    """Wherever it stands: what it has taken is fired by another soon, and all else in time."""
    names = [f"often{number}" for number in range(50)]

    async def put() -> None:
        async with Scheduler.postgres(postgres_url, schema=schema) as scheduler:
            for name in names:
                await scheduler.schedules.put(NewSchedule(name=name, kind="Baz", every=SECOND))

    asyncio.run(migrate(postgres_url, schema))
    asyncio.run(put())
    env = {"DATABASE_URL": postgres_url, "TASKSCHEDULER_SCHEMA": schema}
    with (
        Programs(tmp_path, **env) as programs,
        psycopg.connect(postgres_url, autocommit=True) as admin,
    ):
        late = sql.SQL(LATE).format(sql.Identifier(schema))

        def overdue_s() -> float:
            row = admin.execute(late).fetchone()
            assert row is not None
            return row[0]

        first, second = programs.start("worker"), programs.start("worker")
        eventually(lambda: every_task(postgres_url, schema), "they fire")
        for round_ in range(STOPS):
            time.sleep(0.13 * round_)  # somewhere else in its work each time
            os.killpg(first.process.pid, signal.SIGSTOP)
            until = time.monotonic() + STANDS_S
            while time.monotonic() < until:
                time.sleep(0.2)
                assert overdue_s() < OVERDUE_S_MAX
            os.killpg(first.process.pid, signal.SIGCONT)
        first.stop()
        second.stop()
    fired: dict[str, list[datetime]] = {name: [] for name in names}
    for task in every_task(postgres_url, schema):
        assert task.unique_key is not None
        fired[task.unique_key.partition("@")[0]].append(task.execute_at)
    for times in fired.values():
        times.sort()
        assert {later - earlier for earlier, later in pairwise(times)} == {SECOND}


@pytest.mark.parametrize("seed", [2, 8])
async def test_in_a_storm_each_time_fires_once(postgres_url: str, schema: str, seed: int):
    """Workers die, schedules are edited, clocks are set; see ``tests/fire_storm.py``."""
    with PostgresClock(postgres_url, schema) as clock:
        async with postgres_store(postgres_url, schema, clock) as store:
            require_each_once(await storm(Scheduler(store), clock, seed))
