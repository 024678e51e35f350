"""``connection=`` takes the connections of every driver and library, and treats all alike."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple, cast
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import django
import psycopg
import pytest
from django.conf import settings as django_settings
from psycopg import sql
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import (
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool

from taskscheduler import (
    Context,
    Handlers,
    InvalidTask,
    NotAConnection,
    NotInTransaction,
    Scheduler,
    SyncScheduler,
    TaskExists,
    TaskSchedulerError,
    Worker,
)
from taskscheduler.adapters.postgres.migrate import migrate
from taskscheduler.domain.query import TaskQuery

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from uuid import UUID

    from tests.integration.conftest import EmbeddedUrls


class Place(NamedTuple):
    """Where the tests are done."""

    url: str
    schema: str


@pytest.fixture(scope="module")
def migrated(embedded: EmbeddedUrls) -> Iterator[Place]:
    schema = f"test_{uuid4().hex[:16]}"
    asyncio.run(migrate(embedded.tcp, schema))
    yield Place(embedded.tcp, schema)
    with psycopg.connect(embedded.tcp) as connection:
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))


@pytest.fixture
def place(migrated: Place) -> Place:
    tables = ("task", "live", "finished", "attempt", "unique_key", "lane")
    names = sql.SQL(", ").join(sql.Identifier(migrated.schema, table) for table in tables)
    with psycopg.connect(migrated.url) as connection:
        connection.execute(sql.SQL("TRUNCATE {}").format(names))
    return migrated


@pytest.fixture
async def scheduler(place: Place) -> AsyncGenerator[Scheduler]:
    async with Scheduler.postgres(place.url, schema=place.schema, pool_size=2) as scheduler:
        yield scheduler


@pytest.fixture
def blocking(place: Place) -> Iterator[SyncScheduler]:
    with SyncScheduler.postgres(place.url, schema=place.schema, pool_size=2) as scheduler:
        yield scheduler


async def connected(url: str) -> Any:
    """Return a connection of asyncpg's, whose types are known in parts."""
    return await cast("Any", asyncpg).connect(url)


class Refused(Exception):
    """What a caller's block raises."""


# -- those that are awaited -----------------------------------------------------------------------


@asynccontextmanager
async def by_psycopg(url: str) -> AsyncGenerator[object]:
    async with await psycopg.AsyncConnection.connect(url) as connection:
        yield connection


@asynccontextmanager
async def by_asyncpg(url: str) -> AsyncGenerator[object]:
    connection = await connected(url)
    try:
        async with connection.transaction():
            yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def by_asyncpg_and_hand(url: str) -> AsyncGenerator[object]:
    """Which the driver's own ``transaction`` would not join."""
    connection = await connected(url)
    try:
        await connection.execute("BEGIN")
        yield connection
        await connection.execute("COMMIT")
    finally:
        await connection.close()


@asynccontextmanager
async def by_asyncpgs_pool(url: str) -> AsyncGenerator[object]:
    """With what many applications set on it: JSON as objects, and nothing prepared."""

    async def init(connection: Any) -> None:
        import json  # noqa: PLC0415

        await connection.set_type_codec(
            "json", encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
        )

    make_pool = cast("Any", asyncpg).create_pool
    made = make_pool(url, min_size=1, max_size=1, init=init, statement_cache_size=0)
    async with made as pool, pool.acquire() as connection, connection.transaction():
        yield connection


def over(driver: str, url: str) -> str:
    return url.replace("postgresql://", f"postgresql+{driver}://")


@asynccontextmanager
async def session(url: str, driver: str) -> AsyncGenerator[AsyncSession]:
    engine = create_async_engine(over(driver, url))
    try:
        async with AsyncSession(engine) as session, session.begin():
            yield session
    finally:
        await engine.dispose()


@asynccontextmanager
async def by_session_over_asyncpg(url: str) -> AsyncGenerator[object]:
    async with session(url, "asyncpg") as opened:
        yield opened


@asynccontextmanager
async def by_session_over_psycopg(url: str) -> AsyncGenerator[object]:
    async with session(url, "psycopg") as opened:
        yield opened


@asynccontextmanager
async def by_session_not_the_first(url: str) -> AsyncGenerator[object]:
    async with session(url, "asyncpg") as opened:
        await opened.execute(text("SELECT 1"))
        yield opened


