"""Tasks that wait for others: processes that die, transactions that stay open, races."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from psycopg import sql

from taskscheduler import Handlers, Scheduler, TaskNotFound, TaskStatus, Worker
from taskscheduler.adapters.postgres.migrate import migrate
from taskscheduler.domain.bulk import BulkVerb
from taskscheduler.domain.errors import IllegalTransition
from taskscheduler.domain.lease import Settlement
from taskscheduler.domain.status import Event
from taskscheduler.testing.contracts.followers import follow, is_due, is_waiting
from taskscheduler.testing.contracts.steps import ERROR, claim, join, put, status_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from typing import LiteralString

    from taskscheduler import Context
    from taskscheduler.application.store import Store
    from taskscheduler.domain.lease import Lease
    from taskscheduler.domain.values import TaskId, WorkerId

pytestmark = pytest.mark.anyio

SEEDS: Final = 6
PARENTS: Final = 40
CHILDREN: Final = 60


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
async def scheduler(embedded_url: str, schema: str) -> AsyncGenerator[Scheduler]:
    await migrate(embedded_url, schema)
    async with Scheduler.postgres(embedded_url, schema=schema, pool_size=4) as scheduler:
        yield scheduler


@pytest.fixture
async def other(embedded_url: str, schema: str, scheduler: Scheduler) -> AsyncGenerator[Scheduler]:
    """Another process's, as far as the store can tell."""
    del scheduler
    async with Scheduler.postgres(embedded_url, schema=schema, pool_size=4) as other:
        yield other


@pytest.fixture
async def connection(embedded_url: str) -> AsyncGenerator[psycopg.AsyncConnection]:
    async with await psycopg.AsyncConnection.connect(embedded_url) as connection:
        yield connection


async def said(
    connection: psycopg.AsyncConnection, schema: str, text: LiteralString, *values: Any
) -> list[tuple[Any, ...]]:
    """Say something to the server directly, as psql would."""
    statement = sql.SQL(text).format(schema=sql.Identifier(schema))
    cursor = await connection.execute(statement, values)
    return await cursor.fetchall() if cursor.description else []


@pytest.mark.parametrize(
    "text",
    [
        "SELECT {schema}.complete_1(ARRAY[%s], ARRAY[%s::bigint])",
        "SELECT {schema}.complete_2(ARRAY[%s], ARRAY[%s::bigint], ARRAY['1'])",
    ],
)
async def test_who_ended_it_has_died_at_once(
    scheduler: Scheduler, connection: psycopg.AsyncConnection, schema: str, text: LiteralString
):
    """A worker of another process finds out by itself."""
    store = scheduler.store
    worker_id = await join(store)
    parent = await put(store)
    child = await follow(store, parent)
    (lease,) = await claim(store, worker_id)
    await said(connection, schema, text, lease.task_id, lease.token)
    await connection.commit()
    assert await is_waiting(store, child, 1)
    handlers = Handlers()
    ran = asyncio.Event()

    @handlers.register("mail")
    async def mail(context: Context) -> None:
        ran.set()

    worker = Worker(scheduler, handlers)
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(20):
        await ran.wait()
    worker.stop()
    await running
    assert await status_of(store, child) is TaskStatus.COMPLETED


async def test_by_hand_in_sql(
    scheduler: Scheduler, connection: psycopg.AsyncConnection, schema: str
):
    """Whoever deletes rows himself deletes the task."""
    store = scheduler.store
    parent = await put(store)
    child, ended = await follow(store, parent), await follow(store, parent, when="ended")
    await said(connection, schema, "DELETE FROM {schema}.live WHERE id = %s", parent)
    await connection.commit()
    assert await store.followers.release() == 2
    assert await status_of(store, child) is TaskStatus.CANCELLED
    assert await is_due(store, ended)


async def test_a_callers_open_transaction_holds_up_nobody(
    scheduler: Scheduler, connection: psycopg.AsyncConnection
):
    """What it waits for may end meanwhile; at the commit it counts."""
    store = scheduler.store
    worker_id = await join(store)
    parent, failing = await put(store), await put(store)
    child = await scheduler.schedule("mail", after=[parent], connection=connection)
    doomed = await scheduler.schedule("mail", after=[parent, failing], connection=connection)
    with pytest.raises(TaskNotFound):
        await scheduler.schedule("mail", after=[store.new_task_id()], connection=connection)
    events = {parent: Event.COMPLETE, failing: Event.FAIL}
    leases = await claim(store, worker_id)
    settled = [Settlement(x.task_id, x.token, events[x.task_id], error=ERROR) for x in leases]
    async with asyncio.timeout(10):
        assert list(await store.tasks.settle(settled)) == []
        assert await store.followers.release() == 0
    await connection.commit()
    await store.followers.release()
    assert await is_due(store, child)
    assert await status_of(store, doomed) is TaskStatus.CANCELLED


async def test_a_parent_that_is_locked_is_waited_for(
    scheduler: Scheduler, connection: psycopg.AsyncConnection, schema: str
):
    """It may be ending, and not say so: the follower is looked at again."""
    store = scheduler.store
    worker_id = await join(store)
    parent = await put(store)
    (lease,) = await claim(store, worker_id)
    await said(
        connection,
        schema,
        "SELECT {schema}.complete_1(ARRAY[%s], ARRAY[%s::bigint])",
        lease.task_id,
        lease.token,
    )
    async with asyncio.timeout(10):
        child = await follow(store, parent)
    assert await is_waiting(store, child, 1)
    await connection.commit()
    await store.followers.release()
    assert await is_due(store, child)


