"""``connection=`` joins the caller's transaction, and never begins or ends one of its own."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import URL, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from taskscheduler import (
    InvalidTask,
    NewTask,
    NotAConnection,
    NotInTransaction,
    Scheduler,
    TaskNotFound,
    TaskSchedulerError,
)
from taskscheduler.adapters.postgres.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncEngine

    from taskscheduler import TaskId

    Verb = Callable[[Scheduler, object], Awaitable[Sequence[TaskId]]]

pytestmark = pytest.mark.anyio


@pytest.fixture
async def scheduler(embedded_url: str, schema: str) -> AsyncGenerator[Scheduler]:
    await migrate(embedded_url, schema)
    async with Scheduler.postgres(embedded_url, schema=schema, pool_size=2) as scheduler:
        yield scheduler


@pytest.fixture
async def connection(embedded_url: str) -> AsyncGenerator[psycopg.AsyncConnection]:
    """As the driver makes it: not in autocommit mode."""
    connection = await psycopg.AsyncConnection.connect(embedded_url)
    yield connection
    await connection.close()


async def one(scheduler: Scheduler, connection: object) -> Sequence[TaskId]:
    return [await scheduler.schedule("k", {"a": 1}, connection=connection)]


async def with_key(scheduler: Scheduler, connection: object) -> Sequence[TaskId]:
    return [await scheduler.schedule("k", unique_key="only", connection=connection)]


async def many(scheduler: Scheduler, connection: object) -> Sequence[TaskId]:
    return await scheduler.schedule_many([("k", 1), ("k", 2)], connection=connection)


async def very_many(scheduler: Scheduler, connection: object) -> Sequence[TaskId]:
    return await scheduler.schedule_many([("k", 1)] * 2_500, connection=connection)


async def prepared(scheduler: Scheduler, connection: object) -> Sequence[TaskId]:
    return await scheduler.put_many([scheduler.prepare("k")], connection=connection)


VERBS = [one, with_key, many, very_many, prepared]


@pytest.mark.parametrize("verb", VERBS)
async def test_where_no_transaction_is_open_the_driver_begins_one(
    scheduler: Scheduler, connection: psycopg.AsyncConnection, verb: Verb
) -> None:
    """Which is the caller's to end, as that of any statement would be."""
    ids = await verb(scheduler, connection)
    assert connection.info.transaction_status == TransactionStatus.INTRANS
    assert await scheduler.list() == []
    await connection.rollback()
    assert await scheduler.list() == []
    ids = await verb(scheduler, connection)
    assert await scheduler.list() == []
    await connection.commit()
    assert (await scheduler.get(ids[-1])).id == ids[-1]


@pytest.mark.parametrize("verb", VERBS)
async def test_what_is_rolled_back_was_never_there(
    scheduler: Scheduler, connection: psycopg.AsyncConnection, verb: Verb
) -> None:
    await connection.execute("CREATE TEMPORARY TABLE mine (a integer)")
    await connection.commit()
    await connection.execute("INSERT INTO mine VALUES (1)")
    await verb(scheduler, connection)
    await connection.rollback()
    assert await scheduler.list() == []


@pytest.mark.parametrize("verb", VERBS)
async def test_autocommit_outside_a_transaction_is_refused(
    scheduler: Scheduler, embedded_url: str, verb: Verb
) -> None:
    async with await psycopg.AsyncConnection.connect(embedded_url, autocommit=True) as connection:
        with pytest.raises(NotInTransaction, match="autocommit"):
            await verb(scheduler, connection)
        assert await scheduler.list() == []
        await connection.execute("BEGIN")  # by hand, as good as by the driver
        await verb(scheduler, connection)
        await connection.execute("ROLLBACK")
        assert await scheduler.list() == []
        async with connection.transaction():
            await verb(scheduler, connection)
            assert await scheduler.list() == []
        assert await scheduler.list() != []


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("given", [None, object(), "postgresql://", 7])
async def test_what_is_no_connection_is_refused(
    scheduler: Scheduler, verb: Verb, given: object
) -> None:
    """``None`` above all: somebody believes to have handed a connection on."""
    with pytest.raises(NotAConnection) as refused:
        await verb(scheduler, given)
    assert isinstance(refused.value, TaskSchedulerError)
    assert isinstance(refused.value, TypeError)
    assert await scheduler.list() == []


async def test_none_is_refused_in_memory_too() -> None:
    async with Scheduler.in_memory() as scheduler:
        for verb in VERBS:
            with pytest.raises(NotAConnection):
                await verb(scheduler, None)
        with pytest.raises(NotAConnection):
            await scheduler.put_many([], connection=None)
        assert await scheduler.list() == []


async def test_a_failed_transaction_is_the_callers_own(
    scheduler: Scheduler, connection: psycopg.AsyncConnection
) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        await connection.execute("SELECT 1/0")
    with pytest.raises(NotInTransaction, match="roll it back"):
        await one(scheduler, connection)
    await connection.rollback()
    await one(scheduler, connection)
    await connection.commit()
    assert len(await scheduler.list()) == 1


class Refused(Exception):
    """What a caller's block raises."""


