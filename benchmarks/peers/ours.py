"""taskscheduler, everything switched on: history, retries, leases, heartbeats, logs at INFO."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

from benchmarks.protocol import Handled, Options, serve
from taskscheduler import Context, Handlers, Scheduler, Worker
from taskscheduler.container import migrate_schema
from taskscheduler.entrypoints.logs import configure_logs
from taskscheduler.entrypoints.settings import LogFormat, LogLevel

if TYPE_CHECKING:
    from datetime import datetime

BATCH: Final = 10_000


def noop_handlers(handled: Handled) -> Handlers:
    """Return a handler that counts, and does nothing else."""
    handlers = Handlers()

    @handlers.register("noop")
    async def noop(_: Context, number: int) -> None:
        handled(number)

    return handlers


def scheduler() -> Scheduler:
    """Return one whose workers are woken as the environment says."""
    match os.environ.get("BENCH_WAKEUPS"):
        case "poll":
            return Scheduler.postgres(Options.url, wakeups="poll:")
        case "rabbitmq":
            return Scheduler.postgres(Options.url, wakeups=os.environ["BENCH_RABBITMQ_URL"])
        case "sqs":
            queue = os.environ["BENCH_SQS_QUEUE_URL"]
            return Scheduler.postgres(Options.url, wakeups=f"sqs+{queue}")
        case _:
            return Scheduler.postgres(Options.url)


class Ours:
    """Its defaults, all of them."""

    def __init__(self) -> None:
        """Nothing is connected yet."""
        self._scheduler = scheduler()
        self._workers: list[Worker] = []

    async def install(self) -> None:
        """As `taskscheduler migrate` does."""
        await migrate_schema(Options.url, "taskscheduler")

    async def open(self) -> None:
        """As an application would for its whole life."""
        await self._scheduler.__aenter__()

    async def close(self) -> None:
        """As an application would at its end."""
        await self._scheduler.__aexit__(None, None, None)

    async def bulk(self, numbers: range) -> None:
        """Up to ten thousand a call, which is what the REST service allows too."""
        for first in range(0, len(numbers), BATCH):
            chunk = numbers[first : first + BATCH]
            await self._scheduler.schedule_many([("noop", number) for number in chunk])

    async def single(self, number: int) -> None:
        """One call, one acknowledged commit, shared with whoever calls at the same moment."""
        await self._scheduler.schedule("noop", number)

    async def later(self, number: int, due: datetime) -> None:
        """At a time."""
        await self._scheduler.schedule("noop", number, execute_at=due)

    async def work(self, handled: Handled, stopping: asyncio.Event) -> None:
        """Run a worker as `taskscheduler worker` does; or several, where that is measured."""
        configure_logs(LogLevel.INFO, LogFormat.JSON)
        queue = os.environ.get("BENCH_QUEUE", "default")
        self._workers = [
            Worker(self._scheduler, noop_handlers(handled), queues=[queue])
            for _ in range(int(os.environ.get("BENCH_WORKERS", "1")))
        ]
        stop = asyncio.create_task(stopping.wait())
        stop.add_done_callback(lambda _: [worker.stop() for worker in self._workers])
        await asyncio.gather(*(worker.run() for worker in self._workers))

    async def hearing(self) -> dict[str, int]:
        """Count the workers that hear of new work, or were told to poll."""
        listeners = [worker.listener for worker in self._workers]
        return {"workers": sum(each is not None and each.degraded is None for each in listeners)}


if __name__ == "__main__":
    serve(Ours())
