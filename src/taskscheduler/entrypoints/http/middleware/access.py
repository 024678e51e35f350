"""Who may call what: keys, scopes, tenants, and how often.

A route says what it needs beside its path, by ``opt=reached_by("read")``; one that says nothing
needs ``read`` for GET, HEAD and OPTIONS and ``write`` for the rest, and is closed to keys with a
queue prefix, because nobody has said that it keeps tenants apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, Any, Final, Literal

from litestar import Request

from taskscheduler.application.client.scheduler import Scheduler
from taskscheduler.application.client.tenant_scope import TenantScheduler
from taskscheduler.domain.access import Caller, Scope
from taskscheduler.domain.errors import Forbidden
from taskscheduler.entrypoints.http.errors import ScopeTooNarrow, TooManyRequests, Unauthorized
from taskscheduler.entrypoints.request_metrics import REQUEST_ID

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from litestar.connection import ASGIConnection
    from litestar.handlers.base import BaseRouteHandler

    from taskscheduler.application.client.api_keys import KeyAuthenticator
    from taskscheduler.domain.access import ApiKey
    from taskscheduler.domain.ports.clock import Clock

    Connection = ASGIConnection[Any, Any, Any, Any]

Needed = Literal["open", "read", "write", "admin"]

SCOPE: Final = "scope"
TENANTS: Final = "tenants"
CALLER: Final = "taskscheduler.caller"
KEY_LIVES: Final = "taskscheduler.key_lives"
OPEN: Final[Mapping[str, Any]] = {SCOPE: "open"}
READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})

WITHOUT: Final = "this needs a key: Authorization: Bearer tsk_…"
WRONG: Final = "the key is unknown, expired or revoked"
NOT_FOR_TENANTS: Final = "this is not for keys that reach only some queues"
UNCLEAR: Final = "there must be one Authorization header, and it must be: Bearer tsk_…"


def reached_by(needed: Needed, *, tenants: bool = False) -> dict[str, Any]:
    """Return the ``opt`` of a route: the scope it needs, or ``open`` to all.

    ``tenants`` is for routes that touch tasks only by their ``scheduler``, which keeps to the
    caller's queues: keys with a queue prefix may use them.
    """
    return {SCOPE: needed, TENANTS: tenants}


def needed_by(opt: Mapping[str, Any], method: str) -> Scope | None:
    """Return the scope that a route needs; None if it is open to all."""
    declared = opt.get(SCOPE)
    if declared is None:
        return Scope.READ if method in READING else Scope.WRITE
    return None if declared == "open" else Scope(declared)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """How the service is closed: ``gate`` knows the keys, ``limit`` how often each may call."""

    gate: KeyAuthenticator
    limit: RateLimit | None = None

    def guard(self) -> Callable[[Connection, BaseRouteHandler], Awaitable[None]]:
        """Return the guard of every route of the application."""

        async def check(connection: Connection, handler: BaseRouteHandler) -> None:
            needed = needed_by(handler.opt, str(connection.scope.get("method", "GET")))
            if needed is None:
                return
            key = await self._key_of(connection)
            if self.limit is not None:
                self.limit.take(key.id)
            if not key.scope.reaches(needed):
                raise ScopeTooNarrow(needed, key.scope)
            if key.queue_prefix is not None and not handler.opt.get(TENANTS):
                raise Forbidden(NOT_FOR_TENANTS)
            connection.scope[CALLER] = caller_of(connection, key)  # type: ignore[typeddict-unknown-key]
            connection.scope[KEY_LIVES] = partial(self._lives, connection)  # type: ignore[typeddict-unknown-key]

        return check

    async def _lives(self, connection: Connection) -> bool:
        try:
            await self._key_of(connection)
        except Unauthorized:
            return False
        return True

    async def _key_of(self, connection: Connection) -> ApiKey:
        given = connection.headers.getall("authorization", [])
        if not given:
            raise Unauthorized(WITHOUT)
        scheme, _, token = given[0].partition(" ")
        if len(given) > 1 or scheme.lower() != "bearer":
            raise Unauthorized(UNCLEAR, code="invalid_request")
        key = await self.gate.identify(token.strip(" "))
        if key is None:
            raise Unauthorized(WRONG, code="invalid_token")
        return key


def caller_of(connection: Connection, key: ApiKey) -> Caller:
    """Return whose call it is, and from where."""
    client = connection.scope["client"]
    return Caller(
        name=key.name,
        key_id=key.id,
        scope=key.scope,
        queue_prefix=key.queue_prefix,
        quota=key.quota,
        address=None if client is None else client[0],
        request_id=REQUEST_ID.get(),
    )


async def everybody() -> bool:
    """Let everybody in."""
    return True


def still_let_in(request: Request[Any, Any, Any]) -> Callable[[], Awaitable[bool]]:
    """Return what tells whether the caller's key still opens, for answers that go on and on.

    It may raise StoreUnavailable. Where no keys are asked for, everybody is let in.
    """
    return request.scope.get(KEY_LIVES, everybody)


def seen_by_caller(scheduler: Scheduler) -> Callable[[Request[Any, Any, Any]], Scheduler]:
    """Return what provides a call with ``scheduler``, as far as its caller reaches."""

    def provide(request: Request[Any, Any, Any]) -> Scheduler:
        caller = request.scope.get(CALLER)
        return scheduler if caller is None else TenantScheduler(scheduler, caller)

    return provide


class RateLimit:
    """Lets each key call ``per_s`` times a second, and save up one second's worth.

    Every process counts for itself.
    """

    def __init__(self, per_s: float, clock: Clock) -> None:
        """Count from now on."""
        self._per_s = per_s
        self._saved_max = max(1.0, per_s)
        self._clock = clock
        self._saved: dict[str, tuple[float, float]] = {}

    def take(self, key_id: str) -> None:
        """Count one call. Raises TooManyRequests."""
        now = self._clock.monotonic()
        saved, at = self._saved.get(key_id, (self._saved_max, now))
        saved = min(self._saved_max, saved + (now - at) * self._per_s)
        if saved < 1:
            # What was saved stays as it is: a caller who keeps trying is let in no later.
            raise TooManyRequests(max(1, ceil((1 - saved) / self._per_s)))
        self._saved[key_id] = (saved - 1, now)
