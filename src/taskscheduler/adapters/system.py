"""The process's own clock and ids."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Final

from uuid_utils.compat import uuid7

from taskscheduler.domain.task import TaskId

_MONOTONIC: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class SystemClock:
    """The operating system's clock."""

    def now(self) -> datetime:
        """Return the time in UTC; only the in-memory store takes it for the store's time."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that only ever grow, while the machine sleeps too where that is told."""
        return time.clock_gettime(_MONOTONIC)


def new_task_id() -> TaskId:
    """Return a UUID v7: its first 48 bits are the time in milliseconds, so ids sort by age."""
    return TaskId(uuid7())
