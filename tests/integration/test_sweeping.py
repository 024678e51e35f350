"""Lanes in which no task is left go, and no task is lost by it, whoever stores meanwhile."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
import pytest

from taskscheduler import Context, Handlers, Limit, NewTask, Scheduler, Worker
from taskscheduler.adapters.postgres import lane_removal
from taskscheduler.adapters.postgres.database import Database
from taskscheduler.adapters.postgres.migrate import migrate
from taskscheduler.domain.errors import StoreUnavailable
from taskscheduler.domain.idempotency import Idempotency
from taskscheduler.domain.task_edit import TaskEdit
from taskscheduler.testing.contracts.steps import claim, join

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from taskscheduler.domain.values import TaskId

    Store = Callable[[Scheduler], Awaitable[TaskId]]

pytestmark = pytest.mark.anyio

MANY = 2_500


class Swept:
    """A schema, a scheduler that remembers a lane, and who removes lanes."""

    def __init__(self, scheduler: Scheduler, database: Database, url: str) -> None:
        self.scheduler = scheduler
        self.url = url
        self._database = database
        self._sweep = lane_removal.Sweep(database)

    async def sweep(self) -> int:
        async with self._database.connection() as connection:
            return await self._sweep.turn(connection)

    async def run(self, statement: LiteralString) -> psycopg.AsyncCursor[Any]:
        async with self._database.connection() as connection:
            return await connection.execute(self._database.sql(statement))

    async def lanes(self) -> list[Any]:
        query: LiteralString = "SELECT queue, priority, retired_by FROM {schema}.lane"
        return await (await self.run(query)).fetchall()

    async def leave_empty(self) -> None:
        """Let the scheduler know the lane, and nothing be in it."""
        task_id = await self.scheduler.schedule("mail")
        await self.scheduler.delete(task_id)


@pytest.fixture
async def swept(
    any_postgres_url: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncGenerator[Swept]:
    monkeypatch.setattr(lane_removal, "REST", timedelta(0))
    monkeypatch.setattr(lane_removal, "WAIT_S", 0.1)
    await migrate(any_postgres_url, schema)
    database = Database(any_postgres_url, schema=schema, pool_size=2)
    async with (
        Scheduler.postgres(any_postgres_url, schema=schema) as scheduler,
        database.opened(),
    ):
        yield Swept(scheduler, database, any_postgres_url)


def mail(scheduler: Scheduler, **fields: Any) -> NewTask:
    return NewTask(id=scheduler.store.new_task_id(), kind="mail", **fields)


async def one(scheduler: Scheduler) -> TaskId:
    return await scheduler.schedule("mail")


async def some(scheduler: Scheduler) -> TaskId:
    return (await scheduler.store.tasks.put([mail(scheduler) for _ in range(3)]))[0]


async def some_of_several_lanes(scheduler: Scheduler) -> TaskId:
    new = mail(scheduler, queue="letters")
    return (await scheduler.store.tasks.put([new, mail(scheduler), mail(scheduler)]))[1]


async def many(scheduler: Scheduler) -> TaskId:
    return (await scheduler.store.tasks.put([mail(scheduler) for _ in range(MANY)]))[0]


async def with_a_key(scheduler: Scheduler) -> TaskId:
    return (await scheduler.store.tasks.put([mail(scheduler, unique_key="a")]))[0]


async def named(scheduler: Scheduler) -> TaskId:
    request = Idempotency(key="a", fingerprint=b"a")
    return (await scheduler.store.tasks.put([mail(scheduler)], idempotency=request))[0]


async def edited(scheduler: Scheduler) -> TaskId:
    task_id = await scheduler.schedule("mail", priority=9)
    await scheduler.store.tasks.edit(task_id, TaskEdit(priority=5))
    return task_id


@pytest.mark.parametrize(
    "store", [one, some, some_of_several_lanes, many, with_a_key, named, edited]
)
async def test_who_remembers_a_lane_that_is_gone_stores_all_the_same(
    swept: Swept, store: Store
) -> None:
    """However it stores; and the task can be claimed."""
    await swept.leave_empty()
    assert await swept.sweep() == 1
    assert await swept.lanes() == []
    task_id = await store(swept.scheduler)
    assert (await swept.scheduler.get(task_id)).queue == "default"
    worker_id = await join(swept.scheduler.store)
    found = {lease.task_id for lease in await claim(swept.scheduler.store, worker_id, limit=MANY)}
    assert task_id in found
    await swept.sweep()
    assert ("default", 5, None) in await swept.lanes()


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"])
async def test_a_lane_stays_that_an_open_transaction_stores_into(
    swept: Swept, isolation: str
) -> None:
    """Though nobody else can see its task yet."""
    await swept.leave_empty()
    async with await psycopg.AsyncConnection.connect(swept.url) as connection:
        await connection.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}".encode())
        new = mail(swept.scheduler)
        await swept.scheduler.store.tasks.put([new], transaction=connection)
        assert await swept.sweep() == 0
        await connection.commit()
    assert await swept.sweep() == 0
    assert (await swept.scheduler.get(new.id)).queue == "default"
    assert await swept.lanes() == [("default", 5, None)]


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
async def test_a_transaction_that_still_sees_a_lane_which_is_gone_is_refused(
    swept: Swept, isolation: str
) -> None:
    """By PostgreSQL, as one that cannot be put in order with the removal."""
    await swept.leave_empty()
    async with await psycopg.AsyncConnection.connect(swept.url) as connection:
        await connection.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}".encode())
        await connection.execute("SELECT pg_current_snapshot()")
        assert await swept.sweep() == 1
        with pytest.raises(StoreUnavailable, match="serialize"):
            await swept.scheduler.store.tasks.put([mail(swept.scheduler)], transaction=connection)


async def test_who_stores_within_a_transaction_is_not_in_the_way_of_its_own_lane(
    swept: Swept,
) -> None:
    """It joins, and the lane that was gone is made beside it."""
    await swept.leave_empty()
    assert await swept.sweep() == 1
    new = mail(swept.scheduler)
    async with await psycopg.AsyncConnection.connect(swept.url) as connection:
        await connection.execute("SELECT 1")
        await swept.scheduler.store.tasks.put([new], transaction=connection)
        await connection.commit()
    assert (await swept.scheduler.get(new.id)).queue == "default"


async def test_a_lane_stays_in_which_tasks_wait_run_or_have_ended(swept: Swept) -> None:
    """In each of the tables."""
    scheduler = swept.scheduler
    await scheduler.schedule("mail", queue="waits")
    await scheduler.cancel(await scheduler.schedule("mail", queue="ended"))
    runs = await scheduler.schedule("mail")
    assert len(await claim(scheduler.store, await join(scheduler.store))) == 1
    assert await swept.sweep() == 0
    assert {queue for queue, _, _ in await swept.lanes()} == {"default", "ended", "waits"}
    await scheduler.delete(runs, force=True)
    assert await swept.sweep() == 1


async def test_a_lane_that_was_asked_for_lately_stays(
    swept: Swept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asked for it may be about to store."""
    monkeypatch.setattr(lane_removal, "REST", timedelta(minutes=1))
    await swept.leave_empty()
    assert await swept.sweep() == 0
    assert len(await swept.lanes()) == 1


