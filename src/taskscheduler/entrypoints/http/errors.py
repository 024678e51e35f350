"""The one map from errors to HTTP: ``application/problem+json`` as RFC 9457 has it."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
from litestar import Response
from litestar.exceptions import HTTPException, ValidationException

from taskscheduler.domain.errors import (
    BatchNotFound,
    BatchSealed,
    Forbidden,
    IdempotencyConflict,
    IllegalTransition,
    InvalidKey,
    InvalidTask,
    KeyNotFound,
    LeaseLost,
    LimitChanged,
    LimitNotFound,
    PayloadTooLarge,
    ScheduleChanged,
    ScheduleExists,
    ScheduleNotFound,
    ScheduleUnread,
    SchemaMismatch,
    SignalExists,
    StoreUnavailable,
    TaskChanged,
    TaskExists,
    TaskNotFound,
    TaskSchedulerError,
    TooManyWatchers,
    TooMuchWaiting,
    UnknownKind,
)
from taskscheduler.entrypoints.messages.problems import FieldProblem, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from litestar import Request

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_S: Final = 2
LATER: Final = frozenset({HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.TOO_MANY_REQUESTS})

STATUS: Final[Mapping[type[TaskSchedulerError], HTTPStatus]] = {
    PayloadTooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    InvalidTask: HTTPStatus.BAD_REQUEST,
    UnknownKind: HTTPStatus.BAD_REQUEST,
    InvalidKey: HTTPStatus.BAD_REQUEST,
    KeyNotFound: HTTPStatus.NOT_FOUND,
    Forbidden: HTTPStatus.FORBIDDEN,
    TooMuchWaiting: HTTPStatus.TOO_MANY_REQUESTS,
    TaskNotFound: HTTPStatus.NOT_FOUND,
    TaskExists: HTTPStatus.CONFLICT,
    BatchNotFound: HTTPStatus.NOT_FOUND,
    BatchSealed: HTTPStatus.CONFLICT,
    TaskChanged: HTTPStatus.PRECONDITION_FAILED,
    LimitNotFound: HTTPStatus.NOT_FOUND,
    LimitChanged: HTTPStatus.PRECONDITION_FAILED,
    IdempotencyConflict: HTTPStatus.CONFLICT,
    ScheduleNotFound: HTTPStatus.NOT_FOUND,
    ScheduleExists: HTTPStatus.CONFLICT,
    ScheduleChanged: HTTPStatus.CONFLICT,
    ScheduleUnread: HTTPStatus.CONFLICT,
    SignalExists: HTTPStatus.CONFLICT,
    IllegalTransition: HTTPStatus.CONFLICT,
    LeaseLost: HTTPStatus.CONFLICT,
    StoreUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    TooManyWatchers: HTTPStatus.SERVICE_UNAVAILABLE,
    SchemaMismatch: HTTPStatus.SERVICE_UNAVAILABLE,
}

log = logging.getLogger("taskscheduler.http")

encode = msgspec.json.Encoder().encode


class BadRequest(TaskSchedulerError):
    """The request cannot be understood: ``path`` says where, ``reason`` what was expected.

    Where there are several ``faults``, those are of the first.
    """

    def __init__(self, path: str, reason: str, *, known_kinds: list[str] | None = None) -> None:
        """Name the place and the fault; ``known_kinds`` if it was a kind."""
        self.path = path
        self.reason = reason
        self.known_kinds = known_kinds
        self.faults: Sequence[FieldProblem] = [FieldProblem(path, reason)]
        super().__init__(f"{path}: {reason}")

    @classmethod
    def of(
        cls, faults: Sequence[FieldProblem], *, known_kinds: list[str] | None = None
    ) -> BadRequest:
        """Return the error that names all ``faults``, of which there is one at least."""
        error = cls(faults[0].path, faults[0].reason, known_kinds=known_kinds)
        error.faults = faults
        return error

    def __str__(self) -> str:
        """Name every place and fault."""
        return "; ".join(f"{fault.path}: {fault.reason}" for fault in self.faults)


class Unauthorized(TaskSchedulerError):
    """The request carries no key, or none that opens."""

    def __init__(self, reason: str, *, code: str | None = None) -> None:
        """Say what is missing; ``code`` is RFC 6750's word for it, if something was given."""
        self.code = code
        super().__init__(reason)


class ScopeTooNarrow(Forbidden):
    """The key does not reach as far as the call needs."""

    def __init__(self, needed: str, held: str) -> None:
        """Name the scope that is ``needed`` and the one that is ``held``."""
        self.needed = needed
        super().__init__(f"this needs a key of scope {needed}; this key's is {held}")


class UnclearHost(TaskSchedulerError):
    """The request names no host, or several, or none that can be one."""

    def __init__(self) -> None:
        """Say what was expected."""
        super().__init__("there must be one Host header, with a name or an address")


class ForeignHost(TaskSchedulerError):
    """The request is meant for another service."""

    def __init__(self, host: str) -> None:
        """Name the host that was asked for."""
        super().__init__(f"this service is not {host!r}; see --allowed-host")


class TooManyRequests(TaskSchedulerError):
    """The key has used up what it may ask for at present."""

    def __init__(self, retry_after_s: int) -> None:
        """Say in how many seconds to come again."""
        self.retry_after_s = retry_after_s
        super().__init__(f"too many requests with this key; come again in {retry_after_s} s")


class TooManyStreams(TooManyRequests):
    """The key watches as much as it may already."""

    def __init__(self, most: int, retry_after_s: int) -> None:
        """Say how many streams a key may have open, and in how many seconds to come again."""
        super().__init__(retry_after_s)
        self.args = (f"this key has {most} streams of events open already, and may have no more",)


