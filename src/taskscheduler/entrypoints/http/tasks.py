"""The calls on tasks."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from litestar import Request, Response, Router, delete, get, post, route
from litestar.di import NamedDependency, Provide
from litestar.params import QueryParameter

from taskscheduler.application.preparing import encode_payload
from taskscheduler.application.scheduler import Scheduler
from taskscheduler.domain.errors import InvalidTask
from taskscheduler.domain.query import LIMIT_DEFAULT, LIMIT_MAX
from taskscheduler.domain.task import NewTask, TaskId
from taskscheduler.entrypoints.http import asking, refusals
from taskscheduler.entrypoints.http import documentation as docs
from taskscheduler.entrypoints.http.access import reached_by, seen_by_caller
from taskscheduler.entrypoints.http.answering import answer, next_page, whole
from taskscheduler.entrypoints.http.asking import TaskIdText, TaskRules, uuid_of
from taskscheduler.entrypoints.http.bulk import cancel_tasks, delete_tasks, retry_tasks
from taskscheduler.entrypoints.http.changing import cancel_task, edit_task, retry_task, run_task
from taskscheduler.entrypoints.http.errors import HANDLERS, BadRequest, decoded
from taskscheduler.entrypoints.http.explaining import why_task
from taskscheduler.entrypoints.http.messages import (
    BATCH_MAX,
    NewTaskMessage,
    Stored,
    StoredMany,
    TaskMessage,
    TaskWithAttempts,
)
from taskscheduler.entrypoints.http.options import options_of
from taskscheduler.entrypoints.http.results import await_result

decode_one = msgspec.json.Decoder(NewTaskMessage)
decode_many = msgspec.json.Decoder(list[NewTaskMessage])


@route(
    "/tasks",
    http_method=["PUT", "POST"],
    opt=reached_by("write", tenants=True),
    status_code=HTTPStatus.CREATED,
    operation_class=docs.StoreTask,
    responses=refusals.STORING,
    summary="Store a task",
)
async def store_task(
    request: Request[Any, Any, Any],
    scheduler: NamedDependency[Scheduler],
    rules: NamedDependency[TaskRules],
) -> Response[Stored]:
    """Store a task, to be run at or after ``execute_at``; left out, that is now.

    Storing the same ``id`` or ``unique_key`` again answers with the task that is there.
    """
    body = await request.body()
    message: NewTaskMessage = decoded(decode_one, body)
    task = new_task(scheduler, message)
    await asking.require_known(scheduler, rules, {task.kind: "$.kind"})
    if (idempotency := asking.idempotency_of(request, body)) is None:
        task_id = await scheduler.put(task)
    else:
        (task_id,) = await scheduler.put_many([task], idempotency=idempotency)
    return answer(
        Stored(task_id),
        HTTPStatus.CREATED,
        {"Location": f"{request.url.path.rstrip('/')}/{task_id}"},
    )


@post(
    "/tasks/batch",
    opt=reached_by("write", tenants=True),
    operation_class=docs.StoreTasks,
    responses=refusals.STORING,
    summary="Store many tasks, all or none",
)
async def store_tasks(
    request: Request[Any, Any, Any],
    scheduler: NamedDependency[Scheduler],
    rules: NamedDependency[TaskRules],
) -> Response[StoredMany]:
    """Store up to 10,000 tasks in one transaction. The ids come in the order of the tasks."""
    body = await request.body()
    messages: list[NewTaskMessage] = decoded(decode_many, body)
    if not 1 <= len(messages) <= BATCH_MAX:
        raise BadRequest("$", f"a batch has 1 to {BATCH_MAX} tasks, not {len(messages)}")
    tasks: list[NewTask] = []
    first: dict[str, int] = {}
    for index, message in enumerate(messages):
        first.setdefault(message.kind, index)
        try:
            tasks.append(new_task(scheduler, message))
        except InvalidTask as error:
            error.index = index
            raise
    places = {kind: f"$[{index}].kind" for kind, index in first.items()}
    await asking.require_known(scheduler, rules, places)
    ids = await scheduler.put_many(tasks, idempotency=asking.idempotency_of(request, body))
    return answer(StoredMany(list(ids)), HTTPStatus.CREATED)


@get(
    "/tasks",
    operation_class=docs.Documented,
    opt=reached_by("read", tenants=True),
    responses=refusals.LISTING,
    summary="List tasks, newest first",
)
async def list_tasks(
    request: Request[Any, Any, Any],
    scheduler: NamedDependency[Scheduler],
    rules: NamedDependency[TaskRules],
    filters: asking.Filters = None,
    limit: Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT,
    cursor: asking.Cursor = None,
) -> Response[list[TaskMessage]]:
    """List tasks. While there are more, the Link header names the next page.

    Pages neither skip nor repeat a task, whatever is stored meanwhile.
    """
    asking.only_known(request, ("filter", "limit", "cursor"))
    query = asking.query_of(filters, cursor, limit + 1)
    if query is None:
        return answer([])
    if query.kind is not None:
        await asking.require_known(scheduler, rules, {query.kind: "filter"})
    found = await scheduler.list(query)
    page = found[:limit]
    headers: dict[str, str] = {}
    if len(found) > limit:
        following = [
            *(("filter", each) for each in filters or []),
            ("limit", limit),
            ("cursor", page[-1].id),
        ]
        headers = next_page(request, following)
    return answer([TaskMessage.of(task) for task in page], headers=headers)


@get(
    "/tasks/{task_id:str}",
    operation_class=docs.Documented,
    opt=reached_by("read", tenants=True),
    responses=refusals.FINDING,
    summary="Look at one task",
)
async def get_task(
    task_id: TaskIdText, scheduler: NamedDependency[Scheduler]
) -> Response[TaskWithAttempts]:
    """Return a task as it is now, with its attempts and their errors, the oldest first."""
    return await whole(scheduler, await scheduler.get(uuid_of(task_id)))


@delete(
    "/tasks/{task_id:str}",
    opt=reached_by("write", tenants=True),
    status_code=HTTPStatus.NO_CONTENT,
    operation_class=docs.Documented,
    responses=refusals.CHANGING,
    summary="Delete a task",
)
async def delete_task(
    task_id: TaskIdText,
    scheduler: NamedDependency[Scheduler],
    force: Annotated[
        bool, QueryParameter(description="cancel and delete a task even while it is in progress")
    ] = False,
) -> None:
    """Remove a task and its history."""
    await scheduler.delete(uuid_of(task_id), force=force)


def task_router(scheduler: Scheduler, rules: TaskRules | None = None) -> Router:
    """Return the calls on tasks, errors included, to be mounted in any Litestar application.

    ``scheduler`` must be open while the application serves.
    """
    return Router(
        path="/",
        dependencies={
            "scheduler": Provide(seen_by_caller(scheduler), sync_to_thread=False),
            "rules": Provide(lambda: rules or TaskRules(), sync_to_thread=False),
        },
        exception_handlers=dict(HANDLERS),
        route_handlers=[
            options_of("/tasks", "/tasks/{task_id:str}"),
            store_task,
            store_tasks,
            list_tasks,
            get_task,
            edit_task,
            delete_task,
            cancel_task,
            retry_task,
            run_task,
            why_task,
            await_result,
            cancel_tasks,
            retry_tasks,
            delete_tasks,
        ],
        tags=["tasks"],
    )


def new_task(scheduler: Scheduler, message: NewTaskMessage) -> NewTask:
    """Return the task that ``message`` asks for. Raises InvalidTask."""
    return NewTask(
        id=scheduler.store.new_task_id() if message.id is None else TaskId(message.id),
        kind=message.kind,
        payload=encode_payload(message.payload),
        execute_at=message.execute_at,
        queue=message.queue,
        priority=message.priority,
        max_attempts=message.max_attempts,
        timeout=message.timeout,
        unique_key=message.unique_key,
        expires_at=message.expires_at,
    )
