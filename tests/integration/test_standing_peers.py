"""A program that stands still in the middle of something holds up nobody but itself.

It is played by a session that has done what a worker does and then does nothing more, as one does
whose worker was stopped.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, LiteralString

import psycopg
import pytest
from psycopg import sql

from taskscheduler.adapters.postgres import migrate as migrating
from taskscheduler.adapters.postgres.migrate import Migration, migrate, migrations
from taskscheduler.application.maintenance.rescuer import Rescuer
from taskscheduler.domain.errors import StoreUnavailable, WorkerLost
from taskscheduler.domain.retention import RetentionPolicy
from taskscheduler.domain.status import TaskStatus
from taskscheduler.testing.contracts.steps import (
    LEASE,
    TICK,
    bring,
    claim,
    join,
    new,
    put,
    subscribed,
)
from taskscheduler.testing.postgres import PostgresClock, postgres_store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from taskscheduler.application.store import Store

pytestmark = pytest.mark.anyio

AT_ONCE_S = 8.0
"""Far below the 30 s after which an answer is given up; the machine may be busy."""
SHORT = timedelta(milliseconds=50)


@pytest.fixture
def clock(postgres_url: str, schema: str) -> Iterator[PostgresClock]:
    with PostgresClock(postgres_url, schema) as clock:
        yield clock


@pytest.fixture
async def store(postgres_url: str, schema: str, clock: PostgresClock) -> AsyncGenerator[Store]:
    async with postgres_store(postgres_url, schema, clock) as store:
        yield store


@asynccontextmanager
async def queue_position(
    url: str, schema: str, statement: LiteralString, *values: object
) -> AsyncGenerator[psycopg.AsyncConnection[Any]]:
    """Yield a session that has sent ``statement`` in a transaction which it does not end."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("BEGIN")
        await connection.execute(sql.SQL(statement).format(schema=sql.Identifier(schema)), values)
        yield connection


CLAIMS: LiteralString = "SELECT FROM {schema}.worker WHERE id = %s FOR KEY SHARE"
RECONCILES: LiteralString = "SELECT FROM {schema}.worker WHERE id = %s FOR UPDATE"
COMPLETES: LiteralString = "SELECT FROM {schema}.live WHERE id = %s FOR UPDATE"


@pytest.mark.parametrize("holding", [CLAIMS, RECONCILES], ids=["claims", "reconciles"])
async def test_a_worker_that_stands_keeps_no_other_from_being_rescued(
    store: Store, clock: PostgresClock, postgres_url: str, schema: str, holding: LiteralString
) -> None:
    stands, killed = await join(store), await join(store)
    task_id = await put(store)
    assert await claim(store, killed)
    rescue = Rescuer(store.workers, clock)
    await rescue.turn()
    clock.advance(LEASE + TICK)
    async with queue_position(postgres_url, schema, holding, stands), asyncio.timeout(AT_ONCE_S):
        assert await rescue.turn() == 1
        assert (await store.tasks.get(task_id)).status is TaskStatus.PENDING
        assert {seen.id for seen in await store.workers.registered()} == {stands}
    assert await rescue.turn() == 0
    assert await store.workers.registered() == []


async def test_what_a_standing_worker_holds_is_rescued_but_for_what_it_has_locked(
    store: Store, clock: PostgresClock, postgres_url: str, schema: str
) -> None:
    """It cannot beat any more, and its claims are void; the rest is found as soon as it can be."""
    worker_id = await join(store)
    free, locked, later = [await put(store) for _ in range(3)]
    leases = await claim(store, worker_id, limit=2)
    assert {lease.task_id for lease in leases} == {free, locked}
    clock.advance(LEASE + TICK)
    async with (
        queue_position(postgres_url, schema, CLAIMS, worker_id),
        queue_position(postgres_url, schema, COMPLETES, locked),
        asyncio.timeout(AT_ONCE_S),
    ):
        assert list(await store.workers.declare_dead(worker_id, 0)) == [free]
        assert list(await store.workers.declare_dead(worker_id, 0)) == []
        with pytest.raises(WorkerLost):
            await store.workers.heartbeat(worker_id)
        assert list(await claim(store, worker_id)) == []
        assert (await store.tasks.get(locked)).status is TaskStatus.IN_PROGRESS
    assert list(await store.workers.declare_dead(worker_id, 0)) == [locked]
    assert await store.workers.registered() == []
    assert (await store.tasks.get(later)).attempt == 0