@asynccontextmanager
async def by_connection_over_asyncpg(url: str) -> AsyncGenerator[object]:
    engine = create_async_engine(over("asyncpg", url))
    try:
        async with engine.begin() as connection:
            yield connection
    finally:
        await engine.dispose()


@asynccontextmanager
async def by_scoped_session(url: str) -> AsyncGenerator[object]:
    engine = create_async_engine(over("asyncpg", url))
    scoped = async_scoped_session(async_sessionmaker(engine), asyncio.current_task)
    try:
        async with scoped.begin():
            yield scoped
    finally:
        await scoped.remove()
        await engine.dispose()


AWAITED = [
    by_psycopg,
    by_asyncpg,
    by_asyncpg_and_hand,
    by_asyncpgs_pool,
    by_session_over_asyncpg,
    by_session_over_psycopg,
    by_session_not_the_first,
    by_connection_over_asyncpg,
    by_scoped_session,
]
if TYPE_CHECKING:
    Opens = Callable[[str], AbstractAsyncContextManager[object]]
    Verb = Callable[[Scheduler, object], Awaitable[Sequence[UUID]]]


async def one(scheduler: Scheduler, connection: object) -> Sequence[UUID]:
    return [await scheduler.schedule("k", {"a": "grün"}, connection=connection)]


async def many(scheduler: Scheduler, connection: object) -> Sequence[UUID]:
    at = datetime(2031, 2, 3, 4, 5, 6, 789012, tzinfo=UTC)
    tasks = [
        scheduler.prepare("k", timeout=timedelta(hours=30, microseconds=7), execute_at=at),
        scheduler.prepare("k", unique_key="NULL", max_attempts=3),
        scheduler.prepare("k", {"a": [None, 1.5]}, expires_at=at, queue="mail", tags=["a", "b"]),
    ]
    first = await scheduler.put_many(tasks, connection=connection)
    # The second time they are compared with what is there.
    assert await scheduler.put_many(tasks, connection=connection) == first
    held = await scheduler.schedule("k", unique_key="NULL", connection=connection)
    assert held == tasks[1].id
    assert type(held) is type(tasks[1].id)
    return first


@pytest.mark.anyio
@pytest.mark.parametrize("opens", AWAITED)
@pytest.mark.parametrize("verb", [one, many])
async def test_a_rollback_leaves_no_task_and_a_commit_leaves_it(
    scheduler: Scheduler, place: Place, opens: Opens, verb: Verb
) -> None:
    with pytest.raises(Refused):  # noqa: PT012 - the block is what is tested
        async with opens(place.url) as connection:
            await verb(scheduler, connection)
            raise Refused
    assert await scheduler.list() == []
    async with opens(place.url) as connection:
        ids = await verb(scheduler, connection)
        assert await scheduler.list() == []
    for task_id in ids:
        assert (await scheduler.get(task_id)).id == task_id
    tagged = await scheduler.list(TaskQuery(tag="b"))
    assert [task.id for task in tagged] == list(ids[2:])


@pytest.mark.anyio
@pytest.mark.parametrize("opens", AWAITED)
async def test_a_waiting_worker_runs_it_at_the_commit(
    scheduler: Scheduler, place: Place, opens: Opens
) -> None:
    ran = asyncio.Event()
    handlers = Handlers()

    @handlers.register("k")
    async def k(context: Context, payload: dict[str, str]) -> None:
        assert payload == {"a": "grün"}
        ran.set()

    worker = Worker(scheduler, handlers, poll_interval=timedelta(seconds=60))
    running = asyncio.create_task(worker.run())
    try:
        await asyncio.sleep(0.5)  # so that it waits
        async with opens(place.url) as connection:
            await one(scheduler, connection)
            assert not ran.is_set()
        await asyncio.wait_for(ran.wait(), 20)
    finally:
        worker.stop()
        await running


@pytest.mark.anyio
@pytest.mark.parametrize("opens", AWAITED)
async def test_what_is_refused_undoes_itself_alone(
    scheduler: Scheduler, place: Place, opens: Opens
) -> None:
    taken = await scheduler.schedule("k", 1)
    async with opens(place.url) as connection:
        await one(scheduler, connection)
        with pytest.raises(TaskExists):
            await scheduler.schedule("k", 2, id=taken, connection=connection)
        with pytest.raises(InvalidTask):
            await scheduler.schedule("no name", connection=connection)
        await one(scheduler, connection)
    assert len(await scheduler.list()) == 3