async def test_blocks_that_end_with_an_exception_store_nothing(
    scheduler: Scheduler, embedded_url: str
) -> None:
    with pytest.raises(Refused):  # noqa: PT012 - the block is what is tested
        async with await psycopg.AsyncConnection.connect(embedded_url) as connection:
            await one(scheduler, connection)
            raise Refused
    async with AsyncConnectionPool(embedded_url, min_size=1, max_size=1) as pool:
        with pytest.raises(Refused):  # noqa: PT012 - the block is what is tested
            async with pool.connection() as connection:
                await many(scheduler, connection)
                raise Refused
        assert await scheduler.list() == []
        async with pool.connection() as connection:
            await many(scheduler, connection)
    assert len(await scheduler.list()) == 2


async def test_what_was_refused_leaves_the_transaction_open(
    scheduler: Scheduler, connection: psycopg.AsyncConnection
) -> None:
    """Also where it was the first statement of it."""
    taken = await scheduler.schedule("k", 1)
    with pytest.raises(TaskSchedulerError):
        await scheduler.schedule("k", 2, id=taken, connection=connection)
    assert connection.info.transaction_status == TransactionStatus.INTRANS
    kept = await scheduler.schedule("k", 3, connection=connection)
    with pytest.raises(TaskNotFound):
        await scheduler.get(kept)
    await connection.commit()
    assert (await scheduler.get(kept)).payload == 3


async def test_the_callers_own_choices_do_not_matter(
    scheduler: Scheduler, connection: psycopg.AsyncConnection
) -> None:
    """Nor are they changed: rows, cursors, styles, isolation."""
    connection.row_factory = dict_row  # pyright: ignore[reportAttributeAccessIssue] - as callers do
    connection.cursor_factory = psycopg.AsyncRawCursor
    await connection.set_isolation_level(psycopg.IsolationLevel.SERIALIZABLE)
    settings = {"array_nulls": "off", "DateStyle": "German", "IntervalStyle": "sql_standard"}
    for name, value in settings.items():
        await connection.execute(
            sql.SQL("SET {} = {}").format(sql.Identifier(name), sql.Literal(value))
        )
    await connection.commit()
    at = datetime(2031, 2, 3, 4, 5, 6, 789012, tzinfo=UTC)
    tasks = [
        NewTask(id=scheduler.store.new_task_id(), kind="k", payload="größer"),
        scheduler.prepare("k", timeout=timedelta(hours=30, microseconds=7), execute_at=at),
        scheduler.prepare("k", unique_key="NULL", max_attempts=3),
        scheduler.prepare("k", expires_at=at),
    ]
    for _ in range(2):  # the second time they are compared with what is there
        assert await scheduler.put_many(tasks, connection=connection) == [t.id for t in tasks]
    await connection.commit()
    for task in tasks:
        assert task.describes(await scheduler.get(task.id)), task
    rows: Any = await (await connection.execute("SELECT current_setting('DateStyle')")).fetchone()
    assert rows["current_setting"].startswith("German")


async def test_text_that_the_session_cannot_carry_is_said_to_be(
    scheduler: Scheduler, connection: psycopg.AsyncConnection
) -> None:
    await connection.execute("SET client_encoding TO LATIN1")
    with pytest.raises(InvalidTask, match="client_encoding"):
        await scheduler.schedule("k", "\N{SNOWMAN}", connection=connection)
    ids = [await scheduler.schedule("k", "grün", connection=connection)]
    await connection.commit()
    assert (await scheduler.get(ids[0])).payload == "grün"


@pytest.fixture
async def engine(embedded_url: str) -> AsyncGenerator[AsyncEngine]:
    given: dict[str, Any] = dict(conninfo_to_dict(embedded_url))
    url = URL.create(
        "postgresql+psycopg",
        username=given["user"],
        host=given["host"],
        port=int(given["port"]),
        database=given["dbname"],
    )
    engine = create_async_engine(url)
    yield engine
    await engine.dispose()


async def as_session(session: AsyncSession) -> object:
    return session


async def as_connection(session: AsyncSession) -> object:
    return await session.connection()


async def as_drivers(session: AsyncSession) -> object:
    connection = await session.connection()
    return (await connection.get_raw_connection()).driver_connection


@pytest.mark.parametrize("handed_on", [as_session, as_connection, as_drivers])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("verb", VERBS)
async def test_a_session_of_sqlalchemy_is_joined(
    scheduler: Scheduler,
    engine: AsyncEngine,
    handed_on: Callable[[AsyncSession], Awaitable[object]],
    verb: Verb,
    *,
    first: bool,
) -> None:
    """Whose ``begin`` sends nothing: the driver begins with the first statement."""
    with pytest.raises(Refused):  # noqa: PT012 - the block is what is tested
        async with AsyncSession(engine) as session, session.begin():
            if not first:
                await session.execute(text("SELECT 1"))
            await verb(scheduler, await handed_on(session))
            raise Refused
    assert await scheduler.list() == []
    async with AsyncSession(engine) as session, session.begin():
        if not first:
            await session.execute(text("SELECT 1"))
        ids = await verb(scheduler, await handed_on(session))
        assert await scheduler.list() == []
    assert (await scheduler.get(ids[0])).id == ids[0]


async def test_an_engine_in_autocommit_mode_has_no_transaction(
    scheduler: Scheduler, engine: AsyncEngine
) -> None:
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    async with AsyncSession(autocommit) as session, session.begin():
        with pytest.raises(NotInTransaction):
            await scheduler.schedule("k", connection=session)
    assert await scheduler.list() == []
