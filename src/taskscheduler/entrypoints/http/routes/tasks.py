"""The calls on tasks."""

from __future__ import annotations

from http import HTTPStatus
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from litestar import Request, Response, Router, delete, get, post, route
from litestar.di import NamedDependency
from litestar.params import QueryParameter

from taskscheduler.application.client.scheduler import Scheduler
from taskscheduler.domain.after import After
from taskscheduler.domain.batch import BatchId
from taskscheduler.domain.conflict import earlier_of
from taskscheduler.domain.errors import InvalidTask, PayloadTooLarge
from taskscheduler.domain.new_task import NewTask
from taskscheduler.domain.query import LIMIT_DEFAULT, LIMIT_MAX, PAGE_BYTES_MAX, fitting
from taskscheduler.domain.values import TaskId
from taskscheduler.entrypoints.http import parameters
from taskscheduler.entrypoints.http.decoding import FAULTS_MAX, decoded, decoder
from taskscheduler.entrypoints.http.errors import BadRequest, fault_of
from taskscheduler.entrypoints.http.middleware.access import reached_by
from taskscheduler.entrypoints.http.openapi import error_responses
from taskscheduler.entrypoints.http.openapi import operations as docs
from taskscheduler.entrypoints.http.parameters import TaskIdText, TaskRules, uuid_of
from taskscheduler.entrypoints.http.responses import answer, page_answer, page_of_attempts, whole
from taskscheduler.entrypoints.http.routes.bulk import cancel_tasks, delete_tasks, retry_tasks
from taskscheduler.entrypoints.http.routes.change_task import (
    cancel_task,
    edit_task,
    retry_task,
    run_task,
)
from taskscheduler.entrypoints.http.routes.options import options_of
from taskscheduler.entrypoints.http.routes.results import await_result
from taskscheduler.entrypoints.http.routes.router import router_of
from taskscheduler.entrypoints.http.routes.signals import signal_task
from taskscheduler.entrypoints.http.routes.why import why_task
from taskscheduler.entrypoints.messages.problems import FieldProblem
from taskscheduler.entrypoints.messages.tasks import (
    BATCH_MAX,
    AttemptMessage,
    HeldByEarlier,
    NewTaskMessage,
    Stored,
    StoredMany,
    TaskMessage,
    TaskWithAttempts,
    payload_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

decode_one = decoder(NewTaskMessage)
decode_many = decoder(list[NewTaskMessage])
decode_items = msgspec.json.Decoder(list[msgspec.Raw])


@route(
    "/tasks",
    http_method=["PUT", "POST"],
    opt=reached_by("write", tenants=True),
    status_code=HTTPStatus.CREATED,
    operation_class=docs.StoreTask,
    responses=error_responses.STORING_ONE,
    summary="Store a task",
)
async def store_task(
    request: Request[Any, Any, Any],
    scheduler: NamedDependency[Scheduler],
    rules: NamedDependency[TaskRules],
) -> Response[Stored]:
    """Store a task, to be run at or after ``execute_at``; left out, that is now.

    Storing the same ``id`` or ``unique_key`` again answers with the task that is there; with an
    ``on_conflict``, by 200 and `"created": false`. With ``after``, it waits until those tasks have
    ended.
    """
    body = await request.body()
    message: NewTaskMessage = decoded(decode_one, body)
    task = new_task(scheduler, message)
    await parameters.require_known(scheduler, rules, {task.kind: "$.kind"})
    if (idempotency := parameters.idempotency_of(request, body)) is None:
        ids: Sequence[TaskId] = [await scheduler.put(task)]
    else:
        ids = await scheduler.put_many([task], idempotency=idempotency)
    place = {"Location": f"{request.url.path.rstrip('/')}/{ids[0]}"}
    if task.on_conflict is not None and earlier_of([task], ids):
        return answer(HeldByEarlier(ids[0]), HTTPStatus.OK, place)
    return answer(Stored(ids[0]), HTTPStatus.CREATED, place)


@post(
    "/tasks/batch",
    opt=reached_by("write", tenants=True),
    operation_class=docs.StoreTasks,
    responses=error_responses.STORING,
    summary="Store many tasks, all or none",
)
async def store_tasks(
    request: Request[Any, Any, Any],
    scheduler: NamedDependency[Scheduler],
    rules: NamedDependency[TaskRules],
) -> Response[StoredMany]:
    """Store up to 10,000 tasks in one transaction. The ids come in the order of the tasks."""
    body = await request.body()
    check_number(body)
    messages: list[NewTaskMessage] = decoded(decode_many, body)
    require_number(len(messages))
    tasks: list[NewTask] = []
    faults: list[FieldProblem] = []
    first: dict[str, int] = {}
    for index, message in enumerate(messages):
        first.setdefault(message.kind, index)
        try:
            tasks.append(new_task(scheduler, message))
        except InvalidTask as error:
            error.index = index
            if isinstance(error, PayloadTooLarge):
                raise
            faults.append(fault_of(error))
    if faults:
        raise BadRequest.of(faults[:FAULTS_MAX])
    places = {kind: f"$[{index}].kind" for kind, index in first.items()}
    await parameters.require_known(scheduler, rules, places)
    ids = await scheduler.put_many(tasks, idempotency=parameters.idempotency_of(request, body))
    stored = StoredMany(list(ids))
    if any(task.on_conflict is not None for task in tasks):
        earlier = earlier_of(tasks, ids)
        stored.created = [place not in earlier for place in range(len(tasks))]
    return answer(stored, HTTPStatus.CREATED)


@get(
    "/tasks",
    operation_class=docs.Documented,
    opt=reached_by("read", tenants=True),
    responses=error_responses.LISTING,
    summary="List tasks, newest first",
)
async def list_tasks(
    request: Request[Any, Any, Any],
    scheduler: NamedDependency[Scheduler],
    rules: NamedDependency[TaskRules],
    filters: parameters.Filters = None,
    limit: Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT,
    cursor: parameters.Cursor = None,
) -> Response[list[TaskMessage]]:
    """List tasks. While there are more, the Link header names the next page.

    Pages neither skip nor repeat a task, whatever is stored meanwhile. A page ends early where its
    payloads come to more than 8 MiB.
    """
    query = parameters.query_of(filters, cursor, limit + 1, bytes_max=PAGE_BYTES_MAX)
    await parameters.require_known(scheduler, rules, dict.fromkeys(query.kinds or (), "filter"))
    found = await scheduler.list(query)
    page = fitting(found, limit=limit, bytes_max=PAGE_BYTES_MAX)
    messages = [TaskMessage.of(task) for task in page]
    given = [*(("filter", each) for each in filters or []), ("limit", limit)]
    return page_answer(request, found, page, messages, given=given, cursor=attrgetter("id"))


@get(
    "/tasks/{task_id:str}",
    operation_class=docs.Documented,
    opt=reached_by("read", tenants=True),
    responses=error_responses.FINDING,
    summary="Look at one task",
)
async def get_task(
    request: Request[Any, Any, Any], task_id: TaskIdText, scheduler: NamedDependency[Scheduler]
) -> Response[TaskWithAttempts]:
    """Return a task as it is now, with its attempts and their errors, the oldest first.

    Of more than 100 attempts the last 100 are shown; the Link header names those before them.
    """
    return await whole(request, scheduler, await scheduler.get(uuid_of(task_id)))


@get(
    "/tasks/{task_id:str}/attempts",
    operation_class=docs.Documented,
    opt=reached_by("read", tenants=True),
    responses=error_responses.FINDING,
    summary="List the attempts of a task, newest first",
)
async def list_attempts(
    request: Request[Any, Any, Any],
    task_id: TaskIdText,
    scheduler: NamedDependency[Scheduler],
    limit: Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT,
    cursor: parameters.Number = None,
) -> Response[list[AttemptMessage]]:
    """List attempts with their errors. While there are more, the Link header names the next page.

    A page ends early where its errors come to more than 8 MiB.
    """
    before = None if cursor is None else parameters.number_of(cursor)
    found = await scheduler.attempts(uuid_of(task_id), before=before, limit=limit + 1)
    page = page_of_attempts(found[::-1], limit)
    messages = [AttemptMessage.of(attempt) for attempt in page]
    given = [("limit", limit)]
    return page_answer(request, found, page, messages, given=given, cursor=attrgetter("number"))


@delete(
    "/tasks/{task_id:str}",
    opt=reached_by("write", tenants=True),
    status_code=HTTPStatus.NO_CONTENT,
    operation_class=docs.Documented,
    responses=error_responses.CHANGING,
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
    return router_of(
        scheduler,
        [
            options_of("/tasks", "/tasks/{task_id:str}"),
            store_task,
            store_tasks,
            list_tasks,
            get_task,
            list_attempts,
            edit_task,
            delete_task,
            cancel_task,
            retry_task,
            run_task,
            why_task,
            await_result,
            signal_task,
            cancel_tasks,
            retry_tasks,
            delete_tasks,
        ],
        tag="tasks",
        rules=lambda: rules or TaskRules(),
    )


def check_number(body: bytes) -> None:
    """Refuse a batch of far too many before each of its tasks becomes an object.

    Raises:
        BadRequest: they are too many.
    """
    if body.count(b'"kind"') > BATCH_MAX:
        try:
            number = len(decode_items.decode(body))
        except (msgspec.MsgspecError, RecursionError):
            return  # what is wrong with it is told by whoever decodes it
        require_number(number)


def require_number(number: int) -> None:
    """Check how many tasks a batch has. Raises BadRequest."""
    if not 1 <= number <= BATCH_MAX:
        raise BadRequest("$", f"a batch has 1 to {BATCH_MAX} tasks, not {number}")


def new_task(scheduler: Scheduler, message: NewTaskMessage) -> NewTask:
    """Return the task that ``message`` asks for. Raises InvalidTask."""
    return NewTask(
        id=scheduler.store.new_task_id() if message.id is None else TaskId(message.id),
        kind=message.kind,
        payload_json=payload_of(message.payload),
        execute_at=message.execute_at,
        queue=message.queue,
        priority=message.priority,
        max_attempts=message.max_attempts,
        timeout=message.timeout,
        unique_key=message.unique_key,
        group=message.group,
        expires_at=message.expires_at,
        tags=message.tags,
        on_conflict=message.on_conflict,
        max_delay=message.max_delay,
        after=After.of(message.after, message.when, message.otherwise),
        batch=None if message.batch is None else BatchId(message.batch),
    )
