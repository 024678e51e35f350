"""A worker in a process of its own, for ``test_limits_under_load``: it may be killed."""

from __future__ import annotations

import asyncio
import random
import sys
from datetime import timedelta

from taskscheduler import Context, Handlers, Retry, RetryPolicy, Scheduler, Worker

handlers = Handlers()


@handlers.register("job", retry=RetryPolicy(max_attempts=50))
async def job(context: Context, sleep_ms: float) -> None:
    """Take a little while, and fail now and then."""
    await asyncio.sleep(sleep_ms / 1_000)
    if context.attempt == 1 and random.random() < 0.1:
        raise Retry(timedelta(milliseconds=5))


async def main(url: str, schema: str) -> None:
    """Work until killed."""
    async with Scheduler.postgres(url, schema=schema) as scheduler:
        worker = Worker(
            scheduler,
            handlers,
            concurrency=10,
            lease=timedelta(seconds=2),
            poll_interval=timedelta(seconds=1),
        )
        await worker.run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
