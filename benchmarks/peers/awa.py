"""Awa: queue storage, which a fresh database gets, 512 workers, one claimer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from awa import AsyncClient

from benchmarks.protocol import Handled, Options, serve

if TYPE_CHECKING:
    import asyncio
    from datetime import datetime

BATCH: Final = 10_000
URL: Final = Options.url.replace("@/", "@localhost/")  # it wants a host, and then takes the socket


@dataclass
class Noop:
    """The arguments."""

    number: int


class Awa:
    """Its asynchronous client."""

    _client: AsyncClient

    async def install(self) -> None:
        """As `awa migrate` does."""
        client = AsyncClient(URL)
        await client.migrate()
        await client.install_queue_storage()
        await client.close()

    async def open(self) -> None:
        """A pool of its own."""
        self._client = AsyncClient(URL, max_connections=20)

    async def close(self) -> None:
        """Close the pool."""
        await self._client.close()

    async def bulk(self, numbers: range) -> None:
        """COPY, ten thousand a call."""
        for first in range(0, len(numbers), BATCH):
            jobs = [Noop(number) for number in numbers[first : first + BATCH]]
            await self._client.enqueue_many_copy(jobs, queue="bench")

    async def single(self, number: int) -> None:
        """One job."""
        await self._client.insert(Noop(number), queue="bench")

    async def later(self, number: int, due: datetime) -> None:
        """At a time."""
        await self._client.insert(Noop(number), queue="bench", run_at=due)

    async def work(self, handled: Handled, stopping: asyncio.Event) -> None:
        """Run its workers in this process."""

        @self._client.task(Noop, queue="bench")
        async def noop(job) -> None:
            handled(job.args.number)

        await self._client.start([("bench", 512)])
        await stopping.wait()
        await self._client.shutdown()


if __name__ == "__main__":
    serve(Awa())
