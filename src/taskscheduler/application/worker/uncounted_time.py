"""Time that does not count against an attempt: waiting for what others of its worker hold."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Generator

LIMIT: Final[ContextVar[asyncio.Timeout | None]] = ContextVar("taskscheduler_limit", default=None)
"""What bounds the attempt that the current code runs for, if anything does."""


@contextmanager
def counted(limit: asyncio.Timeout) -> Generator[None]:
    """Let ``limit``, which is entered, stand still wherever ``uncounted`` is used within."""
    token = LIMIT.set(limit)
    try:
        yield
    finally:
        LIMIT.reset(token)


@contextmanager
def uncounted() -> Generator[None]:
    """Let the attempt's time stand still: what is waited for is in the worker's own hands."""
    limit = LIMIT.get()
    ends_at = None if limit is None or limit.expired() else limit.when()
    if limit is None or ends_at is None:
        yield
        return
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    limit.reschedule(None)
    try:
        yield
    finally:
        limit.reschedule(ends_at + loop.time() - began_at)
