"""Partitions are made by whoever comes, whatever is in the way, and in nobody's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from taskscheduler.adapters.postgres import partitions
from taskscheduler.adapters.postgres.database import Database
from taskscheduler.adapters.postgres.migrate import migrate
from taskscheduler.adapters.postgres.partitions import first_id, prepare_days
from taskscheduler.adapters.system import SystemClock, new_task_id
from taskscheduler.testing.postgres import build_postgres_store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence

    from taskscheduler.application.store import Store

pytestmark = pytest.mark.anyio

DAYS = """
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %s AND c.relname ~ '^(task|finished|attempt)_[0-9]{8}$'"""
ALL = 27  # three tables, from yesterday to a week from now
DAY_MS = 86_400_000


class Tables:
    """The tables of one schema, as their owner sees them."""

    def __init__(self, connection: psycopg.Connection, schema: str) -> None:
        self._connection = connection
        self.schema = schema

    def ask(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        text = sql.SQL(statement).format(schema=sql.Identifier(self.schema))  # pyright: ignore[reportArgumentType]
        cursor = self._connection.execute(text, values or None)
        return cursor.fetchall() if cursor.description else []

    def days(self) -> set[str]:
        return {name for (name,) in self._connection.execute(DAYS, [self.schema])}

    def drop_days(self) -> None:
        for name in self.days():
            table = sql.Identifier(self.schema, name)
            self._connection.execute(sql.SQL("DROP TABLE {}").format(table))


@pytest.fixture
async def tables(postgres_url: str, schema: str) -> AsyncGenerator[Tables]:
    await migrate(postgres_url, schema)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        tables = Tables(connection, schema)
        assert len(tables.days()) == ALL
        yield tables


async def prepared(url: str, schema: str) -> Sequence[str]:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        return await prepare_days(connection, schema)


async def test_of_many_who_make_them_at_once_nobody_fails(
    tables: Tables, postgres_url: str, schema: str
) -> None:
    for _ in range(3):
        tables.drop_days()
        complaints = await asyncio.gather(*(prepared(postgres_url, schema) for _ in range(8)))
        assert [list(each) for each in complaints] == [[]] * 8
        assert len(tables.days()) == ALL


async def test_what_is_made_is_as_the_migration_would_have_it(
    tables: Tables, postgres_url: str, schema: str
) -> None:
    await prepared(postgres_url, schema)
    today = min(name for name in tables.days() if name.startswith("finished"))
    found = tables.ask(
        "SELECT indexdef FROM pg_indexes WHERE schemaname = %s AND tablename = %s", schema, today
    )
    assert len(found) == 3
    checks = "SELECT conname FROM pg_constraint WHERE contype = 'c' AND conrelid = %s::regclass"
    name = sql.Identifier(schema, today).as_string()
    assert [each for (each,) in tables.ask(checks, name)] == ["finished_status_check"]


async def test_ids_of_future_days_keep_no_day_from_being_made(
    tables: Tables, postgres_url: str, schema: str
) -> None:
    """They are moved into their day when that is made."""
    tables.drop_days()
    ids = [UUID(int=new_task_id().int + (days * DAY_MS << 80)) for days in (0, 1, 3, 5)]
    database = Database(postgres_url, schema=schema, pool_size=2)
    store = build_postgres_store(database, SystemClock(), new_task_id)
    async with store.opened():
        for each in ids:
            await database.run(lambda connection, each=each: _store(connection, schema, each))
        assert tables.ask("SELECT count(*) FROM {schema}.task_default") == [(4,)]
        assert list(await prepared(postgres_url, schema)) == []
        assert len(tables.days()) == ALL
        assert tables.ask("SELECT count(*) FROM {schema}.task_default") == [(0,)]
        for each in ids:
            assert (await store.tasks.get(each)).id == each  # pyright: ignore[reportArgumentType]


async def _store(connection: Any, schema: str, task_id: UUID) -> None:
    """Store a task as a program of before would, whatever its id."""
    name = sql.Identifier(schema)
    for statement in (
        "INSERT INTO {}.lane (queue, kind, priority) VALUES ('q', 'k', 5) ON CONFLICT DO NOTHING",
        """INSERT INTO {}.task (id, execute_at, created_at, payload)
        VALUES (%(id)s, now(), now(), 'null')""",
        """INSERT INTO {0}.live (id, process_at, lane)
        SELECT %(id)s, now(), id FROM {0}.lane WHERE kind = 'k'""",
    ):
        await connection.execute(sql.SQL(statement).format(name), {"id": task_id})


async def test_a_large_default_partition_is_looked_through_in_nobodys_way(
    tables: Tables, postgres_url: str, schema: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The constraint is proved before the lock is taken, and is gone afterwards."""
    tables.drop_days()
    fill = (
        "INSERT INTO {schema}.task SELECT gen_random_uuid(), now(), now(), NULL, NULL, NULL, NULL,"
        " 'null' FROM generate_series(1, 100)"
    )
    tables.ask(fill)
    monkeypatch.setattr(partitions, "SMALL", 0)
    tables.ask("SELECT pg_stat_reset()")
    asked: list[str] = []
    ask = partitions._Making._ask  # pyright: ignore[reportPrivateUsage]

    async def noted(self: Any, statement: Any, *values: Any) -> Any:
        asked.append(values[0])
        return await ask(self, statement, *values)

    monkeypatch.setattr(partitions._Making, "_ask", noted)  # pyright: ignore[reportPrivateUsage]
    assert list(await prepared(postgres_url, schema)) == []
    assert len(tables.days()) == ALL
    # Of the days near by nobody may be kept out; of the six beyond, only where there is a heap.
    assert (asked.count("promise"), asked.count("prove")) == (6, 6)
    left = "SELECT conname FROM pg_constraint WHERE conname ~ '^not_[0-9]{{8}}$'"
    assert tables.ask(left) == []
    assert tables.ask("SELECT count(*) FROM {schema}.task_default") == [(100,)]


