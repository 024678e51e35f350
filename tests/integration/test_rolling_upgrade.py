"""An upgrade under way: the workers of before go on, and can be started again if they must."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg import sql

from taskscheduler import (
    Context,
    Handlers,
    Scheduler,
    SchemaMismatch,
    TaskQuery,
    TaskStatus,
    Worker,
)
from taskscheduler.adapters.postgres import migrate as module
from taskscheduler.adapters.postgres.migrate import Migration, check, migrate, migrations

pytestmark = pytest.mark.anyio

TASKS = 400
COMPLETED = TaskQuery(status=TaskStatus.COMPLETED, limit=1000)
PATIENCE_S = 60

# What a later release may do: columns that may be empty, and functions beside those of before.
LATER = """
ALTER TABLE {schema}.task ADD COLUMN flavour text;
ALTER TABLE {schema}.live ADD COLUMN mood smallint NOT NULL DEFAULT 0;
ALTER TABLE {schema}.finished ADD COLUMN mood smallint NOT NULL DEFAULT 0;
CREATE FUNCTION {schema}.claim_4() RETURNS void LANGUAGE sql AS 'SELECT';
"""


KNOWN = migrations()
SQUASHED = 10
"""The version of the schema as it was when its migrations were squashed: the oldest there is."""


async def test_a_worker_of_before_goes_on_while_the_schema_moves_on(
    any_postgres_url: str,
    schema: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    later = Migration(KNOWN[-1].version + 1, "9999_later", LATER)
    await migrate(any_postgres_url, schema)
    ran: list[object] = []
    handlers = Handlers()

    @handlers.register("mail")
    async def mail(context: Context) -> None:
        ran.append(context.id)
        await asyncio.sleep(0.005)

    async with Scheduler.postgres(any_postgres_url, schema=schema, pool_size=4) as scheduler:
        worker = Worker(scheduler, handlers, concurrency=4)
        running = asyncio.create_task(worker.run())
        for _ in range(TASKS // 2):
            await scheduler.schedule("mail")
        monkeypatch.setattr(module, "migrations", lambda: [*KNOWN, later])
        assert await migrate(any_postgres_url, schema) == [later.name]
        monkeypatch.setattr(module, "migrations", lambda: KNOWN)
        for _ in range(TASKS // 2):
            await scheduler.schedule("mail")
        async with asyncio.timeout(PATIENCE_S):
            while len(await scheduler.list(COMPLETED)) < TASKS:
                await asyncio.sleep(0.02)
        worker.stop()
        await running
        assert len(set(ran)) == len(ran) == TASKS
    # Rolled back: what is started anew is the release of before, on the schema of the later one.
    async with Scheduler.postgres(any_postgres_url, schema=schema, pool_size=4) as scheduler:
        task_id = await scheduler.schedule("mail")
        worker = Worker(scheduler, handlers, concurrency=4)
        await worker.drain()
        await worker.deregister()
        assert (await scheduler.get(task_id)).status is TaskStatus.COMPLETED
    assert await check(any_postgres_url, schema) == []
    assert await migrate(any_postgres_url, schema) == []


@pytest.mark.parametrize(("oldest", "starts"), [(0, True), (1, False)], ids=["fits", "does not"])
async def test_a_migration_says_which_programs_can_work_with_it(
    postgres_url: str, schema: str, monkeypatch: pytest.MonkeyPatch, oldest: int, *, starts: bool
) -> None:
    newest = KNOWN[-1].version
    text = f"-- Programs before {newest + oldest:04} cannot work with this.\n{LATER}"
    later = Migration(newest + 1, "9999_later", text)
    monkeypatch.setattr(module, "migrations", lambda: [*KNOWN, later])
    await migrate(postgres_url, schema)
    monkeypatch.setattr(module, "migrations", lambda: KNOWN)
    if starts:
        async with Scheduler.postgres(postgres_url, schema=schema) as scheduler:
            assert await scheduler.schedule("mail")
        return
    with pytest.raises(SchemaMismatch, match="newer than this program"):
        async with Scheduler.postgres(postgres_url, schema=schema):
            pass
    for work in (check, migrate):
        with pytest.raises(SchemaMismatch, match="newer than this program"):
            await work(postgres_url, schema)


class Peer:
    """A program of the squashed schema, by the statements that it sent."""

    LANES: LiteralString = "SELECT array_agg(id) FROM {schema}.lane WHERE kind = 'old'"
    JOIN: LiteralString = """
