"""One worker in this process, until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from taskscheduler.application.maintenance.pruner import Retention
from taskscheduler.application.worker.worker import Worker
from taskscheduler.entrypoints.export import exporter
from taskscheduler.entrypoints.signals import on_signals
from taskscheduler.entrypoints.worker.processes import end_with_supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from taskscheduler.application.client.scheduler import Scheduler
    from taskscheduler.application.metrics.attempt_stats import AttemptStats
    from taskscheduler.application.metrics.observer import Observer
    from taskscheduler.application.worker.handlers import Handlers
    from taskscheduler.entrypoints.settings import WorkerSettings

log = logging.getLogger("taskscheduler.worker")


def build_worker(
    scheduler: Scheduler,
    handlers: Handlers,
    settings: WorkerSettings,
    observer: Observer | None = None,
) -> Worker:
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
            audit=settings.retention_audit,
        ),
        observer=observer,
        result_bytes_max=settings.result_bytes_max,
    )


async def run_worker(
    scheduler: Scheduler, handlers: Handlers, settings: WorkerSettings, *, banner: str
) -> None:
    """Run a worker until SIGTERM or SIGINT; a second signal ends it at once.

    It ends as well when the process is gone that supervises it. The ``banner`` is logged once all
    that could be refused has been looked at: who is refused reads one line, the reason.
    """
    end_with_supervisor()
    if settings.metrics_port is None:
        worker = build_worker(scheduler, handlers, settings)
        on_signals(worker.stop)
        async with scheduler:
            log.info("%s", banner)
            await worker.run(until_drained=settings.drain)
        return
    from taskscheduler.application.metrics.attempt_stats import AttemptStats  # noqa: PLC0415 - when asked for

    tally = AttemptStats(handlers)
    worker = build_worker(scheduler, handlers, settings, tally)
    on_signals(worker.stop)
    async with scheduler, _shown(scheduler, worker, tally, settings):
        log.info("%s", banner)
        await worker.run(until_drained=settings.drain)


@asynccontextmanager
async def _shown(
    scheduler: Scheduler, worker: Worker, tally: AttemptStats, settings: WorkerSettings
) -> AsyncGenerator[None]:
    """Serve the worker's metrics meanwhile."""
    from taskscheduler.entrypoints.http.server import (  # noqa: PLC0415 - when asked for
        address_of,
        bind,
        build_server,
    )
    from taskscheduler.entrypoints.metrics import Metrics, asgi  # noqa: PLC0415 - the same

    metrics = Metrics(scheduler.store)
    metrics.worker, metrics.tally = worker, tally
    with bind(settings.metrics_host, settings.metrics_port or 0) as listening:
        server = build_server(asgi(metrics), lifespan="off")
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        log.info("metrics are at %s/metrics", address_of(listening))
        try:
            yield
        finally:
            server.stop()
            await serving
