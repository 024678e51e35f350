"""The PostgreSQL store, put together."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from taskscheduler.adapters.postgres.api_keys import PostgresApiKeys
from taskscheduler.adapters.postgres.archive import PostgresArchive
from taskscheduler.adapters.postgres.audit import PostgresAuditTrail
from taskscheduler.adapters.postgres.backlog import PostgresBacklogStats
from taskscheduler.adapters.postgres.batches import PostgresBatches
from taskscheduler.adapters.postgres.database import Database
from taskscheduler.adapters.postgres.followers import PostgresFollowers
from taskscheduler.adapters.postgres.lanes import Lanes
from taskscheduler.adapters.postgres.limits import PostgresLimits
from taskscheduler.adapters.postgres.migrate import require_current
from taskscheduler.adapters.postgres.notes import PostgresNotes
from taskscheduler.adapters.postgres.queues import PostgresQueueRegistry
from taskscheduler.adapters.postgres.reader import PostgresTaskReader
from taskscheduler.adapters.postgres.schedules import PostgresScheduleRepository
from taskscheduler.adapters.postgres.tasks import PostgresTaskRepository
from taskscheduler.adapters.postgres.wakeups import PostgresWakeUps, channel_of
from taskscheduler.adapters.postgres.workers import (
    PostgresKindCatalogue,
    PostgresSchemaUpkeep,
    PostgresWorkerRegistry,
)
from taskscheduler.application.store import Store
from taskscheduler.domain.errors import StoreRefused, StoreUnavailable
from taskscheduler.domain.values import UNIQUE_FOR_DEFAULT

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from datetime import timedelta

    from taskscheduler.domain.ports.clock import Clock
    from taskscheduler.domain.ports.wakeups import WakeUps
    from taskscheduler.domain.ports.workers import WorkerRegistry
    from taskscheduler.domain.values import TaskId

log = logging.getLogger("taskscheduler.postgres")


def postgres_store(
    database: Database,
    clock: Clock,
    new_task_id: Callable[[], TaskId],
    *,
    listening: Database | None = None,
    unique_for: timedelta = UNIQUE_FOR_DEFAULT,
    wakeups: WakeUps | None = None,
) -> Store:
    """Return the store in ``database``.

    Workers are woken by ``wakeups``, or else by PostgreSQL's own notices, which are heard through
    ``listening`` where that is another way.
    """
    lanes = Lanes(database)
    channel = channel_of(database.schema) if wakeups is None else None
    bell = wakeups or PostgresWakeUps(database, listening or database)
    followers = PostgresFollowers(database, bell.ring)

    @asynccontextmanager
    async def opened() -> AsyncGenerator[None]:
        async with database.opened():
            await check_schema(database)
            async with bell.opened(), followers.opened():
                yield

    @asynccontextmanager
    async def heartbeat_registry() -> AsyncGenerator[WorkerRegistry]:
        # Two connections: while one hangs in a network that has gone silent, the other tries anew.
        own = Database(database.url, schema=database.schema, pool_size=2)
        async with own.opened():
            yield PostgresWorkerRegistry(own)

    tasks = PostgresTaskRepository(
        database,
        lanes,
        clock,
        channel=channel,
        on_cancellation=bell.ring_cancellation,
        unique_for=unique_for,
        followers=followers,
    )
    return Store(
        tasks=tasks,
        board=PostgresTaskReader(database, lanes, new_task_id),
        notes=PostgresNotes(database),
        followers=followers,
        batches=PostgresBatches(database, tasks, followers),
        workers=PostgresWorkerRegistry(database),
        heartbeat_registry=heartbeat_registry,
        kinds=PostgresKindCatalogue(database),
        queues=PostgresQueueRegistry(database),
        limits=PostgresLimits(database),
        schedules=PostgresScheduleRepository(database, unique_for, tasks),
        keys=PostgresApiKeys(database),
        audit=PostgresAuditTrail(database),
        upkeep=PostgresSchemaUpkeep(database, clock),
        wakeups=bell,
        archive=PostgresArchive(database, followers),
        backlog_stats=PostgresBacklogStats(database),
        clock=clock,
        new_task_id=new_task_id,
        opened=opened,
    )


async def reach(url: str, schema: str) -> None:
    """Connect to the database once and check its schema.

    Raises:
        SchemaMismatch: the schema is missing, too old or too new.
        StoreUnavailable: the database cannot be reached; ``StoreRefused``: it lets us not in.
    """
    database = Database(url, schema=schema, pool_size=1)
    async with await database.connect() as connection:
        await require_current(connection, schema)


async def check_schema(database: Database) -> None:
    """Refuse a schema that this program does not fit; a database that is away is waited for.

    Raises:
        SchemaMismatch: the schema is missing, too old or too new.
        StoreRefused: the database lets us not in, and will not by itself.
    """
    try:
        async with database.connection() as connection:
            await require_current(connection, database.schema)
    except StoreRefused:
        raise
    except StoreUnavailable as error:
        log.warning("the database is away, work begins when it is back: %s", error)