async def test_a_promise_that_somebody_left_is_taken_back_before_the_day_comes(
    tables: Tables, postgres_url: str, schema: str
) -> None:
    constraint = (
        "ALTER TABLE {schema}.task_default ADD CONSTRAINT not_20200101 CHECK (id <> id) NOT VALID"
    )
    tables.ask(constraint)
    assert list(await prepared(postgres_url, schema)) == []
    assert tables.ask("SELECT FROM pg_constraint WHERE conname = 'not_20200101'") == []


async def test_who_holds_the_default_partition_is_not_waited_for(
    tables: Tables, postgres_url: str, schema: str
) -> None:
    """The others are made another time, and who stores meanwhile does not wait either."""
    tables.drop_days()
    with psycopg.connect(postgres_url) as reading:
        reading.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(schema, "task_default")))
        async with asyncio.timeout(60):
            assert list(await prepared(postgres_url, schema)) == []
        assert {name.split("_")[0] for name in tables.days()} == {"finished", "attempt"}
    assert list(await prepared(postgres_url, schema)) == []
    assert len(tables.days()) == ALL


@pytest.fixture
def stranger(tables: Tables, postgres_url: str) -> Iterator[str]:
    """Yield the URL of a role that owns nothing, with all that a worker needs."""
    name = f"worker_{uuid4().hex[:8]}"
    role = sql.Identifier(name)
    schema = sql.Identifier(tables.schema)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        for statement in (
            "CREATE ROLE {role} LOGIN PASSWORD 'p'",
            "GRANT USAGE ON SCHEMA {schema} TO {role}",
            "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}",
            "GRANT USAGE ON ALL SEQUENCES IN SCHEMA {schema} TO {role}",
        ):
            connection.execute(sql.SQL(statement).format(role=role, schema=schema))
        yield make_conninfo(postgres_url, user=name, password="p")  # noqa: S106
        connection.execute(sql.SQL("DROP OWNED BY {}").format(role))
        connection.execute(sql.SQL("DROP ROLE {}").format(role))


def store_of(url: str, schema: str) -> Store:
    return build_postgres_store(
        Database(url, schema=schema, pool_size=2), SystemClock(), new_task_id
    )


async def test_a_role_without_ownership_makes_days(tables: Tables, stranger: str) -> None:
    tables.drop_days()
    store = store_of(stranger, tables.schema)
    async with store.opened():
        assert list(await store.upkeep.turn()) == []
    assert len(tables.days()) == ALL


async def test_where_even_the_functions_owner_may_not_it_is_said_and_the_rest_is_done(
    tables: Tables, stranger: str
) -> None:
    tables.drop_days()
    tables.ask("ALTER FUNCTION {schema}.make_day_1(text, date, bigint) SECURITY INVOKER")
    store = store_of(stranger, tables.schema)
    async with store.opened():
        complaints = await store.upkeep.turn()
        assert len(complaints) == ALL
        assert all("taskscheduler migrate" in each for each in complaints)
        assert list(await store.upkeep.turn()) == []  # not again within the minute


async def test_the_database_and_the_program_reckon_the_same_days(
    tables: Tables,
) -> None:
    for (day,) in tables.ask(
        "SELECT d::date FROM generate_series(date '1970-01-01', '2090-01-01', '97 days') AS d"
    ):
        ((low,),) = tables.ask("SELECT {schema}.first_id_1(%s)", day)
        assert low == first_id(day)
