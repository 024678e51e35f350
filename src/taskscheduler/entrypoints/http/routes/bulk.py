"""The calls that change all tasks which match a filter, a page at a time."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Final

from litestar import Response, post
from litestar.di import NamedDependency, Provide
from litestar.params import QueryParameter

from taskscheduler.application.client.scheduler import Scheduler
from taskscheduler.domain.bulk import PAGE_MAX, BulkCursor, BulkVerb
from taskscheduler.entrypoints.http import parameters
from taskscheduler.entrypoints.http.errors import BadRequest
from taskscheduler.entrypoints.http.middleware.access import reached_by
from taskscheduler.entrypoints.http.openapi import error_responses
from taskscheduler.entrypoints.http.openapi import operations as docs
from taskscheduler.entrypoints.http.responses import answer

if TYPE_CHECKING:
    from datetime import datetime

from taskscheduler.entrypoints.messages.bulk import BulkMessage

All = Annotated[
    bool, QueryParameter(name="all", description="change tasks of all sorts; needs no filter")
]
Limit = Annotated[
    int, QueryParameter(ge=1, le=PAGE_MAX, description="look at no more than so many at once")
]
Cursor = Annotated[
    str | None,
    QueryParameter(
        description="from the answer before; what is left is gone on with",
        schema_extra=docs.BULK_CURSOR,
    ),
]


@dataclass(frozen=True, slots=True)
class Choice:
    """Which tasks are meant, as it was asked for."""

    filters: list[str]
    everything: bool
    limit: int
    cursor: str | None


def choice_of(
    filters: parameters.Filters = None,
    all_: All = False,
    limit: Limit = PAGE_MAX,
    cursor: Cursor = None,
) -> Choice:
    """Return which tasks the parameters choose."""
    return Choice(filters or [], all_, limit, cursor)


CHOOSING: Final = {"choice": Provide(choice_of, sync_to_thread=False)}


@post(
    "/tasks/cancel",
    opt=reached_by("write"),
    dependencies=CHOOSING,
    status_code=HTTPStatus.OK,
    operation_class=docs.Documented,
    responses=error_responses.BULK,
    summary="Cancel many tasks",
)
async def cancel_tasks(
    scheduler: NamedDependency[Scheduler],
    rules: NamedDependency[parameters.TaskRules],
    choice: NamedDependency[Choice],
) -> Response[BulkMessage]:
    """Cancel the Pending and InProgress tasks that match, a page at a time.

    At least one filter is needed, or `all=true`.
    """
    return await _step(scheduler, rules, BulkVerb.CANCEL, choice)


@post(
    "/tasks/retry",
    opt=reached_by("write"),
    dependencies=CHOOSING,
    status_code=HTTPStatus.OK,
    operation_class=docs.Documented,
    responses=error_responses.BULK,
    summary="Retry many tasks",
)
async def retry_tasks(
    scheduler: NamedDependency[Scheduler],
    rules: NamedDependency[parameters.TaskRules],
    choice: NamedDependency[Choice],
    at: parameters.RetryAt = None,
) -> Response[BulkMessage]:
    """Let the Failed and Cancelled tasks that match run again, a page at a time.

    A Failed task is due now. A Cancelled one comes back to its own `execute_at`, or is due now if
    that has passed; `at` asks for another time. `waiting` counts those of `changed` whose time is
    still to come. At least one filter is needed, or `all=true`.
    """
    moment = parameters.retry_time_of(at)
    return await _step(scheduler, rules, BulkVerb.RETRY, choice, at=moment)


@post(
    "/tasks/delete",
    opt=reached_by("write"),
    dependencies=CHOOSING,
    status_code=HTTPStatus.OK,
    operation_class=docs.Documented,
    responses=error_responses.BULK,
    summary="Delete many tasks",
)
async def delete_tasks(
    scheduler: NamedDependency[Scheduler],
    rules: NamedDependency[parameters.TaskRules],
    choice: NamedDependency[Choice],
    force: Annotated[
        bool, QueryParameter(description="cancel and delete tasks even while in progress")
    ] = False,
) -> Response[BulkMessage]:
    """Delete the tasks that match and are not in progress, a page at a time.

    At least one filter is needed, or `all=true`.
    """
    return await _step(scheduler, rules, BulkVerb.DELETE, choice, force=force)


async def _step(
    scheduler: Scheduler,
    rules: parameters.TaskRules,
    verb: BulkVerb,
    choice: Choice,
    *,
    force: bool = False,
    at: datetime | None = None,
) -> Response[BulkMessage]:
    if not choice.filters and not choice.everything:
        raise BadRequest("filter", "give at least one filter, or all=true for tasks of all sorts")
    query = parameters.query_of(choice.filters, None, choice.limit)
    await parameters.require_known(scheduler, rules, dict.fromkeys(query.kinds or (), "filter"))
    left = None if choice.cursor is None else _cursor_of(choice.cursor)
    step = await scheduler.change_page(verb, query, force=force, cursor=left, at=at)
    return answer(BulkMessage.of(step))


def _cursor_of(text: str) -> BulkCursor:
    try:
        return BulkCursor.parse(text)
    except ValueError:
        raise BadRequest("cursor", f"{text!r} is no cursor of an answer") from None
