"""What each call may be refused with, as the OpenAPI document shows it.

Every example is what the map of errors makes of an error, so each is shown as it is sent.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import msgspec
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.openapi import ResponseSpec
from litestar.openapi.spec import OpenAPIHeader, OpenAPIResponse, OpenAPIType, Schema
from litestar.plugins import ReceiveRoutePlugin
from litestar.routes import HTTPRoute

from taskscheduler.domain.errors import (
    BatchNotFound,
    BatchSealed,
    Forbidden,
    IdempotencyConflict,
    IllegalTransition,
    InvalidLimit,
    InvalidSchedule,
    InvalidTask,
    LimitChanged,
    LimitNotFound,
    PayloadTooLarge,
    QuotaUsedUp,
    ScheduleChanged,
    ScheduleExists,
    ScheduleNotFound,
    ScheduleUnread,
    SignalExists,
    StoreUnavailable,
    TaskChanged,
    TaskExists,
    TaskNotFound,
    TooManyWatchers,
    TooMuchWaiting,
)
from taskscheduler.domain.moment import EXAMPLE
from taskscheduler.domain.query import FILTERS
from taskscheduler.domain.values import NAME_FORM, PAYLOAD_BYTES_MAX
from taskscheduler.entrypoints.http.errors import (
    MEDIA_TYPE,
    RETRY_AFTER_S,
    BadRequest,
    ScopeTooNarrow,
    TooManyRequests,
    Unauthorized,
    described,
)
from taskscheduler.entrypoints.http.middleware.access import (
    NOT_FOR_TENANTS,
    WITHOUT,
    WRONG,
    needed_by,
)
from taskscheduler.entrypoints.http.middleware.browser_security import foreign_page
from taskscheduler.entrypoints.http.openapi.examples import NOT_READY, TASK_ID, Shown
from taskscheduler.entrypoints.messages.health import Readiness
from taskscheduler.entrypoints.messages.problems import Problem
from taskscheduler.entrypoints.messages.tasks import GoingOnMessage, HeldByEarlier

if TYPE_CHECKING:
    from collections.abc import Mapping

    from litestar.openapi.spec import Reference
    from litestar.routes import BaseRoute

Refusals = dict[int, ResponseSpec]

ID: Final = UUID(TASK_ID)


def _refused(*errors: Exception) -> Refusals:
    """Return the one answer that reports ``errors``, each as an example."""
    answers = [described(error) for error in errors]
    (status,) = {answer.status_code for answer in answers}
    assert status is not None  # noqa: S101 - ``described`` always gives one
    return {
        status: ResponseSpec(
            data_container=Problem,
            description=HTTPStatus(status).phrase,
            media_type=MEDIA_TYPE,
            generate_examples=False,
            examples=[Shown(value=msgspec.json.decode(answer.content)) for answer in answers],
        )
    }


_AWAY: Final = StoreUnavailable("away")
_NO_UUID: Final = BadRequest("id", "'7' is not a UUID")
_BAD_FILTER: Final = BadRequest("filter", f"'Failed' is no filter; expected {FILTERS}")
_BAD_TIME: Final = BadRequest(
    "$.execute_at", f"must carry an offset from UTC, such as Z: {EXAMPLE}"
)
_UNKNOWN_KIND: Final = BadRequest(
    "$.kind", "unknown kind 'Fo'; known kinds: Bar, Baz, Foo", known_kinds=["Bar", "Baz", "Foo"]
)
_ENDED: Final = IllegalTransition(status="Completed", event="cancel")

LISTING: Final = _refused(
    BadRequest("state", "unknown parameter; known are filter and limit and cursor"),
    BadRequest("limit", "Expected `int` >= 1"),
) | _refused(_AWAY)
COUNTING: Final = _refused(
    BadRequest("limit", "unknown parameter; there are none here")
) | _refused(_AWAY)
NAMING: Final = _refused(BadRequest("name", f"'a b' is no queue: {NAME_FORM}")) | _refused(_AWAY)
_NIGHTLY: Final = "nightly-report"
_NO_SCHEDULE: Final = BadRequest("name", f"'a b' is no schedule: {NAME_FORM}")
_MAIL: Final = "mail"
_NO_LIMIT: Final = BadRequest("name", f"'a b' is no limit: {NAME_FORM}")
_BAD_RATE: Final = InvalidLimit("rate", "must be such as 100/s")
_BAD_CRON: Final = InvalidSchedule("cron", "'0 3' is not understood: give five fields")
_UNREAD: Final = ScheduleUnread(_NIGHTLY, "'buffer_two' is not a valid Overlap")
_BAD_ZONE: Final = InvalidSchedule("time_zone", "'Berlin' is no IANA time zone")
WATCHING: Final = _refused(_BAD_FILTER) | _refused(_AWAY, TooManyWatchers(100))
FINDING: Final = _refused(_NO_UUID) | _refused(TaskNotFound(ID)) | _refused(_AWAY)
AWAITING: Final = (
    FINDING
    | _refused(_NO_UUID, BadRequest("wait_s", "Expected `float` <= 60.0"))
    | {
        202: ResponseSpec(
            GoingOnMessage,
            description="It has not ended yet",
            generate_examples=False,
            examples=[Shown(value={"status": "InProgress"})],
        )
    }
)
CHANGING: Final = FINDING | _refused(_ENDED)
RETRYING: Final = FINDING | _refused(IllegalTransition(status="Completed", event="revive"))
TOO_LARGE: Final = _refused(RequestEntityTooLarge(), PayloadTooLarge(PAYLOAD_BYTES_MAX))
SIGNALLING: Final = (
    FINDING
    | _refused(
        _NO_UUID,
        InvalidTask("name", f"must be {NAME_FORM}"),
        BadRequest("$", "JSON is malformed: invalid character (byte 0)"),
    )
    | _refused(IllegalTransition(status="Completed", event="signal"), SignalExists(ID, "approval"))
    | TOO_LARGE
)
EDITING: Final = (
    FINDING
    | _refused(_BAD_TIME, _NO_UUID)
    | _refused(IllegalTransition(status="InProgress", event="edit"))
    | _refused(TaskChanged(ID))
    | TOO_LARGE
)
STORING: Final = (
    _refused(_BAD_TIME, _UNKNOWN_KIND)
    | _refused(TaskNotFound(ID), BatchNotFound(ID))
    | _refused(TaskExists(ID), IdempotencyConflict("order-4711"), BatchSealed(ID))
    | TOO_LARGE
    | _refused(_AWAY)
)
STORING_ONE: Final = STORING | {
    200: ResponseSpec(
        HeldByEarlier,
        description="An earlier task holds the unique_key, and on_conflict says what becomes of it",
        generate_examples=False,
        examples=[Shown(value={"id": TASK_ID, "created": False})],
    )
}
LISTING_BATCHES: Final = _refused(
    BadRequest("filter", "unknown parameter; known are limit and cursor"),
    BadRequest("limit", "Expected `int` >= 1"),
) | _refused(_AWAY)
FINDING_BATCHES: Final = _refused(_NO_UUID) | _refused(BatchNotFound(ID)) | _refused(_AWAY)
MAKING_BATCHES: Final = (
    _refused(_BAD_TIME, _UNKNOWN_KIND) | _refused(TaskExists(ID)) | TOO_LARGE | _refused(_AWAY)
)
LISTING_SCHEDULES: Final = _refused(
    BadRequest("filter", "unknown parameter; known are limit and cursor"),
    BadRequest("limit", "Expected `int` >= 1"),
) | _refused(_AWAY)
FINDING_SCHEDULES: Final = (
    _refused(_NO_SCHEDULE)
    | _refused(ScheduleNotFound(_NIGHTLY))
    | _refused(_UNREAD)
    | _refused(_AWAY)
)
CHANGING_SCHEDULES: Final = FINDING_SCHEDULES | _refused(ScheduleChanged(_NIGHTLY), _UNREAD)
PREVIEWING: Final = FINDING_SCHEDULES | _refused(
    _NO_SCHEDULE, BadRequest("n", "Expected `int` <= 100")
)
LISTING_FIRES: Final = FINDING_SCHEDULES | _refused(
    _NO_SCHEDULE, BadRequest("cursor", "must be as the Link header of the page before has it")
)
BACKFILLING: Final = (
    FINDING_SCHEDULES
    | _refused(
        _NO_SCHEDULE,
        BadRequest("$.from", "must be a time in ISO 8601, not int"),
        InvalidSchedule("to", "must not be before from"),
    )
    | TOO_LARGE
)
MAKING_SCHEDULES: Final = (
    _refused(_BAD_CRON, _BAD_ZONE, _UNKNOWN_KIND)
    | _refused(ScheduleExists(_NIGHTLY))
    | TOO_LARGE
    | _refused(_AWAY)
)
PUTTING_SCHEDULES: Final = (
    MAKING_SCHEDULES
    | _refused(_NO_SCHEDULE, _BAD_CRON, _BAD_ZONE, _UNKNOWN_KIND)
    | _refused(ScheduleExists(_NIGHTLY), ScheduleChanged(_NIGHTLY), _UNREAD)
)
EDITING_SCHEDULES: Final = (
    CHANGING_SCHEDULES | _refused(_NO_SCHEDULE, _BAD_CRON, _BAD_ZONE, _UNKNOWN_KIND) | TOO_LARGE
)
FINDING_LIMITS: Final = _refused(_NO_LIMIT) | _refused(LimitNotFound(_MAIL)) | _refused(_AWAY)
DELETING_LIMITS: Final = FINDING_LIMITS | _refused(LimitChanged(_MAIL))
PUTTING_LIMITS: Final = (
    _refused(_NO_LIMIT, _BAD_RATE) | _refused(LimitChanged(_MAIL)) | TOO_LARGE | _refused(_AWAY)
)
EDITING_LIMITS: Final = PUTTING_LIMITS | _refused(LimitNotFound(_MAIL))
BULK: Final = (
    _refused(BadRequest("filter", "give at least one filter, or all=true for tasks of all sorts"))
    | _refused(_ENDED)
    | _refused(_AWAY)
)
NOT_READY_YET: Final[Refusals] = {
    503: ResponseSpec(
        Readiness,
        description="The database cannot be reached at present, or its schema does not fit",
        generate_examples=False,
        examples=[Shown(value=NOT_READY)],
    )
}

_NO_MORE_QUEUES: Final = QuotaUsedUp(
    "this key may use 5 queues at a time, and shop.f would be one more"
)
_TOO_MUCH_WAITING: Final = TooMuchWaiting(
    "of this key 1000 tasks may wait, and with these there would be 1001 at least"
)
KEYED: Final = (
    _refused(Unauthorized(WITHOUT), Unauthorized(WRONG, code="invalid_token"))
    | _refused(ScopeTooNarrow("write", "read"), Forbidden(NOT_FOR_TENANTS), _NO_MORE_QUEUES)
    | _refused(TooManyRequests(1), _TOO_MUCH_WAITING)
)
"""Of every call that needs a key."""
FOREIGN: Final = _refused(foreign_page("https://elsewhere.example"))
"""Of every call of an open service."""


def _header(description: str, example: Any, *, required: bool, **schema: Any) -> OpenAPIHeader:
    return OpenAPIHeader(
        description=description, required=required, schema=Schema(**schema), example=example
    )


_CHALLENGE: Final = 'Bearer realm="taskscheduler"'
_AGAIN: Final = _header(
    "in how many seconds to come again",
    RETRY_AFTER_S,
    required=True,
    type=OpenAPIType.INTEGER,
    minimum=1,
)
HEADERS: Final[Mapping[str, Mapping[str, OpenAPIHeader]]] = {
    "401": {
        "WWW-Authenticate": _header(
            "asks for a key, as RFC 6750 has it",
            f'{_CHALLENGE}, error="invalid_token"',
            required=True,
            type=OpenAPIType.STRING,
        )
    },
    "403": {
        "WWW-Authenticate": _header(
            "names the scope that is needed, where the key's is too narrow",
            f'{_CHALLENGE}, error="insufficient_scope", scope="write"',
            required=False,
            type=OpenAPIType.STRING,
        )
    },
    "429": {"Retry-After": _AGAIN},
    "503": {"Retry-After": _AGAIN},
}


def add_headers(responses: Mapping[str, OpenAPIResponse | Reference] | None) -> None:
    """Add to each refusal among ``responses`` the headers that it comes with."""
    for status, response in (responses or {}).items():
        if status in HEADERS and isinstance(response, OpenAPIResponse):
            response.headers = dict(HEADERS[status])


class RefusedByAccess(ReceiveRoutePlugin):
    """Documents, for every route as it is added, what access makes of it.

    A route need not say so itself, and so cannot forget to. In a ``closed`` service that is the
    key and how it may be refused; in an open one, that no other's page is heard.
    """

    def __init__(self, *, closed: bool) -> None:
        """Say whether the service asks for keys."""
        self._closed = closed

    def receive_route(self, route: BaseRoute) -> None:
        """Add to what each call of ``route`` may be refused with."""
        if not isinstance(route, HTTPRoute):
            return
        for method, (handler, _) in route.route_handler_map.items():
            # The application's own copy of the handler: another application's stays as it is.
            if not self._closed:
                handler.responses = {**(handler.responses or {}), **FOREIGN}
            elif needed_by(handler.opt, method) is not None:
                handler.responses = {**(handler.responses or {}), **KEYED}
                handler.security = [{"key": []}]
