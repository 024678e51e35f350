"""The REST service as a Litestar application."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from litestar import Litestar
from litestar.di import Provide

from taskscheduler.application.backoff import Backoff
from taskscheduler.application.client.scheduler import Scheduler
from taskscheduler.application.distribution import release
from taskscheduler.domain.errors import SchemaMismatch, StoreUnavailable
from taskscheduler.entrypoints.http.errors import HANDLERS
from taskscheduler.entrypoints.http.middleware.access import seen_by_caller
from taskscheduler.entrypoints.http.middleware.browser_security import (
    add_headers,
    cors_config,
    own_pages_only,
)
from taskscheduler.entrypoints.http.middleware.head_requests import with_heads
from taskscheduler.entrypoints.http.middleware.hosts import Hosts, Proxies, called
from taskscheduler.entrypoints.http.middleware.request_log import with_request_log
from taskscheduler.entrypoints.http.middleware.tracing import traced
from taskscheduler.entrypoints.http.openapi import error_responses
from taskscheduler.entrypoints.http.openapi import operations as docs
from taskscheduler.entrypoints.http.routes.audit import list_audit
from taskscheduler.entrypoints.http.routes.batches import batch_router
from taskscheduler.entrypoints.http.routes.dashboard import page_router
from taskscheduler.entrypoints.http.routes.events import event_router
from taskscheduler.entrypoints.http.routes.limits import limit_router
from taskscheduler.entrypoints.http.routes.queues import operating_router
from taskscheduler.entrypoints.http.routes.schedules import schedule_router
from taskscheduler.entrypoints.http.routes.tasks import TaskRules, task_router
from taskscheduler.entrypoints.process import Process
from taskscheduler.entrypoints.request_metrics import Requests
from taskscheduler.entrypoints.settings import BODY_BYTES_MAX_DEFAULT

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from taskscheduler.entrypoints.http.middleware.access import Access
    from taskscheduler.entrypoints.metrics import Metrics

from taskscheduler.entrypoints.http.routes.health import healthz, metrics, readyz

ANNOUNCE_S: Final = 2.0

log = logging.getLogger("taskscheduler.http")


def create_app(  # noqa: PLR0913 - each is one thing that whoever embeds it may choose
    scheduler: Scheduler,
    *,
    kinds: Mapping[str, int] | None = None,
    rules: TaskRules | None = None,
    body_bytes_max: int = BODY_BYTES_MAX_DEFAULT,
    open_scheduler: bool = True,
    access: Access | None = None,
    cors_origins: Sequence[str] = (),
    access_log: bool = True,
    hosts: Hosts | None = None,
    proxies: Proxies | None = None,
    process: Process | None = None,
) -> Litestar:
    """Return the service over ``scheduler``.

    Without ``access`` it is open to all who reach it. Pages of ``cors_origins`` may call it.

    ``kinds`` are made known at the start, each with the attempts that its handler grants.
    ``open_scheduler`` is False where somebody else keeps the scheduler open.
    ``access_log`` is whether each request leaves a line in the log.
    ``hosts`` are the service's names, ``proxies`` those who are believed about callers' addresses.
    ``process`` is what else runs here, where metrics and ``/readyz`` are to tell of it; its
    ``requests`` count what a server refuses itself.
    """
    process = process or Process()
    requests = process.requests or Requests()
    process = replace(process, requests=requests)

    @cache
    def metrics_of_process() -> Metrics:
        from taskscheduler.entrypoints.metrics import Metrics  # noqa: PLC0415 - when asked for

        return Metrics(scheduler.store, process)

    app = Litestar(
        route_handlers=[
            healthz,
            readyz,
            metrics,
            task_router(scheduler, rules),
            batch_router(scheduler, rules),
            schedule_router(scheduler, rules),
            operating_router(scheduler),
            limit_router(scheduler),
            event_router(scheduler),
            list_audit,
            page_router(),
        ],
        dependencies={
            "scheduler": Provide(seen_by_caller(scheduler), sync_to_thread=False),
            "listener": Provide(lambda: lambda: process.listener, sync_to_thread=False),
            "metrics": Provide(lambda: metrics_of_process, sync_to_thread=False),
        },
        guards=None if access is None else [access.guard()],
        middleware=[own_pages_only(cors_origins)] if access is None else None,
        cors_config=cors_config(cors_origins),
        before_send=[add_headers],
        exception_handlers=dict(HANDLERS),
        lifespan=[_lifespan(scheduler, kinds or {}, open_scheduler=open_scheduler)],
        openapi_config=docs.openapi_config(release(), closed=access is not None),
        plugins=[error_responses.RefusedByAccess(closed=access is not None)],
        request_max_body_size=body_bytes_max,
        logging_config=None,
    )
    app.asgi_handler = called(app.asgi_handler, hosts or Hosts(), proxies or Proxies())
    app.asgi_handler = with_request_log(
        with_heads(app.asgi_handler), requests, log_lines=access_log
    )
    if scheduler.tracing is not None:
        # Outermost, so that the request's own line in the log names its trace, too.
        app.asgi_handler = traced(app.asgi_handler, scheduler.tracing)
    return app


def _lifespan(
    scheduler: Scheduler, kinds: Mapping[str, int], *, open_scheduler: bool
) -> Callable[[Litestar], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def announced() -> AsyncGenerator[None]:
        task = asyncio.create_task(_announce(scheduler, kinds))
        # The first request should find them known, unless the database is away.
        await asyncio.wait([task], timeout=ANNOUNCE_S)
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncGenerator[None]:
        if open_scheduler:
            async with scheduler, announced():
                yield
        else:
            async with announced():
                yield

    return lifespan


async def _announce(scheduler: Scheduler, kinds: Mapping[str, Any]) -> None:
    """Make ``kinds`` known, as soon as the database and its schema are there."""
    backoff = Backoff()
    while kinds:
        try:
            await scheduler.store.kinds.register(kinds)
        except (StoreUnavailable, SchemaMismatch) as error:
            log.warning("waiting for the database: %s", error)
            await backoff.sleep()
        else:
            return
