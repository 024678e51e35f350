"""What the database is asked, for every thousand tasks: counted, so that no noise is in it.

Times differ from machine to machine; how many statements and commits a thousand tasks take does
not. Who makes it fewer lowers the budget; who makes it more must say why it is worth that.
"""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

import psycopg
import pytest

from taskscheduler import Context, Handlers, Scheduler, TaskQuery, TaskStatus, Worker
from taskscheduler.adapters.embedded import EmbeddedPostgres
from taskscheduler.adapters.postgres.migrate import migrate
from taskscheduler.domain.worker import Subscription

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

pytestmark = pytest.mark.anyio

THOUSAND: Final = 1_000
CALLERS: Final = 100
CONCURRENCY: Final = 50
SETTINGS: Final = {
    "shared_preload_libraries": "pg_stat_statements",
    "autovacuum": "off",  # its transactions would be counted too
}
PATIENCE_S: Final = 20.0

CLAIM: Final = """
SELECT o_id FROM {schema}.claim_6(
    ARRAY(SELECT id FROM {schema}.lane), ARRAY['-infinity'::timestamptz], ARRAY[%s::uuid], 5, %s,
    0, 2::smallint)"""
LOWEST: Final = UUID(int=0)
STATEMENTS: Final = """
SELECT coalesce(sum(s.calls), 0)::integer FROM pg_stat_statements s
JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = %s AND s.toplevel"""
TEXTS: Final = """
SELECT s.calls, s.query FROM pg_stat_statements s
JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = %s AND s.toplevel
ORDER BY s.calls DESC LIMIT 12"""
COMMITS: Final = "SELECT xact_commit::integer FROM pg_stat_database WHERE datname = %s"
NEXT_TRANSACTION: Final = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
OTHERS: Final = "SELECT count(*)::integer FROM pg_stat_activity WHERE datname = %s"


class Budget(NamedTuple):
    """At most so many for a thousand tasks, opening and closing included."""

    statements: int
    commits: int


BUDGET: Final[dict[str, Budget]] = {
    # One statement each, which is its own commit, and a ring of the bell for many or, on a slow
    # machine, for every one.
    "stored one by one": Budget(2_015, 2_025),
    # The first of a hundred goes alone, the others share: a statement, a commit for each hundred.
    "stored by a hundred callers": Budget(35, 38),
    "stored in bulk": Budget(10, 13),
    # Twenty rounds of fifty, each a claim, a completion, a beat, a look around, one at schedules.
    "worked off in turns": Budget(152, 167),
    # How far it claims ahead depends on the machine; it must not be a round trip for a few tasks.
    "worked off by a running worker": Budget(90, 90),
}


class Server:
    """A server that counts, seen from a database that nobody else uses."""

    def __init__(self, url: str) -> None:
        self._connection: psycopg.Connection[Any] = psycopg.connect(url, autocommit=True)
        self._connection.execute("CREATE EXTENSION pg_stat_statements")
        self._connection.execute("CREATE DATABASE counted")
        self.url = url.replace("/postgres?", "/counted?")

    def close(self) -> None:
        self._connection.close()

    async def counted(self, work: Coroutine[Any, Any, None]) -> tuple[Budget, str]:
        """Return what ``work`` cost, and which statements that was."""
        await self._left_alone()
        self._connection.execute("SELECT pg_stat_statements_reset()")
        commits = self._number(COMMITS)
        await work
        await self._left_alone()
        texts = self._connection.execute(TEXTS, ["counted"]).fetchall()
        spent = Budget(self._number(STATEMENTS), self._number(COMMITS) - commits)
        return spent, "\n".join(f"{calls:6} {' '.join(text.split())[:90]}" for calls, text in texts)

    async def _left_alone(self) -> None:
        """Wait until everybody is gone: what a session did is added up when it ends."""
        deadline = time.monotonic() + PATIENCE_S
        while self._number(OTHERS):
            assert time.monotonic() < deadline, "somebody stays connected"
            await asyncio.sleep(0.01)

    def next_transaction(self) -> int:
        """Return the number that the next transaction gets which writes."""
        row = self._connection.execute(NEXT_TRANSACTION).fetchone()
        assert row is not None
        return row[0]

    def _number(self, query: str) -> int:
        row = self._connection.execute(query.encode(), ["counted"]).fetchone()
        assert row is not None
        return row[0]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Generator[Server]:
    data = tmp_path_factory.mktemp("counting")
    with EmbeddedPostgres(data, settings=SETTINGS) as postgres:
        server = Server(postgres.url)
        yield server
        server.close()


@pytest.fixture
def handlers() -> Handlers:
    handlers = Handlers()

    @handlers.register("noop")
    async def noop(_: Context, number: int) -> None:
        assert number >= 0

    return handlers


