"""The yardstick: the least that a queue in PostgreSQL can do by psycopg, with nothing kept.

One table, claim by UPDATE and completion by DELETE in batches; INSERTs of one row; COPY. No
retries, no history, no fencing, no heartbeat.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg_pool import AsyncConnectionPool

from benchmarks.protocol import Handled, Options, serve

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

BATCH: Final = 500
CONNECTIONS: Final = 10
POLL_S: Final = 0.001
MAKE: Final = """
CREATE TABLE bare (id bigserial PRIMARY KEY, run_at timestamptz NOT NULL DEFAULT now(),
                   payload json NOT NULL, claimed boolean NOT NULL DEFAULT false);
CREATE INDEX bare_due ON bare (run_at, id) WHERE NOT claimed"""
# An array, not IN: once the table is analyzed, IN becomes a join with a scan of the whole of it,
# and the yardstick would be a third shorter.
CLAIM: Final = """
UPDATE bare SET claimed = true WHERE id = ANY (ARRAY(
    SELECT id FROM bare WHERE NOT claimed AND run_at <= now()
    ORDER BY run_at, id LIMIT %s FOR UPDATE SKIP LOCKED))
RETURNING id, payload"""
COMPLETE: Final = "DELETE FROM bare WHERE id = ANY(%s)"
INSERT: Final = "INSERT INTO bare (payload) VALUES (%s)"
INSERT_LATER: Final = "INSERT INTO bare (payload, run_at) VALUES (%s, %s)"
COPY: Final = "COPY bare (payload) FROM STDIN"


class Bare:
    """A loop of two statements."""

    def __init__(self) -> None:
        """Nothing is connected yet."""
        self._pool: AsyncConnectionPool[psycopg.AsyncConnection[Any]] = AsyncConnectionPool(
            Options.url, min_size=0, max_size=CONNECTIONS, open=False, kwargs={"autocommit": True}
        )

    async def install(self) -> None:
        """Make the one table."""
        async with await psycopg.AsyncConnection.connect(Options.url) as connection:
            await connection.execute(MAKE)

    async def open(self) -> None:
        """Connect before anybody looks at the clock."""
        await self._pool.open()
        await self._pool.resize(CONNECTIONS, CONNECTIONS)
        await self._pool.wait()

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.close()

    async def bulk(self, numbers: range) -> None:
        """COPY."""
        async with (
            self._pool.connection() as connection,
            connection.transaction(),
            connection.cursor() as cursor,
            cursor.copy(COPY) as copy,
        ):
            for number in numbers:
                await copy.write_row((str(number),))

    async def single(self, number: int) -> None:
        """INSERT one row and commit."""
        async with self._pool.connection() as connection:
            await connection.execute(INSERT, [str(number)])

    async def later(self, number: int, due: datetime) -> None:
        """INSERT one row with its time."""
        async with self._pool.connection() as connection:
            await connection.execute(INSERT_LATER, [str(number), due])

    async def work(self, handled: Handled, stopping: asyncio.Event) -> None:
        """Claim, handle, delete; when there is nothing, look again in a millisecond."""
        async with self._pool.connection() as connection:
            while not stopping.is_set():
                cursor = await connection.execute(CLAIM, [BATCH], binary=True)
                rows = await cursor.fetchall()
                if not rows:
                    await asyncio.sleep(POLL_S)
                    continue
                await _handle(rows, handled)
                await connection.execute(COMPLETE, [[row[0] for row in rows]])


async def _handle(rows: Sequence[Any], handled: Handled) -> None:
    for row in rows:
        await _noop(row[1], handled)


async def _noop(number: int, handled: Handled) -> None:
    handled(number)


if __name__ == "__main__":
    serve(Bare())