def problem(status: HTTPStatus, detail: str, **more: Any) -> Response[bytes]:
    """Return the answer that reports a problem."""
    body = Problem(
        type=f"urn:taskscheduler:problem:{status.name.lower().replace('_', '-')}",
        title=status.phrase,
        status=int(status),
        detail=detail,
        **more,
    )
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status in LATER else {}
    return Response(encode(body), status_code=status, media_type=MEDIA_TYPE, headers=headers)


def on_bad_request(_: Request[Any, Any, Any], error: BadRequest) -> Response[bytes]:
    """Report a request that cannot be understood."""
    return problem(
        HTTPStatus.BAD_REQUEST, str(error), errors=[*error.faults], known_kinds=error.known_kinds
    )


def on_unauthorized(_: Request[Any, Any, Any], error: Unauthorized) -> Response[bytes]:
    """Ask for a key, as RFC 6750 has it."""
    answer = problem(HTTPStatus.UNAUTHORIZED, str(error))
    code = "" if error.code is None else f', error="{error.code}"'
    answer.headers["WWW-Authenticate"] = f'Bearer realm="taskscheduler"{code}'
    return answer


def on_narrow_scope(_: Request[Any, Any, Any], error: ScopeTooNarrow) -> Response[bytes]:
    """Say which scope is needed, as RFC 6750 has it."""
    answer = problem(HTTPStatus.FORBIDDEN, str(error))
    answer.headers["WWW-Authenticate"] = (
        f'Bearer realm="taskscheduler", error="insufficient_scope", scope="{error.needed}"'
    )
    return answer


def on_too_many(_: Request[Any, Any, Any], error: TooManyRequests) -> Response[bytes]:
    """Say when to come again."""
    answer = problem(HTTPStatus.TOO_MANY_REQUESTS, str(error))
    answer.headers["Retry-After"] = str(error.retry_after_s)
    return answer


def on_unclear_host(_: Request[Any, Any, Any], error: UnclearHost) -> Response[bytes]:
    """Report a request that does not say, as HTTP wants it, whom it is for."""
    return problem(HTTPStatus.BAD_REQUEST, str(error))


def on_foreign_host(_: Request[Any, Any, Any], error: ForeignHost) -> Response[bytes]:
    """Report a request that is for somebody else."""
    return problem(HTTPStatus.MISDIRECTED_REQUEST, str(error))


def on_error(_: Request[Any, Any, Any], error: TaskSchedulerError) -> Response[bytes]:
    """Report an error of this package."""
    status = next(
        (status for kind, status in STATUS.items() if isinstance(error, kind)),
        HTTPStatus.INTERNAL_SERVER_ERROR,
    )
    match error:
        case InvalidTask():
            return problem(status, str(error), errors=[fault_of(error)])
        case StoreUnavailable():
            return problem(status, "the database cannot be reached at present; try again")
        case _:
            return problem(status, str(error))


def fault_of(error: InvalidTask) -> FieldProblem:
    """Return where in a body ``error`` is, and what it is."""
    place = "$" if error.index is None else f"$[{error.index}]"
    return FieldProblem(f"{place}.{error.field}", error.reason)


def on_store_unavailable(
    request: Request[Any, Any, Any], error: StoreUnavailable
) -> Response[bytes]:
    """Report that the database is away; its particulars are for the log alone."""
    log.warning("answered 503: %s", error)
    return on_error(request, error)


def on_http_exception(_: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    """Report what the framework refuses: unknown routes, wrong methods, bodies over the limit."""
    status = HTTPStatus(error.status_code)
    faults = _faults(error)
    detail = "; ".join(f"{fault.path}: {fault.reason}" for fault in faults)
    answer = problem(status, detail or error.detail or status.phrase, errors=faults)
    for name, value in (error.headers or {}).items():
        if name.lower() == "allow":  # the framework knows of no HEAD; see ``heads``
            value = ", ".join(sorted(with_head(value.split(", "))))  # noqa: PLW2901
        answer.headers.setdefault(name, value)
    return answer


def with_head(methods: Iterable[str]) -> set[str]:
    """Return the methods of a path that has routes for ``methods``."""
    return {*methods, "HEAD"} if "GET" in methods else {*methods}


def on_exception(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    """Report a fault of ours, without its particulars: those are in the log."""
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "the service failed; its log says why")


def _faults(error: HTTPException) -> list[FieldProblem]:
    if not isinstance(error, ValidationException) or not isinstance(error.extra, list):
        return []
    facts = cast("list[Mapping[str, Any]]", error.extra)
    return [
        FieldProblem(str(each.get("key", "$")), str(each.get("message", "invalid")))
        for each in facts
    ]


DESCRIBED: Final[Mapping[Any, Any]] = {
    BadRequest: on_bad_request,
    Unauthorized: on_unauthorized,
    ScopeTooNarrow: on_narrow_scope,
    TooManyRequests: on_too_many,
    UnclearHost: on_unclear_host,
    ForeignHost: on_foreign_host,
    TaskSchedulerError: on_error,
    HTTPException: on_http_exception,
}
HANDLERS: Final[Mapping[Any, Any]] = {
    **DESCRIBED,
    StoreUnavailable: on_store_unavailable,
    Exception: on_exception,
}


def described(error: Exception) -> Response[bytes]:
    """Return the answer that reports ``error``; nothing is logged, for nothing has happened."""
    report: Any = next(DESCRIBED[kind] for kind in type(error).__mro__ if kind in DESCRIBED)
    return report(None, error)
