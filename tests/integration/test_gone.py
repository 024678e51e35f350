"""Connections, transactions and plans that are gone: said as such, and gone on without."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from taskscheduler import (
    Context,
    Handlers,
    NewTask,
    Scheduler,
    StoreUnavailable,
    TaskStatus,
    Worker,
)
from taskscheduler.adapters.postgres.database import Database
from taskscheduler.adapters.postgres.fast_connection import Statement
from taskscheduler.adapters.postgres.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from typing import LiteralString

    from taskscheduler.adapters.postgres.fast_connection import PooledConnection

pytestmark = pytest.mark.anyio

PATIENCE_S = 10.0


def with_defaults(url: str, **settings: str) -> str:
    """Return ``url`` with other defaults of the session."""
    given = str(conninfo_to_dict(url).get("options") or "")
    options = " ".join([given, *(f"-c {name}={value}" for name, value in settings.items())])
    return make_conninfo(url, options=options.strip())


@pytest.fixture
async def database(embedded_url: str, schema: str) -> AsyncGenerator[Database]:
    await migrate(embedded_url, schema)
    database = Database(embedded_url, schema=schema, pool_size=3)
    async with database.opened():
        yield database


async def idle_in_transaction(connection: psycopg.AsyncConnection) -> None:
    await connection.execute("BEGIN")
    await asyncio.sleep(0.3)


async def long_transaction(connection: psycopg.AsyncConnection) -> None:
    await connection.execute("BEGIN")
    await connection.execute("SELECT pg_sleep(0.3)")


async def idle(connection: psycopg.AsyncConnection) -> None:
    await connection.execute("SELECT 1")
    await asyncio.sleep(0.3)


async def long_statement(connection: psycopg.AsyncConnection) -> None:
    await connection.execute("SELECT pg_sleep(0.3)")


async def failed_transaction(connection: psycopg.AsyncConnection) -> None:
    await connection.execute("BEGIN")
    with suppress(psycopg.errors.DivisionByZero):
        await connection.execute("SELECT 1/0")


ENDINGS = {
    "idle_in_transaction_session_timeout": idle_in_transaction,
    "transaction_timeout": long_transaction,
    "idle_session_timeout": idle,
    "statement_timeout": long_statement,
    "lock_timeout": failed_transaction,  # which is set to something: it fails by itself
}


@pytest.mark.parametrize("setting", ENDINGS)
@pytest.mark.parametrize("sent", ["by a cursor", "by libpq's calls"])
async def test_what_a_timeout_of_the_server_ends_is_unavailable(
    embedded_url: str, schema: str, setting: str, sent: str
) -> None:
    url = with_defaults(embedded_url, **{setting: "100"})
    database = Database(url, schema=schema, pool_size=1)
    one = Statement.of(b"SELECT 1")
    async with database.opened():
        with pytest.raises(StoreUnavailable):  # noqa: PT012 - the block is what is tested
            async with database.connection() as connection:
                await ENDINGS[setting](connection)
                await (
                    connection.send(one, {})
                    if sent != "by a cursor"
                    else connection.execute("SELECT 1")
                )
        async with database.connection() as connection:
            assert await connection.send(one, {}) == [(1,)], "and the next one is another"


@pytest.mark.parametrize("setting", ["idle_session_timeout"])
async def test_pooled_sessions_that_were_ended_meanwhile_are_no_failure(
    embedded_url: str, schema: str, setting: str
) -> None:
    """All of them were: the pool is looked through, and it is tried once more."""
    await migrate(embedded_url, schema)
    database = Database(with_defaults(embedded_url, **{setting: "100"}), schema=schema, pool_size=2)
    one = Statement.of(b"SELECT 1")

    async def work(connection: PooledConnection) -> object:
        return await connection.send(one, {})

    async with database.opened():
        for _ in range(3):
            assert await database.run(work) == [(1,)]
            await asyncio.sleep(0.25)


@pytest.mark.parametrize("sent", ["by a cursor", "by libpq's calls"])
async def test_a_plan_that_became_stale_is_no_failure(database: Database, sent: str) -> None:
    """However many connections have it: each would refuse it for as long as it lives."""
    table = sql.Identifier(database.schema, "made").as_string()
    text = f"SELECT * FROM {table}".encode()  # noqa: S608 - a test's own
    statement = Statement.of(text)

    async def work(connection: PooledConnection) -> int:
        if sent == "by a cursor":
            return len(await (await connection.execute(text, prepare=True)).fetchall())
        return len(await connection.send(statement, {}))

    async with database.connection() as connection:
        await connection.execute(f"CREATE TABLE {table} (a integer)".encode())
    for _ in range(12):
        assert await asyncio.gather(*(database.run(work) for _ in range(3))) == [0, 0, 0]
    async with database.connection() as connection:
        await connection.execute(f"ALTER TABLE {table} ADD b text".encode())
    for _ in range(6):
        assert await database.run(work) == 0


async def test_a_column_of_another_type_is_no_failure(embedded_url: str, schema: str) -> None:
    """As after a migration under a process that goes on: by every statement that it sends."""
    await migrate(embedded_url, schema)
    async with Scheduler.postgres(embedded_url, schema=schema, pool_size=2) as scheduler:
        for _ in range(12):
            await asyncio.gather(*(scheduler.workers() for _ in range(4)))
        async with await psycopg.AsyncConnection.connect(embedded_url, autocommit=True) as other:
            table = sql.Identifier(schema, "worker")
            await other.execute(
                sql.SQL("ALTER TABLE {} ALTER concurrency TYPE bigint").format(table)
            )
        for _ in range(4):
            await asyncio.gather(*(scheduler.workers() for _ in range(4)))


async def test_a_handler_whose_transaction_was_ended_fails_once(
    embedded_url: str, schema: str
) -> None:
    """The session's end is told of to it, and the next attempt has another session."""
    await migrate(embedded_url, schema)
    url = with_defaults(embedded_url, idle_in_transaction_session_timeout="100")
    handlers, seen = Handlers(), []

    async with Scheduler.postgres(url, schema=schema) as scheduler:

        @handlers.register("slow")
        async def slow(context: Context) -> None:
            async with context.transaction() as connection:
                await asyncio.sleep(0.4 if context.attempt == 1 else 0)
                seen.append(context.attempt)
                await connection.execute("SELECT 1")

        task_id = await scheduler.schedule("slow", max_attempts=2)
        worker = Worker(scheduler, handlers)
        await worker.turn()
        assert (await scheduler.get(task_id)).status is TaskStatus.PENDING
        await scheduler.run_now(task_id)
        await worker.turn()
        assert (await scheduler.get(task_id)).status is TaskStatus.COMPLETED
        assert seen == [1, 2]
        await worker.deregister()


