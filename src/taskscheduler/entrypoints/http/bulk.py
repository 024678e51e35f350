"""The calls that change all tasks which match a filter, a page at a time."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Final

from litestar import Response, post
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

if TYPE_CHECKING:
    from datetime import datetime

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
    """What one call did. While there is a `cursor`, call again with it.

    `waiting` is how many of those that were retried wait for a time that is still to come.
    """

    looked_at: int
    changed: int
    waiting: int
    cursor: str | None

    @classmethod
    def of(cls, step: BulkStep) -> BulkMessage:
        """Return ``step`` as it is sent."""
        cursor = None if step.cursor is None else str(step.cursor)
        return cls(
            looked_at=step.looked_at, changed=step.changed, waiting=step.waiting, cursor=cursor
        )


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
    scheduler: NamedDependency[Scheduler],
    rules: NamedDependency[asking.TaskRules],
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
    responses=refusals.BULK,
    summary="Retry many tasks",
)
async def retry_tasks(
    scheduler: NamedDependency[Scheduler],
    rules: NamedDependency[asking.TaskRules],
    choice: NamedDependency[Choice],
    at: asking.RetryAt = None,
) -> Response[BulkMessage]:
    """Let the Failed and Cancelled tasks that match run again, a page at a time.

    A Failed task is due now. A Cancelled one comes back to its own `execute_at`, or is due now if
    that has passed; `at` asks for another time. `waiting` counts those of `changed` whose time is
    still to come. At least one filter is needed, or `all=true`.
    """
    moment = asking.retry_time_of(at)
    return await _step(scheduler, rules, BulkVerb.RETRY, choice, at=moment)


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
    return await _step(scheduler, rules, BulkVerb.DELETE, choice, force=force)


async def _step(
    scheduler: Scheduler,
    rules: asking.TaskRules,
    verb: BulkVerb,
    choice: Choice,
    *,
    force: bool = False,
    at: datetime | None = None,
) -> Response[BulkMessage]:
    if not choice.filters and not choice.everything:
        raise BadRequest("filter", "give at least one filter, or all=true for tasks of all sorts")
    query = asking.query_of(choice.filters, None, choice.limit)
    await asking.require_known(scheduler, rules, dict.fromkeys(query.kinds or (), "filter"))
    left = None if choice.cursor is None else _cursor_of(choice.cursor)
    step = await scheduler.change_page(verb, query, force=force, cursor=left, at=at)
    return answer(BulkMessage.of(step))


def _cursor_of(text: str) -> BulkCursor:
    try:
        return BulkCursor.parse(text)
    except ValueError:
        raise BadRequest("cursor", f"{text!r} is no cursor of an answer") from None
