"""One connection of a caller, within limits: uvicorn's own, and what it does not watch over.

uvicorn reads heads and bodies of any size for any time and waits for ever for an answer to be
taken. Here all of that has an end, which is looked for once a second and not by timers: what keeps
to the limits pays for a few comparisons.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from taskscheduler.entrypoints.http.middleware.browser_security import ALWAYS, NOT_KEPT, NOTHING
from taskscheduler.entrypoints.messages.problems import Problem

if TYPE_CHECKING:
    import asyncio

    from taskscheduler.entrypoints.http.middleware.connection_limits import Door

SMALL_BODY: Final = 64 * 1024
"""Up to this size a body is not counted: a connection costs as much anyhow."""
LEAVING_MIN: Final = 16


class Refusal(NamedTuple):
    """Why a request is refused before the application sees it."""

    status: HTTPStatus
    reason: str
    detail: str

    def raw(self) -> bytes:
        """Return the whole answer."""
        body = msgspec.json.encode(
            Problem(
                type=f"urn:taskscheduler:problem:{self.status.name.lower().replace('_', '-')}",
                title=self.status.phrase,
                status=int(self.status),
                detail=self.detail,
            )
        )
        headers = [
            (b"content-type", b"application/problem+json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
            *ALWAYS,
            NOT_KEPT,
            NOTHING,
        ]
        if self.status is HTTPStatus.SERVICE_UNAVAILABLE:
            headers.append((b"retry-after", b"2"))
        lines = [b"%s: %s\r\n" % header for header in headers]
        return b"".join([STATUS_LINE[self.status], *lines, b"\r\n", body])


NO_HTTP: Final = Refusal(
    HTTPStatus.BAD_REQUEST, "no HTTP", "what was sent is not a request of HTTP/1.1"
)
LONG_TARGET: Final = Refusal(
    HTTPStatus.REQUEST_URI_TOO_LONG, "a target too long", "the path and query are too long"
)
LARGE_HEAD: Final = Refusal(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "headers too large",
    "the headers are too many or too large",
)
SLOW_HEAD: Final = Refusal(
    HTTPStatus.REQUEST_TIMEOUT, "a head too slow", "the head of the request took too long"
)
SLOW_BODY: Final = Refusal(
    HTTPStatus.REQUEST_TIMEOUT, "a body too slow", "the body of the request came too slowly"
)
MANY_BODIES: Final = Refusal(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "bodies too large together",
    "too many large requests are being read at present; try again",
)
MANY_CONNECTIONS: Final = Refusal(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "over the limit of connections",
    "there are too many connections at present; try again",
)


class _Refused(Exception):
    """Ends the parsing of a request that is refused."""


class _Way:
    """The transport, as uvicorn sees it: what is written is counted, closing may take a while."""

    def __init__(self, transport: asyncio.Transport, owner: GuardedConnection) -> None:
        self._transport = transport
        self._owner = owner
        self.written = 0
        self.closing = False
        self.get_extra_info = transport.get_extra_info
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading
        self.get_write_buffer_size = transport.get_write_buffer_size
        self.abort = transport.abort

    def write(self, data: bytes) -> None:
        self.written += len(data)
        self._transport.write(data)

    def is_closing(self) -> bool:
        return self.closing or self._transport.is_closing()

    def close(self) -> None:
        first, self.closing = not self.closing, True
        if first and self._owner.more_to_come and not self._transport.is_closing():
            self._owner.linger()
        else:
            self._transport.close()

    def end(self) -> None:
        """Say that nothing more will be written, and go on reading."""
        self._transport.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()


class GuardedConnection(HttpToolsProtocol):
    """A connection that keeps to the limits of its ``door``."""

    def __init__(self, *, door: Door, **given: Any) -> None:
        """Take what uvicorn gives."""
        super().__init__(**given)
        self._door = door
        self._limits = door.limits
        self._way: _Way
        self._refusal: Refusal | None = None
        self._deaf = False
        #: Since when a head is awaited; None while there is none to wait for.
        self._head_since: float | None = None
        self._head_open = False
        self._head_bytes = 0
        self._fed = 0
        #: Whether a request's body is still to come.
        self.more_to_come = False
        self._keeps_alive = False
        self._body_since = 0.0
        self._body_bytes = 0
        self._held = 0
        self._checked_at = 0.0
        self._taken: tuple[float, int] | None = None
        self._lingers_since: float | None = None
        self._drained = 0

    # What the event loop says.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Let it in, or say that there is no room."""
        self._way = _Way(transport, self)
        if len(self.connections) >= self._limits.connections and not self._door.make_room():
            self._turn_away()
            return
        super().connection_made(self._way)  # type: ignore[arg-type]
        self._head_since = self._checked_at = self.loop.time()
        self._door.waiting[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._door.waiting.pop(self, None)
        self._release()
        self.more_to_come = False
        self._way.closing = True
        if self.flow is None:  # pyright: ignore[reportUnnecessaryComparison] - turned away
            self._door.leaving.discard(self)
            return
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless what comes is only to be dropped."""
        if self._lingers_since is not None:
            self._drained += len(data)
            if self._drained > self._limits.drain_bytes:
                self.cut()
            return
        if self._deaf:
            return
        between = not self._head_open and not self.more_to_come
        if between and self._head_since is None:
            self._head_since = self.loop.time()
        self._fed = len(data)
        super().data_received(data)
        if self._head_open and self._lingers_since is None:
            # What came before it in the same part is not counted.
            self._head_bytes += self._fed if between or self._head_bytes else 1
            if self._head_bytes > self._limits.head_bytes:
                self._refuse(LARGE_HEAD if self.headers else LONG_TARGET)

    # What the parser says.

    def on_message_begin(self) -> None:
        """Begin a head."""
        super().on_message_begin()
        self._head_open = True
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Take a part of the target."""
        super().on_url(url)
        if len(self.url) > self._limits.target_bytes:
            self._refusal = LONG_TARGET
            raise _Refused

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header. Those that come after the body are nobody's."""
        if self._head_open:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin the request."""
        if len(self.headers) > self._limits.headers or (
            self._fed + self._head_bytes > self._limits.head_bytes
            and self._size() > self._limits.head_bytes
        ):
            self._refusal = LARGE_HEAD
            raise _Refused
        self._head_open = False
        self._head_since = None
        self._door.waiting.pop(self, None)
        self.more_to_come = True
        self._body_bytes = 0
        super().on_headers_complete()
        # Only a request that came in whole is followed by another one: an answer that is given
        # before says that it is the last.
        self._keeps_alive, self.cycle.keep_alive = self.cycle.keep_alive, False
        self._body_since = self._checked_at

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        super().on_body(body)
        self._body_bytes += len(body)
        if self._body_bytes <= SMALL_BODY or self.cycle.response_complete:
            return
        self._held += len(body)
        self._door.held += len(body)
        if self._door.held > self._limits.bodies_bytes:
            self._refusal = MANY_BODIES
            raise _Refused

    def on_message_complete(self) -> None:
        """End the request."""
        self.more_to_come = False
        if not self.cycle.response_started:
            self.cycle.keep_alive = self._keeps_alive
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request, if there is to be one."""
        self._release()
        super().on_response_complete()
        if not self._way.is_closing() and not self.pipeline:
            self._door.waiting[self] = None

    # What uvicorn would say of it.

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - we know better why
        """Refuse what is no request, or too much of one."""
        self._refuse(self._refusal or NO_HTTP)

    def _unsupported_upgrade_warning(self) -> None:
        """Answer as if nobody had asked for another protocol, which HTTP allows, and end then."""
        self.cycle.keep_alive = False
        self._deaf = True

    def shutdown(self) -> None:
        """End, as soon as what is being answered is answered."""
        if self._lingers_since is not None:
            self.cut()
        else:
            super().shutdown()

    # What the limits say.

    def check(self, now: float) -> None:
        """Act if a time has run out at ``now``."""
        limits, since = self._limits, self._checked_at
        self._checked_at = now
        if self._lingers_since is not None:
            if now - self._lingers_since > limits.drain_s:
                self.cut()
            return
        if self._head_since is not None and now - self._head_since > limits.head_s:
            if self._head_open:
                self._refuse(SLOW_HEAD)
            else:
                self._door.turn_away("silent", 0)
                self.cut()
            return
        if self.more_to_come and not self.cycle.response_complete:
            if self.flow.read_paused:
                # It is we who do not read.
                self._body_since += now - since
            elif now - self._body_since > limits.body_s + self._body_bytes / limits.bytes_per_s:
                self._refuse(SLOW_BODY)
                return
        self._check_writing(now)

    def _check_writing(self, now: float) -> None:
        """Cut the connection if what was written to it is not taken."""
        waiting = self._way.get_write_buffer_size()
        if not waiting:
            self._taken = None
            return
        taken = self._way.written - waiting
        if self._taken is None:
            self._taken = now, taken
        elif now - self._taken[0] >= self._limits.write_s:
            if taken - self._taken[1] < self._limits.write_s * self._limits.bytes_per_s:
                self._door.turn_away("who did not read the answer", 0)
                self.cut()
            else:
                self._taken = now, taken

    def cut(self) -> None:
        """End it at once."""
        self._way.closing = True
        self._way.abort()

    def linger(self) -> None:
        """Read and drop what still comes, so that the caller can read what was answered."""
        self._lingers_since = self.loop.time()
        self._head_since = None
        self._door.waiting.pop(self, None)
        self._release()
        self._way.end()

    def _refuse(self, refusal: Refusal) -> None:
        """Answer with ``refusal`` if nothing else is being answered, and end the connection."""
        self._head_open = False
        self._head_since = None
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:  # pyright: ignore[reportUnnecessaryComparison]
            if not cycle.more_body:
                # It is the request before that is being answered: this one is not heard.
                cycle.keep_alive = False
                self._deaf = True
                self.flow.pause_reading()
                self._door.turn_away(refusal.reason, 0)
                return
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self._door.turn_away(refusal.reason, 0)
                self._way.close()
                return
        self._door.turn_away(refusal.reason, int(refusal.status))
        self._way.write(refusal.raw())
        self._way.closing = True
        self.linger()

    def _turn_away(self) -> None:
        """Say that there is no room; where too many hear that, say nothing."""
        self._deaf = True
        if len(self._door.leaving) >= max(LEAVING_MIN, self._limits.connections // 10):
            self._door.turn_away(MANY_CONNECTIONS.reason, 0)
            self.cut()
            return
        self._door.turn_away(MANY_CONNECTIONS.reason, int(MANY_CONNECTIONS.status))
        self._door.leaving.add(self)
        self._way.write(MANY_CONNECTIONS.raw())
        self._way.closing = True
        self.linger()

    def _release(self) -> None:
        self._door.held -= self._held
        self._held = 0

    def _size(self) -> int:
        """Return how large the head is, in bytes."""
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
