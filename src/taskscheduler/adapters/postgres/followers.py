"""Tasks that wait for others, in PostgreSQL. The rules are in ``migrations/0024_after.sql``."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final
from uuid import UUID

import psycopg

from taskscheduler.adapters.postgres.mapping import uuids
from taskscheduler.domain.after import After, Otherwise, Wait, When
from taskscheduler.domain.errors import StoreUnavailable, TaskExists, TaskNotFound
from taskscheduler.domain.values import TaskId

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Mapping, Sequence

    from taskscheduler.adapters.postgres.database import Connection, Database
    from taskscheduler.adapters.postgres.drivers import Executing
    from taskscheduler.domain.new_task import NewTask

AT_ONCE: Final = 1_000
"""So many ended tasks, new waits and old ones are looked at by one statement."""
PAUSES_S: Final = (0.0, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2)
"""How long to wait for what others have locked; what is longer is left to a later call."""
SHOWN_MAX: Final = 10
PAUSE_S: Final = 0.01
PAUSE_MAX_S: Final = 0.05
"""A process that ends tasks pauses between two looks; longer, where a look takes its time."""

FOLLOW: Final = """
SELECT {schema}.follow_1(%(ids)s::uuid[], %(needs_success)s::boolean[], %(otherwise)s::text[],
                         %(notes)s::text[], %(children)s::uuid[], %(parents)s::uuid[])"""
RELEASE: Final = "SELECT * FROM {schema}.release_1(%(limit)s::integer)"
AFTER: Final = """
SELECT value::text FROM {schema}.note
WHERE id = ANY (%(ids)s::uuid[]) AND kind = 'after' AND name = ''"""
WAIT: Final = """
SELECT (SELECT count(*) FROM {schema}.edge e WHERE e.child = l.id),
       ARRAY(SELECT e.parent FROM {schema}.edge e WHERE e.child = l.id
             ORDER BY e.parent LIMIT %(shown)s),
       (SELECT e.parent FROM {schema}.edge e WHERE e.child = l.id AND e.failed
        ORDER BY e.parent LIMIT 1),
       json_array_length(n.value -> 'after'), c.id, c.total,
       c.total - c.completed - c.failed - c.cancelled
