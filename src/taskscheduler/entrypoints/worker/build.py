"""A worker from its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from taskscheduler.application.maintenance.pruner import Retention
from taskscheduler.application.worker.worker import Worker
from taskscheduler.entrypoints.export import exporter

if TYPE_CHECKING:
    from taskscheduler.application.client.scheduler import Scheduler
    from taskscheduler.application.metrics.observer import Observer
    from taskscheduler.application.worker.handlers import Handlers
    from taskscheduler.entrypoints.settings import WorkerSettings


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
