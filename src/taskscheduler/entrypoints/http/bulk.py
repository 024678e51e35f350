"""The calls that change all tasks which match a filter, a page at a time."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated, Any, Final

from litestar import Request, Response, post
from litestar.di import NamedDependency, Provide
from litestar.params import QueryParameter
from msgspec import Struct

from taskscheduler.application.scheduler import Scheduler
from taskscheduler.domain.bulk import PAGE_MAX, BulkCursor, BulkStep, BulkVerb
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


@dataclass(frozen=True, slots=True)
class Choice:
    """Which tasks are meant, as it was asked for."""

    filters: list[str]
    everything: bool
    limit: int
    cursor: str | None


def choice_of(
    filters: asking.Filters = None,
    all_: All = False,
    limit: Limit = PAGE_MAX,
    cursor: Cursor = None,
) -> Choice:
    """Return which tasks the parameters choose."""
    return Choice(filters or [], all_, limit, cursor)


CHOOSING: Final = {"choice": Provide(choice_of, sync_to_thread=False)}


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
    dependencies=CHOOSING,
    status_code=HTTPStatus.OK,
    operation_class=docs.Documented,
    responses=refusals.BULK,
    summary="Cancel many tasks",
)
async def cancel_tasks(
    request: Request[Any, Any, Any],
    scheduler: NamedDependency[Scheduler],
    rules: NamedDependency[asking.TaskRules],
    choice: NamedDependency[Choice],
) -> Response[BulkMessage]:
    """Cancel the Pending and InProgress tasks that match, a page at a time.

    At least one filter is needed, or `all=true`.
    """
    asking.only_known(request, ("filter", "all", "limit", "cursor"))
    return await _step(scheduler, rules, BulkVerb.CANCEL, choice)


@post(
    "/tasks/retry",
    opt=reached_by("write"),
    dependencies=CHOOSING,
    status_code=HTTPStatus.OK,
    operation_class=docs.Documented,
    responses=refusals.BULK,
    summary="Retry many tasks",
)
async def retry_tasks(
    request: Request[Any, Any, Any],
    scheduler: NamedDependency[Scheduler],
    rules: NamedDependency[asking.TaskRules],
    choice: NamedDependency[Choice],
) -> Response[BulkMessage]:
    """Run the Failed and Cancelled tasks that match again, a page at a time.

    At least one filter is needed, or `all=true`.
    """
    asking.only_known(request, ("filter", "all", "limit", "cursor"))
    return await _step(scheduler, rules, BulkVerb.RETRY, choice)


@post(
    "/tasks/delete",
    opt=reached_by("write"),
    dependencies=CHOOSING,
    status_code=HTTPStatus.OK,
    operation_class=docs.Documented,
    responses=refusals.BULK,
    summary="Delete many tasks",
)
async def delete_tasks(
    request: Request[Any, Any, Any],
    scheduler: NamedDependency[Scheduler],
    rules: NamedDependency[asking.TaskRules],
    choice: NamedDependency[Choice],
    force: Annotated[
        bool, QueryParameter(description="cancel and delete tasks even while in progress")
    ] = False,
) -> Response[BulkMessage]:
    """Delete the tasks that match and are not in progress, a page at a time.

    At least one filter is needed, or `all=true`.
    """
    asking.only_known(request, ("filter", "all", "limit", "cursor", "force"))
    return await _step(scheduler, rules, BulkVerb.DELETE, choice, force=force)


async def _step(
    scheduler: Scheduler,
    rules: asking.TaskRules,
    verb: BulkVerb,
    choice: Choice,
    *,
    force: bool = False,
) -> Response[BulkMessage]:
    if not choice.filters and not choice.everything:
        raise BadRequest("filter", "give at least one filter, or all=true for tasks of all sorts")
    query = asking.query_of(choice.filters, None, choice.limit)
    if query is not None and query.kind is not None:
        await asking.require_known(scheduler, rules, {query.kind: "filter"})
    left = None if choice.cursor is None else _cursor_of(choice.cursor)
    if query is None:
        return answer(BulkMessage(looked_at=0, changed=0, cursor=None))
    step = await scheduler.change_page(verb, query, force=force, cursor=left)
    return answer(BulkMessage.of(step))


def _cursor_of(text: str) -> BulkCursor:
    try:
        return BulkCursor.parse(text)
    except ValueError:
        raise BadRequest("cursor", f"{text!r} is no cursor of an answer") from None