SELECT {schema}.join_1('peer', '{{default}}', '{{old}}', '{{20}}', 1, interval '1 h', NULL, NULL)"""
    STORE: LiteralString = "SELECT {schema}.schedule('old', %s::json)"
    CLAIM: LiteralString = """
SELECT o_id, o_token, o_payload FROM {schema}.claim_6(
    %(lanes)s::integer[],
    array_fill('-infinity'::timestamptz, ARRAY[cardinality(%(lanes)s::integer[])]),
    array_fill('00000000-0000-0000-0000-000000000000'::uuid,
               ARRAY[cardinality(%(lanes)s::integer[])]),
    3, %(worker)s, 0, 1::smallint
)"""
    COMPLETE: LiteralString = "SELECT * FROM {schema}.complete_1(%s::uuid[], %s::bigint[])"

    def __init__(self, connection: psycopg.AsyncConnection, schema: str) -> None:
        self._connection = connection
        self._schema = sql.Identifier(schema)
        self.ran: list[str] = []

    async def _rows(self, statement: LiteralString, values: Any = ()) -> list[tuple[Any, ...]]:
        text = sql.SQL(statement).format(schema=self._schema)
        while True:
            # The upgrade and a claim may want each other's locks; programs then asked again.
            with suppress(psycopg.errors.DeadlockDetected):
                return await (await self._connection.execute(text, values)).fetchall()

    async def work(self, numbers: range) -> None:
        """Store tasks and carry out all that there are."""
        ((worker,),) = await self._rows(self.JOIN)
        for number in numbers:
            await self._rows(self.STORE, [str(number)])
            await self.turn(worker)
        while await self.turn(worker):
            pass

    async def turn(self, worker: int) -> bool:
        """Claim up to three tasks and complete them; tell whether there were some."""
        ((lanes,),) = await self._rows(self.LANES)
        leases = await self._rows(self.CLAIM, {"lanes": lanes, "worker": worker})
        self.ran += [payload for _, _, payload in leases]
        ids, tokens = [id_ for id_, _, _ in leases], [token for _, token, _ in leases]
        assert len(await self._rows(self.COMPLETE, [ids, tokens])) == len(leases)
        return leases != []


async def test_from_the_squashed_schema_on_to_the_newest(
    any_postgres_url: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was there is carried out; programs of then go on, unless a migration says otherwise."""
    base = [each for each in KNOWN if each.version <= SQUASHED]
    since = [each for each in KNOWN if each.version > SQUASHED]
    since.append(Migration(KNOWN[-1].version + 1, "9999_later", LATER))
    monkeypatch.setattr(module, "migrations", lambda: base)
    await migrate(any_postgres_url, schema)
    connection = await psycopg.AsyncConnection.connect(any_postgres_url, autocommit=True)
    async with connection:
        peer = Peer(connection, schema)
        await peer.work(range(100))
        await connection.execute(
            sql.SQL("SELECT {}.schedule('new', '\"left\"')").format(sql.Identifier(schema))
        )
        monkeypatch.setattr(module, "migrations", lambda: [*base, *since])
        upgrade = asyncio.create_task(migrate(any_postgres_url, schema))
        if all(each.oldest_program <= SQUASHED for each in since):
            await peer.work(range(100, 200))
        assert await upgrade == [each.name for each in since]
        if all(each.oldest_program <= SQUASHED for each in since):
            await peer.work(range(200, 300))
    monkeypatch.setattr(module, "migrations", lambda: KNOWN)
    ran: list[object] = []
    handlers = Handlers()

    @handlers.register("new")
    async def new(context: Context) -> None:
        ran.append(context.payload)

    async with Scheduler.postgres(any_postgres_url, schema=schema, pool_size=4) as scheduler:
        worker = Worker(scheduler, handlers, concurrency=4)
        await worker.drain()
        await worker.deregister()
        completed = await scheduler.list(COMPLETED)
    assert ran == ["left"]
    assert sorted(map(int, peer.ran)) == list(range(len(peer.ran)))
    assert len(completed) == len(peer.ran) + 1
