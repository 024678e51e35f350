"""How far attempts are: gathered, and written for all of a worker at once, twice a second."""

from __future__ import annotations

import asyncio
import logging
from contextvars import Context as Variables
from typing import TYPE_CHECKING, Final

from taskscheduler.application.client.payloads import encode
from taskscheduler.domain.errors import InvalidProgress, InvalidTask, TaskSchedulerError
from taskscheduler.domain.notes import Report

if TYPE_CHECKING:
    from taskscheduler.domain.lease import Lease
    from taskscheduler.domain.ports.results import Notes

WRITE_EVERY_S: Final = 0.5
MESSAGE_CHARACTERS_MAX: Final = 1_000
DATA_BYTES_MAX: Final = 16 * 1024

log = logging.getLogger("taskscheduler.worker")


def report_of(lease: Lease, fraction: object, message: object, data: object) -> Report:
    """Return what an attempt says of its progress. Raises InvalidProgress."""
    if fraction is not None and not (
        isinstance(fraction, (int, float)) and 0 <= fraction <= 1 and not isinstance(fraction, bool)
    ):
        raise InvalidProgress("fraction", f"must be 0 to 1, not {fraction!r}")
    if message is not None and not isinstance(message, str):
        raise InvalidProgress("message", f"must be a text, not {type(message).__name__}")
    if message is not None and len(message) > MESSAGE_CHARACTERS_MAX:
        raise InvalidProgress("message", f"must be at most {MESSAGE_CHARACTERS_MAX} characters")
    try:
        (message or "").encode()
        text = None if data is None else encode(data)
    except UnicodeEncodeError:
        raise InvalidProgress("message", "has halves of surrogate pairs") from None
    except InvalidTask as error:
        raise InvalidProgress("data", error.reason) from error
    if text is not None and len(text) > DATA_BYTES_MAX:
        raise InvalidProgress("data", f"must be at most {DATA_BYTES_MAX} bytes of JSON")
    whole = None if fraction is None else float(fraction)
    return Report(lease.task_id, lease.token, whole, message, text)


class Reporter:
    """Writes what the attempts of a worker say. Of several words of one the last counts.

    Nothing that happens here fails an attempt: progress is worth none.
    """

    def __init__(self, notes: Notes) -> None:
        """Write into ``notes``."""
        self._notes = notes
        self._waiting: dict[int, Report] = {}
        self._writing: asyncio.Task[None] | None = None
        self._turn = asyncio.Lock()

    def add(self, report: Report) -> None:
        """Take over what an attempt says."""
        self._waiting[report.token] = report
        if self._writing is None or self._writing.done():
            # Done for many: no log line of it belongs to the one that began it.
            self._writing = asyncio.create_task(self._write_now_and_then(), context=Variables())

    async def settle(self, token: int) -> None:
        """Let what an attempt has said be written before its outcome is: later it is too late."""
        async with self._turn:
            if token in self._waiting:
                await self._write()

    async def _write_now_and_then(self) -> None:
        while self._waiting:
            async with self._turn:
                await self._write()
            await asyncio.sleep(WRITE_EVERY_S)

    async def _write(self) -> None:
        reports = list(self._waiting.values())
        self._waiting.clear()
        if not reports:
            return
        try:
            await self._notes.report(reports)
        except TaskSchedulerError as error:
            log.warning("the progress of %d attempts is not written: %s", len(reports), error)