FROM {schema}.live l
JOIN {schema}.note n ON n.id = %(id)s AND n.kind = 'after' AND n.name = ''
LEFT JOIN {schema}.batch_count c ON c.id = (n.value -> 'after' ->> 0)::uuid
WHERE l.id = %(id)s AND l.process_at = {schema}.waiting_at_1()"""
STORED: Final = """
SELECT id, value::text FROM {schema}.note
WHERE id = ANY (%(ids)s::uuid[]) AND kind = 'after' AND name = ''"""

log = logging.getLogger("taskscheduler.postgres")


class PostgresFollowers:
    """``Followers`` in PostgreSQL, one for all ports of a store."""

    def __init__(self, database: Database, ring: Callable[[Collection[str]], None]) -> None:
        """Work through ``database``; call ``ring`` with the queues of those that may begin."""
        self._database = database
        self._ring = ring
        self._follow = database.sql(FOLLOW)
        self._release = database.sql(RELEASE)
        self._after = database.sql(AFTER)
        self._stored = database.sql(STORED)
        self._wait = database.sql(WAIT)
        self._work: asyncio.Task[None] | None = None
        self._again = False
        self._next_at = 0.0

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """Finish at the end what was begun by ``soon``."""
        try:
            yield
        finally:
            await self.idle()

    # -- storing ---------------------------------------------------------------------------------

    async def follow(
        self, connection: Executing, tasks: Sequence[NewTask], ids: Mapping[TaskId, TaskId]
    ) -> None:
        """Let those of ``tasks`` wait that come after others; they were just stored.

        ``ids`` has the id under which each task of the call is known: with a unique key, that of
        its holder. Raises TaskNotFound, and then all is to be rolled back.
        """
        fresh = {task.id: task.after.known_as(ids) for task in tasks if task.after is not None}
        pairs = [(child, parent) for child, after in fresh.items() for parent in after.task_ids]
        if not pairs:
            return
        values = {
            "ids": list(fresh),
            "needs_success": [after.needs_success for after in fresh.values()],
            "otherwise": [after.otherwise.value for after in fresh.values()],
            "notes": [_note(after) for after in fresh.values()],
            "children": [child for child, _ in pairs],
            "parents": [parent for _, parent in pairs],
        }
        unknown = await (await connection.execute(self._follow, values)).fetchall()
        if unknown:
            raise TaskNotFound(unknown[0][0])

    async def require_same(
        self, connection: Executing, tasks: Sequence[NewTask], ids: Mapping[TaskId, TaskId]
    ) -> None:
        """Check that those of ``tasks`` that come after others were stored to come after them.

        Raises:
            TaskExists: one was not.
        """
        wanted = {task.id: _note(task.after.known_as(ids)) for task in tasks if task.after}
        if not wanted:
            return
        rows = await (await connection.execute(self._stored, {"ids": list(wanted)})).fetchall()
        stored = dict(rows)
        for task_id, note in wanted.items():
            if stored.get(task_id) != note:
                raise TaskExists(task_id)

    # -- releasing -------------------------------------------------------------------------------

    def soon(self) -> None:
        """Release in the background: something has ended that others wait for."""
        if self._work is not None:
            self._again = True
            return
        self._work = asyncio.create_task(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            self._again = True
            while self._again:
                # Whoever ends very many tasks one after the other is not to spend his time on this.
                await asyncio.sleep(max(0.0, self._next_at - loop.time()))
                self._again = False
                began = loop.time()
                await self.release()
                took = loop.time() - began
                self._next_at = loop.time() + min(max(PAUSE_S, took), PAUSE_MAX_S)
        except StoreUnavailable as error:
            log.warning("what waits for tasks that have ended is released later: %s", error)
        except Exception:
            log.exception("what waits for tasks that have ended cannot be released")
        finally:
            self._work = None

    async def idle(self) -> None:
        """See ``Followers.idle``."""
        while self._work is not None:
            await asyncio.wait([self._work])

    async def release(self) -> int:
        """See ``Followers.release``."""
        settled = tries = 0
        while True:
            done, more = await self._database.run(self._pass)
            settled += done
            if not more:
                return settled
            tries = 0 if done else tries + 1
            if tries == len(PAUSES_S):
                return settled
            await asyncio.sleep(PAUSES_S[tries])

    async def _pass(self, connection: Connection) -> tuple[int, bool]:
        try:
            row = await (await connection.execute(self._release, {"limit": AT_ONCE})).fetchone()
        except psycopg.errors.LockNotAvailable:
            return 0, True
        if row is None:
            return 0, False
        settled, queues, more = row
        if queues:
            self._ring(frozenset(queues))
        # What was cancelled may itself have been waited for.
        return settled, more or settled > 0

    # -- looking ---------------------------------------------------------------------------------

    async def after(self, task_id: TaskId) -> After | None:
        """See ``Followers.after``."""

        async def work(connection: Connection) -> After | None:
            values = {"ids": uuids([task_id])}
            cursor = await connection.execute(self._after, values, prepare=False)
            row = await cursor.fetchone()
            return None if row is None else after_of(row[0])

        return await self._database.run(work)

    async def wait(self, task_id: TaskId) -> Wait | None:
        """See ``Followers.wait``."""

        async def work(connection: Connection) -> Wait | None:
            values = {"id": task_id, "shown": SHOWN_MAX}
            row = await (await connection.execute(self._wait, values, prepare=False)).fetchone()
            if row is None:
                return None
            left, ids, failed, total, batch, members, pending = row
            if batch is not None and total == 1:
                return Wait(pending, members, (), failed, batch)
            return Wait(left, total, tuple(ids), failed)

        found = await self._database.run(work)
        if found is not None and found.batch is not None:
            await self.release()  # so that its tasks are counted
            found = await self._database.run(work)
        return found


def _note(after: After) -> str:
    return json.dumps(
        {
            "after": [str(each) for each in after.task_ids],
            "when": after.when.value,
            "otherwise": after.otherwise.value,
        }
    )


def after_of(text: str) -> After:
    """Return what the value of a note of the kind ``after`` says."""
    value = json.loads(text)
    return After(
        tuple(TaskId(UUID(each)) for each in value["after"]),
        When(value["when"]),
        Otherwise(value["otherwise"]),
    )
