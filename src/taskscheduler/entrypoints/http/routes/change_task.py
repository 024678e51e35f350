"""The calls that change one task."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from litestar import Request, Response, patch, post
from litestar.di import NamedDependency

from taskscheduler.application.client.scheduler import Scheduler
from taskscheduler.domain.errors import TaskChanged
from taskscheduler.domain.status import Event, after
from taskscheduler.entrypoints.http import parameters
from taskscheduler.entrypoints.http.decoding import decoded, decoder
from taskscheduler.entrypoints.http.errors import BadRequest
from taskscheduler.entrypoints.http.middleware.access import reached_by
from taskscheduler.entrypoints.http.openapi import error_responses
from taskscheduler.entrypoints.http.openapi import operations as docs
from taskscheduler.entrypoints.http.parameters import TaskIdText, tags_of, uuid_of
from taskscheduler.entrypoints.http.responses import tag_of, whole
from taskscheduler.entrypoints.messages.tasks import TaskEditMessage, TaskWithAttempts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from litestar.handlers import HTTPRouteHandler

    from taskscheduler.domain.task import Task

EDITABLE: Final = "execute_at, payload, priority, group"

decode_edit = decoder(TaskEditMessage)


@patch(
    "/tasks/{task_id:str}",
    opt=reached_by("write", tenants=True),
    operation_class=docs.EditTask,
    responses=error_responses.EDITING,
    summary="Change a task that waits",
)
async def edit_task(
    request: Request[Any, Any, Any], task_id: TaskIdText, scheduler: NamedDependency[Scheduler]
) -> Response[TaskWithAttempts]:
    """Change the time, payload, priority or group of a Pending task.

    With `If-Match`, only if the task is still what it was under that `ETag`.
    """
    message: TaskEditMessage = decoded(decode_edit, await request.body())
    changes = message.changes()
    if not changes:
        raise BadRequest("$", f"give at least one of {EDITABLE}")
    expected: Task | None = None
    if (tags := tags_of(request)) is not None:
        expected = await scheduler.get(uuid_of(task_id))
        after(expected.status, Event.EDIT)
        if await tag_of(scheduler, expected) not in tags:
            raise TaskChanged(expected.id)
    changed = await scheduler.edit(uuid_of(task_id), expected=expected, **changes)
    return await whole(request, scheduler, changed)


def changing(
    name: str, verb: Callable[[Scheduler, UUID], Awaitable[Task]], summary: str, description: str
) -> HTTPRouteHandler:
    """Return the call that does ``verb`` to one task and answers with what it is then."""

    async def change_task(
        request: Request[Any, Any, Any], task_id: TaskIdText, scheduler: NamedDependency[Scheduler]
    ) -> Response[TaskWithAttempts]:
        return await whole(request, scheduler, await verb(scheduler, uuid_of(task_id)))

    return post(
        f"/tasks/{{task_id:str}}/{name}",
        name=f"{name}_task",
        opt=reached_by("write", tenants=True),
        status_code=HTTPStatus.OK,
        operation_class=docs.Documented,
        responses=error_responses.CHANGING,
        summary=summary,
        description=description,
    )(change_task)


cancel_task = changing(
    "cancel",
    lambda scheduler, task_id: scheduler.cancel(task_id),
    "Cancel a task",
    "Cancel a task that is Pending or InProgress; a running handler is told to stop.",
)
run_task = changing(
    "run",
    lambda scheduler, task_id: scheduler.run_now(task_id),
    "Run a task now",
    "Make a Pending task due now, whatever its time was.",
)


@post(
    "/tasks/{task_id:str}/retry",
    opt=reached_by("write", tenants=True),
    status_code=HTTPStatus.OK,
    operation_class=docs.Documented,
    responses=error_responses.RETRYING,
    summary="Retry a task",
)
async def retry_task(
    request: Request[Any, Any, Any],
    task_id: TaskIdText,
    scheduler: NamedDependency[Scheduler],
    at: parameters.RetryAt = None,
) -> Response[TaskWithAttempts]:
    """Let a Failed or Cancelled task run again, with at least one more attempt.

    Its `process_at` in the answer tells when. A Failed task is due now. A Cancelled one comes back
    to its own `execute_at`, or is due now if that has passed; `at` asks for another time.
    """
    moment = parameters.retry_time_of(at)
    return await whole(request, scheduler, await scheduler.retry(uuid_of(task_id), at=moment))
