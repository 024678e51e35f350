"""Every request has a name, and leaves one line in the log and one count in the metrics.

This is around the whole application and not one of its middlewares, which see nothing of a request
that fits no route.
"""

from __future__ import annotations

import logging
import os
import re
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from taskscheduler.entrypoints.http.middleware.access import CALLER, READING
from taskscheduler.entrypoints.request_metrics import REQUEST_ID

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from litestar.types import ASGIApp, Message, Receive, Scope, Send

    from taskscheduler.entrypoints.request_metrics import Requests

NAME: Final = b"x-request-id"
FORM: Final = re.compile(rb"[A-Za-z0-9._~:/+=@-]{1,128}")
"""Nothing that a terminal, a shell or a reader of logs could take for something else."""
TASK: Final = re.compile(r"/tasks/([0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})(?![^/])")
METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "POST", "PATCH", "DELETE"})
NO_ROUTE: Final = "none"
PATH_CHARACTERS_MAX: Final = 256
ERRORS_FROM: Final = 400

log = logging.getLogger("taskscheduler.access")


def with_request_log(app: ASGIApp, requests: Requests, *, log_lines: bool = True) -> ASGIApp:
    """Return ``app``, whose every request gets a name and is told of.

    A caller's own ``X-Request-ID`` is kept if it has the form; otherwise one is made up. It is in
    the answer, in every log line that is written meanwhile, and in the audit trail. ``requests``
    counts. With ``log_lines``, changes and errors are logged as info, all else as debug.
    """

    async def logged(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        name = name_of(scope["headers"]) or os.urandom(16).hex().encode()
        before = REQUEST_ID.set(name.decode())
        status, location, took_s = 0, b"", 0.0
        began_s = perf_counter()

        async def send_named(message: Message) -> None:
            nonlocal status, location, took_s
            if message["type"] == "http.response.start":
                # Not to the end, which of a stream is whenever its reader has had enough.
                took_s = perf_counter() - began_s
                status = message["status"]
                headers = list(message["headers"])
                location = next((value for key, value in headers if key == b"location"), b"")
                message["headers"] = [*headers, (NAME, name)]
            await send(message)

        try:
            await app(scope, receive, send_named)
        finally:
            took_s = took_s or perf_counter() - began_s
            method = scope["method"] if scope["method"] in METHODS else "other"
            requests.add(method, scope.get("path_template") or NO_ROUTE, status, took_s)
            if log_lines:
                changes_or_failed = method not in READING or not 0 < status < ERRORS_FROM
                level = logging.INFO if changes_or_failed else logging.DEBUG
                if log.isEnabledFor(level):
                    _write(level, scope, status, took_s, location)
            REQUEST_ID.reset(before)

    return logged


def name_of(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """Return the name that the caller gave its request; None without one that has the form."""
    given = [value for key, value in headers if key == NAME]
    return given[0] if len(given) == 1 and FORM.fullmatch(given[0]) else None


def _write(
    level: int, scope: Mapping[str, Any], status: int, took_s: float, location: bytes
) -> None:
    """Write the line. Neither query nor headers nor body are in it: they may hold secrets."""
    path = shown(scope.get("raw_path") or scope["path"].encode())
    facts: dict[str, Any] = {
        "method": shown(scope["method"].encode()),
        "path": path,
        "status": status,
        "ms": round(took_s * 1000, 3),
    }
    task = TASK.search(location.decode("latin-1")) or TASK.search(path)
    if task is not None:
        facts["task_id"] = task[1].lower()
    if (client := scope.get("client")) is not None:
        facts["address"] = client[0]
    if (caller := scope.get(CALLER)) is not None:
        facts["caller"], facts["key_id"] = caller.name, caller.key_id
    said = f"answered {status}" if status else "went without an answer"
    log.log(level, "%s %s %s", facts["method"], path, said, extra=facts)


def shown(raw: bytes) -> str:
    """Return what came over the wire as printable ASCII, cut to a length that fits a log."""
    text = raw[:PATH_CHARACTERS_MAX].partition(b"?")[0].decode("latin-1")
    return text if text.isascii() and text.isprintable() else ascii(text)