@pytest.mark.anyio
async def test_asyncpg_outside_a_transaction_is_refused(scheduler: Scheduler, place: Place) -> None:
    connection = await connected(place.url)
    with pytest.raises(NotInTransaction, match="autocommit"):
        await one(scheduler, connection)
    async with connection.transaction():
        with suppress(asyncpg.PostgresError):
            await connection.execute("SELECT 1/0")
        with pytest.raises(NotInTransaction, match="roll it back"):
            await one(scheduler, connection)
        await connection.execute("ROLLBACK")
        await connection.execute("BEGIN")
        await one(scheduler, connection)
    assert len(await scheduler.list()) == 1
    await connection.close()
    with pytest.raises(TaskSchedulerError, match="closed"):
        await one(scheduler, connection)


@pytest.mark.anyio
@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
async def test_an_engine_in_autocommit_mode_has_no_transaction(
    scheduler: Scheduler, place: Place, driver: str
) -> None:
    engine = create_async_engine(over(driver, place.url), isolation_level="AUTOCOMMIT")
    async with AsyncSession(engine) as opened, opened.begin():
        with pytest.raises(NotInTransaction):
            await one(scheduler, opened)
    await engine.dispose()
    assert await scheduler.list() == []


@pytest.mark.anyio
async def test_a_lane_that_was_removed_is_made_anew(scheduler: Scheduler, place: Place) -> None:
    """Asyncpg tells of it in its own way."""
    await scheduler.delete(await scheduler.schedule("k", 1))
    async with await psycopg.AsyncConnection.connect(place.url, autocommit=True) as connection:
        lane = sql.Identifier(place.schema, "lane")
        await connection.execute(sql.SQL("DELETE FROM {}").format(lane))
    async with by_asyncpg(place.url) as connection:
        (task_id,) = await one(scheduler, connection)
    assert (await scheduler.get(task_id)).kind == "k"


@pytest.mark.anyio
async def test_one_that_blocks_is_not_for_who_awaits(scheduler: Scheduler, place: Place) -> None:
    refused = pytest.raises(NotAConnection, match="SyncScheduler takes those that block")
    with psycopg.connect(place.url) as connection, refused:
        await one(scheduler, connection)
    engine = create_engine(over("psycopg", place.url), poolclass=NullPool)
    with Session(engine) as opened, pytest.raises(NotAConnection, match="SyncScheduler"):
        await one(scheduler, opened)
    engine.dispose()
    assert await scheduler.list() == []


# -- those that block -----------------------------------------------------------------------------


@pytest.fixture
def djangos(place: Place) -> Iterator[object]:
    """``django.db.connection``, as an application has it."""
    if not django_settings.configured:
        django_settings.configure(DATABASES={}, USE_TZ=True)
        django.setup()
    from django.db import connections  # noqa: PLC0415 - it wants settings first

    parts = urlsplit(place.url)
    given = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path[1:],
        "USER": parts.username,
        "PASSWORD": parts.password,
        "HOST": parts.hostname,
        "PORT": parts.port,
    }
    connections.settings = connections.configure_settings({"default": given})
    yield connections["default"]
    connections["default"].close()
    del connections["default"]


def psycopgs(place: Place, _: object) -> AbstractContextManager[object]:
    return psycopg.connect(place.url)


def engines(place: Place, _: object) -> AbstractContextManager[object]:
    return create_engine(over("psycopg", place.url), poolclass=NullPool).begin()


def sessions(place: Place, _: object) -> AbstractContextManager[object]:
    return sessionmaker(create_engine(over("psycopg", place.url), poolclass=NullPool)).begin()


class Scoped:
    """A ``scoped_session``, as Flask-SQLAlchemy has it."""

    def __init__(self, place: Place, _: object) -> None:
        self.session = scoped_session(
            sessionmaker(create_engine(over("psycopg", place.url), poolclass=NullPool))
        )

    def __enter__(self) -> object:
        return self.session

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.session.commit()
        else:
            self.session.rollback()
        self.session.remove()


class Atomic:
    """``django.db.transaction.atomic``, and in it the connection or what stands for it."""

    def __init__(self, _: Place, connection: object) -> None:
        self.connection = connection

    def __enter__(self) -> object:
        from django.db import connection, transaction  # noqa: PLC0415 - it wants settings first

        self.block: Any = transaction.atomic()
        self.block.__enter__()
        return connection

    def __exit__(self, *raised: object) -> None:
        self.block.__exit__(*raised)


