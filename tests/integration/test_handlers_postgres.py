"""What handlers do, and what the database refuses, on PostgreSQL."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from taskscheduler import Context, Handlers, Scheduler, TaskStatus, Worker
from taskscheduler.adapters.postgres.migrate import migrate
from taskscheduler.domain.lease import SUSPECT_AFTER, Suspects
from taskscheduler.domain.retry import MAX_ATTEMPTS_LIMIT
from taskscheduler.testing.contracts.steps import LEASE, TICK, claim, join, put, subscribed
from taskscheduler.testing.postgres import PostgresClock, postgres_store

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from typing import LiteralString

pytestmark = pytest.mark.anyio

REFUSE_ENDINGS: LiteralString = """
CREATE FUNCTION {schema}.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'nothing ends here';
END $$;
CREATE TRIGGER refuse BEFORE INSERT ON {schema}.finished FOR EACH ROW
EXECUTE FUNCTION {schema}.refuse()
"""
REFUSE_HISTORY: LiteralString = """
CREATE TRIGGER refuse BEFORE INSERT ON {schema}.attempt FOR EACH ROW
EXECUTE FUNCTION {schema}.refuse()
"""


class Bench:
    """A scheduler on a schema of its own, and a way past it."""

    def __init__(self, scheduler: Scheduler, url: str, schema: str) -> None:
        self.scheduler = scheduler
        self._url = url
        self._schema = sql.Identifier(schema)

    def run(self, statement: LiteralString, *values: object) -> list[Any]:
        with psycopg.connect(self._url, autocommit=True) as connection:
            cursor = connection.execute(sql.SQL(statement).format(schema=self._schema), values)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture
async def bench(postgres_url: str, schema: str) -> AsyncGenerator[Bench]:
    await migrate(postgres_url, schema)
    async with Scheduler.postgres(postgres_url, schema=schema) as scheduler:
        yield Bench(scheduler, postgres_url, schema)


async def test_a_plain_handler_schedules_and_writes(bench: Bench) -> None:
    """Its own row, its follow-up and its completion; and no connection is the worse for it."""
    bench.run("CREATE TABLE {schema}.written (id uuid PRIMARY KEY, child uuid)")
    handlers = Handlers()
    schema = bench._schema  # pyright: ignore[reportPrivateUsage]
    table = sql.SQL("{}.written").format(schema)

    @handlers.register("parent")
    def parent(context: Context) -> None:
        scheduler: Any = context.scheduler
        opened: Any = context.transaction()
        with opened as connection:
            child = scheduler.schedule("child", {"a": 1}, connection=connection)
            insert = sql.SQL("INSERT INTO {} VALUES (%s, %s)").format(table)
            assert connection.execute(insert, [context.id, child]).rowcount == 1
            with connection.cursor() as cursor:
                cursor.execute(sql.SQL("SELECT child FROM {}").format(table))
                assert [row[0] for row in cursor] == [child]

    @handlers.register("rolled_back")
    def rolled_back(context: Context) -> None:
        opened: Any = context.transaction()
        with opened as connection:
            insert = sql.SQL("INSERT INTO {} VALUES (%s)").format(table)
            connection.execute(insert, [context.id])
            raise ValueError

    @handlers.register("child")
    async def child(_: Context) -> None: ...

    parent_id = await bench.scheduler.schedule("parent", max_attempts=1)
    failed_id = await bench.scheduler.schedule("rolled_back", max_attempts=1)
    worker = Worker(bench.scheduler, handlers)
    assert await worker.drain() == 3
    await worker.deregister()
    assert (await bench.scheduler.get(parent_id)).status is TaskStatus.COMPLETED
    assert (await bench.scheduler.get(failed_id)).status is TaskStatus.FAILED
    ((noted, child_id),) = bench.run("SELECT id, child FROM {schema}.written")
    assert noted == parent_id
    assert (await bench.scheduler.get(child_id)).status is TaskStatus.COMPLETED
    assert bench.scheduler.store.backlog_stats.connections()["used"] == 0


@pytest.mark.parametrize("history", [False, True])
async def test_an_outcome_that_is_refused_for_good_keeps_no_task(
    bench: Bench, *, history: bool
) -> None:
    """It is put back for later, neighbours are settled, and all of it is counted."""
    handlers = Handlers()

    @handlers.register("job")
    async def job(_: Context) -> None: ...

    @handlers.register("again")
    async def again(_: Context) -> None:
        raise ValueError

    bench.run(REFUSE_ENDINGS)
    if history:
        bench.run(REFUSE_HISTORY)
    ended = await bench.scheduler.schedule("job")
    retried = await bench.scheduler.schedule("again")
    worker = Worker(bench.scheduler, handlers)
    assert await worker.turn() == 2
    assert worker.refused == (2 if history else 1)
    for task_id in (ended, retried):
        task = await bench.scheduler.get(task_id)
        assert task.status is TaskStatus.PENDING
        assert task.attempt == (0 if history else 1)
    late = (await bench.scheduler.get(ended)).process_at
    assert late - (await bench.scheduler.get(ended)).execute_at > timedelta(seconds=30)
    if not history:
        (attempt,) = await bench.scheduler.attempts(ended)
        assert attempt.error is not None
        assert attempt.error.type == "OutcomeNotStored"
    await worker.deregister()


async def test_no_attempt_comes_after_the_last_number(postgres_url: str, schema: str) -> None:
    with PostgresClock(postgres_url, schema) as clock:
        async with postgres_store(postgres_url, schema, clock) as store:
            ids = {await put(store), await put(store)}
            live = sql.Identifier(schema, "live")
            last = MAX_ATTEMPTS_LIMIT - 1
            with psycopg.connect(postgres_url, autocommit=True) as connection:
                connection.execute(
                    sql.SQL("UPDATE {} SET attempt = %s, excused = %s").format(live),
                    [last, last - 3],
                )
            for _ in range(2):
                worker_id = await join(store)
                leases = await claim(store, worker_id)
                assert {lease.task_id for lease in leases} == ids
                assert {lease.attempt for lease in leases} == {MAX_ATTEMPTS_LIMIT}
                for lease in leases:
                    assert await store.tasks.begin(lease)
                clock.advance(LEASE + TICK)
                await store.workers.declare_dead(worker_id, 0)
                for task_id in ids:
                    assert (await store.tasks.get(task_id)).status is TaskStatus.FAILED
                    await store.tasks.retry(task_id)


async def test_suspects_are_found_by_an_index_of_their_own(postgres_url: str, schema: str) -> None:
    """Many thousands that are due, and are none, cost them nothing, nor do they those."""
    with PostgresClock(postgres_url, schema) as clock:
        async with postgres_store(postgres_url, schema, clock) as store:
            await store.tasks.put([])
            for _ in range(3):
                await put(store)
            with psycopg.connect(postgres_url, autocommit=True) as connection:

                def run(text: LiteralString, *values: object) -> psycopg.Cursor[Any]:
                    statement = sql.SQL(text).format(schema=sql.Identifier(schema))
                    return connection.execute(statement, values)

                run("UPDATE {schema}.live SET excused = %s", SUSPECT_AFTER)
                run(
                    "INSERT INTO {schema}.live (id, process_at, lane) "
                    "SELECT gen_random_uuid(), {schema}.clock() - interval '1 day', min(n.id) "
                    "FROM {schema}.lane n, generate_series(1, 20000) GROUP BY generate_series"
                )
                notices: list[str] = []
                connection.add_notice_handler(lambda d: notices.append(d.message_primary or ""))
                connection.execute("LOAD 'auto_explain'")
                for setting in ("log_min_duration = 0", "log_nested_statements = on"):
                    connection.execute(f"SET auto_explain.{setting}")  # pyright: ignore[reportArgumentType, reportCallIssue]
                connection.execute("SET client_min_messages = log")
                for query in (
                    "SELECT * FROM {schema}.suspects_1(%s, %s, 100)",
                    "SELECT * FROM {schema}.claim_suspects_2(%s, %s, 9, %s, 0, 2::smallint)",
                ):
                    notices.clear()
                    given = (["default"], ["mail"], await join(store))
                    found = run(query, *given[: query.count("%s")]).fetchall()
                    assert found, query
                    plans = "\n".join(notices)
                    assert "using live_suspect on" in plans, plans
                    assert "Seq Scan on live" not in plans
                run("UPDATE {schema}.live SET worker_id = NULL WHERE excused = %s", SUSPECT_AFTER)
            wanted = subscribed()
            assert await store.tasks.suspects(wanted) == Suspects(SUSPECT_AFTER, 3)
            worker_id = await join(store)
            assert len(await store.tasks.claim_suspects(worker_id, wanted, SUSPECT_AFTER, 9)) == 3
