"""One task whose attempts leave their column harms no other, on either store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from taskscheduler.domain.lease import AttemptError, Settlement
from taskscheduler.domain.retry import MAX_ATTEMPTS_LIMIT
from taskscheduler.domain.status import Event, TaskStatus
from taskscheduler.testing.contracts.steps import LEASE, TICK, claim, join, put
from taskscheduler.testing.postgres import PostgresClock, postgres_store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from taskscheduler.application.store import Store

pytestmark = pytest.mark.anyio


@pytest.fixture
def clock(postgres_url: str, schema: str) -> Iterator[PostgresClock]:
    with PostgresClock(postgres_url, schema) as clock:
        yield clock


@pytest.fixture
async def store(postgres_url: str, schema: str, clock: PostgresClock) -> AsyncGenerator[Store]:
    async with postgres_store(postgres_url, schema, clock) as store:
        yield store


def set_attempt(url: str, schema: str, attempt: int, excused: int = 0) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("UPDATE {}.live SET attempt = %s, excused = %s").format(sql.Identifier(schema)),
            [attempt, excused],
        )


async def test_the_count_stands_still_and_claims_go_on(
    store: Store, postgres_url: str, schema: str
) -> None:
    worker_id = await join(store, attempts=MAX_ATTEMPTS_LIMIT)
    worn = await put(store)
    set_attempt(postgres_url, schema, MAX_ATTEMPTS_LIMIT)
    other = await put(store)
    leases = {lease.task_id: lease for lease in await claim(store, worker_id)}
    assert leases.keys() == {worn, other}
    assert leases[worn].attempt == MAX_ATTEMPTS_LIMIT
    failed = Settlement(worn, leases[worn].token, Event.FAIL, error=AttemptError("E", "e"))
    assert not await store.tasks.settle([failed])
    task = await store.tasks.retry(worn)
    assert task.status is TaskStatus.PENDING
    assert task.max_attempts in {None, MAX_ATTEMPTS_LIMIT}
    (again,) = await claim(store, worker_id)
    assert (again.task_id, again.attempt) == (worn, MAX_ATTEMPTS_LIMIT)


async def test_a_rescue_counts_no_further_either(
    store: Store, clock: PostgresClock, postgres_url: str, schema: str
) -> None:
    worker_id = await join(store)
    tasks = {await put(store), await put(store)}
    set_attempt(postgres_url, schema, MAX_ATTEMPTS_LIMIT, MAX_ATTEMPTS_LIMIT)
    assert len(await claim(store, worker_id)) == len(tasks)
    clock.advance(LEASE + TICK)
    assert set(await store.workers.declare_dead(worker_id, 0)) == tasks
    for task_id in tasks:
        assert (await store.tasks.get(task_id)).excused == MAX_ATTEMPTS_LIMIT
