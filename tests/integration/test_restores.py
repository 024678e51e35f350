"""A dump is restored while workers are attached: what they held is void, nothing is mixed up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import psycopg
import pytest
from psycopg import sql

from taskscheduler.adapters.postgres.migrate import migrate
from taskscheduler.domain.errors import StoreUnavailable, WorkerLost
from taskscheduler.domain.lease import Settlement
from taskscheduler.domain.status import Event, TaskStatus
from taskscheduler.testing.contracts.steps import claim, join, put
from taskscheduler.testing.postgres import PostgresClock, postgres_store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from taskscheduler.application.store import Store
    from taskscheduler.domain.values import WorkerId

pytestmark = pytest.mark.anyio

TABLES: Final = ("kind", "lane", "task", "live", "worker", "place", "manual_clock")
SEQUENCES: Final = ("lease_token", "worker_id_seq", "lane_id_seq")
COUNT: Final = 5
"""So many times, for chance must have no part in it."""


@pytest.fixture
def clock(postgres_url: str, schema: str) -> Iterator[PostgresClock]:
    with PostgresClock(postgres_url, schema) as clock:
        yield clock


@pytest.fixture
async def store(postgres_url: str, schema: str, clock: PostgresClock) -> AsyncGenerator[Store]:
    async with postgres_store(postgres_url, schema, clock) as store:
        yield store


class Dump:
    """The rows and sequences of a schema at one moment."""

    def __init__(self, url: str, schema: str) -> None:
        self._url, self._schema = url, schema
        self._rows: dict[str, bytes] = {}
        with psycopg.connect(url, autocommit=True) as connection:
            for table in TABLES:
                copy = sql.SQL("COPY (SELECT * FROM {}) TO STDOUT").format(self._name(table))
                with connection.cursor().copy(copy) as out:
                    self._rows[table] = b"".join(bytes(part) for part in out)
            self._last = {name: self._last_of(connection, name) for name in SEQUENCES}

    def _name(self, name: str) -> sql.Identifier:
        return sql.Identifier(self._schema, name)

    def _last_of(self, connection: psycopg.Connection, name: str) -> tuple[Any, ...]:
        look = sql.SQL("SELECT last_value, is_called FROM {}").format(self._name(name))
        row = connection.execute(look).fetchone()
        assert row is not None
        return row

    async def restore(self) -> None:
        """Bring it all back into a schema that is made anew, as a dump's reader does."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute("SET client_min_messages = warning")
            name = sql.Identifier(self._schema)
            connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(name))
        await migrate(self._url, self._schema)
        with PostgresClock(self._url, self._schema) as clock:
            clock.take_over()
        with psycopg.connect(self._url, autocommit=True) as connection:
            for table, rows in self._rows.items():
                connection.execute(sql.SQL("DELETE FROM {}").format(self._name(table)))
                copy = sql.SQL("COPY {} FROM STDIN").format(self._name(table))
                with connection.cursor().copy(copy) as into:
                    into.write(rows)
            for name, last in self._last.items():
                values = [self._name(name).as_string(), *last]
                connection.execute("SELECT setval(%s, %s, %s)", values)


async def lost(store: Store, worker_id: WorkerId) -> bool:
    """Tell whether the store no longer knows the worker; connections of before may break."""
    for _ in range(20):
        try:
            await store.workers.heartbeat(worker_id)
        except WorkerLost:
            return True
        except (StoreUnavailable, psycopg.Error):
            continue
        return False
    raise AssertionError


async def test_no_token_and_no_worker_is_given_again(
    store: Store, postgres_url: str, schema: str
) -> None:
    before = await join(store)
    for _ in range(COUNT):
        await put(store)
    dump = Dump(postgres_url, schema)
    after = await join(store)
    stale = [*await claim(store, before, limit=3), *await claim(store, after)]
    assert len(stale) == COUNT
    await dump.restore()
    # Both hear of it with their next beat: one that the dump knows, and one that it does not.
    assert await lost(store, before)
    assert await lost(store, after)
    anew = [await join(store), await join(store)]
    assert not {before, after} & set(anew)
    fresh = await claim(store, anew[0])
    assert {lease.task_id for lease in fresh} == {lease.task_id for lease in stale}
    assert not {lease.token for lease in fresh} & {lease.token for lease in stale}
    ended = [Settlement(lease.task_id, lease.token, Event.COMPLETE) for lease in stale]
    assert len(await store.tasks.settle(ended)) == COUNT
    for lease in fresh:
        task = await store.tasks.get(lease.task_id)
        assert (task.status, task.token) == (TaskStatus.IN_PROGRESS, lease.token)
    assert await store.workers.heartbeat(anew[0]) == []


async def test_a_sequence_that_was_set_back_gives_no_token_again(
    store: Store, postgres_url: str, schema: str
) -> None:
    """As after a snapshot of the machine, or a standby that had not heard everything."""
    worker_id = await join(store)
    tokens: set[int] = set()
    for _ in range(COUNT):
        await put(store)
        (lease,) = await claim(store, worker_id)
        tokens.add(lease.token)
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            name = sql.Identifier(schema, "lease_token").as_string()
            connection.execute("SELECT setval(%s, 1)", [name])
    assert len(tokens) == COUNT
    assert all(0 < token < 2**63 for token in tokens)
    assert await store.workers.heartbeat(worker_id) == []


async def test_a_restart_or_a_vacuum_voids_nothing(
    store: Store, postgres_url: str, schema: str
) -> None:
    worker_id = await join(store)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for table in ("place", "worker", "live"):
            connection.execute(sql.SQL("VACUUM {}").format(sql.Identifier(schema, table)))
    assert await store.workers.heartbeat(worker_id) == []
