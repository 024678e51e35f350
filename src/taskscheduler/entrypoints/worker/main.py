"""One worker in this process, until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from taskscheduler.entrypoints.signals import on_signals
from taskscheduler.entrypoints.worker.processes import end_with_supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from taskscheduler.entrypoints.process_container import ProcessContainer
    from taskscheduler.entrypoints.settings import WorkerSettings

log = logging.getLogger("taskscheduler.worker")


async def run_worker(container: ProcessContainer, settings: WorkerSettings, *, banner: str) -> None:
    """Run a worker until SIGTERM or SIGINT; a second signal ends it at once.

    It ends as well when the process is gone that supervises it. The ``banner`` is logged once all
    that could be refused has been looked at: who is refused reads one line, the reason.
    """
    end_with_supervisor()
    worker = container.worker()
    on_signals(worker.stop)
    async with container.scheduler(), _shown(container, settings):
        log.info("%s", banner)
        await worker.run(until_drained=settings.drain)


@asynccontextmanager
async def _shown(container: ProcessContainer, settings: WorkerSettings) -> AsyncGenerator[None]:
    """Serve the worker's metrics meanwhile, if a port is given for them."""
    if settings.metrics_port is None:
        yield
        return
    from taskscheduler.entrypoints.http.server import (  # noqa: PLC0415 - when asked for
        address_of,
        bind,
        build_server,
    )
    from taskscheduler.entrypoints.metrics import asgi  # noqa: PLC0415 - the same

    with bind(settings.metrics_host, settings.metrics_port) as listening:
        server = build_server(asgi(container.metrics()), lifespan="off")
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        log.info("metrics are at %s/metrics", address_of(listening))
        try:
            yield
        finally:
            server.stop()
            await serving