REFUSING = """
CREATE FUNCTION {schema}.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'not at the commit' USING ERRCODE = 'check_violation';
END $$;
CREATE CONSTRAINT TRIGGER late AFTER {event} DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW {condition} EXECUTE FUNCTION {schema}.refuse()"""


async def refuse(
    url: str, schema: str, event: LiteralString, table: str, condition: LiteralString = ""
) -> None:
    """Let every commit fail that did ``event`` to a row of ``table``."""
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        done = sql.SQL(event + " ON {}").format(sql.Identifier(schema, table))
        statement = sql.SQL(REFUSING).format(
            schema=sql.Identifier(schema), event=done, condition=sql.SQL(condition)
        )
        await connection.execute(statement)


@pytest.mark.parametrize("number", [1, 3, 2_500], ids=["one", "some", "very many"])
@pytest.mark.parametrize("keyed", [False, True], ids=["without keys", "with keys"])
async def test_what_the_commit_refuses_is_not_acknowledged(
    embedded_url: str, schema: str, number: int, *, keyed: bool
) -> None:
    await migrate(embedded_url, schema)
    await refuse(embedded_url, schema, "INSERT", "live")
    async with Scheduler.postgres(embedded_url, schema=schema, pool_size=2) as scheduler:
        for _ in range(3):
            tasks = [
                NewTask(
                    id=scheduler.store.new_task_id(),
                    kind="a",
                    unique_key=f"k{index}" if keyed else None,
                )
                for index in range(number)
            ]
            with pytest.raises(psycopg.errors.CheckViolation):
                await (scheduler.put(tasks[0]) if number == 1 else scheduler.put_many(tasks))
        assert await scheduler.list() == []


async def test_a_claim_that_the_commit_refuses_leases_nothing(
    embedded_url: str, schema: str
) -> None:
    await migrate(embedded_url, schema)
    ran: list[object] = []
    handlers = Handlers()
    async with Scheduler.postgres(embedded_url, schema=schema, pool_size=2) as scheduler:

        @handlers.register("a")
        async def a(context: Context) -> None:
            ran.append(context.id)

        task_id = await scheduler.schedule("a")
        await refuse(embedded_url, schema, "UPDATE", "live", "WHEN (NEW.worker_id IS NOT NULL)")
        worker = Worker(scheduler, handlers)
        with pytest.raises(psycopg.errors.CheckViolation):
            await worker.turn()
        assert ran == []
        assert (await scheduler.get(task_id)).status is TaskStatus.PENDING
        await worker.deregister()


async def test_a_completion_that_the_commit_refuses_fails_its_task_in_words(
    embedded_url: str, schema: str
) -> None:
    """It was acknowledged before, and the task stayed InProgress for ever."""
    await migrate(embedded_url, schema)
    handlers = Handlers()

    @handlers.register("a")
    async def a(context: Context) -> None: ...

    async with Scheduler.postgres(embedded_url, schema=schema, pool_size=2) as scheduler:
        task_id = await scheduler.schedule("a")
        await refuse(embedded_url, schema, "INSERT", "finished", "WHEN (NEW.status = 2)")
        worker = Worker(scheduler, handlers)
        await worker.turn()
        task = await scheduler.get(task_id)
        assert task.status is TaskStatus.FAILED
        (attempt,) = await scheduler.attempts(task_id)
        assert attempt.error is not None
        assert attempt.error.type == "OutcomeNotStored"
        await worker.deregister()
