"""The calls on what became of a schedule's fires."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

from litestar import Request, Response, get
from litestar.di import NamedDependency
from litestar.params import PathParameter, QueryParameter
from msgspec import Struct

from taskscheduler.application.client.scheduler import Scheduler
from taskscheduler.application.client.schedules import LIST_LIMIT_DEFAULT
from taskscheduler.domain.ledger import EPOCH, LedgerEntry, Outcome, Place
from taskscheduler.domain.query import LIMIT_MAX
from taskscheduler.entrypoints.http.errors import BadRequest
from taskscheduler.entrypoints.http.middleware.access import reached_by
from taskscheduler.entrypoints.http.openapi import error_responses
from taskscheduler.entrypoints.http.openapi import operations as docs
from taskscheduler.entrypoints.http.responses import page_answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from litestar.handlers import HTTPRouteHandler

CURSOR: Final = re.compile(r"(-?[0-9]{1,18})\.([0-9]{1,18})")
TICK: Final = timedelta(microseconds=1)

Name = Annotated[str, PathParameter(schema_extra=docs.NAME_TEXT)]


class LedgerMessage(Struct):
    """What became of the fire at `at`.

    `outcome` is `stored`: `task_id` was stored, `late_s` after `at`; `skipped`: the last task had
    not ended; `missed`: it passed in an outage; `buffered`: it waits until the last task has ended;
    `backfilled`, `triggered`: somebody asked for `task_id`. `reason` says more.
    """

    at: datetime
    outcome: Outcome
    reason: str | None
    task_id: UUID | None
    late_s: float | None
    recorded_at: datetime

    @classmethod
    def of(cls, entry: LedgerEntry) -> LedgerMessage:
        """Return ``entry`` as it is sent."""
        late = None if entry.late is None else entry.late.total_seconds()
        return cls(entry.at, entry.outcome, entry.reason, entry.task_id, late, entry.recorded_at)


def fires_call(name_of: Callable[[str], str]) -> HTTPRouteHandler:
    """Return the call that lists fires; ``name_of`` refuses what no schedule is called."""

    @get(
        "/schedules/{name:str}/fires",
        opt=reached_by("read", tenants=True),
        operation_class=docs.Documented,
        responses=error_responses.LISTING_FIRES,
        summary="What became of a schedule's fires",
    )
    async def list_fires(
        request: Request[Any, Any, Any],
        name: Name,
        scheduler: NamedDependency[Scheduler],
        limit: Annotated[int, QueryParameter(ge=1, le=LIMIT_MAX)] = LIST_LIMIT_DEFAULT,
        cursor: Annotated[
            str | None,
            QueryParameter(
                description="from the Link header of the page before",
                # Not as long as ``CURSOR`` takes: of those some are no time.
                schema_extra={**docs.ONE_TEXT, "pattern": r"^-?[0-9]{1,16}\.[0-9]{1,18}$"},
            ),
        ] = None,
    ) -> Response[list[LedgerMessage]]:
        """List fires, the latest first. While there are more, the Link header names the next page.

        They are kept as long as tasks that have ended.
        """
        found = await scheduler.schedules.fires(
            name_of(name), before=None if cursor is None else place_of(cursor), limit=limit + 1
        )
        page = found[:limit]
        messages = [LedgerMessage.of(entry) for entry in page]
        given = [("limit", limit)]
        return page_answer(request, found, page, messages, given=given, cursor=text_of)

    return list_fires


def text_of(entry: LedgerEntry) -> str:
    """Return the cursor that goes on behind ``entry``."""
    return f"{(entry.at - EPOCH) // TICK}.{entry.number}"


def place_of(cursor: str) -> Place:
    """Return the place that ``cursor`` is. Raises BadRequest."""
    found = CURSOR.fullmatch(cursor)
    try:
        if found is not None:
            return Place(EPOCH + int(found[1]) * TICK, int(found[2]))
    except OverflowError:
        pass
    raise BadRequest("cursor", "must be as the Link header of the page before has it")
