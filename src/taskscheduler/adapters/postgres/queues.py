"""Queues in PostgreSQL: what they hold, counted as far as that stays cheap; and pausing them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from taskscheduler.adapters.postgres.audit import Trail
from taskscheduler.adapters.postgres.claims_under_way import ClaimsUnderWay
from taskscheduler.adapters.postgres.mapping import utc
from taskscheduler.application.client.shared_answer import Shared
from taskscheduler.domain.audit import Action
from taskscheduler.domain.queue import COUNT_MAX, Count, Queue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from taskscheduler.adapters.postgres.database import Connection, Database
    from taskscheduler.domain.access import Caller
    from taskscheduler.domain.values import WorkerId

PAGES_MAX: Final = 4096
"""Of the hot table so many pages (32 MiB) are looked through for tasks in progress."""

LOOK: Final = """
SELECT o_name, o_paused_at, o_due, o_later, o_running, o_oldest_due_at
FROM {schema}.queues_2(%(queue)s::text, %(after)s::text, %(number)s::bigint, %(limit)s::bigint,
                       %(pages)s::bigint)"""
RUNNING: Final = "SELECT o_worker, o_number FROM {schema}.running_1(%(pages)s::bigint)"
IS_WHOLE: Final = """
SELECT pg_relation_size(c.oid) <= %(pages)s * current_setting('block_size')::bigint
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = %(schema)s AND c.relname = 'live'"""
PAUSE: Final = """
INSERT INTO {schema}.paused_queue (name, paused_at) VALUES (%(queue)s, {schema}.clock())
ON CONFLICT DO NOTHING"""
RESUME: Final = "DELETE FROM {schema}.paused_queue WHERE name = %(queue)s"


class PostgresQueueRegistry:
    """``QueueRegistry`` on PostgreSQL."""

    def __init__(self, database: Database) -> None:
        """Work through ``database``."""
        self._database = database
        self._trail = Trail(database)
        self._look = database.sql(LOOK)
        self._shared = Shared(self._seen)
        self._running = database.sql(RUNNING)
        self._pause = database.sql(PAUSE)
        self._claims = ClaimsUnderWay(database)
        self._resume = database.sql(RESUME)

    async def list(self, *, after: str = "", limit: int) -> Sequence[Queue]:
        """See ``QueueRegistry.list``."""
        return await self._shared.ask((None, after, limit))

    async def get(self, name: str) -> Queue:
        """See ``QueueRegistry.get``."""
        (queue,) = await self._shared.ask((name, "", 1))
        return queue

    async def pause(self, name: str, *, by: Caller | None = None) -> None:
        """See ``QueueRegistry.pause``."""

        async def work(connection: Connection) -> None:
            # Claims that began before this commit are waited for; those that begin after it see
            # the pause.
            await self._switch(connection, self._pause, name, by, Action.PAUSED)
            await self._claims.wait(connection)

        await self._database.run(work)

    async def resume(self, name: str, *, by: Caller | None = None) -> None:
        """See ``QueueRegistry.resume``."""

        async def work(connection: Connection) -> None:
            await self._switch(connection, self._resume, name, by, Action.RESUMED)

        await self._database.run(work)

    async def running(self) -> tuple[Mapping[WorkerId, int], bool]:
        """See ``QueueRegistry.running``."""

        async def work(connection: Connection) -> tuple[Mapping[WorkerId, int], bool]:
            rows = await (await connection.execute(self._running, {"pages": PAGES_MAX})).fetchall()
            return dict(rows), await self._is_whole(connection)

        return await self._database.run(work)

    async def _switch(
        self, connection: Connection, statement: bytes, name: str, by: Caller | None, action: Action
    ) -> None:
        """Do ``statement``; if it changed something ``by`` somebody, the entry is one commit."""
        async with connection.transaction():
            done = await connection.execute(statement, {"queue": name})
            if by is not None and done.rowcount:
                await self._trail.record(connection, by, action, target=name)

    async def _seen(self, question: tuple[str | None, str, int]) -> Sequence[Queue]:
        name, after, number = question
        values = {
            "queue": name,
            "after": after,
            "number": number,
            "limit": COUNT_MAX,
            "pages": PAGES_MAX,
        }

        async def work(connection: Connection) -> Sequence[Queue]:
            rows = await (await connection.execute(self._look, values)).fetchall()
            whole = await self._is_whole(connection)
            return sorted((_queue(row, whole=whole) for row in rows), key=lambda each: each.name)

        return await self._database.run(work)

    async def _is_whole(self, connection: Connection) -> bool:
        values: dict[str, Any] = {"schema": self._database.schema, "pages": PAGES_MAX}
        row = await (await connection.execute(IS_WHOLE, values)).fetchone()
        return row is not None and row[0]


def _queue(row: tuple[Any, ...], *, whole: bool) -> Queue:
    name, paused_at, due, later, running, oldest_due_at = row
    return Queue(
        name=name,
        paused_at=utc(paused_at),
        due=Count(due, due < COUNT_MAX),
        later=Count(later, later < COUNT_MAX),
        running=Count(running, whole),
        oldest_due_at=utc(oldest_due_at),
    )
