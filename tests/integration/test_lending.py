"""Connections lent to handlers: never missing elsewhere, and left to the next one as new."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.adapt import Loader
from psycopg.conninfo import make_conninfo
from psycopg.rows import dict_row

from taskscheduler import Context, Handlers, Scheduler, TaskStatus, Worker
from taskscheduler.adapters.postgres.database import Database
from taskscheduler.adapters.postgres.migrate import migrate
from taskscheduler.testing.contracts.steps import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from taskscheduler import TaskId

pytestmark = pytest.mark.anyio

POOL = 2
HOLDING = 12


@pytest.fixture
async def scheduler(embedded_url: str, schema: str) -> AsyncGenerator[Scheduler]:
    await migrate(embedded_url, schema)
    async with Scheduler.postgres(embedded_url, schema=schema, pool_size=POOL) as scheduler:
        yield scheduler


class Holding:
    """Handlers that hold ``context.transaction()`` until they are let go, and one that does not."""

    def __init__(self) -> None:
        self.handlers = Handlers()
        self.held = 0
        self.quick = 0
        self.let_go = asyncio.Event()

        @self.handlers.register("hold")
        async def hold(context: Context) -> None:
            async with context.transaction() as connection:
                await connection.execute("SELECT 1")
                self.held += 1
                await self.let_go.wait()

        @self.handlers.register("quick")
        async def quick(context: Context) -> None:
            self.quick += 1


async def ended(scheduler: Scheduler, task_ids: list[TaskId]) -> list[tuple[TaskStatus, int]]:
    tasks = [await scheduler.get(task_id) for task_id in task_ids]
    return [(task.status, task.attempt) for task in tasks]


async def test_claims_and_settlements_do_not_wait_for_handlers(scheduler: Scheduler) -> None:
    """Nor do handlers fail because others hold every connection that is lent."""
    holding = Holding()
    worker = Worker(scheduler, holding.handlers, concurrency=50, lease=timedelta(seconds=5))
    run = asyncio.create_task(worker.run())
    held = [await scheduler.schedule("hold", timeout=timedelta(seconds=60)) for _ in range(HOLDING)]
    async with asyncio.timeout(30):
        await until(lambda: holding.held == POOL)
        others = [await scheduler.schedule("quick") for _ in range(20)]
        await until(lambda: holding.quick == len(others))
        while await ended(scheduler, others) != [(TaskStatus.COMPLETED, 1)] * len(others):
            await asyncio.sleep(0.01)
        holding.let_go.set()
        while await ended(scheduler, held) != [(TaskStatus.COMPLETED, 1)] * HOLDING:
            await asyncio.sleep(0.01)
    worker.stop()
    await run


async def test_waiting_for_a_connection_does_not_count_as_time(scheduler: Scheduler) -> None:
    """A task is not timed out because others of its worker hold what it needs."""
    holding = Holding()

    @holding.handlers.register("late", timeout=timedelta(milliseconds=400))
    async def late(context: Context) -> None:
        async with context.transaction():
            pass

    @holding.handlers.register("slow", timeout=timedelta(milliseconds=400))
    async def slow(context: Context) -> None:
        async with context.transaction():
            await asyncio.sleep(30)

    worker = Worker(scheduler, holding.handlers, concurrency=50, lease=timedelta(seconds=5))
    run = asyncio.create_task(worker.run())
    held = [await scheduler.schedule("hold") for _ in range(POOL)]
    async with asyncio.timeout(30):
        await until(lambda: holding.held == POOL)
        waiting = [await scheduler.schedule("late") for _ in range(3)]
        while await ended(scheduler, waiting) != [(TaskStatus.IN_PROGRESS, 1)] * 3:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.8)  # twice as long as they may take
        holding.let_go.set()
        while await ended(scheduler, held + waiting) != [(TaskStatus.COMPLETED, 1)] * (POOL + 3):
            await asyncio.sleep(0.01)
        # Once it has what it waited for, its time runs.
        timed_out = await scheduler.schedule("slow", max_attempts=1)
        while await ended(scheduler, [timed_out]) != [(TaskStatus.FAILED, 1)]:
            await asyncio.sleep(0.01)
    worker.stop()
    await run


async def test_a_handler_that_is_stopped_gives_its_turn_back(scheduler: Scheduler) -> None:
    """While it waits for a connection, and while it holds one."""
    holding = Holding()
    worker = Worker(scheduler, holding.handlers, concurrency=50)
    run = asyncio.create_task(worker.run())
    task_ids = [await scheduler.schedule("hold") for _ in range(POOL + 2)]
    async with asyncio.timeout(30):
        await until(lambda: holding.held == POOL)
        for task_id in task_ids:
            await scheduler.cancel(task_id)
        await until(lambda: worker.busy == 0)
        holding.let_go.set()
        again = [await scheduler.schedule("hold") for _ in range(POOL + 1)]
        while await ended(scheduler, again) != [(TaskStatus.COMPLETED, 1)] * (POOL + 1):
            await asyncio.sleep(0.01)
    worker.stop()
    await run


LEAVING: dict[str, str] = {
    "search_path": "SET search_path TO pg_catalog",
    "a setting of its own": "SET my.tenant TO 'a'",
    "isolation": "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    "styles": "SET DateStyle TO 'German'",
    "a role": "SET ROLE test",
    "a session's user": "SET SESSION AUTHORIZATION test",
    "a lock": "SELECT pg_advisory_lock(4711)",
    "a temporary table": "CREATE TEMPORARY TABLE mine (a integer)",
    "a prepared statement": "PREPARE mine AS SELECT 1",
    "a listener": "LISTEN mine",
    "a cursor": "DECLARE mine CURSOR WITH HOLD FOR SELECT 1",
}
SEEN = """
SELECT current_setting('search_path'), nullif(current_setting('my.tenant', true), ''),
       current_setting('default_transaction_isolation'), current_setting('DateStyle'),
       current_user::text, session_user::text,
       (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
       to_regclass('pg_temp.mine')::text, (SELECT count(*) FROM pg_prepared_statements),
       (SELECT count(*) FROM pg_listening_channels()), (SELECT count(*) FROM pg_cursors)"""


class Borrowing:
    """Hands one connection to one handler after the other."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._handlers = Handlers()
        self._worker = Worker(scheduler, self._handlers, concurrency=1)
        self.pids: list[int] = []

    async def borrow(self, name: str, *statements: str, fails: bool = False) -> tuple[Any, ...]:
        """Let a handler see how its session is, and then execute ``statements``."""
        seen: list[tuple[Any, ...]] = []

        @self._handlers.register(name)
        async def handler(context: Context) -> None:
            async with context.transaction() as connection:
                self.pids.append(connection.info.backend_pid)
                seen.append(await (await connection.execute(SEEN)).fetchone())
                for statement in statements:
                    await connection.execute(statement)
                if fails:
                    raise ZeroDivisionError

        await self._worker.deregister()  # what it has handlers for is told of when it joins
        self._worker = Worker(self._scheduler, self._handlers, concurrency=1)
        task_id = await self._scheduler.schedule(name, max_attempts=1)
        await self._worker.turn()
        expected = TaskStatus.FAILED if fails else TaskStatus.COMPLETED
        assert (await self._scheduler.get(task_id)).status is expected
        return seen[0]

    async def deregister(self) -> None:
        await self._worker.deregister()


@pytest.mark.parametrize("fails", [False, True], ids=["completes", "fails"])
@pytest.mark.parametrize("left", LEAVING)
async def test_a_session_is_as_new_for_the_next_handler(
    embedded_url: str, schema: str, left: str, *, fails: bool
) -> None:
    await migrate(embedded_url, schema)
    async with Scheduler.postgres(embedded_url, schema=schema, pool_size=1) as scheduler:
        borrowing = Borrowing(scheduler)
        new = await borrowing.borrow("first", LEAVING[left], fails=fails)
        assert await borrowing.borrow("second") == new
        assert len(set(borrowing.pids)) == 1, "another session would be new in any case"
        await borrowing.deregister()


class Words(Loader):
    """Reads numbers as words."""

    def load(self, data: Any) -> str:
        return "a number"


async def test_a_connection_is_as_new_for_the_next_handler(embedded_url: str, schema: str) -> None:
    """What a handler sets on the driver's object is gone, too."""
    database = Database(embedded_url, schema=schema, pool_size=1)
    async with database.opened():
        async with database.lent() as connection:
            pid = connection.info.backend_pid
            connection.row_factory = dict_row  # pyright: ignore[reportAttributeAccessIssue]
            connection.cursor_factory = psycopg.AsyncRawCursor
            connection.prepare_threshold = 0
            connection.adapters.register_loader("int4", Words)
            connection.add_notice_handler(lambda _: pytest.fail("heard by the one before"))
        async with database.lent() as connection:
            assert connection.info.backend_pid == pid
            for _ in range(3):
                row = await (await connection.execute("SELECT %(a)s::int4", {"a": 1})).fetchone()
                assert row == (1,)
            await connection.execute("DO $$ BEGIN RAISE NOTICE 'hear'; END $$")
            count = await connection.execute("SELECT count(*) FROM pg_prepared_statements")
            assert await count.fetchone() == (0,)


async def test_who_lends_none_pays_for_none(embedded_url: str, schema: str) -> None:
    name = f"{schema}-lending"
    url = make_conninfo(embedded_url, application_name=name)
    database = Database(url, schema=schema, pool_size=2)
    async with database.opened():
        async with database.connection(), database.connection():
            pass
        with psycopg.connect(embedded_url, autocommit=True) as other:
            count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s"
            assert other.execute(count, [name]).fetchone() == (2,)
