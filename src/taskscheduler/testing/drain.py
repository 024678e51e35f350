"""Running what is due, now, in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskscheduler.application.worker import Worker

if TYPE_CHECKING:
    from taskscheduler.application.handlers import Handlers
    from taskscheduler.application.scheduler import Scheduler


async def drain(scheduler: Scheduler, handlers: Handlers, *, queue: str = "default") -> int:
    """Run every task of ``queue`` that is due, and what those schedule; return how many attempts.

    What is due later stays: move the clock and drain again.
    """
    worker = Worker(scheduler, handlers, queues=[queue], random=lambda: 0.0)
    try:
        return await worker.drain()
    finally:
        await worker.leave()