async def test_a_follower_that_is_locked_is_left_for_later(
    scheduler: Scheduler, connection: psycopg.AsyncConnection, schema: str
):
    """And the others go on."""
    store = scheduler.store
    parent = await put(store)
    stuck, free = await follow(store, parent), await follow(store, parent)
    await said(connection, schema, "SELECT FROM {schema}.live WHERE id = %s FOR UPDATE", stuck)
    async with asyncio.timeout(10):
        await store.tasks.cancel(parent)
    assert await status_of(store, free) is TaskStatus.CANCELLED
    assert await status_of(store, stuck) is TaskStatus.PENDING
    await connection.rollback()
    await store.followers.release()
    assert await status_of(store, stuck) is TaskStatus.CANCELLED


async def test_nothing_is_written_for_others(
    scheduler: Scheduler, connection: psycopg.AsyncConnection, schema: str
):
    """A task that nobody waits for leaves no trace of that."""
    store = scheduler.store
    worker_id = await join(store)
    for _ in range(3):
        await put(store)
    await store.tasks.cancel(await put(store))
    settled = [
        Settlement(each.task_id, each.token, Event.COMPLETE)
        for each in await claim(store, worker_id)
    ]
    assert list(await store.tasks.settle(settled)) == []
    for table in ("ended", "edge", "follower"):
        ((size,),) = await said(
            connection, schema, "SELECT pg_relation_size('{schema}." + table + "'::regclass)"
        )
        assert size == 0


class Storm:
    """Tasks that end in every way while others are stored to come after them."""

    def __init__(self, seed: int, worker_id: WorkerId) -> None:
        self.chance = random.Random(seed)
        self.worker_id = worker_id
        self.parents: list[TaskId] = []
        self.children: dict[TaskId, tuple[list[TaskId], bool]] = {}

    async def end_all(self, store: Store) -> None:
        while leases := await claim(store, self.worker_id, limit=self.chance.randint(1, 5)):
            await store.tasks.settle([self.settled(each) for each in leases])

    def settled(self, lease: Lease) -> Settlement:
        event = self.chance.choice([Event.COMPLETE, Event.COMPLETE, Event.FAIL])
        error = ERROR if event is Event.FAIL else None
        return Settlement(lease.task_id, lease.token, event, error=error)

    async def store_children(self, store: Store) -> None:
        for _ in range(CHILDREN // 3):
            asked = self.chance.sample(self.parents, self.chance.randint(1, 4))
            when = self.chance.choice(["succeeded", "ended"])
            otherwise = self.chance.choice(["cancel", "run"])
            child = await follow(store, *asked, when=when, otherwise=otherwise, queue="later")
            self.children[child] = asked, when == "ended" or otherwise == "run"

    async def meddle(self, store: Store) -> None:
        for _ in range(15):
            task_id = self.chance.choice([*self.parents, *self.children])
            with suppress(IllegalTransition):
                match self.chance.randrange(4):
                    case 0:
                        await store.tasks.cancel(task_id)
                    case 1:
                        await store.tasks.retry(task_id)
                    case 2:
                        cancelled = TaskStatus.CANCELLED
                        await store.tasks.change_all(BulkVerb.RETRY, cancelled, [task_id])
                    case _:
                        await store.followers.release()


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_whatever_happens_at_once_everything_comes_to_its_end(
    scheduler: Scheduler, other: Scheduler, seed: int
):
    """Nothing waits for ever, and nobody is cancelled who should run."""
    first, second = scheduler.store, other.store
    storm = Storm(seed, await join(first))
    storm.parents = list(await asyncio.gather(*(put(first) for _ in range(PARENTS))))
    await asyncio.gather(
        *(storm.end_all(store) for store in (first, first, second)),
        *(storm.store_children(store) for store in (first, first, second)),
        *(storm.meddle(store) for store in (first, second)),
    )
    await storm.end_all(first)  # whatever was retried last
    await first.followers.idle()
    await second.followers.idle()
    await second.followers.release()
    for parent in storm.parents:
        assert (await status_of(first, parent)).is_final
    for child, (_, lenient) in storm.children.items():
        assert not (await first.tasks.get(child)).waits, await first.followers.wait(child)
        attempts = await first.board.attempts(child)
        assert not lenient or all(each.error is None for each in attempts)
    assert await _left(scheduler) == [(0,)]


async def _do_nothing(context: Context) -> None:
    del context


async def _left(scheduler: Scheduler) -> list[tuple[int]]:
    followers: Any = scheduler.store.followers
    database = followers._database
    async with database.connection() as connection:
        cursor = await connection.execute(
            database.sql("SELECT count(*) FROM {schema}.follower WHERE stage <> 'held'")
        )
        return await cursor.fetchall()


async def test_a_chain_is_run_by_a_worker_without_waiting_for_its_poll(scheduler: Scheduler):
    """Each link begins when the one before has ended, not at the next look."""
    handlers = Handlers()
    handlers.register("link")(_do_nothing)
    links = [scheduler.prepare("link")]
    for _ in range(15):
        links.append(scheduler.prepare("link", after=[links[-1].id]))
    ids = await scheduler.schedule_many(links)
    worker = Worker(scheduler, handlers, poll_interval=timedelta(seconds=30))
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(25):
        assert await scheduler.result(ids[-1], timeout=25) is None
    worker.stop()
    await running


async def test_draining_takes_followers_along(scheduler: Scheduler):
    """Nothing is due, is the whole truth."""
    handlers = Handlers()
    handlers.register("link")(_do_nothing)
    links = [scheduler.prepare("link")]
    for _ in range(5):
        links.append(scheduler.prepare("link", after=[links[-1].id]))
    ids = await scheduler.schedule_many(links)
    await Worker(scheduler, handlers).run(until_drained=True)
    assert {await status_of(scheduler.store, each) for each in ids} == {TaskStatus.COMPLETED}
