"""The process's own clock and ids."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, SafeUUID

from uuid_utils import uuid7

if TYPE_CHECKING:
    from taskscheduler.domain.task import TaskId

_MONOTONIC: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
_UNKNOWN: Final = SafeUUID.unknown
_new = object.__new__
_set_int = vars(UUID)["int"].__set__
_set_safety = vars(UUID)["is_safe"].__set__


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
    # As the library's own ``compat`` makes it, in half the time: past all checks of UUID's own.
    task_id: Any = _new(UUID)
    _set_int(task_id, uuid7().int)
    _set_safety(task_id, _UNKNOWN)
    return task_id
