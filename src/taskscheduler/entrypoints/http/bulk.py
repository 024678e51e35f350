"""The calls that change all tasks which match a filter, a page at a time."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any

from litestar import Request, Response, post
from litestar.di import NamedDependency
from litestar.params import QueryParameter
from msgspec import Struct

from taskscheduler.application.scheduler import Scheduler
from taskscheduler.domain.bulk import PAGE_MAX, BulkCursor, BulkStep, BulkVerb
from taskscheduler.domain.query import TaskQuery
from taskscheduler.entrypoints.http import asking, refusals
from taskscheduler.entrypoints.http import documentation as docs
from taskscheduler.entrypoints.http.access import reached_by
from taskscheduler.entrypoints.http.answering import answer
from taskscheduler.entrypoints.http.errors import BadRequest

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


class BulkMessage(Struct, kw_only=True):
    """What one call did. While there is a `cursor`, call again with it."""

    looked_at: int
    changed: int
    cursor: str | None

    @classmethod
    def of(cls, step: BulkStep) -> BulkMessage:
        """Return ``step`` as it is sent."""
        cursor = None if step.cursor is None else str(step.cursor)
        return cls(looked_at=step.looked_at, changed=step.changed, cursor=cursor)


@post(
    "/tasks/cancel",
    opt=reached_by("write"),
    status_code=HTTPStatus.OK,
    operation_class=docs.Documented,
    responses=refusals.BULK,
    summary="Cancel many tasks",
)
async def cancel_tasks(
    request: Request[Any, Any, Any],
    scheduler: NamedDependency[Scheduler],
    rules: NamedDependency[asking.TaskRules],
    filters: asking.Filters = None,
    all_: All = False,
    limit: Limit = PAGE_MAX,
    cursor: Cursor = None,
) -> Response[BulkMessage]:
    """Cancel the Pending and InProgress tasks that match, a page at a time.

    At least one filter is needed, or `all=true`.
    """
    asking.only_known(request, ("filter", "all", "limit", "cursor"))
    query = await _query_of(scheduler, rules, filters, limit, everything=all_)
    return await _step(scheduler, BulkVerb.CANCEL, query, cursor)


@post(
    "/tasks/retry",
    opt=reached_by("write"),
    status_code=HTTPStatus.OK,
    operation_class=docs.Documented,
    responses=refusals.BULK,
    summary="Retry many tasks",
)
async def retry_tasks(
    request: Request[Any, Any, Any],
    scheduler: NamedDependency[Scheduler],
    rules: NamedDependency[asking.TaskRules],
    filters: asking.Filters = None,
    all_: All = False,
    limit: Limit = PAGE_MAX,
    cursor: Cursor = None,
) -> Response[BulkMessage]:
    """Run the Failed and Cancelled tasks that match again, a page at a time.

    At least one filter is needed, or `all=true`.
    """
    asking.only_known(request, ("filter", "all", "limit", "cursor"))
    query = await _query_of(scheduler, rules, filters, limit, everything=all_)
    return await _step(scheduler, BulkVerb.RETRY, query, cursor)


@post(
    "/tasks/delete",
    opt=reached_by("write"),
    status_code=HTTPStatus.OK,
    operation_class=docs.Documented,
    responses=refusals.BULK,
    summary="Delete many tasks",
)
async def delete_tasks(
    request: Request[Any, Any, Any],
    scheduler: NamedDependency[Scheduler],
    rules: NamedDependency[asking.TaskRules],
    filters: asking.Filters = None,
    all_: All = False,
    limit: Limit = PAGE_MAX,
    cursor: Cursor = None,
    force: Annotated[
        bool, QueryParameter(description="cancel and delete tasks even while in progress")
    ] = False,
) -> Response[BulkMessage]:
    """Delete the tasks that match and are not in progress, a page at a time.

    At least one filter is needed, or `all=true`.
    """
    asking.only_known(request, ("filter", "all", "limit", "cursor", "force"))
    query = await _query_of(scheduler, rules, filters, limit, everything=all_)
    return await _step(scheduler, BulkVerb.DELETE, query, cursor, force=force)


async def _query_of(
    scheduler: Scheduler,
    rules: asking.TaskRules,
    filters: list[str] | None,
    limit: int,
    *,
    everything: bool,
) -> TaskQuery | None:
    if not filters and not everything:
        raise BadRequest("filter", "give at least one filter, or all=true for tasks of all sorts")
    query = asking.query_of(filters, None, limit)
    if query is not None and query.kind is not None:
        await asking.require_known(scheduler, rules, {query.kind: "filter"})
    return query


async def _step(
    scheduler: Scheduler,
    verb: BulkVerb,
    query: TaskQuery | None,
    cursor: str | None,
    *,
    force: bool = False,
) -> Response[BulkMessage]:
    left = None if cursor is None else _cursor_of(cursor)
    if query is None:
        return answer(BulkMessage(looked_at=0, changed=0, cursor=None))
    step = await scheduler.change_page(verb, query, force=force, cursor=left)
    return answer(BulkMessage.of(step))


def _cursor_of(text: str) -> BulkCursor:
    try:
        return BulkCursor.parse(text)
    except ValueError:
        raise BadRequest("cursor", f"{text!r} is no cursor of an answer") from None
