"""An upgrade under way: the workers of before go on, and can be started again if they must."""

from __future__ import annotations

import asyncio

import pytest

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
TRACING = next(each for each in KNOWN if each.name == "0006_tracing")


@pytest.mark.parametrize(
    ("known", "later"),
    [
        (KNOWN, Migration(KNOWN[-1].version + 1, "9999_later", LATER)),
        # What stores and runs tasks without traces sends nothing that 0006 brought.
        (
            [each for each in KNOWN if each is not TRACING],
            TRACING._replace(version=KNOWN[-1].version + 1),
        ),
    ],
    ids=["a later release", "0006_tracing"],
)
async def test_a_worker_of_before_goes_on_while_the_schema_moves_on(
    any_postgres_url: str,
    schema: str,
    monkeypatch: pytest.MonkeyPatch,
    known: list[Migration],
    later: Migration,
) -> None:
    monkeypatch.setattr(module, "migrations", lambda: known)
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
        monkeypatch.setattr(module, "migrations", lambda: [*known, later])
        assert await migrate(any_postgres_url, schema) == [later.name]
        monkeypatch.setattr(module, "migrations", lambda: known)
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