def check(name: str, spent: Budget, texts: str) -> None:
    allowed = BUDGET[name]
    told = f"{name}: {spent}, allowed are {allowed}:\n{texts}"
    assert spent.statements <= allowed.statements, told
    assert spent.commits <= allowed.commits, told
    # A budget that is far more than is needed guards nothing.
    assert spent.statements * 3 >= allowed.statements, told


async def one_by_one(scheduler: Scheduler) -> None:
    for number in range(THOUSAND):
        await scheduler.schedule("noop", number)


async def by_many_callers(scheduler: Scheduler) -> None:
    async def call(first: int) -> None:
        for number in range(first, THOUSAND, CALLERS):
            await scheduler.schedule("noop", number)

    await asyncio.gather(*(call(first) for first in range(CALLERS)))


async def in_bulk(scheduler: Scheduler) -> None:
    await scheduler.schedule_many([("noop", number) for number in range(THOUSAND)])


@pytest.mark.parametrize(
    ("name", "store"),
    [
        ("stored one by one", one_by_one),
        ("stored by a hundred callers", by_many_callers),
        ("stored in bulk", in_bulk),
    ],
)
async def test_storing_keeps_to_its_budget(
    server: Server, schema: str, name: str, store: Callable[[Scheduler], Coroutine[Any, Any, None]]
) -> None:
    await migrate(server.url, schema)

    async def work() -> None:
        async with Scheduler.postgres(server.url, schema=schema) as scheduler:
            await store(scheduler)

    spent, texts = await server.counted(work())
    assert spent.commits > 0
    check(name, spent, texts)


@pytest.mark.parametrize("name", ["worked off in turns", "worked off by a running worker"])
async def test_working_off_keeps_to_its_budget(
    server: Server, schema: str, handlers: Handlers, name: str
) -> None:
    await migrate(server.url, schema)
    async with Scheduler.postgres(server.url, schema=schema) as scheduler:
        await in_bulk(scheduler)

    async def work() -> None:
        async with Scheduler.postgres(server.url, schema=schema) as scheduler:
            worker = Worker(scheduler, handlers, concurrency=CONCURRENCY)
            if name == "worked off in turns":
                assert await worker.drain() == THOUSAND
                await worker.deregister()
            else:
                await worker.run(until_drained=True)

    spent, texts = await server.counted(work())
    async with Scheduler.postgres(server.url, schema=schema) as scheduler:
        completed = await scheduler.list(TaskQuery(status=TaskStatus.COMPLETED, limit=THOUSAND))
        assert len(completed) == THOUSAND
    check(name, spent, texts)


async def test_a_claim_that_finds_nothing_writes_nothing(
    server: Server, schema: str, handlers: Handlers
) -> None:
    """Thousands of idle workers poll, and one hint may wake all of them."""
    await migrate(server.url, schema)
    async with Scheduler.postgres(server.url, schema=schema) as scheduler:
        await scheduler.schedule("noop", 1)
        await scheduler.schedule("noop", 2, delay=timedelta(days=1))
        await scheduler.pause_queue("held")
        await scheduler.schedule("noop", 3, queue="held")
        worker = Worker(scheduler, handlers, queues=["default", "held"])
        assert await worker.turn() == 1
        assert worker.id is not None
        subscription = Subscription(
            queues=frozenset({"default", "held"}), kinds=frozenset({"noop"})
        )
        before = server.next_transaction()
        for _ in range(20):
            assert await scheduler.store.tasks.claim(worker.id, subscription, 10) == []
        assert server.next_transaction() == before
        await scheduler.schedule("noop", 4)
        assert len(await scheduler.store.tasks.claim(worker.id, subscription, 10)) == 1
        assert server.next_transaction() > before


async def test_a_claim_that_comes_too_late_waits_for_no_disk(
    server: Server, schema: str, handlers: Handlers
) -> None:
    """It has locked its worker's row and nothing else, which may be lost."""
    await migrate(server.url, schema)
    async with Scheduler.postgres(server.url, schema=schema) as scheduler:
        worker = Worker(scheduler, handlers)
        await worker.turn()
        task_id = await scheduler.schedule("noop", 1)
        asked = CLAIM.replace("{schema}", f'"{schema}"').encode()
        async with (
            await psycopg.AsyncConnection.connect(server.url) as first,
            await psycopg.AsyncConnection.connect(server.url) as second,
        ):
            claimed = await (await first.execute(asked, [LOWEST, worker.id])).fetchall()
            assert [row[0] for row in claimed] == [task_id]
            assert await setting(first) == "on"
            assert await (await second.execute(asked, [LOWEST, worker.id])).fetchall() == []
            assert await setting(second) == "off"
            await second.rollback()
            assert await setting(second) == "on"
            await first.rollback()


async def setting(connection: psycopg.AsyncConnection[Any]) -> str:
    row = await (await connection.execute("SHOW synchronous_commit")).fetchone()
    assert row is not None
    return row[0]
