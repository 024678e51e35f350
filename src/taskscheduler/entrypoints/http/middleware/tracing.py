"""A span for every request, where somebody traces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from taskscheduler.entrypoints.http.middleware.request_log import METHODS, shown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from litestar.types import ASGIApp, Message, Receive, Scope, Send

    from taskscheduler.domain.ports.tracing import Tracing

PARENT_BYTES_MAX: Final = 128
STATE_BYTES_MAX: Final = 512
PROBES: Final = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds, for ever: their spans would be most of all."""


def traced(app: ASGIApp, tracing: Tracing) -> ASGIApp:
    """Return ``app``, whose every request is a span of ``tracing``, probes apart.

    It is a part of its caller's trace if a W3C ``traceparent`` came along. One that is malformed
    is as good as none. Neither query nor headers nor body are in the span.
    """

    async def trace(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            await app(scope, receive, send)
            return
        status = 0

        async def send_seen(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        method = scope["method"] if scope["method"] in METHODS else "_OTHER"
        path = shown(scope.get("raw_path") or scope["path"].encode())
        with tracing.answering(method, path, context_headers(scope["headers"])) as span:
            try:
                await app(scope, receive, send_seen)
            finally:
                span.answered(scope.get("path_template"), status)

    return trace


def context_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return the headers of W3C Trace Context; of ``traceparent`` there may be only one."""
    parents = [value for key, value in headers if key == b"traceparent"]
    if len(parents) != 1 or len(parents[0]) > PARENT_BYTES_MAX:
        return {}
    state = b",".join(value for key, value in headers if key == b"tracestate")
    found = {"traceparent": parents[0].decode("latin-1")}
    # What others read it with takes time by the square of its length; they need not take more.
    if 0 < len(state) <= STATE_BYTES_MAX:
        found["tracestate"] = state.decode("latin-1")
    return found
