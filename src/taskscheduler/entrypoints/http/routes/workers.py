"""The call that lists workers."""

from __future__ import annotations

from litestar import Response, get
from litestar.di import NamedDependency

from taskscheduler.application.client.scheduler import Scheduler
from taskscheduler.entrypoints.http.middleware.access import reached_by
from taskscheduler.entrypoints.http.openapi import error_responses
from taskscheduler.entrypoints.http.openapi import operations as docs
from taskscheduler.entrypoints.http.responses import answer
from taskscheduler.entrypoints.messages.workers import WorkerMessage


@get(
    "/workers",
    opt=reached_by("read"),
    operation_class=docs.Documented,
    responses=error_responses.COUNTING,
    summary="List workers",
    tags=["workers"],
)
async def list_workers(scheduler: NamedDependency[Scheduler]) -> Response[list[WorkerMessage]]:
    """List the workers that are registered, with how many tasks each holds."""
    return answer([WorkerMessage.of(load) for load in await scheduler.workers()])