async def test_very_many_go_too(swept: Swept) -> None:
    """Turn by turn; those who store into others are not kept waiting."""
    await swept.scheduler.schedule("mail")
    await swept.run(
        "INSERT INTO {schema}.lane (queue, kind, priority)"
        " SELECT 'queue' || n, 'mail', 5 FROM generate_series(1, 3000) n"
    )
    removed = 0
    while some_more := await swept.sweep():
        removed += some_more
    assert removed == 3_000
    assert await swept.lanes() == [("default", 5, None)]


async def test_gates_of_groups_go_with_their_last_leases(swept: Swept) -> None:
    """What is held stays counted; the gate of a rate stays as long as it remembers something."""
    scheduler = swept.scheduler
    handlers = Handlers()

    @handlers.register("mail")
    async def mail_(context: Context) -> None:
        assert context.group is not None

    await scheduler.limits.put(Limit(name="each", per_group=True, concurrency=1))
    await scheduler.limits.put(Limit(name="slow", per_group=True, rate="1/h", group=None))
    for group in ("a", "b"):
        await scheduler.schedule("mail", group=group)
    worker = Worker(scheduler, handlers)
    assert await worker.drain() == 2

    async def left() -> tuple[int, int]:
        cursor = await swept.run(
            "SELECT (SELECT count(*) FROM {schema}.flow_lease), count(*) FROM {schema}.flow_gate"
        )
        return (await cursor.fetchall())[0]

    assert await left() == (2, 4)
    await swept.leave_empty()
    await swept.sweep()
    await swept.sweep()
    assert await left() == (0, 2)
    await worker.deregister()
