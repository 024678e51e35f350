"""The calls on batches."""

from __future__ import annotations

from http import HTTPStatus
from operator import attrgetter
from typing import TYPE_CHECKING, Annotated, Any, Final

from litestar import Request, Response, Router, get, post
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter

from taskscheduler.application.client.scheduler import Scheduler
from taskscheduler.domain.errors import InvalidTask
from taskscheduler.domain.query import LIMIT_DEFAULT, LIMIT_MAX, TaskQuery
from taskscheduler.entrypoints.http import parameters
from taskscheduler.entrypoints.http.decoding import decoded, decoder
from taskscheduler.entrypoints.http.errors import BadRequest
from taskscheduler.entrypoints.http.middleware.access import reached_by
from taskscheduler.entrypoints.http.openapi import error_responses
from taskscheduler.entrypoints.http.openapi import operations as docs
from taskscheduler.entrypoints.http.parameters import TaskRules, uuid_of
from taskscheduler.entrypoints.http.responses import answer, page_answer
from taskscheduler.entrypoints.http.routes.options import options_of
from taskscheduler.entrypoints.http.routes.router import router_of
from taskscheduler.entrypoints.http.routes.tasks import new_task
from taskscheduler.entrypoints.messages.batches import BatchMessage, Made, NewBatchMessage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from taskscheduler.domain.batch import Batch
    from taskscheduler.domain.new_task import NewTask

BatchIdText = Annotated[str, PathParameter(schema_extra=docs.UUID_TEXT)]

decode_batch: Final = decoder(NewBatchMessage)


@post(
    "/batches",
    opt=reached_by("write"),
    operation_class=docs.MakeBatch,
    responses=error_responses.MAKING_BATCHES,
    summary="Make a batch",
)
async def make_batch(
    request: Request[Any, Any, Any],
    scheduler: NamedDependency[Scheduler],
    rules: NamedDependency[TaskRules],
) -> Response[Made]:
    """Make a batch, to which tasks come by `"batch": "<id>"` until it is sealed.

    `then` is a task that waits until the batch is sealed and all of its tasks have ended. Its
    `when` and `otherwise` mean what they mean beside `after`.
    """
    body = await request.body()
    message: NewBatchMessage = decoded(decode_batch, body) if body.strip() else NewBatchMessage()
    task: NewTask | None = None
    when = otherwise = None
    if (then := message.then) is not None:
        if then.after is not None:
            raise BadRequest("$.then.after", "comes from the batch, for the task that follows it")
        when, otherwise, then.when, then.otherwise = then.when, then.otherwise, None, None
        try:
            task = new_task(scheduler, then)
        except InvalidTask as error:
            path = f"$.then.{error.field}"
            raise BadRequest(path, error.reason) from error
        await parameters.require_known(scheduler, rules, {task.kind: "$.then.kind"})
    made = await scheduler.batches.make(message.name, then=task, when=when, otherwise=otherwise)
    location = f"{request.url.path.rstrip('/')}/{made.id}"
    return answer(Made(made.id), HTTPStatus.CREATED, {"Location": location})


@get(
    "/batches",
    opt=reached_by("read"),
    operation_class=docs.Documented,
    responses=error_responses.LISTING_BATCHES,
    summary="List batches, newest first",
)
async def list_batches(
    request: Request[Any, Any, Any],
    scheduler: NamedDependency[Scheduler],
    limit: Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX)] = LIMIT_DEFAULT,
    cursor: parameters.Cursor = None,
) -> Response[list[BatchMessage]]:
    """List batches. While there are more, the Link header names the next page."""
    before = None if cursor is None else uuid_of(cursor, "cursor")
    found = await scheduler.batches.list(before=before, limit=limit + 1)
    page = found[:limit]
    messages = await shown(scheduler, page)
    given = [("limit", limit)]
    return page_answer(request, found, page, messages, given=given, cursor=attrgetter("id"))


@get(
    "/batches/{batch_id:str}",
    opt=reached_by("read"),
    operation_class=docs.Documented,
    responses=error_responses.FINDING_BATCHES,
    summary="Look at a batch",
)
async def get_batch(
    batch_id: BatchIdText, scheduler: NamedDependency[Scheduler]
) -> Response[BatchMessage]:
    """Return a batch with its counts, which are exact."""
    batch = await scheduler.batches.get(uuid_of(batch_id))
    return answer((await shown(scheduler, [batch]))[0])


@post(
    "/batches/{batch_id:str}/seal",
    opt=reached_by("write"),
    status_code=HTTPStatus.OK,
    operation_class=docs.Documented,
    responses=error_responses.FINDING_BATCHES,
    summary="Seal a batch",
)
async def seal_batch(
    batch_id: BatchIdText, scheduler: NamedDependency[Scheduler]
) -> Response[BatchMessage]:
    """Let no more tasks come to a batch. One without any has ended then.

    Sealing again changes nothing.
    """
    batch = await scheduler.batches.seal(uuid_of(batch_id))
    return answer((await shown(scheduler, [batch]))[0])


async def shown(scheduler: Scheduler, batches: Sequence[Batch]) -> list[BatchMessage]:
    """Return ``batches`` as they are sent, each with the state of the task that follows it."""
    followers = [each.then for each in batches if each.then is not None]
    states = await scheduler.store.board.states(TaskQuery(), followers) if followers else ()
    by_id = {state.id: state for state in states}
    return [
        BatchMessage.of(each, None if each.then is None else by_id.get(each.then))
        for each in batches
    ]


def batch_router(scheduler: Scheduler, rules: TaskRules | None = None) -> Router:
    """Return the calls on batches, errors included.

    ``scheduler`` must be open while the application serves.
    """
    return router_of(
        scheduler,
        [options_of("/batches"), make_batch, list_batches, get_batch, seal_batch],
        tag="batches",
        rules=lambda: rules or TaskRules(),
    )