class AtomicItself(Atomic):
    def __enter__(self) -> object:
        super().__enter__()
        return self.connection


BLOCKING: list[Any] = [psycopgs, engines, sessions, Scoped, Atomic, AtomicItself]


def store(scheduler: SyncScheduler, connection: object) -> list[UUID]:
    task = scheduler.prepare("k", {"a": "grün"}, unique_key="u", timeout=timedelta(seconds=3))
    ids = scheduler.put_many([task], connection=connection)
    assert scheduler.put_many([task], connection=connection) == ids
    at = datetime(2031, 2, 3, tzinfo=UTC)
    ids = [*ids, scheduler.schedule("k", 1, execute_at=at, connection=connection)]
    return [*ids, *scheduler.schedule_many([("k", 1), ("k", 2)], connection=connection)]


@pytest.mark.parametrize("opens", BLOCKING)
def test_those_that_block_are_joined(
    blocking: SyncScheduler, place: Place, djangos: object, opens: Any
):
    with pytest.raises(Refused), opens(place, djangos) as connection:  # noqa: PT012 - the block is what is tested
        store(blocking, connection)
        raise Refused
    assert blocking.list() == []
    with opens(place, djangos) as connection:
        ids = store(blocking, connection)
        with pytest.raises(TaskExists):
            blocking.schedule("k", 3, id=ids[-1], connection=connection)
        assert blocking.list() == []
    assert {task.id for task in blocking.list()} == set(ids)


def test_autocommit_is_refused_where_nothing_is_open(
    blocking: SyncScheduler, place: Place, djangos: Any
):
    with psycopg.connect(place.url, autocommit=True) as connection:
        with pytest.raises(NotInTransaction, match="autocommit"):
            blocking.schedule("k", connection=connection)
        with connection.transaction():
            blocking.schedule("k", connection=connection)
    with pytest.raises(NotInTransaction, match="atomic"):
        blocking.schedule("k", connection=djangos)
    with psycopg.connect(place.url) as connection:
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("SELECT 1/0")
        with pytest.raises(NotInTransaction, match="roll it back"):
            blocking.schedule("k", connection=connection)
    assert len(blocking.list()) == 1


def test_djangos_transaction_that_must_be_rolled_back_is_said_to_be_so(
    blocking: SyncScheduler, djangos: Any
):
    from django.db import transaction  # noqa: PLC0415 - it wants settings first

    block: Any = transaction.atomic()
    with block:
        transaction.set_rollback(True)
        with pytest.raises(NotInTransaction, match="roll it back"):
            blocking.schedule("k", connection=djangos)


@pytest.mark.parametrize("given", [None, object(), "postgresql://", 7])
def test_what_is_no_connection_is_refused(blocking: SyncScheduler, given: object):
    with pytest.raises(NotAConnection):
        blocking.schedule("k", connection=given)
    assert blocking.list() == []


@pytest.mark.anyio
async def test_one_that_is_awaited_is_not_for_who_blocks(
    blocking: SyncScheduler, place: Place
) -> None:
    for opens in AWAITED:
        with suppress(Refused):
            async with opens(place.url) as connection:
                with pytest.raises(NotAConnection, match="Scheduler takes those that are awaited"):
                    blocking.schedule("k", connection=connection)
                raise Refused
    assert blocking.list() == []


@pytest.mark.anyio
async def test_a_plain_handler_may_store_by_a_connection_of_its_own(
    scheduler: Scheduler, place: Place
) -> None:
    """Which blocks, as the handler does; nor is it used by any other thread."""
    handlers = Handlers()

    @handlers.register("parent")
    def parent(context: Context) -> None:
        mine: Any = context.scheduler
        with psycopg.connect(place.url) as connection:
            mine.schedule("child", 1, connection=connection)
            connection.rollback()
            mine.schedule("child", 2, connection=connection)
        with context.transaction() as theirs:  # pyright: ignore[reportGeneralTypeIssues, reportAttributeAccessIssue, reportUnknownVariableType]
            mine.schedule("child", 3, connection=theirs)

    @handlers.register("child")
    def child(context: Context, number: int) -> None:
        ran.append(number)

    ran: list[int] = []
    await scheduler.schedule("parent")
    await Worker(scheduler, handlers).run(until_drained=True)
    assert sorted(ran) == [2, 3]
