"""Workers, kinds and upkeep in PostgreSQL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from taskscheduler.adapters.postgres import statements as s
from taskscheduler.adapters.postgres.lane_removal import Sweep
from taskscheduler.adapters.postgres.migrate import migrations, version_of
from taskscheduler.adapters.postgres.partitions import prepare_days
from taskscheduler.domain.errors import StoreUnavailable, WorkerLost
from taskscheduler.domain.ports.maintenance import SchemaVersion
from taskscheduler.domain.retry import MAX_ATTEMPTS_DEFAULT
from taskscheduler.domain.worker import Cancellation, RegisteredWorker, WorkerProfile

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from taskscheduler.adapters.postgres.database import Connection, Database
    from taskscheduler.domain.ports.clock import Clock
    from taskscheduler.domain.values import TaskId, WorkerId

UPKEEP_S: Final = 60.0


class PostgresWorkerRegistry:
    """``WorkerRegistry`` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        """Work through ``database``."""
        self._database = database
        sql = database.sql
        self._join = sql(s.JOIN)
        self._beat = sql(s.BEAT)
        self._cancellations = sql(s.CANCELLATIONS)
        self._leave = sql(s.LEAVE)
        self._workers_seen = sql(s.WORKERS_SEEN)
        self._bury = sql(s.BURY)
        self._rescue_orphans = sql(s.RESCUE_ORPHANS)

    async def register(self, profile: WorkerProfile) -> WorkerId:
        """See ``WorkerRegistry.register``."""
        kinds = sorted(profile.kinds)  # in one order everywhere: two workers cannot deadlock
        async with self._database.connection() as connection:
            cursor = await connection.execute(
                self._join,
                {
                    "name": profile.name,
                    "queues": sorted(profile.queues),
                    "kinds": kinds,
                    "max_attempts": [profile.kinds[kind] for kind in kinds],
                    "concurrency": profile.concurrency,
                    "lease": profile.lease,
                    "host": profile.host,
                    "pid": profile.pid,
                },
            )
            row = await cursor.fetchone()
            assert row is not None  # noqa: S101 - a function returns one row
            return row[0]

    async def heartbeat(self, worker_id: WorkerId, *, abandoned: int = 0) -> Sequence[Cancellation]:
        """See ``WorkerRegistry.heartbeat``."""

        async def work(connection: Connection) -> Sequence[Cancellation]:
            values = {"worker_id": worker_id, "abandoned": abandoned}
            if await (await connection.execute(self._beat, values)).fetchone() is None:
                raise WorkerLost(worker_id)
            rows = await (await connection.execute(self._cancellations, values)).fetchall()
            return [Cancellation(task_id, token) for task_id, token in rows]

        return await self._database.run(work)

    async def deregister(self, worker_id: WorkerId) -> None:
        """See ``WorkerRegistry.deregister``."""

        async def work(connection: Connection) -> None:
            await connection.execute(self._leave, {"worker_id": worker_id})

        await self._database.run(work)

    async def registered(self) -> Sequence[RegisteredWorker]:
        """See ``WorkerRegistry.registered``."""

        async def work(connection: Connection) -> Sequence[RegisteredWorker]:
            rows = await (await connection.execute(self._workers_seen)).fetchall()
            return [
                RegisteredWorker(
                    id=row[0],
                    name=row[1],
                    queues=frozenset(row[2]),
                    kinds=frozenset(row[3]),
                    concurrency=row[4],
                    started_at=row[5],
                    seen_at=row[6],
                    lease=row[7],
                    beats=row[8],
                    expired=row[9],
                    host=row[10],
                    pid=row[11],
                    abandoned=row[12],
                )
                for row in rows
            ]

        return await self._database.run(work)

    async def declare_dead(self, worker_id: WorkerId, beats: int) -> Collection[TaskId]:
        """See ``WorkerRegistry.declare_dead``."""
        values = {
            "worker_id": worker_id,
            "beats": beats,
            "granted": MAX_ATTEMPTS_DEFAULT,
            "error_type": "WorkerLost",
            "error_message": "the worker fell silent while it ran the task",
        }

        async def work(connection: Connection) -> Collection[TaskId]:
            cursor = await connection.execute(self._bury, values)
            return [row[0] for row in await cursor.fetchall()]

        return await self._database.run(work)

    async def rescue_orphans(self) -> Collection[TaskId]:
        """See ``WorkerRegistry.rescue_orphans``."""
        values = {
            "granted": MAX_ATTEMPTS_DEFAULT,
            "error_type": "WorkerLost",
            "error_message": "the worker was in no registry while it held the task",
        }

        async def work(connection: Connection) -> Collection[TaskId]:
            cursor = await connection.execute(self._rescue_orphans, values)
            return [row[0] for row in await cursor.fetchall()]

        return await self._database.run(work)


class PostgresKindCatalogue:
    """``KindCatalogue`` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        """Work through ``database``."""
        self._database = database
        self._register = database.sql(s.REGISTER_KINDS)
        self._known = database.sql(s.KNOWN_KINDS)

    async def register(self, kinds: Mapping[str, int]) -> None:
        """See ``KindCatalogue.register``."""

        async def work(connection: Connection) -> None:
            await register(connection, self._register, kinds)

        await self._database.run(work)

    async def known(self) -> frozenset[str]:
        """See ``KindCatalogue.known``."""

        async def work(connection: Connection) -> frozenset[str]:
            rows = await (await connection.execute(self._known)).fetchall()
            return frozenset(name for (name,) in rows)

        return await self._database.run(work)


async def register(connection: Connection, statement: object, kinds: Mapping[str, int]) -> None:
    """Make ``kinds`` known, in one order everywhere, so that two workers cannot deadlock."""
    names = sorted(kinds)
    await connection.execute(
        statement,  # pyright: ignore[reportArgumentType]
        {"names": names, "max_attempts": [kinds[name] for name in names]},
    )


class PostgresSchemaUpkeep:
    """``SchemaUpkeep`` on PostgreSQL: prepares days; drops expired keys and empty lanes."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Work through ``database``."""
        self._database = database
        self._clock = clock
        self._drop_keys = database.sql(s.DROP_EXPIRED_KEYS)
        self._drop_requests = database.sql(s.DROP_EXPIRED_REQUESTS)
        self._forget_begun = database.sql(s.FORGET_BEGUN)
        self._sweep = Sweep(database)
        self._next_at = clock.monotonic()

    async def turn(self) -> Sequence[str]:
        """See ``SchemaUpkeep.turn``. What was done within the last minute is not done again."""
        now = self._clock.monotonic()
        if now < self._next_at:
            return ()

        async def work(connection: Connection) -> Sequence[str]:
            complaints = await prepare_days(connection, self._database.schema)
            await connection.execute(self._drop_keys)
            await connection.execute(self._drop_requests)
            await connection.execute(self._forget_begun)
            await self._sweep.turn(connection)
            return complaints

        # Set before: what fails is not tried at every look.
        self._next_at = now + UPKEEP_S
        try:
            return await self._database.run(work)
        except StoreUnavailable:
            self._next_at = now
            raise

    async def schema_version(self) -> SchemaVersion:
        """See ``SchemaUpkeep.schema_version``."""

        async def work(connection: Connection) -> int:
            return await version_of(connection, self._database.schema)

        return SchemaVersion(await self._database.run(work), migrations()[-1].version)
