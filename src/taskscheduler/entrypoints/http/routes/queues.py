"""The calls on queues and workers, and what goes over the wire for them."""

from __future__ import annotations

from http import HTTPStatus
from operator import attrgetter
from typing import Annotated, Any

from litestar import Request, Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter

from taskscheduler.application.client.scheduler import Scheduler
from taskscheduler.application.client.schedules import LIST_LIMIT_DEFAULT
from taskscheduler.domain.query import LIMIT_MAX
from taskscheduler.entrypoints.http import parameters
from taskscheduler.entrypoints.http.middleware.access import reached_by
from taskscheduler.entrypoints.http.openapi import error_responses
from taskscheduler.entrypoints.http.openapi import operations as docs
from taskscheduler.entrypoints.http.responses import answer, page_answer
from taskscheduler.entrypoints.http.routes.router import router_of
from taskscheduler.entrypoints.http.routes.workers import list_workers
from taskscheduler.entrypoints.messages.queues import QueueMessage

QueueName = Annotated[str, PathParameter(schema_extra=docs.NAME_TEXT)]


@get(
    "/queues",
    opt=reached_by("read"),
    operation_class=docs.Documented,
    responses=error_responses.LISTING_SCHEDULES,
    summary="List queues, by name",
    tags=["queues"],
)
async def list_queues(
    request: Request[Any, Any, Any],
    scheduler: NamedDependency[Scheduler],
    limit: Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX)] = LIST_LIMIT_DEFAULT,
    cursor: parameters.NameCursor = None,
) -> Response[list[QueueMessage]]:
    """List queues that a task, a worker or a pause names.

    While there are more, the Link header names the next page. Up to 10,000 tasks are counted; of
    more, `exact` is false, and there are at least so many.
    """
    after = "" if cursor is None else queue_of(cursor, "cursor")
    found = await scheduler.queues(after=after, limit=limit + 1)
    page = found[:limit]
    messages = [QueueMessage.of(queue) for queue in page]
    given = [("limit", limit)]
    return page_answer(request, found, page, messages, given=given, cursor=attrgetter("name"))


@get(
    "/queues/{name:str}",
    opt=reached_by("read"),
    operation_class=docs.Documented,
    responses=error_responses.NAMING,
    summary="Look at a queue",
    tags=["queues"],
)
async def get_queue(
    name: QueueName, scheduler: NamedDependency[Scheduler]
) -> Response[QueueMessage]:
    """Return one queue. One that nobody has used is empty: queues need not be made."""
    return answer(QueueMessage.of(await scheduler.queue(queue_of(name))))


@post(
    "/queues/{name:str}/pause",
    opt=reached_by("write"),
    status_code=HTTPStatus.OK,
    operation_class=docs.Documented,
    responses=error_responses.NAMING,
    summary="Pause a queue",
    tags=["queues"],
)
async def pause_queue(
    name: QueueName, scheduler: NamedDependency[Scheduler]
) -> Response[QueueMessage]:
    """Let no worker take tasks from a queue until it is resumed.

    Once this is answered none is taken. What workers have taken by then goes on.
    """
    return answer(QueueMessage.of(await scheduler.pause_queue(queue_of(name))))


@post(
    "/queues/{name:str}/resume",
    opt=reached_by("write"),
    status_code=HTTPStatus.OK,
    operation_class=docs.Documented,
    responses=error_responses.NAMING,
    summary="Resume a queue",
    tags=["queues"],
)
async def resume_queue(
    name: QueueName, scheduler: NamedDependency[Scheduler]
) -> Response[QueueMessage]:
    """Let workers take tasks from a queue again; they hear of it at once."""
    return answer(QueueMessage.of(await scheduler.resume_queue(queue_of(name))))


def queue_of(name: str, parameter: str = "name") -> str:
    """Return ``name`` if a queue may be called so. Raises BadRequest."""
    return parameters.name_of(name, "queue", parameter)


def operating_router(scheduler: Scheduler) -> Router:
    """Return the calls on queues and workers, errors included.

    ``scheduler`` must be open while the application serves.
    """
    return router_of(scheduler, [list_queues, get_queue, pause_queue, resume_queue, list_workers])