async def test_the_session_of_a_dead_worker_is_ended_and_frees_what_it_had_locked(
    store: Store, clock: PostgresClock, postgres_url: str, schema: str
) -> None:
    """Also tasks that nobody has leased yet, as its claim was about to."""
    worker_id = await join(store, lease=SHORT)
    task_id = await put(store)
    clock.advance(seconds=1)
    async with queue_position(postgres_url, schema, CLAIMS, worker_id) as connection:
        await connection.execute(
            sql.SQL(COMPLETES).format(schema=sql.Identifier(schema)), [task_id]
        )
        other = await join(store)
        assert list(await claim(store, other)) == []
        async with asyncio.timeout(AT_ONCE_S):
            while {seen.id for seen in await store.workers.registered()} != {other}:
                await store.workers.declare_dead(worker_id, 0)
                await asyncio.sleep(0.02)
        (lease,) = await claim(store, other)
        assert lease.task_id == task_id
        with pytest.raises(psycopg.OperationalError):
            await connection.execute("SELECT 1")


async def test_a_session_that_works_is_not_ended(
    store: Store, clock: PostgresClock, postgres_url: str, schema: str
) -> None:
    """It may be slow; it waits for nobody's program."""
    worker_id = await join(store, lease=SHORT)
    clock.advance(seconds=1)
    async with queue_position(postgres_url, schema, CLAIMS, worker_id) as connection:
        working = asyncio.create_task(connection.execute("SELECT pg_sleep(1)"))
        for _ in range(5):
            await asyncio.sleep(0.1)
            await store.workers.declare_dead(worker_id, 0)
        await working


async def test_pausing_waits_for_no_worker_that_is_silent_and_holds_up_none(
    store: Store, clock: PostgresClock, postgres_url: str, schema: str
) -> None:
    stands = await join(store)
    clock.advance(LEASE + TICK)
    lives = await join(store)
    async with queue_position(postgres_url, schema, CLAIMS, stands), asyncio.timeout(AT_ONCE_S):
        await store.queues.pause("default")
        assert await store.workers.heartbeat(lives) == []


async def test_while_a_pause_waits_for_one_worker_all_others_beat_and_claim(
    store: Store, postgres_url: str, schema: str
) -> None:
    slow, others = await join(store), [await join(store) for _ in range(2)]
    for _ in others:
        await put(store, queue="letters")
    async with queue_position(postgres_url, schema, CLAIMS, slow) as connection:
        pausing = asyncio.create_task(store.queues.pause("default"))
        await asyncio.sleep(0.2)
        async with asyncio.timeout(AT_ONCE_S):
            for other in others:
                assert await store.workers.heartbeat(other) == []
                letters = subscribed("mail", queues=["letters"])
                assert len(await store.tasks.claim(other, letters, 1)) == 1
        assert not pausing.done()  # the claim may yet lease tasks of the queue
        await connection.execute("COMMIT")
        await pausing


async def test_migrate_does_not_make_callers_wait_behind_a_reader(
    store: Store, postgres_url: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It lets go and comes back; when the reader has gone, it gets through."""
    known = migrations()
    later = Migration(
        known[-1].version + 1, "9999_later", "ALTER TABLE {schema}.task ADD COLUMN flavour text;"
    )
    monkeypatch.setattr(migrating, "migrations", lambda: [*known, later])
    await bring(store, TaskStatus.COMPLETED)
    reads: LiteralString = "SELECT count(*) FROM {schema}.task"
    async with queue_position(postgres_url, schema, reads):
        moving = asyncio.create_task(migrate(postgres_url, schema, pause_s=0.2))
        async with asyncio.timeout(60):
            for _ in range(30):
                async with asyncio.timeout(AT_ONCE_S):
                    await put(store)
                await asyncio.sleep(0.1)
        assert not moving.done()
        with pytest.raises(StoreUnavailable, match="nothing was changed"):
            await migrate(postgres_url, schema, patience_s=0)
    async with asyncio.timeout(60):
        assert await moving == ["9999_later"]


async def test_while_a_day_is_exported_nobody_waits_and_what_changes_is_kept(
    store: Store, postgres_url: str, schema: str, clock: PostgresClock
) -> None:
    task = new(store)
    await store.tasks.put([task])
    await store.tasks.cancel(task.id)
    clock.jump(days=4000)
    ends_again = sql.SQL("UPDATE {0}.finished SET finished_at = {0}.clock()").format(
        sql.Identifier(schema)
    )
    exported: list[object] = []

    def export(tasks: Any) -> None:
        exported.extend(tasks)
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute("SET lock_timeout = '2s'")
            connection.execute(ends_again)

    expiry = await store.archive.expire(RetentionPolicy.parse(["30d"]), export=export)
    assert len(exported) == 1
    assert expiry.dropped == 0
    assert (await store.tasks.get(task.id)).status is TaskStatus.CANCELLED
