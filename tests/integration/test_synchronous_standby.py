"""A repeated call is not answered by what only one server has."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, LiteralString

import psycopg
import pytest

from taskscheduler.adapters.embedded import EmbeddedPostgres
from taskscheduler.adapters.postgres.migrate import migrate
from taskscheduler.testing.contracts.steps import lease_one, new, outcome
from taskscheduler.testing.postgres import PostgresClock, postgres_store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path

    from taskscheduler.application.store import Store

WAITING: Final = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
CUT_SHORT: Final = (
    "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
)
COMMIT: Final = "SELECT pg_logical_emit_message(true, 'probe', '')"
PATIENCE_S: Final = 20.0
SCHEMA: Final = "taskscheduler"

pytestmark = pytest.mark.anyio


class Replicated:
    """A server whose commits wait for a standby that never comes, until it is let go."""

    def __init__(self, url: str) -> None:
        """Use the server at ``url``."""
        self.url = url

    def configure(self, statement: str) -> None:
        with psycopg.connect(self.url, autocommit=True) as admin:
            admin.execute(statement.encode())
            admin.execute("SELECT pg_reload_conf()")

    async def demand_standby(self) -> None:
        """Let every commit wait from now on.

        The setting holds once the checkpointer has read it, some time after the call that asks
        for that has returned; so commit until a commit waits, and cut that one short.
        """
        self.configure("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        async with (
            asyncio.timeout(PATIENCE_S),
            await psycopg.AsyncConnection.connect(self.url, autocommit=True) as probe,
        ):
            while not await self.waits(probe):
                pass

    async def waits(self, probe: psycopg.AsyncConnection) -> bool:
        """Commit once, and return whether that had to be cut short."""
        commit = asyncio.create_task(probe.execute(COMMIT))
        while not commit.done():
            if await self.cut_short():
                await commit
                return True
        await commit
        return False

    def demand_none(self) -> None:
        self.configure("ALTER SYSTEM RESET synchronous_standby_names")

    async def waiting(self) -> None:
        """Return once a commit waits for the standby."""
        async with asyncio.timeout(PATIENCE_S):
            while not await self.any_process(WAITING):
                await asyncio.sleep(0.05)

    async def cut_short(self) -> bool:
        """Let a commit wait no longer, if one does: it is made here alone."""
        return await self.any_process(CUT_SHORT)

    async def any_process(self, question: LiteralString) -> bool:
        async with await psycopg.AsyncConnection.connect(self.url) as admin:
            return await (await admin.execute(question)).fetchone() is not None


@pytest.fixture
def replicated(tmp_path: Path) -> Iterator[Replicated]:
    """A server of our own, with a schema."""
    tmp_path.chmod(0o711)
    with EmbeddedPostgres(tmp_path / "data") as postgres:
        asyncio.run(migrate(postgres.url, SCHEMA))
        yield Replicated(postgres.url)


@pytest.fixture
async def store(replicated: Replicated) -> AsyncGenerator[Store]:
    """A store on it, which has stored before."""
    with PostgresClock(replicated.url, SCHEMA) as clock:
        async with postgres_store(replicated.url, SCHEMA, clock) as store:
            yield store


async def test_storing_again_waits_for_the_standby(replicated: Replicated, store: Store):
    task = new(store)
    await store.tasks.put([new(store)])  # the lane is there
    await replicated.demand_standby()
    first = asyncio.create_task(store.tasks.put([task]))
    await replicated.waiting()
    await replicated.cut_short()
    await asyncio.wait([first])
    assert (await store.tasks.get(task.id)).id == task.id  # it is there, on one server
    again = asyncio.create_task(store.tasks.put([task]))
    await replicated.waiting()
    assert not again.done()
    replicated.demand_none()
    assert await again == [task.id]


async def test_an_outcome_is_on_record_once_the_standby_has_it(
    replicated: Replicated, store: Store
):
    made = outcome(await lease_one(store))
    await replicated.demand_standby()
    first = asyncio.create_task(store.tasks.settle([made]))
    await replicated.waiting()
    await replicated.cut_short()
    await asyncio.wait([first])
    asked = asyncio.create_task(store.tasks.outcomes_of([made]))
    await replicated.waiting()
    assert not asked.done()
    replicated.demand_none()
    assert set(await asked) == {made.task_id}
