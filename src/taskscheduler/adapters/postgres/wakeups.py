"""Wake-ups by LISTEN and NOTIFY: one channel a schema, one connection a listener.

A transaction that notifies holds a lock of the whole database cluster while it commits, and every
listener wakes for it. So nothing here notifies within a task's own transaction: the notifier sends
after the commit, in a transaction that waits for no disk (``application/wakeups/notifier.py``).
"""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import sql

from taskscheduler.adapters.postgres.fast_connection import Statement
from taskscheduler.application.wakeups.listener import listening
from taskscheduler.application.wakeups.notifier import WakeUpNotifier
from taskscheduler.domain.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection
    from contextlib import AbstractAsyncContextManager

    from taskscheduler.adapters.postgres.database import Connection, Database
    from taskscheduler.application.wakeups.listener import WakeUpListener
    from taskscheduler.domain.ports.wakeups import Hints

PAYLOAD_BYTES_MAX: Final = 7_900
PROBE_EVERY_S: Final = 15.0
PROBE_ANSWER_S: Final = 5.0
LISTENING_FAILURES: Final = (StoreUnavailable, psycopg.Error, TimeoutError, OSError)
RING: Final = b"""
SELECT set_config('synchronous_commit', 'off', true), pg_notify(%(channel)s, %(payload)s)"""
NOTIFY: Final = b"SELECT pg_notify(%(channel)s, %(payload)s)"


def channel_of(schema: str) -> str:
    """Return the schema's channel: PostgreSQL cuts names at 63 bytes, so the schema is hashed."""
    return "taskscheduler_" + hashlib.sha256(schema.encode()).hexdigest()[:16]


class PostgresWakeUps:
    """``WakeUps`` by LISTEN and NOTIFY."""

    by: str = "postgres"

    def __init__(self, database: Database, listening: Database) -> None:
        """Ring through ``database``; listen through ``listening``, which must bypass poolers."""
        self._database = database
        self._listening = listening
        self._channel = channel_of(database.schema)
        self._ring = Statement.of(RING)
        self._notifier = WakeUpNotifier(
            self._send, bytes_max=PAYLOAD_BYTES_MAX, failures=(StoreUnavailable, psycopg.Error)
        )

    @property
    def hints(self) -> Hints:
        """See ``WakeUps.hints``."""
        return self._notifier.hints

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        """See ``WakeUps.opened``."""
        try:
            yield
        finally:
            await self._notifier.finish()

    def ring(self, queues: Collection[str]) -> None:
        """See ``WakeUps.ring``."""
        self._notifier.ring(queues)

    def ring_cancellation(self) -> None:
        """See ``WakeUps.ring_cancellation``."""
        self._notifier.ring_cancellation()

    async def _send(self, hint: str) -> None:
        async with self._database.connection() as connection:
            await connection.send(self._ring, {"channel": self._channel, "payload": hint})

    def listen(
        self, queues: Collection[str], *, on_cancellation: Callable[[], None]
    ) -> AbstractAsyncContextManager[WakeUpListener]:
        """See ``WakeUps.listen``."""
        return listening(queues, on_cancellation, self._hear, failures=LISTENING_FAILURES)

    async def _hear(self, listener: WakeUpListener, on_hearing: Callable[[], None]) -> None:
        async with AsyncExitStack() as stack:
            connection = await self._listening.connect()
            stack.push_async_callback(connection.close)
            if self._listening.behind_pooler:
                message = "LISTEN does not work behind a pooler; set a direct URL for listening"
                raise StoreUnavailable(message)
            probe = f"p{connection.info.backend_pid}"
            await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
            while True:
                # A connection that has died without a word is found out by talking to oneself.
                async with asyncio.timeout(PROBE_ANSWER_S):
                    await self._talk_to_itself(connection, probe, listener)
                on_hearing()
                async for notice in connection.notifies(timeout=PROBE_EVERY_S):
                    listener.hear_text(notice.payload)

    async def _talk_to_itself(
        self, connection: Connection, probe: str, listener: WakeUpListener
    ) -> None:
        await connection.execute(NOTIFY, {"channel": self._channel, "payload": probe})
        async with aclosing(connection.notifies()) as notices:
            async for notice in notices:
                if notice.payload == probe:
                    return
                listener.hear_text(notice.payload)
