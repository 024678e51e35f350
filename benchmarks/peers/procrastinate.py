"""Procrastinate: fifty jobs at once over a pool of twenty connections."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from procrastinate import App, PsycopgConnector

from benchmarks.protocol import Handled, Options, serve

if TYPE_CHECKING:
    from datetime import datetime

BATCH: Final = 2_000


class Procrastinate:
    """Its application, with one task."""

    def __init__(self) -> None:
        """Nothing is connected yet."""
        self._app = App(connector=PsycopgConnector(conninfo=Options.url, min_size=10, max_size=20))
        self._handled = Handled()

        @self._app.task(name="noop", queue="bench")
        async def noop(number: int) -> None:
            self._handled(number)

        self._noop = noop

    async def install(self) -> None:
        """As `procrastinate schema --apply` does."""
        async with self._app.open_async():
            await self._app.schema_manager.apply_schema_async()

    async def open(self) -> None:
        """Open the pool."""
        await self._app.open_async()

    async def close(self) -> None:
        """Close the pool."""
        await self._app.close_async()

    async def bulk(self, numbers: range) -> None:
        """Lists of two thousand."""
        for first in range(0, len(numbers), BATCH):
            chunk = numbers[first : first + BATCH]
            await self._noop.batch_defer_async(*({"number": number} for number in chunk))

    async def single(self, number: int) -> None:
        """One job."""
        await self._noop.defer_async(number=number)

    async def later(self, number: int, due: datetime) -> None:
        """At a time."""
        await self._noop.configure(schedule_at=due).defer_async(number=number)

    async def work(self, handled: Handled, stopping: asyncio.Event) -> None:
        """Run its worker, which listens by default."""
        self._handled = handled
        worker = asyncio.create_task(
            self._app.run_worker_async(
                queues=["bench"], concurrency=50, install_signal_handlers=False
            )
        )
        stop = asyncio.create_task(stopping.wait())
        stop.add_done_callback(lambda _: worker.cancel())
        await worker


if __name__ == "__main__":
    serve(Procrastinate())
