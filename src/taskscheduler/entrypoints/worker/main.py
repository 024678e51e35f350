"""One worker in this process, until it is told to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskscheduler.application.retention import Retention
from taskscheduler.application.worker import Worker
from taskscheduler.entrypoints.exporting import exporter
from taskscheduler.entrypoints.signals import on_signals

if TYPE_CHECKING:
    from taskscheduler.application.handlers import Handlers
    from taskscheduler.application.scheduler import Scheduler
    from taskscheduler.entrypoints.settings import WorkerSettings


def build_worker(scheduler: Scheduler, handlers: Handlers, settings: WorkerSettings) -> Worker:
    """Return the worker that ``settings`` describe."""
    return Worker(
        scheduler,
        handlers,
        queues=settings.queues,
        concurrency=settings.concurrency,
        lease=settings.lease,
        poll_interval=settings.poll_interval,
        shutdown_timeout=settings.shutdown_timeout,
        retention=Retention(
            scheduler.store,
            settings.retention,
            settings.retention_export and exporter(settings.retention_export),
        ),
    )


async def run_worker(scheduler: Scheduler, handlers: Handlers, settings: WorkerSettings) -> None:
    """Run a worker until SIGTERM or SIGINT; a second signal ends it at once."""
    worker = build_worker(scheduler, handlers, settings)
    on_signals(worker.stop)
    async with scheduler:
        await worker.run(until_drained=settings.drain)
