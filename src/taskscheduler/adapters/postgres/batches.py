"""Batches in PostgreSQL. What they come to is counted in ``migrations/0024_after.sql``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from taskscheduler.adapters.postgres.audit import Trail
from taskscheduler.adapters.postgres.mapping import utc
from taskscheduler.domain.after import Otherwise, When
from taskscheduler.domain.audit import Action
from taskscheduler.domain.batch import Batch, BatchId
from taskscheduler.domain.errors import BatchNotFound, BatchSealed, InvalidTask
from taskscheduler.domain.values import TaskId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskscheduler.adapters.postgres.database import Connection, Database
    from taskscheduler.adapters.postgres.drivers import Executing
    from taskscheduler.adapters.postgres.fast_connection import PooledConnection
    from taskscheduler.adapters.postgres.followers import PostgresFollowers
    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.batch import NewBatch
    from taskscheduler.domain.new_task import NewTask
    from taskscheduler.domain.ports.tasks import TaskRepository

COLUMNS: Final = """
    b.id, b.name, b.created_at, b.sealed_at, c.ended_at, c.total, c.completed, c.failed,
    c.cancelled, b.then_id, b.then_when, b.then_otherwise"""
MAKE: Final = """
WITH made AS (
    INSERT INTO {schema}.batch (id, name, created_at, then_id, then_when, then_otherwise)
    VALUES (%(id)s, %(name)s, {schema}.clock(), %(then_id)s, %(when)s, %(otherwise)s)
    ON CONFLICT DO NOTHING RETURNING id
)
INSERT INTO {schema}.batch_count (id) SELECT made.id FROM made RETURNING true"""
GET: Final = (
    "SELECT"
    + COLUMNS
    + " FROM {schema}.batch b JOIN {schema}.batch_count c ON c.id = b.id WHERE b.id = %(id)s"
)
LIST: Final = (
    "SELECT"
    + COLUMNS
    + """ FROM {schema}.batch b JOIN {schema}.batch_count c ON c.id = b.id
WHERE b.id < %(before)s::uuid OR %(before)s::uuid IS NULL ORDER BY b.id DESC LIMIT %(limit)s"""
)
# Whoever is adding tasks holds the row in share: this waits for them. Then it is looked at anew.
SEAL: Final = """
WITH sealed AS (
    UPDATE {schema}.batch SET sealed_at = {schema}.clock()
    WHERE id = %(id)s AND sealed_at IS NULL RETURNING id
)
INSERT INTO {schema}.ended (id) SELECT sealed.id FROM sealed RETURNING true"""
MEMBERS: Final = """
SELECT m.id FROM {schema}.member m
WHERE m.batch = %(id)s AND (m.id > %(after)s::uuid OR %(after)s::uuid IS NULL)
ORDER BY m.id LIMIT %(limit)s"""
ADD: Final = "SELECT * FROM {schema}.add_to_batch_1(%(ids)s::uuid[], %(batches)s::uuid[])"


class BatchInserts:
    """Puts tasks into their batches while they are stored."""

    def __init__(self, database: Database) -> None:
        """Write into the schema of ``database``."""
        self._add = database.sql(ADD)

    async def add(self, connection: Executing, tasks: Sequence[NewTask]) -> None:
        """Put those of ``tasks`` into their batches that have one; they were just stored.

        Raises:
            BatchNotFound, BatchSealed, InvalidTask: and then all is to be rolled back.
        """
        joining = [task for task in tasks if task.batch is not None]
        if not joining:
            return
        values = {
            "ids": [task.id for task in joining],
            "batches": [task.batch for task in joining],
        }
        for batch_id, problem in await (await connection.execute(self._add, values)).fetchall():
            if problem == "unknown":
                raise BatchNotFound(batch_id)
            if problem == "sealed":
                raise BatchSealed(batch_id)
            raise InvalidTask("batch", f"the task waits for the batch {batch_id} itself")


class PostgresBatches:
    """``Batches`` in PostgreSQL."""

    def __init__(
        self, database: Database, tasks: TaskRepository, followers: PostgresFollowers
    ) -> None:
        """Work through ``database``; what comes after a batch is stored in ``tasks``."""
        self._database = database
        self._tasks = tasks
        self._followers = followers
        self._trail = Trail(database)
        self._make = database.sql(MAKE)
        self._get = database.sql(GET)
        self._list = database.sql(LIST)
        self._seal = database.sql(SEAL)
        self._members = database.sql(MEMBERS)

    async def make(self, batch: NewBatch, *, by: Caller | None = None) -> Batch:
        """See ``Batches.make``."""
        then = batch.then
        after = None if then is None else then.after
        values = {
            "id": batch.id,
            "name": batch.name,
            "then_id": None if then is None else then.id,
            "when": None if after is None else after.when.value,
            "otherwise": None if after is None else after.otherwise.value,
        }

        async def work(connection: PooledConnection) -> None:
            async with connection.transaction():
                made = await (await connection.execute(self._make, values)).fetchone()
                if made is not None and by is not None:
                    target = str(batch.id)
                    await self._trail.record(connection, by, Action.BATCH_ADDED, target=target)
                if then is not None:
                    await self._tasks.put([then], transaction=connection)

        await self._database.run(work)
        return await self.get(batch.id)

    async def get(self, batch_id: BatchId) -> Batch:
        """See ``Batches.get``."""
        await self._followers.release()

        async def work(connection: Connection) -> Batch:
            row = await (await connection.execute(self._get, {"id": batch_id})).fetchone()
            if row is None:
                raise BatchNotFound(batch_id)
            return _batch(row)

        return await self._database.run(work)

    async def list(self, *, before: BatchId | None = None, limit: int) -> Sequence[Batch]:
        """See ``Batches.list``."""
        await self._followers.release()
        values = {"before": before, "limit": limit}

        async def work(connection: Connection) -> Sequence[Batch]:
            cursor = await connection.execute(self._list, values)
            return [_batch(row) for row in await cursor.fetchall()]

        return await self._database.run(work)

    async def seal(self, batch_id: BatchId, *, by: Caller | None = None) -> Batch:
        """See ``Batches.seal``."""

        async def work(connection: Connection) -> None:
            async with connection.transaction():
                sealed = await (await connection.execute(self._seal, {"id": batch_id})).fetchone()
                if sealed is not None and by is not None:
                    target = str(batch_id)
                    await self._trail.record(connection, by, Action.BATCH_SEALED, target=target)

        await self._database.run(work)
        return await self.get(batch_id)

    async def members(
        self, batch_id: BatchId, *, after: TaskId | None = None, limit: int
    ) -> Sequence[TaskId]:
        """See ``Batches.members``."""
        values = {"id": batch_id, "after": after, "limit": limit}

        async def work(connection: Connection) -> Sequence[TaskId]:
            cursor = await connection.execute(self._members, values)
            return [TaskId(row[0]) for row in await cursor.fetchall()]

        return await self._database.run(work)


def _batch(row: tuple[Any, ...]) -> Batch:
    return Batch(
        id=BatchId(row[0]),
        name=row[1],
        created_at=utc(row[2]) or row[2],
        sealed_at=utc(row[3]),
        ended_at=utc(row[4]),
        total=row[5],
        completed=row[6],
        failed=row[7],
        cancelled=row[8],
        then=None if row[9] is None else TaskId(row[9]),
        when=None if row[10] is None else When(row[10]),
        otherwise=None if row[11] is None else Otherwise(row[11]),
    )
