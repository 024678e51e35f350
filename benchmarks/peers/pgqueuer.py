"""PgQueuer, on asyncpg as its authors advise, batches of 500 to drain and of 10 to be quick."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
from pgqueuer import QueueManager
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from benchmarks.protocol import Handled, Options, serve

BATCH: Final = 5_000
CONNECTIONS: Final = 10


class PgQueuer:
    """The library's own queries and queue manager."""

    _pool: Any
    _queries: Queries

    async def install(self) -> None:
        """As `pgq install` does."""
        connection = await asyncpg.connect(Options.url)
        await Queries.from_asyncpg_connection(connection).install()
        await connection.close()

    async def open(self) -> None:
        """A pool to store by."""
        self._pool = await asyncpg.create_pool(
            Options.url, min_size=CONNECTIONS, max_size=CONNECTIONS
        )
        self._queries = Queries.from_asyncpg_pool(self._pool)

    async def close(self) -> None:
        """Close the pool, however it feels about it."""
        self._pool.terminate()

    async def bulk(self, numbers: range) -> None:
        """Lists of five thousand."""
        for first in range(0, len(numbers), BATCH):
            chunk = numbers[first : first + BATCH]
            payloads: list[bytes | None] = [str(number).encode() for number in chunk]
            await self._queries.enqueue(["noop"] * len(chunk), payloads, [0] * len(chunk))

    async def single(self, number: int) -> None:
        """One job."""
        await self._queries.enqueue("noop", str(number).encode())

    async def later(self, number: int, due: datetime) -> None:
        """It takes a delay, not a time; its clock is the database's, which is this machine's."""
        delay: timedelta = due - datetime.now(UTC)
        await self._queries.enqueue("noop", str(number).encode(), execute_after=delay)

    async def work(self, handled: Handled, stopping: asyncio.Event) -> None:
        """One queue manager on a connection of its own."""
        connection = await asyncpg.connect(Options.url)
        manager = QueueManager(Queries.from_asyncpg_connection(connection))

        @manager.entrypoint("noop")
        async def noop(job: Job) -> None:
            handled(int(job.payload or b"0"))

        stop = asyncio.create_task(stopping.wait())
        stop.add_done_callback(lambda _: manager.shutdown.set())
        await manager.run(batch_size=500 if Options.patient else 10)


if __name__ == "__main__":
    serve(PgQueuer())
