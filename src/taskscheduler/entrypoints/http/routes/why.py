"""The call that says why a task is where it is."""

from __future__ import annotations

from litestar import Response, get
from litestar.di import NamedDependency

from taskscheduler.application.client.scheduler import Scheduler
from taskscheduler.entrypoints.http.middleware.access import reached_by
from taskscheduler.entrypoints.http.openapi import error_responses
from taskscheduler.entrypoints.http.openapi import operations as docs
from taskscheduler.entrypoints.http.parameters import TaskIdText, uuid_of
from taskscheduler.entrypoints.http.responses import answer
from taskscheduler.entrypoints.messages.why import WhyMessage


@get(
    "/tasks/{task_id:str}/why",
    opt=reached_by("read", tenants=True),
    operation_class=docs.Documented,
    responses=error_responses.FINDING,
    summary="Why is it not running?",
)
async def why_task(
    task_id: TaskIdText, scheduler: NamedDependency[Scheduler]
) -> Response[WhyMessage]:
    """Say what keeps a task from running, or which worker runs it, or how it ended."""
    return answer(WhyMessage.of(await scheduler.why(uuid_of(task_id))))
