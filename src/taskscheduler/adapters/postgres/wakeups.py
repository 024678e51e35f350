"""Wake-ups by LISTEN and NOTIFY: one channel a schema, one connection a listener.

A transaction that notifies holds a lock of the whole database cluster while it commits, and every
listener wakes for it. So nothing here notifies within a task's own transaction: a doorbell rings
after the commit, at most once in ten milliseconds for all queues together, in a transaction that
waits for no disk.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import sql

from taskscheduler.application.backoff import Backoff
from taskscheduler.domain.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection

    from taskscheduler.adapters.postgres.database import Connection, Database

RING_EVERY_S: Final = 0.01
PAYLOAD_BYTES_MAX: Final = 7_900
PROBE_EVERY_S: Final = 15.0
PROBE_ANSWER_S: Final = 5.0
RING: Final = """
SELECT set_config('synchronous_commit', 'off', true), pg_notify(%(channel)s, %(payload)s)"""
PROBE: Final = "SELECT pg_notify(%s, %s)"

log = logging.getLogger("taskscheduler.wakeups")


def channel_of(schema: str) -> str:
    """Return the schema's channel: PostgreSQL cuts names at 63 bytes, so the schema is hashed."""
    return "taskscheduler_" + hashlib.sha256(schema.encode()).hexdigest()[:16]


class PostgresWakeUps:
    """``WakeUps`` by LISTEN and NOTIFY."""

    def __init__(self, database: Database, listening: Database) -> None:
        """Ring through ``database``; listen through ``listening``, which must bypass poolers."""
        self._database = database
        self._listening = listening
        self._channel = channel_of(database.schema)
        self._rung: set[str] = set()
        self._bell: asyncio.Task[None] | None = None

    def ring(self, queues: Collection[str]) -> None:
        """See ``WakeUps.ring``."""
        self._rung.update(queues)
        if self._bell is None or self._bell.done():
            self._bell = asyncio.get_running_loop().create_task(self._ring())

    async def _ring(self) -> None:
        while self._rung:
            payload = "q" + ",".join(sorted(self._rung))
            self._rung.clear()
            if len(payload.encode()) > PAYLOAD_BYTES_MAX:
                payload = "q*"
            try:
                async with self._database.connection() as connection:
                    await connection.execute(RING, {"channel": self._channel, "payload": payload})
            except (StoreUnavailable, psycopg.Error) as error:
                log.debug("a wake-up was lost: %s", error)
            await asyncio.sleep(RING_EVERY_S)

    async def finish(self) -> None:
        """Wait until the bell has rung for the last time."""
        if self._bell is not None:
            with suppress(asyncio.CancelledError):
                await self._bell

    @asynccontextmanager
    async def listen(
        self, queues: Collection[str], *, on_cancellation: Callable[[], None]
    ) -> AsyncGenerator[PostgresListener]:
        """See ``WakeUps.listen``."""
        listener = PostgresListener(
            self._listening, self._channel, frozenset(queues), on_cancellation
        )
        task = asyncio.create_task(listener.run())
        try:
            yield listener
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


class PostgresListener:
    """``Listener`` on a connection of its own, which it replaces when it falls silent."""

    def __init__(
        self,
        database: Database,
        channel: str,
        queues: frozenset[str],
        on_cancellation: Callable[[], None],
    ) -> None:
        """Hear what is said on ``channel`` about ``queues``."""
        self._database = database
        self._channel = channel
        self._queues = queues
        self._on_cancellation = on_cancellation
        self._rung = asyncio.Event()
        self.degraded: str | None = "not listening yet"

    async def wait(self, within_s: float) -> bool:
        """See ``Listener.wait``."""
        try:
            async with asyncio.timeout(within_s):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True

    async def run(self) -> None:
        """Listen for ever."""
        backoff = Backoff()
        while True:
            try:
                async with AsyncExitStack() as stack:
                    connection = await self._database.connect()
                    stack.push_async_callback(connection.close)
                    await self._hear(connection, backoff)
            except (StoreUnavailable, psycopg.Error, TimeoutError, OSError) as error:
                reason = str(error) or type(error).__name__
                if self.degraded != reason:
                    log.warning("wake-ups are lost, polling goes on: %s", reason)
                self.degraded = reason
            await backoff.sleep()

    async def _hear(self, connection: Connection, backoff: Backoff) -> None:
        if self._database.behind_pooler:
            message = "LISTEN does not work behind a pooler; set a direct URL for listening"
            raise StoreUnavailable(message)
        probe = f"p{connection.info.backend_pid}"
        await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self._channel)))
        while True:
            # A connection that has died without a word is found out by talking to oneself.
            async with asyncio.timeout(PROBE_ANSWER_S):
                await connection.execute(PROBE, [self._channel, probe])
                async with aclosing(connection.notifies()) as notices:
                    async for notice in notices:
                        if notice.payload == probe:
                            break
                        self._on_notice(notice.payload)
            if self.degraded is not None:
                log.info("listening for wake-ups")
                self.degraded = None
                backoff.reset()
                # Whatever was said while nobody listened is unknown: look once.
                self._rung.set()
            async for notice in connection.notifies(timeout=PROBE_EVERY_S):
                self._on_notice(notice.payload)

    def _on_notice(self, payload: str) -> None:
        if payload.startswith("c"):
            self._on_cancellation()
        elif payload.startswith("q"):
            named = payload[1:].split(",")
            if "*" in named or not self._queues.isdisjoint(named):
                self._rung.set()
