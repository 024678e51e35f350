"""The schema: made, made again, made by many at once, made by hand."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, LiteralString

import psycopg
import pytest
from psycopg import sql

from taskscheduler import Scheduler, SchemaMismatch, StoreUnavailable
from taskscheduler.adapters.postgres.migrate import LEDGER, check, migrate, migrations, script

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio

NAMES = [migration.name for migration in migrations()]

SHAPE: LiteralString = """
SELECT c.relname || '.' || coalesce(a.attname, ''),
       coalesce(format_type(a.atttypid, -1), c.relkind::text)
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
WHERE n.nspname = %(schema)s AND c.relname !~ '_[0-9]{8}'
UNION ALL
SELECT p.proname, replace(md5(replace(p.prosrc, %(quoted)s, '')), ' ', '')
FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = %(schema)s
ORDER BY 1, 2"""


def shape(url: str, schema: str) -> list[tuple[str, str]]:
    """Return what is in the schema, days apart."""
    with psycopg.connect(url) as connection:
        quoted = sql.Identifier(schema).as_string(connection)
        values = {"schema": schema, "quoted": quoted}
        return connection.execute(SHAPE, values).fetchall()


async def works(url: str, schema: str) -> None:
    """See that tasks can be stored, found and deleted."""
    async with Scheduler.postgres(url, schema=schema, pool_size=2) as scheduler:
        task_id = await scheduler.schedule("mail", {"to": "zoe"}, unique_key="k")
        assert (await scheduler.get(task_id)).payload_json == b'{"to":"zoe"}'
        assert [task.id for task in await scheduler.list()] == [task_id]
        await scheduler.store.upkeep.turn()
        await scheduler.delete(task_id)


async def test_from_nothing_to_the_newest(any_postgres_url: str, schema: str) -> None:
    assert NAMES
    assert await check(any_postgres_url, schema) == NAMES
    assert await migrate(any_postgres_url, schema) == NAMES
    assert await check(any_postgres_url, schema) == []
    await works(any_postgres_url, schema)


async def test_running_twice_is_running_once(postgres_url: str, schema: str) -> None:
    await migrate(postgres_url, schema)
    before = shape(postgres_url, schema)
    assert await migrate(postgres_url, schema) == []
    assert shape(postgres_url, schema) == before


async def test_of_many_at_once_one_works(postgres_url: str, schema: str) -> None:
    done = await asyncio.gather(*(migrate(postgres_url, schema) for _ in range(4)))
    assert sorted(done, key=len) == [[], [], [], NAMES]
    await works(postgres_url, schema)


async def test_the_script_makes_the_same(any_postgres_url: str, schema: str) -> None:
    with psycopg.connect(any_postgres_url, autocommit=True) as connection:
        connection.execute(script(schema).encode())
    assert await check(any_postgres_url, schema) == []
    by_hand = shape(any_postgres_url, schema)
    await works(any_postgres_url, schema)
    with psycopg.connect(any_postgres_url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))
    await migrate(any_postgres_url, schema)
    assert shape(any_postgres_url, schema) == by_hand


async def test_a_step_that_fails_leaves_nothing(postgres_url: str, schema: str) -> None:
    """Here because another table stands in the way."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        name = sql.Identifier(schema)
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(name))
        connection.execute(sql.SQL("CREATE TABLE {}.live (mine text)").format(name))
    before = shape(postgres_url, schema)
    with pytest.raises(psycopg.errors.DuplicateTable):
        await migrate(postgres_url, schema)
    assert shape(postgres_url, schema) == before


async def test_a_schema_that_is_missing_is_refused(postgres_url: str, schema: str) -> None:
    with pytest.raises(SchemaMismatch, match="taskscheduler migrate"):
        async with Scheduler.postgres(postgres_url, schema=schema):
            pass


async def test_a_newer_schema_is_refused(postgres_url: str, schema: str) -> None:
    await migrate(postgres_url, schema)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("INSERT INTO {}.migration (version, name) VALUES (9999, 'later')").format(
                sql.Identifier(schema)
            )
        )
    for work in (migrate, check):
        with pytest.raises(SchemaMismatch, match="newer"):
            await work(postgres_url, schema)
    with pytest.raises(SchemaMismatch, match="newer"):
        async with Scheduler.postgres(postgres_url, schema=schema):
            pass


async def test_a_schema_of_before_the_first_release_is_refused(
    postgres_url: str, schema: str
) -> None:
    """Its migrations bore the same numbers and other names; nothing is done to it."""
    name = sql.Identifier(schema)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(name))
        connection.execute(sql.SQL(LEDGER).format(schema=name))
        connection.execute(
            sql.SQL(
                "INSERT INTO {}.migration (version, name) VALUES (1, 'tasks'), (22, 'x')"
            ).format(name)
        )
    before = shape(postgres_url, schema)
    for work in (migrate, check):
        with pytest.raises(
            SchemaMismatch, match=r"before the first release.*--schema.*DROP SCHEMA"
        ):
            await work(postgres_url, schema)
    with pytest.raises(SchemaMismatch, match="before the first release"):
        async with Scheduler.postgres(postgres_url, schema=schema):
            pass
    assert shape(postgres_url, schema) == before


async def test_a_schema_that_lacks_a_step_in_between_is_refused(
    postgres_url: str, schema: str
) -> None:
    await migrate(postgres_url, schema)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("DELETE FROM {}.migration WHERE version = 2").format(sql.Identifier(schema))
        )
    with pytest.raises(SchemaMismatch, match="before the first release"):
        await migrate(postgres_url, schema)


async def test_an_older_schema_is_refused(postgres_url: str, schema: str) -> None:
    await migrate(postgres_url, schema)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("DELETE FROM {}.migration WHERE version = %s").format(sql.Identifier(schema)),
            [migrations()[-1].version],
        )
    assert await check(postgres_url, schema) == NAMES[-1:]
    with pytest.raises(SchemaMismatch, match="needs"):
        async with Scheduler.postgres(postgres_url, schema=schema):
            pass


async def test_a_database_that_is_away_is_said_to_be() -> None:
    with pytest.raises(StoreUnavailable):
        await migrate("postgresql://127.0.0.1:1/nowhere", "taskscheduler")


@pytest.fixture(
    params=['we"ird schema', "MiXed", "1st", "a.b", "sch{}ema", "{schema}", "ünï", "quo'te", "or"]
)
def weird_schema(request: pytest.FixtureRequest, postgres_url: str) -> Iterator[str]:
    name: str = request.param
    yield name
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("SET client_min_messages = warning")
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name)))


async def test_any_name_will_do(postgres_url: str, weird_schema: str) -> None:
    await migrate(postgres_url, weird_schema)
    assert await migrate(postgres_url, weird_schema) == []
    await works(postgres_url, weird_schema)


async def test_the_script_takes_any_name(postgres_url: str, weird_schema: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(script(weird_schema).encode())
    await works(postgres_url, weird_schema)


async def test_schemas_in_one_database_do_not_meet(postgres_url: str, schema: str) -> None:
    other = schema + "_other"
    try:
        for name in (schema, other):
            await migrate(postgres_url, name)
        async with (
            Scheduler.postgres(postgres_url, schema=schema, pool_size=2) as one,
            Scheduler.postgres(postgres_url, schema=other, pool_size=2) as two,
        ):
            await one.schedule("mail")
            assert list(await two.list()) == []
    finally:
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute("SET client_min_messages = warning")
            connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(other)))
