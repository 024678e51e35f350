"""What attempts came to, written where the token still fits."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import psycopg

from taskscheduler.adapters.postgres import statements as s
from taskscheduler.adapters.postgres.fast_connection import Statement
from taskscheduler.adapters.postgres.mapping import bigints, uuids
from taskscheduler.adapters.postgres.notes import with_results
from taskscheduler.adapters.postgres.sqlstates import is_unavailable
from taskscheduler.domain.errors import LeaseLost
from taskscheduler.domain.lease import Lease, Settlement
from taskscheduler.domain.status import Event

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Sequence

    from taskscheduler.adapters.postgres.database import Connection, Database
    from taskscheduler.adapters.postgres.fast_connection import PooledConnection
    from taskscheduler.adapters.postgres.followers import PostgresFollowers
    from taskscheduler.domain.values import TaskId

SOMEBODY_FOLLOWS: Final = UUID(int=0)
"""What ``statements.FOLLOWED`` adds to the ids of tasks that have ended."""


class Settlements:
    """Writes the outcomes of attempts, a batch in one statement for each kind of outcome."""

    def __init__(self, database: Database, followers: PostgresFollowers) -> None:
        """``followers`` lets go what waits for tasks that end here."""
        self._database = database
        self._followers = followers
        sql = database.sql
        self._complete = Statement.of(sql(s.COMPLETE))
        self._complete_with_results = sql(s.COMPLETE_WITH_RESULTS)
        self._expire = sql(s.EXPIRE)
        self._wait = sql(s.WAIT)
        self._settle = sql(s.SETTLE)
        self._outcomes = sql(s.OUTCOMES)
        self._await_standby = sql(s.AWAIT_STANDBY)

    async def settle(self, settlements: Sequence[Settlement]) -> Collection[TaskId]:
        """See ``TaskRepository.settle``."""
        completed = [each for each in settlements if each.event is Event.COMPLETE]
        expired = [each for each in settlements if each.event is Event.EXPIRE]
        waiting = [each for each in settlements if each.waits_for is not None]
        others = [
            each
            for each in settlements
            if each.event not in {Event.COMPLETE, Event.EXPIRE} and each.waits_for is None
        ]
        ended: set[UUID] = set()
        values: dict[str, Any]
        async with self._database.connection() as connection:
            if completed:
                ended |= await self._complete_all(connection, completed)
            if expired:
                values = {
                    "ids": [each.task_id for each in expired],
                    "tokens": [each.token for each in expired],
                }
                cursor = await connection.execute(self._expire, values)
                ended |= {row[0] for row in await cursor.fetchall()}
            if waiting:
                values = {
                    "ids": [each.task_id for each in waiting],
                    "tokens": [each.token for each in waiting],
                    "names": [each.waits_for for each in waiting],
                    "delays": [each.delay for each in waiting],
                }
                cursor = await connection.execute(self._wait, values)
                ended |= {row[0] for row in await cursor.fetchall()}
            if others:
                values = {
                    "ids": [each.task_id for each in others],
                    "tokens": [each.token for each in others],
                    "events": [each.event.value for each in others],
                    "delays": [each.delay for each in others],
                    "types": [each.error and each.error.type for each in others],
                    "messages": [each.error and each.error.message for each in others],
                    "tracebacks": [each.error and each.error.traceback for each in others],
                }
                cursor = await connection.execute(self._settle, values)
                ended |= {row[0] for row in await cursor.fetchall()}
        if SOMEBODY_FOLLOWS in ended:
            self._followers.soon()
        return {each.task_id for each in settlements if each.task_id not in ended}

    async def _complete_all(
        self, connection: PooledConnection, completed: Sequence[Settlement]
    ) -> set[UUID]:
        ended: set[UUID] = set()
        plain = [each for each in completed if each.result is None]
        if plain:
            values = {
                "ids": uuids([each.task_id for each in plain]),
                "tokens": bigints([each.token for each in plain]),
            }
            ended |= {row[0] for row in await connection.send(self._complete, values)}
        for some in with_results(completed) if len(plain) < len(completed) else ():
            values = {
                "ids": uuids([each.task_id for each in some]),
                "tokens": bigints([each.token for each in some]),
                "results": [None if each.result is None else each.result.decode() for each in some],
            }
            cursor = await connection.execute(self._complete_with_results, values)
            ended |= {row[0] for row in await cursor.fetchall()}
        return ended

    @asynccontextmanager
    async def completing(
        self, lease: Lease, result: Callable[[], bytes | None] = lambda: None
    ) -> AsyncGenerator[object]:
        """See ``TaskRepository.completing``."""
        settlement = Settlement(lease.task_id, lease.token, Event.COMPLETE)
        written = False
        ended: set[UUID] = set()
        async with self._database.lent() as connection:
            try:
                async with connection.transaction():
                    yield connection
                    settlement = settlement._replace(result=result())
                    ended = await self._complete_all(connection, [settlement])
                    written = lease.task_id in ended
                    if not written:
                        raise LeaseLost(lease.task_id)
            except psycopg.Error as error:
                # If the connection broke during the commit, the outcome is its witness: it was
                # part of the same transaction as everything in the block.
                gone = written and is_unavailable(error)
                if not gone or not await self.outcomes_of([settlement]):
                    raise
        if SOMEBODY_FOLLOWS in ended:
            self._followers.soon()

    async def outcomes_of(self, settlements: Sequence[Settlement]) -> Collection[TaskId]:
        """See ``TaskRepository.outcomes_of``."""
        values = {
            "ids": [each.task_id for each in settlements],
            "tokens": [each.token for each in settlements],
            "events": [each.event.value for each in settlements],
        }

        async def work(connection: Connection) -> set[TaskId]:
            cursor = await connection.execute(self._outcomes, values)
            found = {row[0] for row in await cursor.fetchall()}
            if found:
                await connection.execute(self._await_standby)
            return found

        return await self._database.run(work)
